"""Figures with what they would have been with other conversations: the same draws for every measure and every model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.statistics import ROUNDS, Interval, wilson

Floats = NDArray[np.float64]
_FEWEST_CLUSTERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """How often each cluster is in each draw: rounds + 1 rows, the first of them ones (the data as they are).

    Whole conversations are drawn with replacement, because replies of one conversation resemble each other (the
    cluster bootstrap, Davison and Hinkley 1997). Two models that are measured with the same draws can be compared
    draw by draw, which is far sharper than looking whether their intervals overlap.
    """

    weights: Floats

    @property
    def clusters(self) -> int:
        """How many clusters there are."""
        return int(self.weights.shape[1])


def draws(clusters: int, *, rounds: int = ROUNDS, seed: int = 0) -> Draws:
    """Return the draws for so many clusters; the same numbers give the same draws."""
    chance = np.random.default_rng(seed)
    # One cluster says nothing about others: without draws a figure's range is the whole line.
    size = rounds if clusters >= _FEWEST_CLUSTERS else 0
    drawn = chance.multinomial(clusters, np.full(clusters, 1 / max(clusters, 1)), size=size)
    return Draws(weights=np.vstack([np.ones((1, clusters)), drawn.astype(np.float64)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure and its draws (the first value is itself); `counted` where its range was found without them.

    A counted share knows its `trials`, so that its range can be found for another confidence.
    """

    values: Floats = field(repr=False)
    interval: Interval
    counted: bool = False
    trials: int = 0

    @property
    def value(self) -> float:
        """The figure."""
        return self.interval.value


def figure(
    values: Sequence[float] | Floats,
    *,
    biased: bool = False,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Figure:
    """Return a figure from its draws, with the range between their quantiles.

    `biased` for figures that rise or fall when replies are drawn twice (distances between counts, shares of different
    words): the quantiles are then shifted to lie around the figure, as the draws lie around their own mean. The range
    is cut to `bounds`.
    """
    found = np.asarray(values, dtype=np.float64)
    rest = found[1:][np.isfinite(found[1:])]
    value = float(found[0])
    if rest.size < _FEWEST_CLUSTERS or not math.isfinite(value):
        return Figure(values=found, interval=Interval(value=value, low=-math.inf, high=math.inf))
    tail = (1 - confidence) / 2
    low, high = np.quantile(rest, [tail, 1 - tail])
    shift = value - float(rest.mean()) if biased else 0.0
    return Figure(
        values=found, interval=Interval(value=value, low=_cut(low + shift, bounds), high=_cut(high + shift, bounds))
    )


def difference(one: Figure, other: Figure, *, confidence: float = 0.95) -> Interval:
    """Return how much larger a figure is than another one of the same draws.

    The range is that of the draws' differences, shifted to lie around the difference itself; for counted shares that
    of Newcombe (1998, method 10), which is made of both Wilson intervals.

    Raises:
        ValueError: they are of different draws.
    """
    if one.counted or other.counted:
        return _newcombe(_at(one, confidence), _at(other, confidence))
    if one.values.shape != other.values.shape:
        raise ValueError("figures of different draws cannot be compared")
    return figure(one.values - other.values, biased=True, confidence=confidence).interval


def fixed(interval: Interval, rounds: int, *, trials: int = 0) -> Figure:
    """Return a figure whose range was found without draws (a share with its Wilson interval)."""
    return Figure(values=np.full(rounds, interval.value), interval=interval, counted=True, trials=trials)


def _at(share: Figure, confidence: float) -> Interval:
    """Return a counted share's range for a confidence; the one it has where its trials are not known."""
    if not share.trials or not 0 <= share.value <= 1:
        return share.interval
    found = wilson(round(share.value * share.trials), share.trials, confidence=confidence)
    return Interval(value=share.value, low=min(found.low, share.value), high=max(found.high, share.value))


def _newcombe(one: Interval, other: Interval) -> Interval:
    value = one.value - other.value
    down = math.hypot(one.value - one.low, other.high - other.value)
    up = math.hypot(one.high - one.value, other.value - other.low)
    return Interval(value=value, low=value - down, high=value + up)


def _cut(value: float, bounds: tuple[float, float]) -> float:
    return float(min(max(value, bounds[0]), bounds[1]))
