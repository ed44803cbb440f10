"""The way of a log event from the call to the queue, and the taps on everything else that reports trouble."""

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, NoReturn

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict

from persona.log_writing import LogWriter, Outlet

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
_MAX_FRAMES = 20

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way out of the pipeline: events from `level` up become text and go to `outlet`."""

    level: int
    render: Callable[[Mapping[str, object]], str]
    outlet: Outlet


class Pipeline:
    """Cleans events, renders them once for every route and queues the text."""

    def __init__(self, routes: Iterable[Route], writer: LogWriter) -> None:
        self._routes = tuple(routes)
        self._writer = writer
        self._trace = ExceptionDictTransformer(show_locals=False, max_frames=_MAX_FRAMES, use_rich=False)

    @property
    def level(self) -> int:
        """The least level any route takes."""
        return min((route.level for route in self._routes), default=logging.CRITICAL + 1)

    def process(self, logger: Any, method: str, event: EventDict) -> NoReturn:
        """Be the one processor of structlog: emit the event, then end structlog's own handling of it."""
        if (name := getattr(logger, "name", None)) is not None:
            event.setdefault("logger", name)
        self.emit(LEVELS.get(method, logging.INFO), event)
        raise structlog.DropEvent

    def emit(self, level: int, event: Mapping[str, Any]) -> None:
        """Log an event; one that cannot be rendered leaves a `log_failed` line with the reason."""
        routes = [route for route in self._routes if level >= route.level]
        if not routes:
            return
        try:
            fields = self._fields(level, event)
            lines = [route.render(fields) for route in routes]
        except Exception as error:  # noqa: BLE001 - whatever is wrong with an event, its caller goes on
            fallback = stamp(level, "log_failed") | {"error": type(error).__name__}
            lines = [route.render(fallback) for route in routes]
        for route, line in zip(routes, lines, strict=True):
            self._writer.put(route.outlet, line)

    def _fields(self, level: int, event: Mapping[str, Any]) -> dict[str, object]:
        fields = stamp(level, event.get("event", ""))
        fields |= structlog.contextvars.get_contextvars()
        fields |= {name: value for name, value in event.items() if name not in {"event", "exc_info", "stack_info"}}
        if (failure := _exc_info(event.get("exc_info"))) is not None:
            fields["exception"] = self._trace(failure)
        return fields


class NamedLogger:
    """What structlog wraps: it only remembers the name given to `get_logger`."""

    def __init__(self, name: str | None = None, *_: object) -> None:
        self.name = name


class _Bridge(logging.Handler):
    """Hands records of the standard library to the pipeline, whatever level a library chose for itself."""

    def __init__(self, pipeline: Pipeline) -> None:
        # Libraries log what they send and receive at DEBUG: message bodies, SQL parameters, login payloads.
        super().__init__(max(pipeline.level, logging.INFO))
        self._pipeline = pipeline

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a wrong format string costs its line, nothing else
            text = f"{record.msg} (cannot be formatted: {type(error).__name__})"
        event = {"event": text, "logger": record.name}
        self._pipeline.emit(record.levelno, {**event, "exc_info": record.exc_info})


def stamp(level: int, event: object) -> dict[str, object]:
    """Return the first fields of every line: when (UTC), how grave, and what."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"timestamp": moment, "level": logging.getLevelName(level).lower(), "event": event}


def _exc_info(value: object) -> ExcInfo | None:
    """Return the exception that a log call means by its `exc_info`: the one given, or the one being handled."""
    match value:
        case BaseException():
            return type(value), value, value.__traceback__
        case (type(), BaseException() as error, trace):
            return type(error), error, trace if isinstance(trace, TracebackType) else None
        case None | False | (None, None, None):
            return None
        case _:
            current = sys.exception()
            return None if current is None else (type(current), current, current.__traceback__)


def take_over(pipeline: Pipeline) -> Callable[[], None]:
    """Route the standard library, warnings and uncaught errors into the pipeline; return what puts it all back."""
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    bridge = _Bridge(pipeline)
    root.handlers[:] = [bridge]
    root.setLevel(bridge.level)
    logging.captureWarnings(capture=True)
    sys.excepthook = partial(_uncaught, pipeline)
    threading.excepthook = partial(_thread_failed, pipeline)
    sys.unraisablehook = partial(_unraisable, pipeline)

    def restore() -> None:
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        logging.captureWarnings(capture=False)
        root.setLevel(before[0])
        root.handlers[:] = before[1]

    return restore


def _uncaught(pipeline: Pipeline, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        pipeline.emit(logging.CRITICAL, {"event": "uncaught_error", "exc_info": (kind, error, trace)})


def _thread_failed(pipeline: Pipeline, failure: threading.ExceptHookArgs) -> None:
    if failure.exc_type is not SystemExit:
        name = failure.thread.name if failure.thread else "?"
        pipeline.emit(logging.ERROR, {"event": "thread_failed", "thread": name, "exc_info": failure.exc_value})


def _unraisable(pipeline: Pipeline, failure: "sys.UnraisableHookArgs") -> None:
    where = getattr(failure.object, "__qualname__", type(failure.object).__qualname__)
    event = {"event": "unraisable_error", "where": where, "note": failure.err_msg or ""}
    pipeline.emit(logging.ERROR, {**event, "exc_info": failure.exc_value})
