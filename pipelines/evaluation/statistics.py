"""Intervals: how much a figure would move with other conversations, or other raters."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from persona.domain import recognition
from pipelines.evaluation.samples import Conversation

ROUNDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure with the range in which it lies with a confidence of 95 % (or whatever was asked for)."""

    value: float
    low: float
    high: float

    def overlaps(self, other: "Interval") -> bool:
        """Say whether two ranges have something in common."""
        return self.low <= other.high and other.low <= self.high

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


def bootstrap(
    conversations: Sequence[Conversation],
    statistic: Callable[[Sequence[Conversation]], float],
    *,
    rounds: int = ROUNDS,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a statistic and its range by drawing whole conversations with replacement.

    The percentile bootstrap (Efron 1979) over clusters: single replies are not independent. Draws for which the
    statistic cannot be computed (it gives nan) are left out; with fewer than two conversations the range is the whole
    line.

    Raises:
        ValueError: there is nothing to measure.
    """
    if not conversations:
        raise ValueError("there is no conversation to measure")
    value = statistic(conversations)
    if len(conversations) < 2:  # noqa: PLR2004 - one conversation says nothing about others
        return Interval(value=value, low=-math.inf, high=math.inf)
    chance = random.Random(seed)  # noqa: S311 - a fixed draw, nothing secret
    draws = (statistic(chance.choices(conversations, k=len(conversations))) for _ in range(rounds))
    drawn = sorted(draw for draw in draws if not math.isnan(draw))
    tail = (1 - confidence) / 2
    return Interval(value=value, low=quantile(drawn, tail), high=quantile(drawn, 1 - tail))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share (0..1) of sorted values lies, between neighbours in proportion; nan if none.

    Definition 7 of Hyndman and Fan (1996).
    """
    if not ordered:
        return math.nan
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Return a share of successes and its score interval (Wilson 1927), right for few trials and shares near 0 or 1.

    Raises:
        ValueError: more successes than trials, or a negative number.
    """
    low, high = recognition.wilson(successes, trials, confidence=confidence)
    return Interval(value=successes / trials if trials else math.nan, low=low, high=high)
