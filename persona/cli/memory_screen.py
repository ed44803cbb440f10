"""What `persona memory` shows: progress while it works, a table or JSON afterwards."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from persona.cli.import_screen import printable
from persona.domain.chat import ChannelId
from persona.ports import Match, MemoryStats


class MemoryScreen:
    """Progress bars with the rate and the time left. Without a terminal there are none."""

    def __init__(self, stream: TextIO) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            console=Console(file=stream),
            disable=not stream.isatty(),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Take the bars away; safe to call twice."""
        self._progress.stop()

    def filling(self, done: int, total: int) -> None:
        """Show how many messages can be found by their words."""
        self._show("making findable", done, total)

    def embedding(self, done: int, total: int) -> None:
        """Show how many messages have a vector."""
        self._show("by meaning, too", done, total)

    def indexing(self) -> None:
        """Show that an index is being made: how long that takes is not known."""
        self._tasks["index"] = self._progress.add_task("making the index", total=None, rate="")

    def _show(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, rate="")
        key = self._tasks[what]
        elapsed = next((task.elapsed for task in self._progress.tasks if task.id == key), None)
        rate = f"{done / elapsed:,.0f} a second" if elapsed else ""
        self._progress.update(key, completed=done, total=total, rate=rate)


def print_stats(stats: MemoryStats, stream: TextIO, *, as_json: bool, seconds: float | None = None) -> None:
    """Print what the memory holds, and how long a rebuild took."""
    if as_json:
        took = {} if seconds is None else {"seconds": round(seconds, 3)}
        print(json.dumps(asdict(stats) | took), file=stream)
        return
    table = Table(show_header=False)
    model = f"{stats.space.model_id}, {stats.space.dimensions} dimensions" if stats.space else "none: words alone"
    size = "on object storage" if stats.bytes is None else f"{stats.bytes / 1e6:,.1f} MB in {stats.files:,} files"
    for name, value in (
        ("messages", f"{stats.messages:,}"),
        ("embedding model", printable(model)),
        ("wait for a vector", f"{stats.waiting:,}"),
        ("vector index", stats.index),
        ("not indexed yet", f"{stats.unindexed:,}"),
        ("fragments, versions", f"{stats.fragments:,}, {stats.versions:,}"),
        ("size", size),
    ):
        table.add_row(name, escape(value))
    if seconds is not None:
        table.add_row("rebuilt in", f"{seconds:.1f} s")
    Console(file=stream).print(table)


def print_matches(matches: Sequence[Match], names: Mapping[ChannelId, str], stream: TextIO, *, why: bool) -> None:
    """Print what was found, best first; with `why`, what each stage of the search made of it."""
    console = Console(file=stream)
    if not matches:
        console.print("Nothing comes to mind.")
        return
    table = Table()
    heads = ("score", "words", "BM25", "meaning", "cosine", "newness", "age") if why else ("score",)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for head in ("when", "where", "who", "what"):
        table.add_column(head, overflow="fold")
    for match in matches:
        one = match.recollection
        stages = _stages(match) if why else ()
        where = printable(names.get(one.channel_id, str(one.channel_id)))
        cells = (f"{one.created_at:%Y-%m-%d %H:%M}", where, printable(one.author_name), printable(one.text))
        table.add_row(f"{one.score:.4f}", *stages, *map(escape, cells))
    console.print(table)


def _stages(match: Match) -> tuple[str, ...]:
    return (
        "-" if match.word_rank is None else f"#{match.word_rank}",
        "-" if match.word_score is None else f"{match.word_score:.2f}",
        "-" if match.vector_rank is None else f"#{match.vector_rank}",
        "-" if match.similarity is None else f"{match.similarity:.3f}",
        "-" if match.recency_rank is None else f"#{match.recency_rank}",
        f"{match.age_days:,.0f} d x{match.age_factor:.2f}",
    )
