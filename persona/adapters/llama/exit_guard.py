"""Keeps the process from ending while native code computes on another thread: that would be a segmentation fault."""

import atexit
import functools
import threading
from types import TracebackType

_WAIT_SECONDS = 30.0


class ExitGuard:
    """Wrap long native calls in it: the end of the process waits for those that run, and no new ones begin."""

    def __init__(self, *, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._changed = threading.Condition()
        self._running = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._changed:
            # A thread that comes too late stays here until the process is gone; only daemon threads call this.
            while self._closed:
                self._changed.wait()
            self._running += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def close(self) -> bool:
        """Let nothing begin any more and wait for what runs; False when that takes too long (it hangs)."""
        with self._changed:
            self._closed = True
            return self._changed.wait_for(lambda: self._running == 0, timeout=self._wait_seconds)


@functools.cache
def exit_guard() -> ExitGuard:
    """Return the guard of this process."""
    guard = ExitGuard()
    atexit.register(guard.close)
    return guard
