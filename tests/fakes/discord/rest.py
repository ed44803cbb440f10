"""The REST endpoints of the fake Discord: messages, reactions, channels, threads, and who the bot is."""

import json
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.fakes.discord.command_rules import ApiError
from tests.fakes.discord.interaction_routes import answer, form_of
from tests.fakes.discord.recording import RECORDED, Recorded
from tests.fakes.discord.things import SaidThing
from tests.fakes.discord.world import PRIVATE_THREAD, THREADS, TYPES, World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_NONCE_SECONDS = 300.0
_MOST_CHARACTERS = 2_000


class Rest:
    """Answers requests out of a world."""

    def __init__(self, world: World, gateway: Any) -> None:
        self.world = world
        self.gateway = gateway

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return all endpoints below `prefix`."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/users/@me", self.me),
            ("GET", "/applications/@me", self.application),
            ("GET", "/oauth2/applications/@me", self.application),
            ("GET", "/gateway", self.gateway_url),
            ("GET", "/gateway/bot", self.gateway_bot),
            ("POST", "/users/@me/channels", self.direct),
            ("GET", "/channels/{c}", self.channel),
            ("PATCH", "/channels/{c}", self.patch_channel),
            ("GET", "/channels/{c}/messages", self.page),
            ("POST", "/channels/{c}/messages", self.post),
            ("GET", "/channels/{c}/messages/{m}", self.one),
            ("PATCH", "/channels/{c}/messages/{m}", self.patch),
            ("DELETE", "/channels/{c}/messages/{m}", self.remove),
            ("POST", "/channels/{c}/messages/bulk-delete", self.bulk),
            ("POST", "/channels/{c}/typing", self.typing),
            ("PUT", "/channels/{c}/messages/{m}/reactions/{e}/@me", self.react),
            ("DELETE", "/channels/{c}/messages/{m}/reactions/{e}/@me", self.unreact),
            ("GET", "/channels/{c}/messages/{m}/reactions/{e}", self.reactors),
            ("POST", "/channels/{c}/threads", self.new_thread),
            ("POST", "/channels/{c}/messages/{m}/threads", self.new_thread),
            ("GET", "/guilds/{g}/threads/active", self.active),
            ("GET", "/channels/{c}/threads/archived/public", self.archived),
            ("GET", "/channels/{c}/threads/archived/private", self.archived_private),
            ("GET", "/channels/{c}/users/@me/threads/archived/private", self.joined_private),
            ("GET", "/guilds/{g}", self.guild),
            ("GET", "/guilds/{g}/channels", self.channels),
            ("GET", "/guilds/{g}/members", self.members),
            ("GET", "/guilds/{g}/members/{u}", self.member),
        ]
        return [web.route(method, prefix + path, _refusing(handler)) for method, path, handler in table]

    # --- who and where ---

    async def me(self, _: web.Request) -> web.Response:
        """The bot itself."""
        return answer({**self.world.bot, "verified": True, "mfa_enabled": False, "flags": 0})

    async def application(self, _: web.Request) -> web.Response:
        """The bot's application."""
        owner = next(iter(self.world.guilds.values()), {}).get("owner", self.world.bot)
        return answer(
            {
                "id": self.world.application_id,
                "name": self.world.bot["global_name"],
                "icon": None,
                "description": "",
                "bot_public": False,
                "bot_require_code_grant": False,
                "verify_key": "00",
                "flags": self.world.flags,
                "owner": dict(owner),
                "team": None,
                "summary": "",
            }
        )

    async def gateway_url(self, _: web.Request) -> web.Response:
        """Where the gateway is."""
        return answer({"url": self.gateway.url})

    async def gateway_bot(self, _: web.Request) -> web.Response:
        """Where the gateway is, and over how many shards."""
        limit = {"total": 1000, "remaining": 1000, "reset_after": 86_400_000, "max_concurrency": 1}
        return answer({"url": self.gateway.url, "shards": self.gateway.shards, "session_start_limit": limit})

    async def direct(self, request: web.Request) -> web.Response:
        """Open a direct channel."""
        body = (await form_of(request)).body
        return answer(self.world.direct_channel(str(body["recipient_id"])))

    async def guild(self, request: web.Request) -> web.Response:
        """A server."""
        return answer(self.world.guild(self._guild_id(request)))

    async def channels(self, request: web.Request) -> web.Response:
        """The channels of a server."""
        guild_id = self._guild_id(request)
        found = [c for c in self.world.channels.values() if c.get("guild_id") == guild_id]
        return answer([c for c in found if c["type"] not in THREADS])

    async def members(self, request: web.Request) -> web.Response:
        """The members of a server."""
        guild_id = self._guild_id(request)
        return answer([self.world.member(where, who) for where, who in self.world.members if where == guild_id])

    async def member(self, request: web.Request) -> web.Response:
        """One member."""
        key = (self._guild_id(request), request.match_info["u"])
        if key not in self.world.members:
            raise ApiError(404, 10007, "Unknown Member")
        return answer(self.world.member(*key))

    async def channel(self, request: web.Request) -> web.Response:
        """A channel."""
        return answer(self._channel(request))

    async def patch_channel(self, request: web.Request) -> web.Response:
        """Archive a thread or open it again."""
        channel = self._channel(request)
        body = (await form_of(request)).body
        if channel["type"] in THREADS and "archived" in body:
            locked = bool(body.get("locked", channel["thread_metadata"]["locked"]))
            self.world.archive(channel, archived=bool(body["archived"]), locked=locked)
        return answer(channel)

    # --- messages ---

    async def page(self, request: web.Request) -> web.Response:
        """A page of history; without the right to read it an empty one, as if nothing had been said."""
        channel = self._channel(request)
        if channel["type"] in {TYPES["forum"], TYPES["media"], TYPES["category"]}:
            raise ApiError(400, 50008, "Cannot send messages in a non-text channel")
        limit = int(request.query.get("limit", "50"))
        if not 1 <= limit <= 100:
            raise ApiError(400, 50035, "Invalid Form Body")
        if not self.world.may(channel["id"], "read_message_history"):
            return answer([])
        where = {key: int(request.query[key]) for key in ("before", "after", "around") if key in request.query}
        found = self.world.page(channel["id"], limit, **where)
        return _json_bytes(b"[" + b",".join(self._bytes(message) for message in found) + b"]")

    async def one(self, request: web.Request) -> web.Response:
        """One message."""
        message = self._message(request)
        self._need(message["channel_id"], "read_message_history")
        return _json_bytes(self._bytes(message))

    async def post(self, request: web.Request) -> web.Response:
        """Say something."""
        channel = self._channel(request)
        form = await form_of(request)
        body = form.body
        self._may_send(channel)
        text = body.get("content") or ""
        if not text.strip() and not form.files and not body.get("embeds") and not body.get("components"):
            raise ApiError(400, 50006, "Cannot send an empty message")
        if len(text) > _MOST_CHARACTERS:
            raise ApiError(400, 50035, "Invalid Form Body")
        key = (channel["id"], str(body.get("nonce")))
        if body.get("nonce") is not None and body.get("enforce_nonce"):
            known, at = self.world._nonces.get(key, ("", 0.0))
            if known and time.monotonic() - at < _NONCE_SECONDS:
                earlier = self.world.message(channel["id"], known)
                if earlier is not None:
                    return _json_bytes(self._bytes(earlier))
        message = self.world._compose(channel, self.world.bot, text)
        self._reference(message, body.get("message_reference"))
        for name in ("nonce", "flags", "components", "embeds", "tts"):
            if body.get(name) is not None:
                message[name] = body[name]
        message["attachments"] = [
            {
                "id": self.world.new_id(),
                "filename": file.filename,
                "size": len(file.content),
                "url": "",
                "proxy_url": "",
            }
            for file in form.files.values()
        ]
        message["mentions"] = [
            self.world._mentioned(self.world.users[one], message.get("guild_id"))
            for one in _mentioned_ids(text)
            if one in self.world.users
        ]
        allowed = body.get("allowed_mentions")
        message["pings"] = self.world.pings(message, allowed)
        message["mention_everyone"] = any(one.startswith("@") for one in message["pings"])
        recorded: Recorded = request[RECORDED]
        recorded.pings = message["pings"]
        self.world._said(message)
        self.world._nonces[key] = (message["id"], time.monotonic())
        self.world.slow[channel["id"], self.world.bot["id"]] = time.monotonic()
        return _json_bytes(self._bytes(message))

    async def patch(self, request: web.Request) -> web.Response:
        """Change one of the bot's own messages."""
        message = self._message(request)
        if message["author"]["id"] != self.world.bot["id"]:
            raise ApiError(403, 50005, "Cannot edit a message authored by another user")
        form = await form_of(request)
        if len(form.body.get("content") or "") > _MOST_CHARACTERS:
            raise ApiError(400, 50035, "Invalid Form Body")
        fields = {name: form.body[name] for name in ("content", "components", "embeds", "flags") if name in form.body}
        changed = self.world.change(message["channel_id"], message["id"], fields)
        return _json_bytes(self._bytes(changed))

    async def remove(self, request: web.Request) -> web.Response:
        """Delete a message."""
        message = self._message(request)
        if message["author"]["id"] != self.world.bot["id"]:
            self._need(message["channel_id"], "manage_messages")
        self.world.delete(message)
        return answer()

    async def bulk(self, request: web.Request) -> web.Response:
        """Delete several messages."""
        channel = self._channel(request)
        self._need(channel["id"], "manage_messages")
        ids = (await form_of(request)).body["messages"]
        self.world.bulk_delete(channel, [{"id": one} for one in ids])
        return answer()

    async def typing(self, request: web.Request) -> web.Response:
        """Show that the bot is typing."""
        channel = self._channel(request)
        self._may_send(channel, slow=False)
        return answer()

    async def react(self, request: web.Request) -> web.Response:
        """React to a message."""
        message = self._message(request)
        self._need(message["channel_id"], "add_reactions")
        self.world.react(message, self.world.bot, self._emoji(request))
        return answer()

    async def unreact(self, request: web.Request) -> web.Response:
        """Take a reaction back."""
        self.world.unreact(self._message(request), self.world.bot, self._emoji(request))
        return answer()

    async def reactors(self, request: web.Request) -> web.Response:
        """Who reacted."""
        message = self._message(request)
        emoji = self._emoji(request)
        name = emoji["name"] if isinstance(emoji, dict) else emoji
        found = next((r for r in message["reactions"] if r["emoji"]["name"] == name), {"who": []})
        return answer([self.world.users[one] for one in found["who"]])

    # --- threads ---

    async def new_thread(self, request: web.Request) -> web.Response:
        """Open a thread, or a post in a forum with its first message."""
        channel = self._channel(request)
        body = (await form_of(request)).body
        self._need(channel["id"], "create_public_threads")
        message = self._message(request) if "m" in request.match_info else None
        private = body.get("type") == PRIVATE_THREAD
        thread = self.world.add_thread(channel, body["name"], private=private, owner=self.world.bot, message=message)
        if "message" in body:
            said = self.world.send(thread["id"], {"content": body["message"].get("content", "")}, None)
            return answer({**thread, "message": said}, 201)
        return answer(thread, 201)

    async def active(self, request: web.Request) -> web.Response:
        """The active threads of a server that the bot may see."""
        guild_id = self._guild_id(request)
        found = [
            c
            for c in self.world.channels.values()
            if c.get("guild_id") == guild_id and c["type"] in THREADS and not c["thread_metadata"]["archived"]
        ]
        seen = [c for c in found if self.world.may(c["id"], "view_channel")]
        return answer({"threads": seen, "members": [], "has_more": False})

    async def archived(self, request: web.Request) -> web.Response:
        """The archived public threads of a channel, the last archived first."""
        return self._archived(request, private=False)

    async def archived_private(self, request: web.Request) -> web.Response:
        """The archived private threads; needs the right to manage threads."""
        self._need(self._channel(request)["id"], "manage_threads")
        return self._archived(request, private=True)

    async def joined_private(self, request: web.Request) -> web.Response:
        """The archived private threads that the bot is in."""
        self._need(self._channel(request)["id"], "read_message_history")
        return self._archived(request, private=True, joined=True)

    def _archived(self, request: web.Request, *, private: bool, joined: bool = False) -> web.Response:
        channel = self._channel(request)
        self._need(channel["id"], "read_message_history")
        found = [
            c
            for c in self.world.channels.values()
            if c.get("parent_id") == channel["id"]
            and c["type"] in THREADS
            and c["thread_metadata"]["archived"]
            and (c["type"] == PRIVATE_THREAD) == private
        ]
        if joined:
            found = [c for c in found if self.world.bot["id"] in c.get("invited", ())]

        def key(thread: Any) -> Any:
            return (
                int(thread["id"]) if joined else datetime.fromisoformat(thread["thread_metadata"]["archive_timestamp"])
            )

        found.sort(key=key, reverse=True)
        if before := request.query.get("before"):
            limit_at: Any = int(before) if joined else datetime.fromisoformat(before)
            found = [thread for thread in found if key(thread) < limit_at]
        limit = int(request.query.get("limit", "100"))
        return answer({"threads": found[:limit], "members": [], "has_more": len(found) > limit})

    # --- rules ---

    def _guild_id(self, request: web.Request) -> str:
        guild_id = request.match_info["g"]
        if guild_id not in self.world.guilds:
            raise ApiError(404, 10004, "Unknown Guild")
        return guild_id

    def _channel(self, request: web.Request) -> Any:
        channel_id = request.match_info["c"]
        channel = self.world.channels.get(channel_id)
        if channel is None:
            raise ApiError(404, 10003, "Unknown Channel")
        self._need(channel_id, "view_channel", 50001)
        return channel

    def _message(self, request: web.Request) -> SaidThing:
        channel = self._channel(request)
        message = self.world.message(channel["id"], request.match_info["m"])
        if message is None:
            raise ApiError(404, 10008, "Unknown Message")
        return message

    def _need(self, channel_id: str, permission: str, code: int = 50013) -> None:
        if not self.world.may(channel_id, permission):
            raise ApiError(403, code, "Missing Access" if code == 50001 else "Missing Permissions")

    def _may_send(self, channel: Any, *, slow: bool = True) -> None:
        is_thread = channel["type"] in THREADS
        if channel["type"] in {TYPES["forum"], TYPES["media"], TYPES["category"]}:
            raise ApiError(400, 50008, "Cannot send messages in a non-text channel")
        self._need(channel["id"], "send_messages_in_threads" if is_thread else "send_messages")
        if is_thread and channel["thread_metadata"]["archived"] and channel["thread_metadata"]["locked"]:
            self._need(channel["id"], "manage_threads", 50083)
        pause = channel.get("rate_limit_per_user") or 0
        exempt = self.world.may(channel["id"], "manage_messages") or self.world.may(channel["id"], "manage_channels")
        if slow and pause and not exempt:
            last = self.world.slow.get((channel["id"], self.world.bot["id"]))
            left = 0.0 if last is None else last + pause - time.monotonic()
            if left > 0:
                raise _SlowMode(left)

    def _reference(self, message: SaidThing, reference: dict[str, Any] | None) -> None:
        if not reference:
            return
        channel_id = str(reference.get("channel_id") or message["channel_id"])
        target = self.world.message(channel_id, str(reference["message_id"]))
        if target is None:
            if reference.get("fail_if_not_exists", True):
                detail = {"_errors": [{"code": "REPLIES_UNKNOWN_MESSAGE", "message": "Unknown message"}]}
                raise ApiError(400, 50035, "Invalid Form Body", {"message_reference": detail})
            return
        if not self.world.may(channel_id, "read_message_history"):
            raise ApiError(400, 160002, "Cannot reply without permission to read message history")
        self.world._refer(message, target)

    def _emoji(self, request: web.Request) -> Any:
        text = unquote(request.match_info["e"])
        name, _, number = text.partition(":")
        return {"id": number, "name": name} if number else name

    def _bytes(self, message: SaidThing) -> bytes:
        if self.world.shows_content(message):
            return self.world.raw(message)
        hidden = {key: value for key, value in message.items() if key not in {"guild_id", "member", "pings"}}
        return json.dumps(hidden | {"content": "", "embeds": [], "attachments": [], "components": []}).encode()


class _SlowMode(Exception):
    """The channel is in slow mode; says for how many seconds."""


def _mentioned_ids(text: str) -> list[str]:
    from tests.fakes.discord.world import MENTION

    return list(dict.fromkeys(MENTION.findall(text)))


def _json_bytes(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


def _refusing(handler: Handler) -> Handler:
    """Turn the rules' refusals into Discord's error answers."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return answer(error.body, error.status)
        except _SlowMode as slow:
            body = {
                "message": "You are being rate limited.",
                "retry_after": slow.args[0],
                "global": False,
                "code": 20016,
            }
            response = answer(body, 429)
            response.headers["Via"] = "1.1 google"
            response.headers["Retry-After"] = str(int(slow.args[0]) + 1)
            response.headers["X-RateLimit-Scope"] = "shared"
            return response

    return handle
