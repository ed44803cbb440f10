"""Plots as SVG text: bars for shares and lengths, a grid of squares for channels over time."""

from collections.abc import Sequence

from pipelines.report.figures import Activity, AuthorShare, Histogram
from pipelines.report.safe import escape

_WIDTH = 860
_NAME = 190
_ROW = 30
_SHORT = 26
_NEAR = 0.25


def share_bars(authors: Sequence[tuple[AuthorShare, float, float]], cap: float) -> str:
    """Draw two bars for each author, their share before and after, and a line at the cap.

    Where nobody comes near the cap there is no line: the bars would all be too short to be compared.
    """
    largest = max([before for _, before, _ in authors] + [after for _, _, after in authors])
    near = largest >= cap * _NEAR
    top = max(largest, cap if near else 0.0) * 1.02 or 1.0
    room = _WIDTH - _NAME - 150
    height = _ROW * len(authors) + 24
    parts = []
    for number, (author, before, after) in enumerate(authors):
        y = number * _ROW + 4
        parts += [
            _text(_NAME - 8, y + 16, _short(author.name), "end", hint=author.name),
            _bar(_NAME, y + 1, room * before / top, 10, "before"),
            _bar(_NAME, y + 12, room * after / top, 10, "after"),
            _text(_WIDTH - 140, y + 16, f"{before:.1%} \N{RIGHTWARDS ARROW} {after:.1%}", "start", kind="figure"),
        ]
    if near:
        x = _NAME + room * cap / top
        parts.append(f'<line class="cap" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 18}"/>')
        parts.append(_text(x, height - 5, f"cap {cap:.1%}", "middle", kind="figure"))
    else:
        parts.append(_text(_NAME, height - 5, f"nobody comes near the cap of {cap:.1%}", "start", kind="figure"))
    return _svg(height, parts, "Shares of each author before and after balancing")


def length_bars(lengths: Histogram) -> str:
    """Draw a histogram with one column for each pair of bounds."""
    columns = len(lengths.counts)
    if not columns:
        return ""
    tallest = max(lengths.counts) or 1
    plot, width = 170, min((_WIDTH - 20) / columns, 84)
    parts = []
    for number, count in enumerate(lengths.counts):
        x, tall = 10 + number * width, plot * count / tallest
        parts += [
            _bar(x + 3, 24 + plot - tall, width - 6, tall, "after"),
            _text(x + width / 2, 18 + plot - tall, f"{count:,}" if count else "", "middle", kind="figure"),
            _text(x + width / 2, plot + 42, bin_name(lengths, number), "middle", kind="figure"),
        ]
    return _svg(plot + 52, parts, lengths.name)


def bin_name(lengths: Histogram, number: int) -> str:
    """Return what a column stands for: `7` or `10-19`."""
    low, high = lengths.bounds[number], lengths.bounds[number + 1] - 1
    return f"{low}" if low == high else f"{low}\N{EN DASH}{high}"


def activity_grid(months: Sequence[str], activity: Sequence[Activity]) -> str:
    """Draw a row for each channel and a square for each month, darker for more examples (by square root)."""
    most = max((count for row in activity for count in row.counts), default=0) or 1
    width = min((_WIDTH - _NAME - 80) / max(len(months), 1), 40)
    parts = []
    for number, row in enumerate(activity):
        y = number * 24
        parts.append(_text(_NAME - 8, y + 15, _short(row.channel), "end", hint=row.channel))
        for column, count in enumerate(row.counts):
            strength = 0.08 + 0.92 * (count / most) ** 0.5 if count else 0.0
            hint = f"{row.channel}, {months[column]}: {count:,}"
            parts.append(
                f'<rect class="square" x="{_NAME + column * width:.1f}" y="{y}" width="{max(width - 2, 1):.1f}" '
                f'height="20" fill-opacity="{strength:.3f}"><title>{escape(hint)}</title></rect>'
            )
        total = f"{sum(row.counts):,}"
        parts.append(_text(_NAME + len(months) * width + 8, y + 15, total, "start", kind="figure"))
    height = len(activity) * 24 + 20
    every = max(1, round(62 / width)) if months else 1
    parts += [
        _text(_NAME + column * width, height - 4, months[column], "start", kind="figure")
        for column in range(0, len(months), every)
    ]
    return _svg(height, parts, "Examples by channel and month")


def _svg(height: float, parts: Sequence[str], name: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(name)}">{"".join(parts)}</svg>'
    )


def _bar(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, *, kind: str = "name", hint: str = "") -> str:
    title = f"<title>{escape(hint)}</title>" if hint else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}{title}</text>'


def _short(name: str) -> str:
    return name if len(name) <= _SHORT else name[: _SHORT - 1] + "\N{HORIZONTAL ELLIPSIS}"
