"""Figures as people read them."""

from collections.abc import Mapping
from typing import Any

MANY = 100
"""From here on a figure needs no decimals."""

_DASH = "\N{EN DASH}"


def value_text(value: float | None, *, percent: bool) -> str:
    """Return a figure with as many digits as it deserves."""
    if value is None:
        return _DASH
    if percent:
        return f"{value:.0%}" if value >= 0.1 or value == 0 else f"{value:.1%}"  # noqa: PLR2004 - small shares need a digit
    if abs(value) >= MANY:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"


def range_text(found: Mapping[str, Any], *, percent: bool) -> str:
    """Return the range of a figure; "any" where nobody can say."""
    low, high = found["low"], found["high"]
    if low is None or high is None:
        return "any"
    return f"{value_text(low, percent=percent)} to {value_text(high, percent=percent)}"
