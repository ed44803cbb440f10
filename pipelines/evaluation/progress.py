"""What an evaluation shows while it runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from pipelines.evaluation.asking import Watcher
from pipelines.report.safe import one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars(Watcher):
    """A bar for each step, with the time that is left."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def step(self, name: str, total: int) -> None:
        """Begin a bar; the one before is done."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(one_line(name), total=total)

    def advanced(self) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task)


@contextmanager
def watching(stream: TextIO) -> Iterator[Watcher]:
    """Show bars on a terminal; nothing where nobody watches."""
    from rich.console import Console  # noqa: PLC0415 - only when it runs
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream), disable=not stream.isatty(), transient=True) as progress:
        yield Bars(progress)


def quiet() -> None:
    """Send the log elsewhere than what programs read, and only what matters."""
    import structlog  # noqa: PLC0415 - only when it runs

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
