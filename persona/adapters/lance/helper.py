"""A process of its own for heavy work on a table, as its parent sees it; what it does is in `chores`."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys

from persona.adapters.lance.chores import Chore, Task
from persona.adapters.lance.opening import Place
from persona.errors import MemoryIndexError

_NICE = 19
_LEAST_THREADS = {"LANCE_CPU_THREADS": "1"}


class Helper:
    """Runs tasks in a process of their own, one at a time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: subprocess.Popen[str] | None = None
        self._ahead: subprocess.Popen[str] | None = None
        self._stopped = False

    async def start_ahead(self) -> None:
        """Start a process that waits for its task, unless one does: its imports take two seconds."""
        if self._ahead is None and not self._stopped:
            with contextlib.suppress(OSError):  # `run` will say so, if it is still so
                await asyncio.to_thread(self._start_ahead)

    async def run(self, task: Task) -> None:
        """Do the work and wait for it.

        Raises:
            MemoryIndexError: it failed, or was stopped; the table is whole.
            OSError: no process could be started.
        """
        code, output = 0, ""
        if not self._stopped:
            try:
                code, output = await asyncio.to_thread(self._run, task)
            finally:
                self._process = None
        if self._stopped:
            raise MemoryIndexError(f"the memory index was closed while doing this: {task.chore}")
        if code:
            lines = output.strip().splitlines()
            raise MemoryIndexError(lines[-1] if lines else f"the memory index's helper ended with code {code}")

    def allow(self) -> None:
        """Run tasks, if they were stopped before."""
        self._stopped = False

    def stop(self) -> None:
        """End what is running, and run no more until that is allowed; nothing is damaged."""
        self._stopped = True
        self._end_ahead()
        self.break_off()

    def break_off(self) -> None:
        """End what is running; nothing is damaged."""
        process = self._process
        if process is not None:
            process.kill()

    def _start_ahead(self) -> None:
        self._ahead = _started()
        if self._stopped:
            self._end_ahead()

    def _end_ahead(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.kill()
            ahead.communicate()

    def _run(self, task: Task) -> tuple[int, str]:
        with self._process_for(task) as process:
            self._process = process
            if self._stopped:
                process.kill()
            assert process.stdin is not None  # noqa: S101 - for mypy: it is a pipe
            assert process.stdout is not None  # noqa: S101
            try:
                # Over the pipe, since storage options may hold secrets. It stays open: its end is our end.
                process.stdin.write(json.dumps(self._order(task)) + "\n")
                process.stdin.flush()
            except BrokenPipeError:  # it was ended; how, its exit code says
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()  # or leaving the block would try once more
            output = process.stdout.read()
            return process.wait(), output

    def _process_for(self, task: Task) -> "subprocess.Popen[str]":
        if task.chore is Chore.TIDY:
            # Searches go on meanwhile; making an index is waited for, and steps back by its niceness alone.
            self._end_ahead()
            return _started(_LEAST_THREADS)
        ahead = self._ahead
        if ahead is None or ahead.poll() is not None:
            self._end_ahead()
            return _started()
        self._ahead = None
        return ahead

    def _order(self, task: Task) -> dict[str, object]:
        place = self._place
        return {
            "uri": place.uri,
            "folder": place.folder is not None,
            "storage_options": dict(place.storage_options or {}),
            "language": place.language,
            "chore": task.chore.value,
            "table": task.table,
            "index": task.index,
        }


def _started(defaults: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    path = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        [sys.executable, "-m", "persona.adapters.lance.chores"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=(defaults or {}) | os.environ | {"PYTHONPATH": path},
    )
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # before its imports, which are most of its work
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
    return process
