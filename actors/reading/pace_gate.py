"""Lets requests through at a pacer's pace, the more urgent ones first."""

import asyncio
import heapq
import itertools
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from persona.domain.pacing import Pacer


class PaceGate:
    """Whoever wants to send a request waits here; of several the lowest `rank` goes first, then who came first.

    `clock` returns seconds, monotonic. `requests` counts what was let through.
    """

    def __init__(self, pacer: Pacer, *, clock: Callable[[], float]) -> None:
        self._pacer = pacer
        self._clock = clock
        self._waiting: list[tuple[int, int, asyncio.Future[float]]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self.requests = 0

    @asynccontextmanager
    async def request(self, rank: int = 0) -> AsyncIterator[None]:
        """Wait for a turn; the request is what happens inside."""
        started = await self._enter(rank)
        answered = False
        try:
            yield
            answered = True
        finally:  # how long a request took that failed says nothing about the way there
            self._pacer.finish(started, self._clock(), answered=answered)
            self._let_in()

    async def _enter(self, rank: int) -> float:
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._numbers), turn))
        self._let_in()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # let in and cancelled at once: nothing was sent
                self._pacer.finish(turn.result(), self._clock(), answered=False)
            self._let_in()
            raise

    def _let_in(self) -> None:
        """Let in whoever may start now; come back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            turn = self._waiting[0][2]
            if turn.done():  # cancelled while waiting
                heapq.heappop(self._waiting)
                continue
            now = self._clock()
            earliest = self._pacer.earliest(now)
            if earliest > now:
                if earliest < math.inf:  # otherwise the end of a request comes back here
                    self._timer = asyncio.get_running_loop().call_later(earliest - now, self._let_in)
                return
            heapq.heappop(self._waiting)
            self._pacer.start(now)
            self.requests += 1
            turn.set_result(now)
