"""What `persona import` shows: a progress bar, a table of what became of everything, or one JSON object."""

import json
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from persona.adapters.exports import ExportFile, Problem
from persona.importing import FileReport, ImportReport, ImportWatcher

_SHOWN_NOT_RECOGNISED = 20


class ImportScreen(ImportWatcher):
    """A progress bar in bytes of the files as they are on disk, with messages a second and the time left.

    Without a terminal there is no bar.
    """

    def __init__(self, stream: TextIO) -> None:
        self.notes: list[str] = []
        self.indexed = 0
        self._messages = 0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(file=stream),
            disable=not stream.isatty(),
            transient=True,
        )
        self._reading: TaskID | None = None
        self._indexing: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away; safe to call twice."""
        self._progress.stop()

    def note(self, text: str) -> None:
        """Keep a line for the end."""
        self.notes.append(text)

    def expect(self, size: int) -> None:
        """Know how many bytes there are to read."""
        self._reading = self._progress.add_task("reading", total=size, rate="")

    def started(self, file: ExportFile) -> None:
        """Name the file that is read."""
        if self._reading is not None:
            self._progress.update(self._reading, description=file.path.name[-50:])

    def advanced(self, size: int, messages: int) -> None:
        """Move the bar on."""
        self._messages += messages
        if self._reading is not None:
            elapsed = self._progress.tasks[0].elapsed
            rate = f"{self._messages / elapsed:,.0f} messages/s" if elapsed else ""
            self._progress.update(self._reading, advance=size, rate=rate)

    def indexing(self, done: int, total: int) -> None:
        """Show how far the memory is."""
        self.indexed = done
        if self._indexing is None:
            self._indexing = self._progress.add_task("making findable", total=total, rate="")
        self._progress.update(self._indexing, completed=done, total=total)


def print_report(report: ImportReport, stream: TextIO) -> None:
    """Print the table for people."""
    console = Console(file=stream)
    if report.files:
        console.print(_table(report))
        for item in report.files:
            for line in _problems(item.problems):
                console.print(f"  {escape(printable(item.file.path.name))}: {escape(line)}", highlight=False)
        rate = report.read / report.seconds if report.seconds else 0.0
        console.print(f"{report.read:,} messages in {report.seconds:.1f} s ({rate:,.0f} a second)", highlight=False)
    if report.indexed:
        console.print(f"{report.indexed:,} of them made findable in {report.index_seconds:.1f} s", highlight=False)
    if report.not_recognised:
        console.print(f"Not recognised ({len(report.not_recognised)}):", highlight=False)
        for other in report.not_recognised[:_SHOWN_NOT_RECOGNISED]:
            console.print(f"  {escape(printable(str(other.path)))}: {escape(other.reason)}", highlight=False)
        more = len(report.not_recognised) - _SHOWN_NOT_RECOGNISED
        if more > 0:
            console.print(f"  and {more} more", highlight=False)
    for note in report.notes:
        console.print(f"Note: {escape(note)}", highlight=False)


def as_json(report: ImportReport) -> str:
    """Return the report as one JSON object on one line."""
    return json.dumps(
        {
            **_numbers(report),
            "seconds": round(report.seconds, 3),
            "indexed": report.indexed,
            "index_seconds": round(report.index_seconds, 3),
            "files": [
                {
                    "path": str(item.file.path),
                    "format": item.file.format.value,
                    **_numbers(item),
                    "problems": [
                        {"reason": p.reason, "where": p.where, "count": p.count, "lost": p.lost} for p in item.problems
                    ],
                }
                for item in report.files
            ],
            "not_recognised": [{"path": str(item.path), "reason": item.reason} for item in report.not_recognised],
            "notes": list(report.notes),
        }
    )


def printable(text: str) -> str:
    """Return text that cannot steer a terminal (file names may hold anything)."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _numbers(item: FileReport | ImportReport) -> Mapping[str, Any]:
    counts = item.counts
    return {
        "read": item.read,
        "stored": counts.added,
        "updated": counts.updated,
        "unchanged": counts.unchanged,
        "refused": counts.refused,
        "skipped": item.lost,
    }


def _table(report: ImportReport) -> Table:
    table = Table(caption_justify="left")
    table.add_column("file", overflow="fold", min_width=24)
    for name in ("read", "stored", "updated", "unchanged", "refused", "skipped"):
        table.add_column(name, justify="right")
    for item in report.files:
        cells = (f"{number:,}" for number in _numbers(item).values())
        table.add_row(escape(printable(item.file.path.name)), *cells)
    if len(report.files) > 1:
        table.add_section()
        table.add_row("all", *(f"{number:,}" for number in _numbers(report).values()))
    return table


def _problems(problems: Iterable[Problem]) -> list[str]:
    return [
        f"{problem.count:,} x {problem.reason} (first: {problem.where})" + ("" if problem.lost else ", message kept")
        for problem in problems
    ]
