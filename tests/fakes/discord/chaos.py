"""A loopback TCP proxy that cuts, freezes, refuses, delays and truncates connections at the socket level."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

Ending = Literal["reset", "close"]
Direction = Literal["up", "down"]
"""`up`: from the client to the target; `down`: from the target to the client."""

CHUNK: Final = 65_536
_QUEUED_CHUNKS: Final = 64
# SO_LINGER with a wait of 0 s makes close() send RST instead of FIN: the peer sees ECONNRESET (104).
_RESET: Final = struct.pack("ii", 1, 0)


class ChaosProxy:
    """Stands between a client and `target_host:target_port`; every fault holds for the connections named.

    `cut` hits the connections open now; `freeze`, `refuse` and `latency` hold until taken back and hit new
    connections, too; `truncate` hits the next bytes that travel. All but `start` and `stop` take effect at once.
    """

    def __init__(self, target_host: str, target_port: int, *, latency: float = 0.0) -> None:
        self.latency = latency
        self.accepted = 0
        self.cuts = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.bytes_lost = 0
        self._target = (target_host, target_port)
        self._address: tuple[str, int] | None = None
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._swallowing = False
        self._truncations: dict[Direction, _Truncation] = {}

    async def __aenter__(self) -> Self:
        self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop listening, cut everything and wait until nothing of the proxy runs any more."""
        self.refuse()
        self.cut()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failures:
            raise RuntimeError("the proxy itself failed") from self._failures[0]

    @property
    def host(self) -> str:
        """Where the proxy listens: always the loopback address."""
        return self._listening_at()[0]

    @property
    def port(self) -> int:
        """The port the proxy listens on; the same after `refuse` and `accept`."""
        return self._listening_at()[1]

    @property
    def open(self) -> int:
        """How many connections are open now, frozen ones included."""
        return len(self._links)

    @property
    def frozen(self) -> bool:
        """Whether bytes are kept from travelling."""
        return not self._flowing.is_set()

    def cut(self) -> int:
        """Reset every open connection on both sides (RST, ECONNRESET); returns how many there were."""
        links = [*self._links]
        for link in links:
            self._end(link, "reset")
        self.cuts += len(links)
        return len(links)

    def freeze(self, *, hold: bool = False) -> None:
        """Make every connection half-open: it stays up, nothing arrives, not even the end of the other side.

        With `hold` the bytes wait and arrive after `thaw`, as after a short outage that TCP repairs. Without, they
        are lost, as behind a router that forgot the connection: `thaw` resets each connection that lost any.
        """
        self._swallowing = not hold
        self._flowing.clear()

    def thaw(self) -> None:
        """Let bytes travel again; connections that lost bytes, or whose one side is gone, are reset."""
        self._swallowing = False
        for link in [*self._links]:
            if link.broken:
                self._end(link, "reset")
        self._flowing.set()

    def refuse(self) -> None:
        """Stop listening: new connections get ECONNREFUSED; open ones live on."""
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def accept(self) -> None:
        """Listen (again), on the same port as before."""
        if self._listener is not None:
            return
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self._address or ("127.0.0.1", 0))
        listener.listen(512)
        listener.setblocking(False)
        self._listener, self._address = listener, listener.getsockname()
        self._accepting = self._spawn(self._accept_all(listener))

    def truncate(self, after: int, *, direction: Direction = "down", then: Ending = "reset", times: int = 1) -> None:
        """End the next `times` connections that carry more than `after` further bytes, in the midst of a message."""
        self._truncations[direction] = _Truncation(after=after, then=then, times=times)

    def _listening_at(self) -> tuple[str, int]:
        if self._address is None:
            raise RuntimeError("the proxy has not started: use it with `async with`")
        return self._address

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    async def _accept_all(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            self.accepted += 1
            self._spawn(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        """Carry one connection from its first byte to its end."""
        target = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        link = _Link(client=client, target=target, task=asyncio.current_task())
        self._links.add(link)
        try:
            for end in (client, target):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._both_ways(link)
        finally:
            self._end(link, link.ending)

    async def _both_ways(self, link: "_Link") -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(link.target, self._target)
        except OSError:
            link.ending = "reset"
            return
        up, down = (
            asyncio.ensure_future(self._pump(link, link.client, link.target, "up")),
            asyncio.ensure_future(self._pump(link, link.target, link.client, "down")),
        )
        try:
            await asyncio.gather(up, down)
        except OSError:
            link.ending = "reset"
            link.broken = True
            await self._flowing.wait()  # while frozen nobody learns that the other side is gone
        except _TruncatedError as cut:
            link.ending = cut.then
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _pump(self, link: "_Link", source: socket.socket, sink: socket.socket, way: Direction) -> None:
        """Carry bytes one way, each `latency` seconds late, until the source ends; then end the sink's inflow."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED_CHUNKS)
        delivering = asyncio.ensure_future(self._deliver(link, waiting, sink, way))
        loop = asyncio.get_running_loop()
        try:
            while chunk := await _recv_or_fail(source, delivering):
                await waiting.put((loop.time() + self.latency, chunk))
            await waiting.put((loop.time() + self.latency, b""))
            await delivering
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

    async def _deliver(
        self, link: "_Link", waiting: "asyncio.Queue[tuple[float, bytes]]", sink: socket.socket, way: Direction
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, chunk = await waiting.get()
            if (early := due - loop.time()) > 0:
                await asyncio.sleep(early)
            if self.frozen and self._swallowing:
                link.broken = True
                self.bytes_lost += len(chunk)
                if not chunk:
                    await self._flowing.wait()
                continue
            await self._flowing.wait()
            if not chunk:
                with contextlib.suppress(OSError):  # the sink may have gone first
                    sink.shutdown(socket.SHUT_WR)
                return
            await self._send(sink, chunk, way)

    async def _send(self, sink: socket.socket, chunk: bytes, way: Direction) -> None:
        loop = asyncio.get_running_loop()
        truncation = self._truncations.get(way)
        if truncation is None or truncation.after >= len(chunk):
            if truncation is not None:
                truncation.after -= len(chunk)
            await loop.sock_sendall(sink, chunk)
            self._count(way, len(chunk))
            return
        kept = chunk[: truncation.after]
        truncation.after, truncation.times = 0, truncation.times - 1
        if truncation.times <= 0:
            del self._truncations[way]
        await loop.sock_sendall(sink, kept)
        self._count(way, len(kept))
        raise _TruncatedError(truncation.then)

    def _count(self, way: Direction, size: int) -> None:
        if way == "up":
            self.bytes_up += size
        else:
            self.bytes_down += size

    def _end(self, link: "_Link", ending: Ending) -> None:
        """Close both sides of a connection; safe to call again."""
        if link not in self._links:
            return
        self._links.discard(link)
        loop = asyncio.get_running_loop()
        if link.task is not None and link.task is not asyncio.current_task():
            link.task.cancel()
        for end in (link.client, link.target):
            # A socket must leave the loop's selector before its number can be used again.
            loop.remove_reader(end)
            loop.remove_writer(end)
            if ending == "reset":
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.close()


@dataclass(slots=True, eq=False)
class _Link:
    """One carried connection; `broken` once bytes or an ending were kept from the other side."""

    client: socket.socket
    target: socket.socket
    task: "asyncio.Task[None] | None"
    broken: bool = False
    ending: Ending = "close"


@dataclass(slots=True)
class _Truncation:
    after: int
    then: Ending
    times: int


class _TruncatedError(Exception):
    """Enough bytes have travelled: end the connection now."""

    def __init__(self, then: Ending) -> None:
        super().__init__(then)
        self.then = then


async def _recv_or_fail(source: socket.socket, delivering: "asyncio.Future[None]") -> bytes:
    """The next bytes, or the error of the delivery if that ends first."""
    loop = asyncio.get_running_loop()
    reading = asyncio.ensure_future(loop.sock_recv(source, CHUNK))
    both: set[asyncio.Future[Any]] = {reading, delivering}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if delivering.done():
            delivering.result()
        return await reading
    finally:
        if not reading.done():
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
