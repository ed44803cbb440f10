"""Logging for the whole process: structlog, the standard library and uncaught errors, through one safe pipeline.

An event is cleaned and turned into text where it happens (only there are its context and traceback at hand), queued,
and written by a thread: JSON lines to the journal under systemd, else to a rotating file, and short lines for people
on stderr. A log call never raises and never waits; what could not be written is counted, and the log says so later.
"""

import atexit
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol, Self, TextIO

import structlog

from persona.log_pipeline import LEVELS, NamedLogger, Pipeline, Route, stamp, take_over
from persona.log_safety import Cleaner, Redactor, console_line, to_json
from persona.log_writing import LogWriter, Outlet, RotatingFile, Sink, StreamSink

_COLOURS = {"warning": "33", "error": "31", "critical": "1;31", "debug": "2"}
_CLOSE_SECONDS = 3.0


class LogSettings(Protocol):
    """What `configure` needs to know; `[log]` of config.toml has this shape."""

    @property
    def level(self) -> str:
        """The least level that is logged: debug, info, warning or error."""
        ...

    @property
    def file(self) -> Path | None:
        """The log file; None for none."""
        ...

    @property
    def content(self) -> bool:
        """Whether what people say may be written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """`LogSettings` to be made by hand."""

    level: str = "info"
    file: Path | None = None
    content: bool = False


class LogHandle:
    """What `configure` hands out: numbers on lost lines, `flush`, and `close`, which puts everything back."""

    def __init__(self, writer: LogWriter, restore: Callable[[], None]) -> None:
        self._writer = writer
        self._restore = restore
        self._closed = False

    @property
    def dropped(self) -> int:
        """Lines lost because the queue was full or closed."""
        return self._writer.dropped

    @property
    def failed(self) -> int:
        """Lines lost because they could not be written, as on a full disk."""
        return self._writer.failed

    def flush(self, timeout: float = _CLOSE_SECONDS) -> bool:
        """Wait until everything logged so far was written; False when `timeout` seconds were not enough."""
        return self._writer.flush(timeout)

    def close(self, timeout: float = _CLOSE_SECONDS) -> bool:
        """Write what is queued and end; later events are dropped. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._restore()
            atexit.unregister(self.close)
        return self._writer.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def configure(
    settings: LogSettings,
    *,
    terminal: bool,
    console: str | None = None,
    secrets: Iterable[str] = (),
    environment: Mapping[str, str] = os.environ,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> LogHandle:
    """Set up logging for the process and return the handle that ends it.

    Args:
        settings: level, file and whether message content may be logged.
        terminal: stdout belongs to a conversation: nothing is logged there.
        console: least level on stderr; by default warning, or debug when `settings.level` is debug.
        secrets: values that must never be written; DISCORD_TOKEN from the environment is added.
        environment: where DISCORD_TOKEN, JOURNAL_STREAM and NO_COLOR are looked up.
        stdout: instead of sys.stdout.
        stderr: instead of sys.stderr.
    """
    redactor = Redactor([*secrets, environment.get("DISCORD_TOKEN", "")])
    cleaner = Cleaner(redactor, content=settings.content)
    level = LEVELS[settings.level]
    stdout, stderr = stdout or sys.stdout, stderr or sys.stderr
    routes = []
    if not terminal and is_journal(stdout, environment):
        routes.append(_json_route(level, StreamSink(stdout), cleaner))
    else:
        if settings.file is not None:
            routes.append(_json_route(level, RotatingFile(settings.file), cleaner))
        if stderr is not None:
            lowest = LEVELS[console] if console else logging.DEBUG if level == logging.DEBUG else logging.WARNING
            routes.append(_console_route(lowest, stderr, cleaner, environment))
    writer = LogWriter()
    pipeline = Pipeline(routes, writer)
    writer.start()
    structlog.configure(
        processors=[pipeline.process],
        wrapper_class=structlog.make_filtering_bound_logger(min(pipeline.level, logging.CRITICAL)),
        logger_factory=NamedLogger,
        cache_logger_on_first_use=False,
    )
    handle = LogHandle(writer, take_over(pipeline))
    atexit.register(handle.close)
    return handle


def is_journal(stream: IO[Any] | None, environment: Mapping[str, str]) -> bool:
    """Return whether a stream leads to journald: JOURNAL_STREAM holds the device and inode of exactly that socket.

    The variable alone says little, for every program started from a desktop's terminal inherits it (systemd.exec(5)).
    """
    try:
        device, inode = map(int, environment.get("JOURNAL_STREAM", "").split(":"))
        status = os.fstat(stream.fileno()) if stream is not None else None
    except (ValueError, OSError):
        return False
    return status is not None and (status.st_dev, status.st_ino) == (device, inode)


def _json_route(level: int, sink: Sink, cleaner: Cleaner) -> Route:
    def notice(count: int) -> str:
        return to_json(cleaner.clean(stamp(logging.WARNING, "log_lines_lost") | {"count": count}))

    return Route(level=level, render=cleaner.json_line, outlet=Outlet(sink, notice))


def _console_route(level: int, stream: TextIO, cleaner: Cleaner, environment: Mapping[str, str]) -> Route:
    colourful = stream.isatty() and not environment.get("NO_COLOR")
    render = partial(console_line, cleaner, colour=_coloured if colourful else str, frames=level <= logging.DEBUG)

    def notice(count: int) -> str:
        return render(stamp(logging.WARNING, "log_lines_lost") | {"count": count})

    return Route(level=level, render=render, outlet=Outlet(StreamSink(stream), notice))


def _coloured(level: str) -> str:
    return f"\x1b[{_COLOURS[level]}m{level}\x1b[0m" if level in _COLOURS else level
