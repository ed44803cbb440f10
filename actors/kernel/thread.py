"""Runs a step machine on a daemon thread of its own and brings what it makes back to the loop.

For work that blocks for long and cannot be interrupted, such as a language model. A thread cannot be killed: when it
hangs, the process has to be replaced (`Hung`); when it dies, its owner is told and can be restarted.
"""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

import structlog

from actors.kernel.errors import KernelError, ThreadDied

In = TypeVar("In")
Out = TypeVar("Out")
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)

log = structlog.get_logger()


class Worker(Protocol[In_contra, Out_co]):
    """A step machine; everything is called on its thread."""

    @property
    def busy(self) -> bool:
        """Whether `step` has work to do."""
        ...

    def handle(self, item: In_contra, /) -> None:
        """Take something on; comes before the next step."""
        ...

    def step(self) -> Sequence[Out_co]:
        """Do one bounded piece of work and return what came of it."""
        ...

    def close(self) -> None:
        """Let go of everything; the last call."""
        ...


class _Wake:
    """Put into the inbox to wake the thread; not an item."""


class ThreadHost(Generic[In, Out]):
    """Owns the thread of one worker; `dead` fails with ThreadDied when the thread ends by itself.

    Args:
        open_worker: builds the worker, on the thread.
        on_output: called on the loop with what each step made, in order.
        name: the thread's name.
    """

    dead: asyncio.Future[None]
    _loop: asyncio.AbstractEventLoop
    _opened: asyncio.Future[None]
    _ended: asyncio.Future[None]

    def __init__(
        self, open_worker: Callable[[], Worker[In, Out]], on_output: Callable[[Sequence[Out]], None], *, name: str
    ) -> None:
        self._open_worker = open_worker
        self._on_output = on_output
        self._name = name
        self._inbox: SimpleQueue[In | _Wake] = SimpleQueue()
        self._stopping = False
        self._busy_since: float | None = None
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Start the thread and open the worker on it; cancelling this abandons the thread to close by itself.

        Raises:
            KernelError: it was started before.
            ThreadDied: `open_worker` asked for the end of the process (SystemExit); `__cause__` is what it raised.
            Exception: what else `open_worker` raised.
        """
        if self._thread is not None:
            raise KernelError(f"the thread {self._name} was started before")
        self._loop = asyncio.get_running_loop()
        self._opened = self._loop.create_future()
        self._ended = self._loop.create_future()
        self.dead = self._loop.create_future()
        # Neither the thread nor its calls into the loop would see the caller's log context by themselves.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=self._name, daemon=True)
        self._thread.start()
        try:
            await self._opened
        except asyncio.CancelledError:
            self._request_stop()
            raise

    def submit(self, item: In) -> None:
        """Hand something to the worker, without waiting.

        Raises:
            ThreadDied: the thread has ended or is about to, or was never started.
        """
        if self._thread is None or self._stopping or self.dead.done():
            raise ThreadDied(self._name)
        self._inbox.put(item)

    async def wait_dead(self) -> None:
        """Wait until the thread ends by itself; cancelling this leaves `dead` alone.

        Raises:
            ThreadDied: always, at that moment; `__cause__` is the error.
        """
        await asyncio.shield(self.dead)

    def stalled_seconds(self) -> float:
        """Return for how long the thread has been at its present `handle` or `step`; 0 when idle."""
        since = self._busy_since
        return 0.0 if since is None else max(0.0, time.monotonic() - since)

    async def stop(self, timeout: float) -> bool:  # noqa: ASYNC109 - the thread, not a task, is waited for
        """Close the worker after its present step and end the thread; False when that took longer than `timeout` s."""
        if self._thread is None:
            return True
        self._request_stop()
        await asyncio.wait({self._ended}, timeout=timeout)
        if not self._ended.done():
            log.warning("thread_does_not_end", thread=self._name, stalled_s=round(self.stalled_seconds(), 1))
            return False
        self._thread.join()  # it has made its last call, so this takes microseconds
        return True

    def _request_stop(self) -> None:
        self._stopping = True
        self._inbox.put(_Wake())

    # --- on the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._work()
        except BaseException as caught:  # noqa: BLE001 - even SystemExit must reach the owner
            error = caught
        self._busy_since = None
        self._post(self._on_end, error)

    def _work(self) -> None:
        worker = self._open_worker()
        try:
            self._post(self._on_open)
            while not self._stopping:
                self._take_on(worker)
                if worker.busy and not self._stopping:
                    self._step(worker)
        except BaseException:
            self._close_after_crash(worker)
            raise
        worker.close()

    def _step(self, worker: Worker[In, Out]) -> None:
        self._busy_since = time.monotonic()
        outputs = worker.step()
        self._busy_since = None
        if outputs:
            self._post(self._deliver, outputs)

    def _close_after_crash(self, worker: Worker[In, Out]) -> None:
        try:
            worker.close()
        except Exception:
            # What the worker crashed of says more than that it then could not be closed.
            log.exception("worker_close_failed", thread=self._name)

    def _take_on(self, worker: Worker[In, Out]) -> None:
        """Hand over what was submitted; wait for something when there is nothing else to do."""
        wait = not worker.busy
        while not self._stopping:
            try:
                item = self._inbox.get(block=wait)
            except Empty:
                return
            if not isinstance(item, _Wake):
                self._busy_since = time.monotonic()
                worker.handle(item)
                self._busy_since = None
            wait = False

    def _post(self, call: Callable[..., None], *args: Any) -> None:
        """Have something called on the loop; when the loop is gone there is nobody left to work for."""
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            self._stopping = True

    # --- on the loop -------------------------------------------------------------------------------------------------

    def _on_open(self) -> None:
        if not self._opened.done():
            self._opened.set_result(None)

    def _deliver(self, outputs: Sequence[Out]) -> None:
        if self.dead.done():
            return
        try:
            self._on_output(outputs)
        except Exception as error:  # noqa: BLE001 - nothing is lost: the owner gets it through `dead`
            self._request_stop()
            self._die(error)

    def _on_end(self, error: BaseException | None) -> None:
        self._ended.set_result(None)
        if not self._opened.done():
            self._opened.set_exception(self._raisable(error))
        if not self._stopping:
            self._die(error)
        elif error is not None:
            log.error("thread_failed_while_stopping", thread=self._name, exc_info=error)

    def _die(self, error: BaseException | None) -> None:
        if not self.dead.done():
            self.dead.set_exception(self._died(error))
            self.dead.exception()  # asyncio shall not complain when nobody looks

    def _died(self, error: BaseException | None) -> ThreadDied:
        died = ThreadDied(self._name)
        died.__cause__ = error
        return died

    def _raisable(self, error: BaseException | None) -> Exception:
        """Return an error that can be raised in a task without ending the whole process."""
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            return error
        return self._died(error)
