"""What `prepare` shows: how far it is, and the report at the end."""

from types import TracebackType
from typing import Self, TextIO

from pipelines.dataset.preparing import Prepared, Watcher
from pipelines.report import show

_NAMES = {"read": "reading the messages", "candidates": "finding replies", "write": "writing examples"}
_EVERY = 2000


class Screen(Watcher):
    """One line that says how far it is; silent where nobody watches."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._name = ""
        self._total = 0

    def __enter__(self) -> Self:
        """Return the screen."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the line clean."""
        self._say("")

    def step(self, name: str, total: int) -> None:
        """Say what is being done."""
        self._name, self._total = _NAMES.get(name, name), total
        self._say(f"{self._name} ...")

    def at(self, number: int) -> None:
        """Say how far it is, now and then."""
        if number % _EVERY == 0 and self._total:
            self._say(f"{self._name}: {number:,} of {self._total:,} conversations")

    def _say(self, text: str) -> None:
        if self._live:
            self._stream.write(f"\r\x1b[2K{text}")
            self._stream.flush()


def print_report(prepared: Prepared) -> None:
    """Print the figures and where everything is."""
    from rich.console import Console  # noqa: PLC0415 - only to print

    console = Console()
    show(prepared.figures, console)
    console.print(f"report: {prepared.folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
