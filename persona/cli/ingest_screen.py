"""What `persona ingest` shows: a progress bar while it reads, then one line or one JSON object."""

import time
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from actors.messages import FetchStatus


class IngestScreen:
    """A progress bar in channels, with messages, their rate and the time left. Without a terminal there is no bar."""

    def __init__(self, stream: TextIO) -> None:
        self._began = time.perf_counter()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TextColumn("{task.fields[left]}", markup=False),
            console=Console(file=stream),
            disable=not stream.isatty(),
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("connecting", total=None, rate="", left="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.perf_counter() - self._began

    def close(self) -> None:
        """Take the bar away; safe to call twice."""
        self._progress.stop()

    def show(self, status: FetchStatus) -> None:
        """Show how far it is."""
        if not status.channels_total:
            return
        self._progress.update(
            self._task,
            description="channels",
            total=status.channels_total,
            completed=status.channels_done,
            rate=f"{status.messages:,} messages, {status.messages_per_second:,.0f} a second",
            left="" if status.seconds_left is None else f"{time_left(status.seconds_left)} left",
        )


def summary(status: FetchStatus, seconds: float) -> str:
    """Return what came of it as one sentence."""
    rate = status.messages / seconds if seconds > 0 else 0.0
    return (
        f"{status.channels_done:,} channels, {status.messages:,} messages read, {status.added:,} of them new, "
        f"in {seconds:.1f} s ({rate:,.0f} a second, {status.requests:,} requests)"
    )


def as_json(status: FetchStatus, seconds: float) -> dict[str, Any]:
    """Return what came of it as a JSON object."""
    return {
        "channels": status.channels_done,
        "messages": status.messages,
        "added": status.added,
        "requests": status.requests,
        "seconds": round(seconds, 3),
        "troubles": list(status.troubles),
    }


def time_left(seconds: float) -> str:
    """Return a duration in the two largest units that fit: `45 s`, `3 min 20 s`, `2 h 5 min`, `1 d 4 h`."""
    whole = round(seconds)
    for large, small, size, part in (("d", "h", 86_400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size} {large} {whole % size // part} {small}"
    return f"{whole} s"
