"""The loss of a training as an SVG picture, drawn with nothing but text."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 62, 44
_TICKS = 5
_SMOOTHING = 0.9
_MOST_POINTS = 1500
_COLOURS = {"loss": "#9db7d9", "loss, smoothed": "#1f5fa8", "validation": "#c2571a", "margin": "#2e7d4f"}

Points = Sequence[tuple[float, float]]


def loss_curve(rows: Sequence[dict[str, Any]], title: str) -> str:
    """Draw training loss (raw and smoothed), validation loss and, after preferences, the reward margin over steps."""
    losses = _points(rows, "loss")
    lines: dict[str, Points] = {
        "loss": losses,
        "loss, smoothed": _smoothed(losses),
        "validation": _points(rows, "eval_loss"),
        "margin": _points(rows, "rewards/margins"),
    }
    shown = {name: _thinned(points) for name, points in lines.items() if points}
    if not shown:
        return _svg(title, ['<text x="360" y="180" text-anchor="middle">nothing was logged yet</text>'])
    x_low, x_high = _range([x for points in shown.values() for x, _ in points])
    y_low, y_high = _range([y for points in shown.values() for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low)
        up = (y - y_low) / (y_high - y_low)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for tick in range(_TICKS + 1):
        x_value = x_low + (x_high - x_low) * tick / _TICKS
        y_value = y_low + (y_high - y_low) * tick / _TICKS
        x, y = place(x_value, y_value)
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{y_value:.3g}</text>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{x_value:.0f}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}" text-anchor="middle">step</text>')
    for number, (name, points) in enumerate(shown.items()):
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in points)
        colour = _COLOURS[name]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        at = _LEFT + 130 * number
        parts.append(f'<rect x="{at}" y="34" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{at + 17}" y="44">{escape(name)}</text>')
    return _svg(title, parts)


def _points(rows: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    return [
        (float(row["step"]), float(row[key]))
        for row in rows
        if isinstance(row.get(key), int | float) and math.isfinite(row[key])
    ]


def _smoothed(points: Points) -> list[tuple[float, float]]:
    """Return an exponential mean without the pull towards its start (Kingma and Ba 2015, section 3)."""
    mean, smoothed = 0.0, []
    for number, (x, y) in enumerate(points, start=1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * y
        smoothed.append((x, mean / (1 - _SMOOTHING**number)))
    return smoothed


def _thinned(points: Points) -> Points:
    stride = math.ceil(len(points) / _MOST_POINTS)
    return [*points[:-1:stride], points[-1]] if stride > 1 else points


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.04 or 0.5
    return low - margin, high + margin


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
        f'<text x="{_LEFT}" y="24" font-size="14" font-weight="bold">{escape(title)}</text>{"".join(parts)}</svg>\n'
    )
