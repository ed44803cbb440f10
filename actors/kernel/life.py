"""One life of a child, be it an actor or a supervisor: it becomes ready, it can be asked to stop, it ends once."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from actors.kernel.snapshot import ChildSnapshot, State
from actors.kernel.tasks import error_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a life ended: with an error, because its supervisor asked for it, or (neither) normally."""

    error: BaseException | None = None
    asked: bool = False


class Life(ABC):
    """The part of a life that its supervisor sees."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.name = name
        self.state = State.STARTING
        self.ready_at: float | None = None
        self.ended_at: float | None = None
        self.exit: Exit | None = None
        """How it ended; None while it has not."""
        self.settled: asyncio.Future[None] = self._loop.create_future()
        """Done as soon as it is known whether the start succeeded."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when nothing of it runs any more; never fails."""

    def begin(self, on_end: Callable[[], None]) -> None:
        """Start living; `on_end` is called when it is over."""
        task = self._loop.create_task(self._live(), name=self.name)
        task.add_done_callback(lambda done: self._close(done, on_end))

    @property
    def ready(self) -> bool:
        """Whether the start succeeded."""
        return self.ready_at is not None

    @property
    def uptime(self) -> float:
        """The seconds since it became ready, until now or its end."""
        if self.ready_at is None:
            return 0.0
        return (self._loop.time() if self.ended_at is None else self.ended_at) - self.ready_at

    @abstractmethod
    def request_stop(self, *, final: bool) -> None:
        """Ask it to end; `final` when it will not be started again."""

    def describe(self) -> str:
        """Return what it says of itself."""
        return ""

    def window(self) -> int:
        """Return how many restarts of its children count at present."""
        return 0

    def children(self) -> tuple[ChildSnapshot, ...]:
        """Return what its children look like."""
        return ()

    @abstractmethod
    async def _live(self) -> None:
        """Live, clean up, and leave how it ended in `exit`."""

    def _become_ready(self) -> None:
        self.ready_at = self._loop.time()
        if self.state is State.STARTING:
            self.state = State.RUNNING
        if not self.settled.done():
            self.settled.set_result(None)

    def _close(self, task: asyncio.Task[None], on_end: Callable[[], None]) -> None:
        error = error_of(task)
        if self.exit is None:
            self.exit = Exit(error=error)
        self.ended_at = self._loop.time()
        self.state = State.ENDED
        for news in (self.settled, self.ended):
            if not news.done():
                news.set_result(None)
        on_end()
