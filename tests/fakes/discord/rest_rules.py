"""What every REST endpoint of the fake Discord checks first, and how it refuses."""

import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from tests.fakes.discord.command_rules import ApiError, invalid_form
from tests.fakes.discord.interaction_routes import answer
from tests.fakes.discord.payloads import PRIVATE_THREAD, THREADS, WITHOUT_MESSAGES, Payload, without_content
from tests.fakes.discord.things import SaidThing, Thing
from tests.fakes.discord.world import World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MANAGES: Final = ("manage_messages", "manage_channels")


class SlowMode(Exception):
    """The channel is in slow mode for so many more seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Rules:
    """Finds what a request is about, or refuses as Discord does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._spoke: dict[str, float] = {}

    def guild_id(self, request: web.Request) -> str:
        """Return the server of the path."""
        guild_id = request.match_info["g"]
        if guild_id not in self.world.guilds:
            raise ApiError(404, 10004, "Unknown Guild")
        return guild_id

    def channel(self, request: web.Request) -> Thing:
        """Return the channel of the path; the bot must be able to see it."""
        channel = self.world.channels.get(request.match_info["c"])
        if channel is None:
            raise ApiError(404, 10003, "Unknown Channel")
        self.need(channel["id"], "view_channel")
        return channel

    def message(self, request: web.Request) -> SaidThing:
        """Return the message of the path."""
        channel = self.channel(request)
        found = self.world.message(channel["id"], request.match_info["m"])
        if found is None:
            raise ApiError(404, 10008, "Unknown Message")
        return found

    def need(self, channel_id: str, permission: str) -> None:
        """Refuse when the bot lacks a permission."""
        if not self.world.may(channel_id, permission):
            if permission == "view_channel" or not self.world.may(channel_id, "view_channel"):
                raise ApiError(403, 50001, "Missing Access")
            raise ApiError(403, 50013, "Missing Permissions")

    def not_archived(self, channel_id: str) -> None:
        """Refuse what cannot be done in an archived thread."""
        channel = self.world.channels[channel_id]
        if channel["type"] in THREADS and channel["thread_metadata"]["archived"]:
            raise ApiError(400, 50083, "Thread is archived")

    def may_send(self, channel: Thing) -> None:
        """Refuse when the bot cannot write in a channel; an archived thread opens by itself, a locked one does not."""
        if channel["type"] in WITHOUT_MESSAGES:
            raise ApiError(400, 50008, "Cannot send messages in a non-text channel")
        if self.world.is_direct(channel["id"]) and channel["recipients"][0]["id"] in self.world.refuses_direct:
            raise ApiError(403, 50007, "Cannot send messages to this user")
        in_thread = channel["type"] in THREADS
        self.need(channel["id"], "send_messages_in_threads" if in_thread else "send_messages")
        if in_thread and channel["thread_metadata"]["locked"] and not self.world.may(channel["id"], "manage_threads"):
            raise ApiError(403, 160005, "Thread is locked")

    def in_turn(self, channel: Thing) -> None:
        """Refuse when slow mode does not let the bot speak yet."""
        pause = channel.get("rate_limit_per_user") or 0
        if not pause or any(self.world.may(channel["id"], one) for one in _MANAGES):
            return
        left = self._spoke.get(channel["id"], -math.inf) + pause - time.monotonic()
        if left > 0:
            raise SlowMode(left)

    def spoke(self, channel: Thing) -> None:
        """Note that the bot said something."""
        self._spoke[channel["id"]] = time.monotonic()

    def may_open_thread(self, channel: Thing, kind: int | None) -> None:
        """Refuse when the bot cannot open a thread (or a post) in a channel."""
        if channel["type"] in THREADS:
            raise ApiError(400, 50024, "Cannot execute action on this channel type")
        if channel["type"] in WITHOUT_MESSAGES:
            self.need(channel["id"], "send_messages")
        else:
            private = kind == PRIVATE_THREAD
            self.need(channel["id"], "create_private_threads" if private else "create_public_threads")

    def bytes_of(self, message: SaidThing) -> bytes:
        """Return a message as the bot gets to see it, as JSON."""
        if self.world.shows_content(message):
            return self.world.raw(message)
        return answer(self.seen(message)).body  # type: ignore[return-value]

    def seen(self, message: SaidThing) -> Payload:
        """Return a message without the text that the bot has no intent for."""
        visible = self.world.talks[message["channel_id"]].shown(message)
        if self.world.has_intent("message_content"):
            return visible
        return without_content(visible, self.world.bot["id"], direct=self.world.is_direct(message["channel_id"]))


def number(request: web.Request, name: str, default: int, *, least: int, most: int) -> int:
    """Return a number of the query."""
    text = request.query.get(name, str(default))
    if not text.isdigit():
        raise invalid_form([name], "NUMBER_TYPE_COERCE", f'Value "{text}" is not int.')
    if not least <= int(text) <= most:
        code = "NUMBER_TYPE_MAX" if int(text) > most else "NUMBER_TYPE_MIN"
        raise invalid_form([name], code, f"int value should be between {least} and {most}.")
    return int(text)


def snowflake(request: web.Request, name: str) -> int | None:
    """Return an id of the query, None without one."""
    text = request.query.get(name)
    if text is None:
        return None
    if not text.isdigit():
        raise invalid_form([name], "NUMBER_TYPE_COERCE", f'Value "{text}" is not snowflake.')
    return int(text)


def given(body: Any, name: str) -> Any:
    """Return a required field of a body."""
    if not isinstance(body, dict) or body.get(name) is None:
        raise invalid_form([name], "BASE_TYPE_REQUIRED", "This field is required")
    return body[name]


def json_bytes(body: bytes, status: int = 200) -> web.Response:
    """Answer with JSON that is ready."""
    return web.Response(body=body, status=status, content_type="application/json")


def refusing(handler: Handler) -> Handler:
    """Turn the rules' refusals into Discord's error answers."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return answer(error.body, error.status)
        except SlowMode as slow:
            seconds = math.ceil(slow.seconds * 1000) / 1000
            body = {"message": "You are being rate limited.", "retry_after": seconds, "global": False, "code": 20016}
            response = answer(body, 429)
            told = {"Via": "1.1 google", "Retry-After": str(math.ceil(seconds)), "X-RateLimit-Scope": "shared"}
            response.headers.update(told)
            return response

    return handle
