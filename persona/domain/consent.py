"""Who may be stored, trained on and forgotten: the rules of consent.

The ledger is a list of entries that only grows. For one person, server and scope the newest entry counts; one for the
server counts before one for everywhere, however old it is. Without an entry a person is stored (they talk in a channel
that is on the allow-list, and are told so) and not trained on. Whoever is not stored is not trained on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from persona.domain.chat import AuthorId, GuildId

EVERYWHERE = GuildId(0)
"""As the server of an entry: all of them. As the server of a message: it is not known, as in some exports."""

PERMISSION = AuthorId(0)
"""As the person of an entry: nobody. Such an entry is the owner's permission to train on what came through the API."""


class Scope(StrEnum):
    """What somebody agrees to: being kept (for replies and memory), or training a model on their words."""

    STORE = "store"
    TRAIN = "train"


class Choice(StrEnum):
    """Yes or no; no entry means the default of the scope."""

    YES = "yes"
    NO = "no"


class Source(StrEnum):
    """Where a choice comes from."""

    COMMAND = "command"
    OWNER = "owner"
    EXPORT = "export"
    IMPORT = "import"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger; `guild_id` 0 means everywhere, `note` says where the agreement can be found."""

    author_id: AuthorId
    scope: Scope
    choice: Choice
    at: datetime
    source: Source
    guild_id: GuildId = EVERYWHERE
    recorded_by: AuthorId | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What holds for one person on one server."""

    store: bool = True
    train: bool = False


def in_force(entries: Iterable[Entry]) -> Mapping[tuple[AuthorId, Scope, GuildId], Entry]:
    """Return the newest entry of each person, scope and server; of two of the same moment the later one in order."""
    newest: dict[tuple[AuthorId, Scope, GuildId], Entry] = {}
    for entry in entries:
        key = (entry.author_id, entry.scope, entry.guild_id)
        known = newest.get(key)
        if known is None or known.at <= entry.at:
            newest[key] = entry
    return newest


def choice_on(choices: Mapping[GuildId, Choice], guild_id: GuildId) -> Choice | None:
    """Return which of one person's choices in one scope, by server, holds on a server; None: the default does.

    Where the server is not known, a single no anywhere counts, and a yes only when it is for everywhere.
    """
    if guild_id == EVERYWHERE and Choice.NO in choices.values():
        return Choice.NO
    return choices.get(guild_id, choices.get(EVERYWHERE))


def choices_on(entries: Iterable[Entry], guild_id: GuildId) -> Mapping[AuthorId, Mapping[Scope, Choice]]:
    """Return the choices that hold on a server, by person and scope; defaults are left out."""
    by_person: dict[tuple[AuthorId, Scope], dict[GuildId, Choice]] = {}
    for (author_id, scope, where), entry in in_force(entries).items():
        by_person.setdefault((author_id, scope), {})[where] = entry.choice
    found: dict[AuthorId, dict[Scope, Choice]] = {}
    for (author_id, scope), choices in by_person.items():
        choice = choice_on(choices, guild_id)
        if choice is not None:
            found.setdefault(author_id, {})[scope] = choice
    return found


def permission_basis(entries: Iterable[Entry], guild_id: GuildId) -> Entry | None:
    """Return the permission that holds for a server: to train on messages that came through Discord's API.

    It is an entry of `PERMISSION` for training; one for the server counts before one for everywhere. None without one,
    or where it was taken back.
    """
    held = {
        where: entry
        for (who, scope, where), entry in in_force(entries).items()
        if who == PERMISSION and scope is Scope.TRAIN
    }
    if choice_on({where: entry.choice for where, entry in held.items()}, guild_id) is not Choice.YES:
        return None
    return held.get(guild_id, held.get(EVERYWHERE))


def standing(entries: Iterable[Entry], guild_id: GuildId) -> Standing:
    """Return what holds on a server for the person whose entries these are, in the order of the ledger."""
    (choices,) = choices_on(entries, guild_id).values() or ({},)
    store = choices.get(Scope.STORE) is not Choice.NO
    return Standing(store=store, train=store and choices.get(Scope.TRAIN) is Choice.YES)
