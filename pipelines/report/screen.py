"""The report in the terminal: the figures of the page, with bars of characters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.report.figures import Activity, Figures, Histogram, SampleShown
from pipelines.report.page import cap_line
from pipelines.report.plots import bin_name
from pipelines.report.safe import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SHOWN_AUTHORS = 12
SHOWN_CHANNELS = 12

_BAR = 28
_WIDEST_TITLE = 76
_SPARKS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_SPARK_COLUMNS = 36


def show(figures: Figures, console: "Console") -> None:
    """Print the report."""
    console.print(one_line(figures.title), style="bold", markup=False, highlight=False, emoji=False)
    for name, value in figures.facts:
        console.print(f"  {one_line(name)}: {one_line(value)}", markup=False, highlight=False, emoji=False)
    _counts(console, "what was left after each step", "left", figures.steps)
    _shares(console, figures)
    _counts(console, "splits", "examples", figures.splits)
    _counts(console, "preferences", "rows", figures.preferences)
    for lengths in figures.lengths:
        _lengths(console, lengths)
    _channels(console, figures)
    if figures.dropped:
        table = _table("what was dropped", "step", "reason", number="count")
        for each in figures.dropped:
            _row(table, one_line(each.step), one_line(each.reason), f"{each.count:,}")
        console.print(table)
    for sample in figures.samples:
        _sample(console, sample)


def _table(title: str, *heads: str, number: str) -> "Table":
    from rich import box  # noqa: PLC0415 - only to print
    from rich.table import Table  # noqa: PLC0415 - only to print
    from rich.text import Text  # noqa: PLC0415 - only to print

    wide = min(len(title) + 2, _WIDEST_TITLE)
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE, min_width=wide)
    for head in heads:
        table.add_column(head, overflow="fold")
    table.add_column(number, justify="right")
    return table


def _counts(console: "Console", title: str, number: str, rows: Sequence[tuple[str, int]]) -> None:
    if rows:
        table = _table(title, "", number=number)
        for name, count in rows:
            _row(table, one_line(name), f"{count:,}")
        console.print(table)


def _shares(console: "Console", figures: Figures) -> None:
    ordered = figures.by_share()
    if not ordered:
        return
    largest = max(max(before, after) for _, before, after in ordered) or 1.0
    table = _table("shares before and after balancing", "author", "after", "before", number="share after")
    for author, before, after in ordered[:SHOWN_AUTHORS]:
        _row(table, one_line(author.name), _bar(after / largest), f"{before:.1%}", f"{after:.1%}")
    rest = ordered[SHOWN_AUTHORS:]
    if rest:
        before, after = sum(each[1] for each in rest), sum(each[2] for each in rest)
        _row(table, f"{len(rest):,} more", "", f"{before:.1%}", f"{after:.1%}")
    console.print(table)
    if figures.cap_reason:
        console.print(one_line(cap_line(figures)), markup=False, highlight=False, emoji=False)


def _lengths(console: "Console", lengths: Histogram) -> None:
    tallest = max(lengths.counts, default=0) or 1
    title = (
        f"{one_line(lengths.name)}: median {lengths.median:g}, 95 % up to {lengths.p95:g}, largest {lengths.largest:,}"
    )
    table = _table(title, "", "", number="count")
    for number, count in enumerate(lengths.counts):
        _row(table, bin_name(lengths, number), _bar(count / tallest), f"{count:,}")
    console.print(table)


def _channels(console: "Console", figures: Figures) -> None:
    if not figures.activity:
        return
    ordered = sorted(figures.activity, key=lambda row: (-sum(row.counts), row.channel))
    span = f", {one_line(figures.months[0])} to {one_line(figures.months[-1])}" if figures.months else ""
    table = _table(f"channels over time{span}", "channel", "", number="examples")
    for row in ordered[:SHOWN_CHANNELS]:
        _row(table, one_line(row.channel), _spark(row), f"{sum(row.counts):,}")
    if rest := ordered[SHOWN_CHANNELS:]:
        _row(table, f"{len(rest):,} more", "", f"{sum(sum(row.counts) for row in rest):,}")
    console.print(table)


def _spark(row: Activity) -> str:
    """Return one character for each month, or for several where there are too many."""
    together = -(-len(row.counts) // _SPARK_COLUMNS)
    sums = [sum(row.counts[start : start + together]) for start in range(0, len(row.counts), together or 1)]
    most = max(sums, default=0) or 1
    steps = len(_SPARKS) - 1
    return "".join(_SPARKS[-(-count * steps // most)] for count in sums)


def _sample(console: "Console", sample: SampleShown) -> None:
    console.print(f"sample {one_line(sample.note)}".rstrip(), style="bold", markup=False, highlight=False, emoji=False)
    for role, text in (*sample.prompt, ("reply", sample.completion)):
        for number, line in enumerate(text.split("\n")):
            head = f"{one_line(role):>10} | " if not number else " " * 10 + " | "
            console.print(head + one_line(line), markup=False, highlight=False, emoji=False)


def _bar(share: float) -> str:
    return "\u2588" * round(share * _BAR) or "\u258f" * (share > 0)


def _row(table: "Table", *cells: str) -> None:
    """Add cells as they are: names and channels may hold what rich would read as markup."""
    from rich.text import Text  # noqa: PLC0415 - only to print

    table.add_row(*map(Text, cells))
