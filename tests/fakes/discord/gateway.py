"""The gateway of the fake Discord: sessions that identify, beat, miss events, resume and are refused."""

import asyncio
import json
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web

from tests.fakes.discord import payloads
from tests.fakes.discord.line import Line, Session, compressor
from tests.fakes.discord.member_chunks import chunks
from tests.fakes.discord.payloads import Payload
from tests.fakes.discord.world import World

_CONTENT: Final = 1 << 15
_PRIVILEGED: Final[Mapping[str, int]] = {"members": 1 << 1, "presences": 1 << 8, "message_content": _CONTENT}
_ALL_INTENTS: Final = (1 << 26) - 1
# By the start of an event's name, the longest that fits: the intent in servers, and the one in direct channels.
_INTENTS: Final[Mapping[str, tuple[int, int]]] = {
    "GUILD": (1 << 0, 0),
    "GUILD_MEMBER": (1 << 1, 0),
    "GUILD_EMOJIS": (1 << 3, 0),
    "CHANNEL": (1 << 0, 0),
    "THREAD": (1 << 0, 0),
    "MESSAGE": (1 << 9, 1 << 12),
    "MESSAGE_REACTION": (1 << 10, 1 << 13),
    "TYPING": (1 << 11, 1 << 14),
}
_ENDS_SESSION: Final = frozenset({4003, 4004, 4007, 4009, 4010, 4011, 4012, 4013, 4014})
_NEEDS_SESSION: Final = frozenset({3, 4, 8})


class Gateway:
    """All sessions, and the faults that tests make.

    `shards` is what /gateway/bot recommends, `session_limit` how many sessions a day may begin. With `refuse_token`
    every IDENTIFY is closed with 4004. With `withhold_acks` heartbeats are not answered. `identify_pause` is how many
    seconds two IDENTIFYs must be apart (Discord: 5); the second one of two closer ones is invalid (op 9).
    """

    def __init__(self, *, heartbeat_seconds: float = 41.25) -> None:
        self.world: World
        self.token = ""
        self.url = ""
        self.heartbeat_seconds = heartbeat_seconds
        self.shards = 1
        self.session_limit = 1000
        self.identify_pause = 0.0
        self.refuse_token = False
        self.withhold_acks = False
        self.sessions: dict[str, Session] = {}
        self.lines: set[Line] = set()
        self.identifies = 0
        self.resumes = 0
        self.connections = 0
        self._refusals = 0
        self._numbers = 0
        self._identified_at = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()

    def sessions_left(self) -> dict[str, int]:
        """Return how many sessions may begin in a day, and how many still may."""
        return {"total": self.session_limit, "remaining": max(0, self.session_limit - self.identifies)}

    # --- faults ---

    def drop(self, code: int | None = None) -> None:
        """Close every connection with a code; None breaks it without a word (RST)."""
        for line in list(self.lines):
            if code in _ENDS_SESSION and line.session is not None:
                self.sessions.pop(line.session.id, None)
            if code is None or line.frozen:
                line.abort()
            else:
                self._soon(line.close(code))
                line.part()

    def invalidate(self, *, resumable: bool = False) -> None:
        """Tell every session that it is invalid (op 9); one that is not `resumable` is forgotten."""
        for line in list(self.lines):
            if line.session is not None:
                line.send(9, resumable)
                line.part()
                if not resumable:
                    self.sessions.pop(line.session.id, None)
                line.session = None  # it may identify anew on the same connection

    def ask_reconnect(self) -> None:
        """Ask every client to connect anew (op 7)."""
        for line in list(self.lines):
            line.send(7, None)
            line.part()

    def beat_now(self) -> None:
        """Ask every client for a heartbeat (op 1)."""
        for line in list(self.lines):
            line.send(1, None)

    def freeze(self) -> None:
        """Let nothing travel on the connections of now, not even heartbeats; new ones are not concerned."""
        for line in self.lines:
            line.freeze()

    def thaw(self) -> None:
        """Let everything travel that waited on frozen connections."""
        for line in self.lines:
            line.thaw()

    def refuse(self, times: int) -> None:
        """Refuse the next connections (503)."""
        self._refusals = times

    def expire_sessions(self) -> None:
        """Forget every session that has no connection: it cannot be resumed any more."""
        for session in [one for one in self.sessions.values() if one.line is None]:
            del self.sessions[session.id]

    # --- events ---

    def publish(self, name: str, data: Payload, guild_id: str | None, channel_id: str | None) -> None:
        """Tell every session that has the intent, and may see the channel."""
        for session in list(self.sessions.values()):
            if self._concerns(session, name, data, guild_id, channel_id):
                session.tell(name, self._shown(session, name, data))

    def _concerns(
        self, session: Session, name: str, data: Payload, guild_id: str | None, channel_id: str | None
    ) -> bool:
        if not session.covers(guild_id):
            return False
        start = max((key for key in _INTENTS if name.startswith(key)), key=len, default=None)
        needed = 0 if start is None else _INTENTS[start][guild_id is None]
        about_me = name == "GUILD_MEMBER_UPDATE" and data["user"]["id"] == self.world.bot["id"]
        if needed and not session.intents & needed and not about_me:
            return False
        # Bots are told of channels that they cannot see, but not of what happens there.
        everywhere = guild_id is None or channel_id is None or name.startswith("CHANNEL_")
        return everywhere or channel_id not in self.world.channels or self.world.may(channel_id, "view_channel")

    def _shown(self, session: Session, name: str, data: Payload) -> Payload:
        if name not in {"MESSAGE_CREATE", "MESSAGE_UPDATE"} or "author" not in data:
            return data
        me = self.world.bot["id"]
        told = payloads.told(data, me)
        if session.intents & _CONTENT:
            return told
        return payloads.without_content(told, me, direct=self.world.is_direct(data["channel_id"]))

    # --- connections ---

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection."""
        self.connections += 1
        if self._refusals > 0:
            self._refusals -= 1
            return web.Response(status=503)
        try:
            compress = compressor(request.query.get("compress", ""))
        except ValueError:
            return web.Response(status=400)
        socket = web.WebSocketResponse(max_msg_size=0, autoclose=False)
        await socket.prepare(request)
        line = Line(socket, request, compress)
        self.lines.add(line)
        try:
            line.send(10, {"heartbeat_interval": int(self.heartbeat_seconds * 1000), "_trace": []})
            async for message in socket:
                await line.flowing()
                if message.type in {WSMsgType.TEXT, WSMsgType.BINARY} and not line.closing:
                    await self._hear(line, message.data)
            await line.flowing()  # a frozen line does not answer a farewell either
            await socket.close()
        finally:
            line.part()
            line.end()
            self.lines.discard(line)
            if line.session is not None and socket.close_code in {1000, 1001} and not line.closing:
                self.sessions.pop(line.session.id, None)  # the client said goodbye
        return socket

    async def stop(self) -> None:
        """Close everything."""
        for line in list(self.lines):
            if line.frozen:
                line.abort()
            else:
                await line.close(WSCloseCode.GOING_AWAY)
        for task in list(self._tasks):
            task.cancel()

    def _soon(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hear(self, line: Line, text: str | bytes) -> None:
        try:
            payload = json.loads(text)
            op, data = payload["op"], payload.get("d")
        except (ValueError, TypeError, KeyError):
            await line.close(4002)
            return
        line.heard.append({"op": op})
        refused = self._refused(line, op)
        if refused is not None:
            await line.close(refused)
            return
        match op:
            case 1:
                if not self.withhold_acks:
                    line.send(11, None)
            case 2:
                await self._identify(line, data)
            case 6:
                await self._resume(line, data)
            case 8 if line.session is not None:
                self._members(line.session, data)

    def _refused(self, line: Line, op: Any) -> int | None:
        """Return the close code for what the client may not send now."""
        if op not in {1, 2, 3, 4, 6, 8}:
            return 4001
        if op != 1 and line.too_much():
            return 4008
        if line.session is None:
            return 4003 if op in _NEEDS_SESSION else None
        return 4005 if op in {2, 6} else None

    async def _identify(self, line: Line, data: Payload) -> None:
        self.identifies += 1
        shard, shards = data.get("shard") or (0, 1)
        intents = int(data["intents"])
        if (code := self._no_identity(data["token"], intents, int(shard), int(shards))) is not None:
            await line.close(code)
            return
        now = time.monotonic()
        if now - self._identified_at < self.identify_pause:
            line.send(9, False)
            return
        self._identified_at = now
        self._numbers += 1
        session = Session(f"session-{self._numbers}", intents, (int(shard), int(shards)))
        session.line, line.session = line, session
        self.sessions[session.id] = session
        mine = [guild_id for guild_id in self.world.guilds if session.covers(guild_id)]
        session.tell("READY", self._ready(session, mine))
        if intents & _INTENTS["GUILD"][0]:
            for guild_id in mine:
                session.tell("GUILD_CREATE", self.world.guild_payload(guild_id))

    def _no_identity(self, token: str, intents: int, shard: int, shards: int) -> int | None:
        """Return the close code for an IDENTIFY that is refused."""
        if self.refuse_token or token != self.token:
            return 4004
        if not 0 <= shard < shards:
            return 4010
        if not 0 <= intents <= _ALL_INTENTS:
            return 4013
        if any(intents & bit and not self.world.has_intent(name) for name, bit in _PRIVILEGED.items()):
            return 4014
        return None

    def _ready(self, session: Session, guild_ids: list[str]) -> Payload:
        return {
            "v": 10,
            "user": {**self.world.bot, "verified": True, "mfa_enabled": False, "email": None},
            "guilds": [{"id": guild_id, "unavailable": True} for guild_id in guild_ids],
            "session_id": session.id,
            "session_type": "normal",
            "resume_gateway_url": self.url,
            "shard": list(session.shard),
            "application": {"id": self.world.application_id, "flags": self.world.flags},
            "private_channels": [],
            "relationships": [],
            "user_settings": {},
            "_trace": [],
        }

    async def _resume(self, line: Line, data: Payload) -> None:
        self.resumes += 1
        if self.refuse_token or data["token"] != self.token:
            await line.close(4004)
            return
        session, sequence = self.sessions.get(data["session_id"]), data.get("seq")
        if session is None or sequence is None or not session.can_replay(sequence):
            line.send(9, False)
        elif sequence > session.sequence:
            await line.close(4007)
        else:
            session.replay(line, sequence)

    def _members(self, session: Session, data: Payload) -> None:
        guild_id = str(data["guild_id"])
        everybody = not data.get("user_ids") and not data.get("query")
        if everybody and not session.intents & _PRIVILEGED["members"]:
            return  # the whole list takes the intent
        for chunk in chunks(self.world.members_of(guild_id), guild_id, data):
            session.tell("GUILD_MEMBERS_CHUNK", chunk)
