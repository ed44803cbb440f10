"""An event loop whose clock jumps to the next timer: hours pass in milliseconds, and a deadlock is an error."""

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlockError(Exception):
    """Nothing is ready and nothing is scheduled, so nothing could ever happen again."""


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """Starts at time 0; cannot host threads, since it never waits for anything outside."""

    def __init__(self):
        super().__init__()
        self._now = 0.0

    def time(self):
        return self._now

    def _run_once(self):
        # A cancelled timer must not make time pass, and must not hide a deadlock.
        while self._scheduled and self._scheduled[0]._cancelled:
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            self._timer_cancelled_count -= 1
        if not self._ready:
            if not self._scheduled:
                raise DeadlockError("every task waits for another one")
            self._now = max(self._now, self._scheduled[0]._when)
        super()._run_once()


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a fresh virtual clock."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(main)


def now() -> float:
    """Return the running loop's time."""
    return asyncio.get_running_loop().time()


async def settle() -> None:
    """Let everything happen that can happen without time passing."""
    loop = asyncio.get_running_loop()
    for _ in range(1000):
        await asyncio.sleep(0)
        if not loop._ready:
            return
    raise AssertionError("this never settles")
