"""Whom a message mentions, and whom it pings, by Discord's rules for allowed mentions."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tests.fakes.discord.payloads import Payload
from tests.fakes.discord.things import id_text

_USER: Final = re.compile(r"<@!?(\d+)>")
_ROLE: Final = re.compile(r"<@&(\d+)>")
_EVERYBODY: Final = re.compile(r"@(?:everyone|here)")


def users_in(text: str) -> list[str]:
    """Return the ids of the users that a text mentions, each once."""
    return list(dict.fromkeys(_USER.findall(text)))


def roles_in(text: str) -> list[str]:
    """Return the ids of the roles that a text mentions, each once."""
    return list(dict.fromkeys(_ROLE.findall(text)))


def everybody_in(text: str) -> bool:
    """Say whether a text mentions @everyone or @here."""
    return _EVERYBODY.search(text) is not None


def pinged(
    message: Payload, allowed: Mapping[str, Any] | None, *, may_all: bool, mentionable: Iterable[str]
) -> list[str]:
    """Return whom a message notifies: `@everyone`, `@here`, ids of users, ids of roles after `&`.

    Without `allowed` everything in the text pings. `may_all`: the author may mention everyone and every role; others
    only the `mentionable` roles.
    """
    text = message.get("content") or ""
    given = allowed or {}
    parse = {"users", "roles", "everyone"} if allowed is None else set(given.get("parse") or ())
    users = {id_text(one) for one in given.get("users") or ()}
    roles = {id_text(one) for one in given.get("roles") or ()}
    loud = list(dict.fromkeys(_EVERYBODY.findall(text))) if "everyone" in parse and may_all else []
    loud += [one for one in users_in(text) if "users" in parse or one in users]
    may_ping = set(mentionable)
    for one in roles_in(text):
        if (may_all or one in may_ping) and ("roles" in parse or one in roles):
            loud.append(f"&{one}")
    replied = message.get("referenced_message")
    if replied and (allowed is None or given.get("replied_user")) and replied["author"]["id"] not in loud:
        loud.append(replied["author"]["id"])
    return loud


def check_allowed(allowed: Mapping[str, Any]) -> str | None:
    """Return what is wrong with an `allowed_mentions`, None if nothing is."""
    parse = set(allowed.get("parse") or ())
    if not parse <= {"users", "roles", "everyone"}:
        return "Value must be one of ('users', 'roles', 'everyone')."
    for kind in ("users", "roles"):
        if kind in parse and allowed.get(kind):
            return f'parse:["{kind}"] and {kind}: [ids...] are mutually exclusive.'
        if len(allowed.get(kind) or ()) > 100:
            return "Must be 100 or fewer in length."
    return None
