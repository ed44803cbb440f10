"""Gets log lines out without ever making their writer wait: a queue, one thread, and files that survive a full disk."""

import json
import os
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol, TextIO

CAPACITY = 10_000
FILE_BYTES = 10_000_000
FILES = 5
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would turn line feeds into two characters


class Sink(Protocol):
    """Where lines go."""

    def write(self, line: str) -> None:
        """Write one line (without its line break) whole or not at all.

        Raises:
            OSError: it could not be written, now.
            ValueError: the stream is closed.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class StreamSink:
    """A stream that belongs to somebody else, such as stdout or stderr."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        """Write and flush one line; what the stream's encoding lacks goes out as JSON escapes."""
        try:
            self._stream.write(f"{line}\n")
        except UnicodeEncodeError:
            plain = "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in line)
            self._stream.write(f"{plain}\n")
        self._stream.flush()

    def close(self) -> None:
        """Leave the stream open: it is not ours."""


class RotatingFile:
    """A file of at most `max_bytes`, with up to `files` - 1 older ones beside it (`name.1` is the newest of them).

    It is opened with the first line, found again when somebody moved it away, and cut back to the last whole line
    when the disk fills up in the middle of one.
    """

    def __init__(self, path: Path, *, max_bytes: int = FILE_BYTES, files: int = FILES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._files = files
        self._limit = max_bytes
        self._descriptor: int | None = None

    def write(self, line: str) -> None:
        """Append one line, starting a new file first when this one is full."""
        data = f"{line}\n".encode()
        descriptor = self._ready(len(data))
        written = os.write(descriptor, data)
        if written < len(data):
            self._complete(descriptor, data, written)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _ready(self, needed: int) -> int:
        """Return a descriptor with room for `needed` more bytes."""
        if self._descriptor is None or self._moved(self._descriptor):
            self.close()
            self._descriptor = self._open()
        size = os.fstat(self._descriptor).st_size
        if size and size + needed > self._limit:
            self.close()
            self._limit = self._max_bytes if self._rotate() else size + self._max_bytes // 10
            self._descriptor = self._open()
        return self._descriptor

    def _open(self) -> int:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _BINARY, 0o600)
        try:
            if os.lseek(descriptor, 0, os.SEEK_END):
                os.lseek(descriptor, -1, os.SEEK_END)
                if os.read(descriptor, 1) != b"\n":
                    os.write(descriptor, b"\n")  # a process that was killed left half a line
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _moved(self, descriptor: int) -> bool:
        try:
            here = self._path.stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(here, os.fstat(descriptor))

    def _rotate(self) -> bool:
        """Rename every file to the next older name; False when that is not allowed: better a long log than none."""
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._files))]
        try:
            for newer, older in reversed(list(pairwise(names))):
                if newer.exists():
                    newer.replace(older)
            if self._files == 1:
                self._path.unlink()
        except OSError:
            return False
        return True

    def _complete(self, descriptor: int, data: bytes, written: int) -> None:
        """Write the rest of a line, or take its beginning back."""
        start = os.fstat(descriptor).st_size - written
        try:
            while written < len(data):
                written += os.write(descriptor, data[written:])
        except OSError:
            os.ftruncate(descriptor, start)
            raise


class Outlet:
    """A sink with the lines it still owes: `notice` puts their number into a line."""

    def __init__(self, sink: Sink, notice: Callable[[int], str]) -> None:
        self.sink = sink
        self.notice = notice
        self.missed = 0


class LogWriter:
    """Writes lines on a thread of its own. A full queue or a failing sink loses lines, counts them, and says so later.

    `put` may be called from any thread, from destructors and from signal handlers: the queue is one of the few that
    allow it, and the lock may be taken again by its holder.
    """

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._queue: SimpleQueue[tuple[Outlet, str] | threading.Event | None] = SimpleQueue()
        self._capacity = capacity
        self._lock = threading.RLock()
        self._open = True
        self._outlets: dict[int, Outlet] = {}
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self.dropped = 0
        self.failed = 0

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def put(self, outlet: Outlet, line: str) -> None:
        """Queue a line, or count it as dropped when the queue is full or closed; never waits, never raises."""
        with self._lock:
            if self._open and self._queue.qsize() < self._capacity:
                self._queue.put((outlet, line))
            else:
                self.dropped += 1
                outlet.missed += 1

    def flush(self, timeout: float) -> bool:
        """Wait until everything queued so far was written; False when that takes longer than `timeout` seconds."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout) if self._thread.is_alive() else False

    def close(self, timeout: float) -> bool:
        """Write what is queued and end; False when that takes longer than `timeout` seconds."""
        with self._lock:
            if self._open:
                self._open = False
                self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
            else:
                self._write(*item)
        for outlet in self._outlets.values():
            self._settle(outlet)
            outlet.sink.close()

    def _write(self, outlet: Outlet, line: str) -> None:
        self._outlets[id(outlet)] = outlet
        self._settle(outlet)
        if not self._attempt(outlet, line):
            with self._lock:
                self.failed += 1
                outlet.missed += 1

    def _settle(self, outlet: Outlet) -> None:
        """Write down how many lines are missing at this place, if any are."""
        missed = outlet.missed
        if missed and self._attempt(outlet, outlet.notice(missed)):
            with self._lock:
                outlet.missed -= missed

    def _attempt(self, outlet: Outlet, line: str) -> bool:
        try:
            outlet.sink.write(line)
        except (OSError, ValueError):
            # A full disk or a closed stream must not harm whoever logs; the next line tries again.
            return False
        return True
