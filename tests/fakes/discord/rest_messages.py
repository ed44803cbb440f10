"""REST endpoints of messages: pages, posts, edits, deletions, reactions, typing."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from tests.fakes.discord import mentions
from tests.fakes.discord.command_rules import ApiError, invalid_form
from tests.fakes.discord.interaction_routes import answer, form_of
from tests.fakes.discord.payloads import WITHOUT_MESSAGES, Payload
from tests.fakes.discord.recording import RECORDED
from tests.fakes.discord.responses import Form, compose
from tests.fakes.discord.rest_rules import Handler, Rules, given, json_bytes, number, snowflake
from tests.fakes.discord.snowflakes import moment_of
from tests.fakes.discord.things import SaidThing, Thing

_NONCE_SECONDS: Final = 300.0
_NONCE_LENGTH: Final = 25
_BULK_DAYS: Final = 14


class Messages:
    """Answers requests about messages."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._world = rules.world
        self._nonces: dict[tuple[str, str], tuple[str, float]] = {}

    def table(self) -> list[tuple[str, str, Handler]]:
        """Return the endpoints as method, path and handler."""
        one = "/channels/{c}/messages/{m}"
        emoji = one + "/reactions/{e}"
        return [
            ("GET", "/channels/{c}/messages", self.page),
            ("POST", "/channels/{c}/messages", self.post),
            ("POST", "/channels/{c}/messages/bulk-delete", self.bulk),
            ("GET", one, self.one),
            ("PATCH", one, self.patch),
            ("DELETE", one, self.remove),
            ("POST", "/channels/{c}/typing", self.typing),
            ("PUT", emoji + "/@me", self.react),
            ("DELETE", emoji + "/@me", self.unreact),
            ("DELETE", emoji + "/{u}", self.unreact),
            ("GET", emoji, self.reactors),
            ("DELETE", emoji, self.clear),
            ("DELETE", one + "/reactions", self.clear),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """A page of history; without the right to read it an empty one, as if nothing had been said."""
        channel = self._rules.channel(request)
        if channel["type"] in WITHOUT_MESSAGES:
            raise ApiError(400, 50024, "Cannot execute action on this channel type")
        limit = number(request, "limit", 50, least=1, most=100)
        where = {name: snowflake(request, name) for name in ("before", "after", "around")}
        if sum(at is not None for at in where.values()) > 1:
            raise invalid_form([], "MUTUALLY_EXCLUSIVE", "Only one of around, before, after may be passed.")
        if not self._world.may(channel["id"], "read_message_history"):
            return answer([])
        found = self._world.talks[channel["id"]].page(limit, **where)
        return json_bytes(b"[" + b",".join(map(self._rules.bytes_of, found)) + b"]")

    async def one(self, request: web.Request) -> web.Response:
        """One message."""
        message = self._rules.message(request)
        self._rules.need(message["channel_id"], "read_message_history")
        return json_bytes(self._rules.bytes_of(message))

    async def post(self, request: web.Request) -> web.Response:
        """Say something; the same enforced nonce once more gives what was said."""
        channel = self._rules.channel(request)
        form = await form_of(request)
        self._rules.may_send(channel)
        if (earlier := self._said_before(channel, form.body)) is not None:
            return json_bytes(self._rules.bytes_of(earlier))
        message = self._composed(channel, form)
        self._rules.in_turn(channel)
        request[RECORDED].pings = message["pings"]
        self._world.said(message)
        self._rules.spoke(channel)
        if message.get("nonce") is not None:
            self._nonces[channel["id"], str(message["nonce"])] = (message["id"], time.monotonic())
        return json_bytes(self._rules.bytes_of(message))

    def _said_before(self, channel: Thing, body: Payload) -> SaidThing | None:
        nonce = body.get("nonce")
        if nonce is not None and len(str(nonce)) > _NONCE_LENGTH:
            raise invalid_form(["nonce"], "BASE_TYPE_MAX_LENGTH", f"Must be {_NONCE_LENGTH} or fewer in length.")
        if nonce is None or not body.get("enforce_nonce"):
            return None
        known, at = self._nonces.get((channel["id"], str(nonce)), ("", 0.0))
        if not known or time.monotonic() - at > _NONCE_SECONDS:
            return None
        return self._world.message(channel["id"], known)

    def _composed(self, channel: Thing, form: Form) -> SaidThing:
        """Return the message that a body asks for, checked."""
        world, body = self._world, form.body
        reference = body.get("message_reference") or {}
        forwards = reference.get("type") == 1
        fields: Payload = {"content": "", "embeds": [], "components": [], "attachments": [], "flags": 0}
        if not forwards:
            if body.get("content") is not None and not str(body["content"]).strip():
                body = body | {"content": ""}  # nothing but blanks is nothing
            fields, _ = compose(body, form.files, world.new_id)
        if form.files:
            self._rules.need(channel["id"], "attach_files")
        message = world.compose(channel, world.bot, fields["content"])
        message.update(fields, tts=bool(body.get("tts")))
        if body.get("nonce") is not None:
            message["nonce"] = body["nonce"]
        if reference:
            self._refer(message, reference, forwards=forwards)
        allowed = body.get("allowed_mentions")
        if (wrong := mentions.check_allowed(allowed or {})) is not None:
            raise invalid_form(["allowed_mentions"], "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", wrong)
        message["pings"] = world.pings(message, allowed)
        message["mention_everyone"] = any(one.startswith("@") for one in message["pings"])
        replied = message.get("referenced_message")
        answered = [replied["author"]["id"]] if replied and replied["author"]["id"] in message["pings"] else []
        world.mention(message, answered)
        return message

    def _refer(self, message: SaidThing, reference: Payload, *, forwards: bool) -> None:
        channel_id = str(reference.get("channel_id") or message["channel_id"])
        target = self._world.message(channel_id, str(reference["message_id"]))
        if target is not None and not self._world.may(channel_id, "read_message_history"):
            raise ApiError(400, 160002, "Cannot reply without permission to read message history")
        if target is None or (channel_id != message["channel_id"] and not forwards):
            if reference.get("fail_if_not_exists", True):
                raise invalid_form(["message_reference"], "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
            return
        if forwards:
            self._world.forward(message, target)
        else:
            self._world.refer(message, target)

    async def patch(self, request: web.Request) -> web.Response:
        """Change one of the bot's own messages; of others' only whether embeds are shown, with the right to manage."""
        message = self._rules.message(request)
        self._rules.not_archived(message["channel_id"])
        form = await form_of(request)
        if message["author"]["id"] != self._world.bot["id"]:
            if set(form.body) - {"flags"}:
                raise ApiError(403, 50005, "Cannot edit a message authored by another user")
            self._rules.need(message["channel_id"], "manage_messages")
            fields: Payload = {"flags": form.body["flags"], "edited_timestamp": message["edited_timestamp"]}
        else:
            fields, _ = compose(form.body, form.files, self._world.new_id, message)
            fields["flags"] = form.body.get("flags", message["flags"])
        return json_bytes(self._rules.bytes_of(self._world.change(message["channel_id"], message["id"], fields)))

    async def remove(self, request: web.Request) -> web.Response:
        """Delete a message."""
        message = self._rules.message(request)
        if message["author"]["id"] != self._world.bot["id"]:
            self._rules.need(message["channel_id"], "manage_messages")
        self._rules.not_archived(message["channel_id"])
        self._world.delete(message)
        return answer()

    async def bulk(self, request: web.Request) -> web.Response:
        """Delete several messages of the last two weeks."""
        channel = self._rules.channel(request)
        self._rules.need(channel["id"], "manage_messages")
        ids = given((await form_of(request)).body, "messages")
        if not 2 <= len(set(ids)) <= 100:
            raise ApiError(400, 50016, "Provided too few or too many messages to delete. Must be between 2 and 100.")
        if any(moment_of(int(one)) < datetime.now(UTC) - timedelta(days=_BULK_DAYS) for one in ids):
            raise ApiError(400, 50034, "You can only bulk delete messages that are under 14 days old.")
        self._world.bulk_delete(channel, ids)
        return answer()

    async def typing(self, request: web.Request) -> web.Response:
        """Show that the bot is typing."""
        self._rules.may_send(self._rules.channel(request))
        return answer()

    async def react(self, request: web.Request) -> web.Response:
        """React to a message; somebody else's reaction may be joined without the right to add one."""
        message, emoji = self._rules.message(request), _emoji(request)
        self._rules.need(message["channel_id"], "read_message_history")
        if not self._reaction(message, emoji):
            self._rules.need(message["channel_id"], "add_reactions")
        self._rules.not_archived(message["channel_id"])
        self._known(emoji)
        self._world.react(message, self._world.bot, emoji)
        return answer()

    async def unreact(self, request: web.Request) -> web.Response:
        """Take a reaction back: the bot's own, or with the right to manage messages somebody else's."""
        message = self._rules.message(request)
        who = request.match_info.get("u", self._world.bot["id"])
        if who != self._world.bot["id"]:
            self._rules.need(message["channel_id"], "manage_messages")
        self._world.unreact(message, who, _emoji(request))
        return answer()

    async def clear(self, request: web.Request) -> web.Response:
        """Remove all reactions, or all with one emoji."""
        message = self._rules.message(request)
        self._rules.need(message["channel_id"], "manage_messages")
        self._world.clear_reactions(message, _emoji(request) if "e" in request.match_info else None)
        return answer()

    async def reactors(self, request: web.Request) -> web.Response:
        """Who reacted with an emoji, by their ids."""
        message = self._rules.message(request)
        who = sorted(int(one) for one in self._reaction(message, _emoji(request)))
        limit, after = number(request, "limit", 25, least=1, most=100), snowflake(request, "after") or 0
        return answer([self._world.users[str(one)] for one in who if one > after][:limit])

    def _reaction(self, message: SaidThing, emoji: Any) -> list[str]:
        """Return who reacted with an emoji."""
        for entry in message["reactions"]:
            kept = entry["emoji"]
            if kept["id"] == emoji["id"] if isinstance(emoji, dict) else (kept["id"], kept["name"]) == (None, emoji):
                who: list[str] = entry["who"]
                return who
        return []

    def _known(self, emoji: Any) -> None:
        if not isinstance(emoji, dict):
            return
        if not any(one["id"] == emoji["id"] for guild in self._world.guilds.values() for one in guild["emojis"]):
            raise ApiError(400, 10014, "Unknown Emoji")


def _emoji(request: web.Request) -> Any:
    """Return the emoji of the path: a character, or a custom one as `name:id`."""
    name, _, number_ = unquote(request.match_info["e"]).partition(":")
    return {"id": number_, "name": name} if number_ else name
