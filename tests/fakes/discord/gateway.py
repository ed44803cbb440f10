"""The gateway of the fake Discord: sessions that identify, beat, miss events, resume and are refused."""

import asyncio
import json
import zlib
from collections import deque
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from tests.fakes.discord.world import MESSAGE_CONTENT_FLAGS, THREADS, TYPES, World

_CONTENT_INTENT = 1 << 15
_INTENTS = {
    "GUILD": 1 << 0,
    "CHANNEL": 1 << 0,
    "THREAD": 1 << 0,
    "GUILD_EMOJIS": 1 << 3,
    "MESSAGE": 1 << 9,
    "MESSAGE_REACTION": 1 << 10,
    "TYPING": 1 << 11,
}
_DIRECT = {"MESSAGE": 1 << 12, "MESSAGE_REACTION": 1 << 13, "TYPING": 1 << 14, "CHANNEL": 0}
_ENDS_SESSION = frozenset({4003, 4004, 4007, 4009, 4010, 4011, 4012, 4013, 4014})
_REPLAY = 5_000


class Session:
    """One session: it outlives its connections and keeps what happened for a RESUME."""

    def __init__(self, session_id: str, intents: int, shard: tuple[int, int]) -> None:
        self.id = session_id
        self.intents = intents
        self.shard = shard
        self.sequence = 0
        self.kept: deque[tuple[int, str]] = deque(maxlen=_REPLAY)
        self.line: Line | None = None

    def tell(self, name: str, data: Any) -> None:
        """Send an event, or keep it for later when the connection is lost."""
        self.sequence += 1
        text = json.dumps({"op": 0, "t": name, "s": self.sequence, "d": data})
        self.kept.append((self.sequence, text))
        if self.line is not None:
            self.line.send_text(text)


class Line:
    """One websocket connection: compresses as the client asked, sends in order, can be frozen or cut."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, compress: str) -> None:
        self.socket = socket
        self.request = request
        self.session: Session | None = None
        self.frozen = False
        self.closing = False
        self.heard: list[dict[str, Any]] = []
        self._zlib = zlib.compressobj() if compress == "zlib-stream" else None
        self._zstd: Any = None
        if compress == "zstd-stream":
            import zstandard

            self._zstd = zstandard.ZstdCompressor().compressobj()
            self._zstd_flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        self._out: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._writer = asyncio.create_task(self._write(), name="fake gateway writes")

    def send(self, op: int, data: Any) -> None:
        """Send a message of the protocol itself."""
        self.send_text(json.dumps({"op": op, "d": data, "s": None, "t": None}))

    def send_text(self, text: str) -> None:
        """Send a payload; a frozen line swallows it."""
        if self.frozen or self.socket.closed:
            return
        if self._zlib is not None:
            self._out.put_nowait(self._zlib.compress(text.encode()) + self._zlib.flush(zlib.Z_SYNC_FLUSH))
        elif self._zstd is not None:
            self._out.put_nowait(self._zstd.compress(text.encode()) + self._zstd.flush(self._zstd_flush))
        else:
            self._out.put_nowait(text)

    def part(self) -> None:
        """Leave the session: what happens now is kept for a RESUME."""
        if self.session is not None and self.session.line is self:
            self.session.line = None

    def abort(self) -> None:
        """Break the connection without a closing word (RST where the system allows it)."""
        self.part()
        if self.request.transport is not None:
            self.request.transport.abort()  # type: ignore[attr-defined]

    async def close(self, code: int) -> None:
        """Close it with a code, once everything that waits is out."""
        self.part()
        self.closing = True
        self._out.put_nowait(None)
        await asyncio.wait([self._writer], timeout=1.0)
        try:
            async with asyncio.timeout(1.0):
                await self.socket.close(code=code)
        except (TimeoutError, OSError):
            self.abort()

    def end(self) -> None:
        """Stop writing."""
        self._writer.cancel()

    async def _write(self) -> None:
        while (payload := await self._out.get()) is not None:
            try:
                if isinstance(payload, bytes):
                    await self.socket.send_bytes(payload)
                else:
                    await self.socket.send_str(payload)
            except (OSError, RuntimeError):
                return


class Gateway:
    """All sessions, and the faults that tests make.

    `shards` is what /gateway/bot recommends. With `refuse_token` every IDENTIFY is closed with 4004.
    """

    def __init__(self, *, heartbeat_seconds: float = 41.25) -> None:
        self.world: World
        self.token = ""
        self.url = ""
        self.heartbeat_seconds = heartbeat_seconds
        self.shards = 1
        self.refuse_token = False
        self.sessions: dict[str, Session] = {}
        self.lines: set[Line] = set()
        self.identifies = 0
        self.resumes = 0
        self._refusals = 0
        self._numbers = 0
        self._closing: set[asyncio.Task[None]] = set()

    # --- faults ---

    def drop(self, code: int | None = None) -> None:
        """Close every connection with a code; None breaks it without a word."""
        for line in list(self.lines):
            if code in _ENDS_SESSION and line.session is not None:
                self.sessions.pop(line.session.id, None)
            if code is None or line.frozen:
                line.abort()
            else:
                line.part()
                self._later(line.close(code))

    def invalidate(self, *, resumable: bool = False) -> None:
        """Tell every session that it is invalid (op 9); one that is not `resumable` is forgotten."""
        for line in list(self.lines):
            if line.session is not None:
                line.send(9, resumable)
                line.part()
                if not resumable:
                    self.sessions.pop(line.session.id, None)

    def ask_reconnect(self) -> None:
        """Ask every client to connect anew (op 7)."""
        for line in list(self.lines):
            line.send(7, None)
            line.part()

    def freeze(self) -> None:
        """Say nothing any more on the connections of now, not even to heartbeats; new ones are not concerned."""
        for line in self.lines:
            line.frozen = True
            line.part()

    def thaw(self) -> None:
        """Let frozen connections speak again; what they missed is gone unless the session resumes."""
        for line in self.lines:
            line.frozen = False

    def refuse(self, times: int) -> None:
        """Refuse the next connections."""
        self._refusals = times

    # --- events ---

    def publish(self, name: str, data: dict[str, Any], guild_id: str | None, channel_id: str | None) -> None:
        """Tell every session that has the intent, and may see the channel."""
        for session in list(self.sessions.values()):
            if self._concerns(session, name, guild_id, channel_id):
                session.tell(name, self._shown(session, name, data))

    def _concerns(self, session: Session, name: str, guild_id: str | None, channel_id: str | None) -> bool:
        if guild_id is not None and (int(guild_id) >> 22) % session.shard[1] != session.shard[0]:
            return False
        if guild_id is None and session.shard[0] != 0 and name != "INTERACTION_CREATE":
            return False
        kind = max((key for key in _INTENTS if name.startswith(key)), key=len, default=None)
        if kind is not None:
            needed = _INTENTS[kind] if guild_id is not None else _DIRECT.get(kind, 0)
            if needed and not session.intents & needed:
                return False
        if guild_id is None or channel_id is None or channel_id not in self.world.channels:
            return True
        if name.startswith("CHANNEL_"):
            return True  # the bot is told of channels it may not see, too
        return name == "INTERACTION_CREATE" or self.world.may(channel_id, "view_channel")

    def _shown(self, session: Session, name: str, data: dict[str, Any]) -> dict[str, Any]:
        if name not in {"MESSAGE_CREATE", "MESSAGE_UPDATE"}:
            return data
        shown = {key: value for key, value in data.items() if key not in {"pings", "reactions"}}
        if "author" in data and not (session.intents & _CONTENT_INTENT and self.world.shows_content(data)):
            mine = data["author"]["id"] == self.world.bot["id"]
            direct = self.world.channels[data["channel_id"]]["type"] == TYPES["dm"]
            concerned = any(user["id"] == self.world.bot["id"] for user in data["mentions"])
            if not (mine or direct or concerned):
                shown |= {"content": "", "embeds": [], "attachments": [], "components": []}
        return shown

    # --- connections ---

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection."""
        if self._refusals > 0:
            self._refusals -= 1
            return web.Response(status=503)
        socket = web.WebSocketResponse(max_msg_size=0, autoclose=True)
        await socket.prepare(request)
        line = Line(socket, request, request.query.get("compress", ""))
        self.lines.add(line)
        try:
            line.send(10, {"heartbeat_interval": int(self.heartbeat_seconds * 1000), "_trace": []})
            async for message in socket:
                if message.type in {WSMsgType.TEXT, WSMsgType.BINARY} and not line.frozen:
                    await self._hear(line, json.loads(message.data))
        finally:
            line.part()
            line.end()
            self.lines.discard(line)
            if line.session is not None and socket.close_code in {1000, 1001} and not line.frozen and not line.closing:
                self.sessions.pop(line.session.id, None)  # the client said goodbye
        return socket

    async def stop(self) -> None:
        """Close everything."""
        for line in list(self.lines):
            if line.frozen:
                line.abort()
            else:
                await line.close(WSCloseCode.GOING_AWAY)
        for task in list(self._closing):
            task.cancel()

    def _later(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _hear(self, line: Line, payload: dict[str, Any]) -> None:
        line.heard.append({"op": payload["op"]})
        match payload["op"]:
            case 1:
                line.send(11, None)
            case 2:
                await self._identify(line, payload["d"])
            case 6:
                await self._resume(line, payload["d"])
            case 8:
                self._members(line, payload["d"])

    async def _identify(self, line: Line, data: dict[str, Any]) -> None:
        self.identifies += 1
        if self.refuse_token or data["token"] != self.token:
            await line.close(4004)
            return
        intents = int(data["intents"])
        if intents & _CONTENT_INTENT and not self.world.flags & MESSAGE_CONTENT_FLAGS:
            await line.close(4014)
            return
        shard = tuple(data.get("shard") or (0, 1))
        self._numbers += 1
        session = Session(f"session-{self._numbers}", intents, (int(shard[0]), int(shard[1])))
        session.line, line.session = line, session
        self.sessions[session.id] = session
        mine = [g for g in self.world.guilds if (int(g) >> 22) % session.shard[1] == session.shard[0]]
        ready = {
            "v": 10,
            "user": {**self.world.bot, "bot": True, "verified": True, "mfa_enabled": False, "email": None},
            "guilds": [{"id": guild_id, "unavailable": True} for guild_id in mine],
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
        session.tell("READY", ready)
        for guild_id in mine:
            session.tell("GUILD_CREATE", self.world.guild_payload(guild_id))

    async def _resume(self, line: Line, data: dict[str, Any]) -> None:
        self.resumes += 1
        session = self.sessions.get(data["session_id"])
        if data["token"] != self.token:
            await line.close(4004)
            return
        first = session.kept[0][0] if session is not None and session.kept else 1
        if session is None or data["seq"] < first - 1:
            line.send(9, False)
            return
        if session.line is not None and session.line is not line:
            session.line.abort()
        session.line, line.session = line, session
        for sequence, text in list(session.kept):
            if sequence > data["seq"]:
                line.send_text(text)
        session.tell("RESUMED", {"_trace": []})

    def _members(self, line: Line, data: dict[str, Any]) -> None:
        guild_id = str(data["guild_id"])
        wanted = data.get("user_ids") or []
        wanted = [wanted] if isinstance(wanted, str | int) else wanted
        known = [self.world.member(where, who) for where, who in self.world.members if where == guild_id]
        found = [m for m in known if not wanted or m["user"]["id"] in {str(one) for one in wanted}]
        chunk = {
            "guild_id": guild_id,
            "members": found,
            "chunk_index": 0,
            "chunk_count": 1,
            "not_found": [],
            "nonce": data.get("nonce"),
        }
        if line.session is not None:
            line.session.tell("GUILD_MEMBERS_CHUNK", chunk)


def is_thread(channel: dict[str, Any]) -> bool:
    """Say whether a channel is a thread."""
    return channel["type"] in THREADS
