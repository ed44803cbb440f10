"""Plots as SVG text: figures with their ranges, lengths, habits, and how far predictions can be trusted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

from pipelines.evaluation.report.numbers import value_text
from pipelines.report.safe import escape

WIDTH = 900
_NAME = 210
_ROW = 24
_SHORT = 30


def ranges(rows: Sequence[tuple[str, Mapping[str, Any], str]], *, name: str, percent: bool) -> str:
    """Draw a dot with its range for each (name, figure, kind); `kind` is the colour's class."""
    known = [row for row in rows if row[1]["value"] is not None]
    ends = [row[1][end] for row in known for end in ("value", "low", "high") if row[1][end] is not None]
    if not ends:
        return ""
    low, high = min(*ends, 0.0) if min(ends) > 0 and min(ends) < max(ends) / 4 else min(ends), max(ends)
    room, span = WIDTH - _NAME - 120, (high - low) or 1.0
    parts = []
    for number, (label, found, kind) in enumerate(known):
        y = number * _ROW + 16
        x, left, right = (
            _NAME + room * ((found[end] if found[end] is not None else other) - low) / span
            for end, other in (("value", low), ("low", low), ("high", high))
        )
        parts += [
            _text(_NAME - 12, y + 4, _short(label), "end", hint=label),
            f'<line class="range {kind}" x1="{left:.1f}" y1="{y}" x2="{max(right, left + 1):.1f}" y2="{y}"/>',
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y}" r="5"/>',
            _text(WIDTH - 104, y + 4, value_text(found["value"], percent=percent), "start", kind="figure"),
        ]
    return _svg(len(known) * _ROW + 8, parts, name)


def two_histograms(ours: Sequence[int], theirs: Sequence[int], *, bounds: Sequence[int], names: tuple[str, str]) -> str:
    """Draw two histograms side by side, as shares; `bounds` are where the columns begin."""
    sides = [_shares(side, bounds) for side in (ours, theirs)]
    tallest = max((share for side in sides for share in side), default=0.0) or 1.0
    plot, width = 130, min((WIDTH - 20) / max(len(bounds), 1), 96)
    parts = []
    for number in range(len(bounds)):
        x = 10 + number * width
        for place, (side, kind) in enumerate(zip(sides, ("model", "people"), strict=True)):
            tall, left = plot * side[number] / tallest, x + 4 + place * (width / 2 - 4)
            parts.append(
                _bar(left, 18 + plot - tall, width / 2 - 5, tall, kind=kind, hint=f"{names[place]}: {side[number]:.1%}")
            )
        parts.append(_text(x + width / 2, plot + 34, _column(bounds, number), "middle", kind="figure"))
    return _svg(plot + 42, parts, f"{names[0]} and {names[1]}")


def habits(names: Sequence[str], ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Draw for each habit how many messages have it: the model's share and people's, joined by a line."""
    top = max([0.05, *(share for share in (*ours, *theirs) if share == share)])  # noqa: PLR0124 - not nan
    room = WIDTH - _NAME - 150
    parts = []
    for number, (name, mine, other) in enumerate(zip(names, ours, theirs, strict=True)):
        if mine != mine or other != other:  # noqa: PLR0124 - nan
            continue
        y, a, b = number * _ROW + 14, _NAME + room * mine / top, _NAME + room * other / top
        parts += [
            _text(_NAME - 12, y + 4, name, "end"),
            f'<line class="range soft" x1="{a:.1f}" y1="{y}" x2="{b:.1f}" y2="{y}"/>',
            f'<circle class="people" cx="{b:.1f}" cy="{y}" r="6"/>',
            f'<circle class="model" cx="{a:.1f}" cy="{y}" r="5"/>',
            _text(WIDTH - 130, y + 4, f"{mine:.0%}, people {other:.0%}", "start", kind="figure"),
        ]
    return _svg(len(names) * _ROW + 6, parts, "Habits of the model and of people")


def curve(bins: Sequence[Mapping[str, Any]]) -> str:
    """Draw predicted against real frequencies; the diagonal is where they agree, dots grow with their number."""
    side, edge = 300, 44
    top = max([0.05, *(max(one["predicted"], one["happened"]) for one in bins)])
    most = max((one["count"] for one in bins), default=1)

    def place(one: Mapping[str, Any]) -> tuple[float, float]:
        return edge + side * one["predicted"] / top, 10 + side * (1 - one["happened"] / top)

    parts = [
        f'<rect class="frame" x="{edge}" y="10" width="{side}" height="{side}"/>',
        f'<line class="range soft" x1="{edge}" y1="{10 + side}" x2="{edge + side}" y2="10"/>',
    ]
    for number, one in enumerate(bins):
        x, y = place(one)
        words = f"predicted {one['predicted']:.1%}, happened {one['happened']:.1%}, {one['count']:,} times"
        radius = 4 + 8 * sqrt(one["count"] / most)
        parts.append(
            f'<circle class="model" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{words}</title></circle>'
        )
        parts.append(_text(edge + side + 40, 30 + number * _ROW, words, "start", kind="figure"))
    parts += [
        _text(edge + side / 2, side + 34, "predicted (across) and happened (up)", "middle", kind="figure"),
        _text(edge - 6, 20, f"{top:.0%}", "end", kind="figure"),
        _text(edge - 6, side + 12, "0%", "end", kind="figure"),
    ]
    return _svg(side + 44, parts, "Calibration of the decision to speak")


def _shares(values: Sequence[int], bounds: Sequence[int]) -> list[float]:
    counts: Counter[int] = Counter(sum(value >= bound for bound in bounds) - 1 for value in values)
    return [counts[number] / len(values) if values else 0.0 for number in range(len(bounds))]


def _column(bounds: Sequence[int], number: int) -> str:
    if number + 1 == len(bounds):
        return f"{bounds[number]}+"
    low, high = bounds[number], bounds[number + 1] - 1
    return f"{low}" if low == high else f"{low}\N{EN DASH}{high}"


def _svg(height: float, parts: Sequence[str], name: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(name)}">{"".join(parts)}</svg>'
    )


def _bar(x: float, y: float, width: float, height: float, *, kind: str, hint: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}">'
        f"<title>{escape(hint)}</title></rect>"
    )


def _text(x: float, y: float, text: str, anchor: str, *, kind: str = "name", hint: str = "") -> str:
    title = f"<title>{escape(hint)}</title>" if hint else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}{title}</text>'


def _short(name: str) -> str:
    return name if len(name) <= _SHORT else name[: _SHORT - 1] + "\N{HORIZONTAL ELLIPSIS}"
