"""REST endpoints of the bot itself, servers, members, channels and threads."""

from datetime import datetime
from typing import Any

from aiohttp import web

from tests.fakes.discord.command_rules import ApiError, invalid_form
from tests.fakes.discord.gateway import Gateway
from tests.fakes.discord.interaction_routes import answer, form_of
from tests.fakes.discord.payloads import PRIVATE_THREAD, THREADS, WITH_POSTS
from tests.fakes.discord.recording import RECORDED
from tests.fakes.discord.responses import compose
from tests.fakes.discord.rest_rules import Handler, Rules, given, number, snowflake
from tests.fakes.discord.snowflakes import stamp_now
from tests.fakes.discord.things import Thing

_ARCHIVES = "/channels/{c}/threads/archived"


class PlaceRequests:
    """Answers requests about everything but messages."""

    def __init__(self, rules: Rules, gateway: Gateway) -> None:
        self._rules = rules
        self._world = rules.world
        self._gateway = gateway

    def table(self) -> list[tuple[str, str, Handler]]:
        """Return the endpoints as method, path and handler."""
        return [
            ("GET", "/users/@me", self.me),
            ("GET", "/users/@me/guilds", self.my_guilds),
            ("POST", "/users/@me/channels", self.direct),
            ("GET", "/users/{u}", self.user),
            ("GET", "/applications/@me", self.application),
            ("GET", "/oauth2/applications/@me", self.application),
            ("GET", "/gateway", self.gateway_url),
            ("GET", "/gateway/bot", self.gateway_bot),
            ("GET", "/guilds/{g}", self.guild),
            ("GET", "/guilds/{g}/channels", self.channels),
            ("GET", "/guilds/{g}/roles", self.roles),
            ("GET", "/guilds/{g}/emojis", self.emojis),
            ("GET", "/guilds/{g}/members", self.members),
            ("GET", "/guilds/{g}/members/{u}", self.member),
            ("GET", "/guilds/{g}/threads/active", self.active),
            ("GET", "/channels/{c}", self.channel),
            ("PATCH", "/channels/{c}", self.patch_channel),
            ("DELETE", "/channels/{c}", self.delete_channel),
            ("POST", "/channels/{c}/threads", self.new_thread),
            ("POST", "/channels/{c}/messages/{m}/threads", self.new_thread),
            ("PUT", "/channels/{c}/thread-members/@me", self.join_thread),
            ("GET", _ARCHIVES + "/public", self.archived),
            ("GET", _ARCHIVES + "/private", self.archived_private),
            ("GET", "/channels/{c}/users/@me/threads/archived/private", self.joined_private),
        ]

    # --- the bot, and who else there is ---

    async def me(self, _: web.Request) -> web.Response:
        """The bot itself."""
        return answer({**self._world.bot, "verified": True, "mfa_enabled": False, "flags": 0})

    async def my_guilds(self, _: web.Request) -> web.Response:
        """The servers that the bot is on."""
        bot = self._world.bot["id"]
        found = [(g, str(self._world.base_permissions(g["id"], bot))) for g in self._world.guilds.values()]
        return answer(
            [
                {"id": g["id"], "name": g["name"], "icon": None, "owner": False, "permissions": p, "features": []}
                for g, p in found
            ]
        )

    async def direct(self, request: web.Request) -> web.Response:
        """Open a direct channel."""
        user_id = str(given((await form_of(request)).body, "recipient_id"))
        if user_id not in self._world.users or user_id == self._world.bot["id"]:
            raise ApiError(400, 50033, "Invalid Recipient(s)")
        return answer(self._world.direct_channel(user_id))

    async def user(self, request: web.Request) -> web.Response:
        """Somebody."""
        found = self._world.users.get(request.match_info["u"])
        if found is None:
            raise ApiError(404, 10013, "Unknown User")
        return answer(found)

    async def application(self, _: web.Request) -> web.Response:
        """The bot's application."""
        about = {"icon": None, "description": "", "summary": "", "verify_key": "00", "team": None}
        rights = {"bot_public": False, "bot_require_code_grant": False, "flags": self._world.flags}
        named = {"id": self._world.application_id, "name": self._world.bot["global_name"]}
        return answer({**named, **about, **rights, "owner": self._world.owner})

    async def gateway_url(self, _: web.Request) -> web.Response:
        """Where the gateway is."""
        return answer({"url": self._gateway.url})

    async def gateway_bot(self, _: web.Request) -> web.Response:
        """Where the gateway is, over how many shards, and how many sessions may still begin."""
        limit = {"reset_after": 86_400_000, "max_concurrency": 1, **self._gateway.sessions_left()}
        return answer({"url": self._gateway.url, "shards": self._gateway.shards, "session_start_limit": limit})

    # --- servers ---

    async def guild(self, request: web.Request) -> web.Response:
        """A server."""
        guild_id = self._rules.guild_id(request)
        whole = self._world.guild_payload(guild_id)
        for told_by_the_gateway_only in ("channels", "threads", "members", "member_count", "unavailable", "large"):
            del whole[told_by_the_gateway_only]
        return answer(whole)

    async def channels(self, request: web.Request) -> web.Response:
        """The channels of a server that are no threads."""
        guild_id = self._rules.guild_id(request)
        found = [c for c in self._world.channels.values() if c.get("guild_id") == guild_id]
        return answer([c for c in found if c["type"] not in THREADS])

    async def roles(self, request: web.Request) -> web.Response:
        """The roles of a server."""
        return answer(self._world.guilds[self._rules.guild_id(request)]["roles"])

    async def emojis(self, request: web.Request) -> web.Response:
        """The custom emoji of a server."""
        return answer(self._world.guilds[self._rules.guild_id(request)]["emojis"])

    async def members(self, request: web.Request) -> web.Response:
        """The members of a server, which takes the members intent."""
        guild_id = self._rules.guild_id(request)
        if not self._world.has_intent("members"):
            raise ApiError(403, 50001, "Missing Access")
        limit, after = number(request, "limit", 1, least=1, most=1000), snowflake(request, "after") or 0
        found = [m for m in self._world.members_of(guild_id) if int(m["user"]["id"]) > after]
        return answer(found[:limit])

    async def member(self, request: web.Request) -> web.Response:
        """One member."""
        key = (self._rules.guild_id(request), request.match_info["u"])
        if key not in self._world.members:
            raise ApiError(404, 10007, "Unknown Member")
        return answer(self._world.member(*key))

    # --- channels and threads ---

    async def channel(self, request: web.Request) -> web.Response:
        """A channel."""
        return answer(self._rules.channel(request))

    async def patch_channel(self, request: web.Request) -> web.Response:
        """Rename a channel; rename, archive or lock a thread, or open it again."""
        channel = self._rules.channel(request)
        body = (await form_of(request)).body
        if channel["type"] not in THREADS:
            self._rules.need(channel["id"], "manage_channels")
        elif channel["owner_id"] != self._world.bot["id"]:
            opens = body == {"archived": False} and not channel["thread_metadata"]["locked"]
            self._rules.need(channel["id"], "send_messages_in_threads" if opens else "manage_threads")
        if "name" in body:
            self._world.rename(channel, body["name"])
        if channel["type"] in THREADS and body.keys() & {"archived", "locked"}:
            state = channel["thread_metadata"]
            archived, locked = body.get("archived", state["archived"]), body.get("locked", state["locked"])
            self._world.archive(channel, archived=bool(archived), locked=bool(locked))
        return answer(channel)

    async def delete_channel(self, request: web.Request) -> web.Response:
        """Delete a channel or thread."""
        channel = self._rules.channel(request)
        self._rules.need(channel["id"], "manage_threads" if channel["type"] in THREADS else "manage_channels")
        self._world.delete_channel(channel)
        return answer(channel)

    async def new_thread(self, request: web.Request) -> web.Response:
        """Open a thread, at a message or by itself, or a post in a forum with its first message."""
        channel = self._rules.channel(request)
        form = await form_of(request)
        body = form.body
        name = str(given(body, "name"))
        if not 1 <= len(name) <= 100:
            raise invalid_form(["name"], "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 100 in length.")
        kind = body.get("type")
        self._rules.may_open_thread(channel, kind)
        message = self._rules.message(request) if "m" in request.match_info else None
        if message is not None and message["id"] in self._world.channels:
            raise ApiError(400, 160004, "A thread has already been created for this message")
        first = None
        if channel["type"] in WITH_POSTS:
            first, _ = compose(given(body, "message"), form.files, self._world.new_id)
        bot = self._world.bot
        thread = self._world.add_thread(channel, name, private=kind == PRIVATE_THREAD, owner=bot, message=message)
        if first is None:
            return answer(thread, 201)
        said = self._world.send(thread["id"], first, body["message"].get("allowed_mentions"))
        request[RECORDED].pings = said["pings"]
        return answer({**thread, "message": self._rules.seen(said)}, 201)

    async def join_thread(self, request: web.Request) -> web.Response:
        """Let the bot take part in a thread."""
        channel = self._rules.channel(request)
        if channel["type"] not in THREADS:
            raise ApiError(400, 50024, "Cannot execute action on this channel type")
        self._rules.not_archived(channel["id"])
        self._world.add_to_thread(channel, self._world.bot)
        return answer()

    async def active(self, request: web.Request) -> web.Response:
        """The active threads of a server that the bot may see."""
        threads = self._world.threads_of(self._rules.guild_id(request), archived=False)
        return answer({"threads": threads, "members": self._own_memberships(threads), "has_more": False})

    async def archived(self, request: web.Request) -> web.Response:
        """The archived public threads of a channel, the last archived first."""
        return self._archived(request, private=False)

    async def archived_private(self, request: web.Request) -> web.Response:
        """The archived private threads; needs the right to manage threads."""
        self._rules.need(self._rules.channel(request)["id"], "manage_threads")
        return self._archived(request, private=True)

    async def joined_private(self, request: web.Request) -> web.Response:
        """The archived private threads that the bot is in, the newest first."""
        return self._archived(request, private=True, joined=True)

    def _archived(self, request: web.Request, *, private: bool, joined: bool = False) -> web.Response:
        channel = self._rules.channel(request)
        self._rules.need(channel["id"], "read_message_history")
        found = [
            thread
            for thread in self._world.threads_of(channel.get("guild_id", ""), archived=True)
            if thread["parent_id"] == channel["id"] and (thread["type"] == PRIVATE_THREAD) == private
        ]
        if joined:
            found = [thread for thread in found if self._takes_part(thread)]

        def key(thread: Any) -> Any:
            state = thread["thread_metadata"]
            return int(thread["id"]) if joined else datetime.fromisoformat(state["archive_timestamp"])

        found.sort(key=key, reverse=True)
        if before := request.query.get("before"):
            end: Any = int(before) if joined else datetime.fromisoformat(before)
            found = [thread for thread in found if key(thread) < end]
        limit = number(request, "limit", 50, least=2, most=100)
        members = self._own_memberships(found[:limit])
        return answer({"threads": found[:limit], "members": members, "has_more": len(found) > limit})

    def _takes_part(self, thread: Thing) -> bool:
        return self._world.bot["id"] in self._world.thread_members[thread["id"]]

    def _own_memberships(self, threads: list[Thing]) -> list[dict[str, Any]]:
        mine = [thread for thread in threads if self._takes_part(thread)]
        fields = {"user_id": self._world.bot["id"], "join_timestamp": stamp_now(), "flags": 0}
        return [{"id": thread["id"], **fields} for thread in mine]
