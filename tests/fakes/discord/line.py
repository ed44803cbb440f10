"""One websocket of the fake gateway, and the session that outlives it."""

import asyncio
import contextlib
import json
import socket as sockets
import struct
import time
import zlib
from collections import deque
from typing import Any, Final, Protocol

from aiohttp import web

# SO_LINGER with a wait of 0 s makes an abort send RST instead of FIN: the peer sees ECONNRESET (104).
_RESET: Final = struct.pack("ii", 1, 0)
_FAREWELL_SECONDS: Final = 1.0
_REPLAYED: Final = 5_000
_SENDS, _SENDS_SECONDS = 120, 60.0


class Compressor(Protocol):
    """Compresses a stream of messages; each call gives all bytes of one message."""

    def __call__(self, data: bytes) -> bytes:
        """Return the bytes to send."""


def compressor(kind: str) -> Compressor | None:
    """Return what a connection asked for with `compress`: zlib-stream, zstd-stream, or nothing.

    Raises:
        ValueError: for anything else.
    """
    if not kind:
        return None
    if kind == "zlib-stream":
        stream = zlib.compressobj()
        return lambda data: stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
    if kind == "zstd-stream":
        import zstandard

        frame = zstandard.ZstdCompressor().compressobj()
        return lambda data: frame.compress(data) + frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    raise ValueError(kind)


def reset(transport: asyncio.BaseTransport | None) -> None:
    """Break a connection without a closing word: its other side sees a reset."""
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, _RESET)
    transport.abort()  # type: ignore[attr-defined]


class Session:
    """What a client identified for; it keeps what happened for a RESUME, whether a line is there or not."""

    def __init__(self, session_id: str, intents: int, shard: tuple[int, int]) -> None:
        self.id = session_id
        self.intents = intents
        self.shard = shard
        self.sequence = 0
        self.kept: deque[tuple[int, str]] = deque(maxlen=_REPLAYED)
        self.line: Line | None = None

    def covers(self, guild_id: str | None) -> bool:
        """Say whether its shard hears of a server; None stands for direct messages, which the first shard hears."""
        shard, shards = self.shard
        return shard == (0 if guild_id is None else (int(guild_id) >> 22) % shards)

    def tell(self, name: str, data: Any) -> None:
        """Send an event, or keep it for later when the connection is lost."""
        self.sequence += 1
        text = json.dumps({"op": 0, "t": name, "s": self.sequence, "d": data})
        self.kept.append((self.sequence, text))
        if self.line is not None:
            self.line.send_text(text)

    def can_replay(self, sequence: int) -> bool:
        """Say whether everything after a sequence number is still there."""
        first = self.kept[0][0] if self.kept else self.sequence + 1
        return sequence >= first - 1

    def replay(self, line: "Line", sequence: int) -> None:
        """Go on over another line, with everything after a sequence number."""
        if self.line is not None and self.line is not line:
            self.line.abort()
        self.line, line.session = line, self
        for number, text in self.kept:
            if number > sequence:
                line.send_text(text)
        self.tell("RESUMED", {"_trace": []})


class Line:
    """One websocket: compresses as the client asked, sends in order, can be frozen or cut."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, compress: Compressor | None) -> None:
        self.socket = socket
        self.request = request
        self.session: Session | None = None
        self.closing = False
        self.heard: list[dict[str, Any]] = []
        self._compress = compress
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._out: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._heard_at: deque[float] = deque(maxlen=_SENDS)
        self._writer = asyncio.create_task(self._write(), name="fake gateway writes")

    @property
    def frozen(self) -> bool:
        """Whether nothing travels in either direction although nobody closed anything."""
        return not self._flowing.is_set()

    def freeze(self) -> None:
        """Let nothing travel any more; it waits, as in the buffers of a network that is gone."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Let everything travel that waited."""
        self._flowing.set()

    async def flowing(self) -> None:
        """Wait while the line is frozen."""
        await self._flowing.wait()

    def too_much(self) -> bool:
        """Note that the client sent something; say whether it sends more than 120 payloads in 60 s."""
        now = time.monotonic()
        full = len(self._heard_at) == _SENDS and now - self._heard_at[0] < _SENDS_SECONDS
        self._heard_at.append(now)
        return full

    def send(self, op: int, data: Any) -> None:
        """Send a message of the protocol itself."""
        self.send_text(json.dumps({"op": op, "d": data, "s": None, "t": None}))

    def send_text(self, text: str) -> None:
        """Send a payload."""
        if not self.socket.closed and not self.closing:
            self._out.put_nowait(text if self._compress is None else self._compress(text.encode()))

    def part(self) -> None:
        """Leave the session: what happens now is kept for a RESUME."""
        if self.session is not None and self.session.line is self:
            self.session.line = None

    def abort(self) -> None:
        """Break the connection (RST)."""
        self.part()
        self.closing = True
        reset(self.request.transport)
        self.thaw()

    async def close(self, code: int) -> None:
        """Close it with a code, once everything that waits is out."""
        self.part()
        if self.closing:
            return
        self._out.put_nowait(None)
        self.closing = True
        await asyncio.wait([self._writer], timeout=_FAREWELL_SECONDS)
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self.socket.close(code=code)
        except (TimeoutError, OSError):
            self.abort()

    def end(self) -> None:
        """Stop writing."""
        self._writer.cancel()

    async def _write(self) -> None:
        while (payload := await self._out.get()) is not None:
            await self.flowing()
            try:
                if isinstance(payload, bytes):
                    await self.socket.send_bytes(payload)
                else:
                    await self.socket.send_str(payload)
            except (OSError, RuntimeError):
                return
