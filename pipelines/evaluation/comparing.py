"""Who is worse than whom, beyond what other conversations could change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isnan

import numpy as np

from pipelines.evaluation.measures import MEASURES, Better, Measure
from pipelines.evaluation.resampling import Figure, difference
from pipelines.evaluation.statistics import Interval

CONFIDENCE = 0.95

Figures = Mapping[str, Figure]


class Verdict(StrEnum):
    """How one compares with the other."""

    BETTER = "better"
    SAME = "no difference"
    WORSE = "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One measure of two contenders: `loss` is how much worse the first is (negative: better), and its range."""

    measure: Measure
    loss: Interval
    verdict: Verdict


def compare(
    one: Figures, other: Figures, people: Figures, *, measures: Sequence[Measure] = MEASURES, family: bool = False
) -> list[Comparison]:
    """Compare two contenders in every measure that both have.

    `family` asks that all verdicts together be right with 95 % (Bonferroni): with ten measures, somebody who is no
    worse would otherwise be found worse in one of them every second time.
    """
    shared = [measure for measure in measures if measure.key in one and measure.key in other]
    confidence = 1 - (1 - CONFIDENCE) / len(shared) if family and shared else CONFIDENCE
    found = []
    for measure in shared:
        theirs = people.get(measure.key)
        loss = difference(
            badness(measure, one[measure.key], theirs),
            badness(measure, other[measure.key], theirs),
            confidence=confidence,
        )
        found.append(
            Comparison(measure=measure, loss=loss, verdict=_verdict(loss, one[measure.key], other[measure.key]))
        )
    return found


def _verdict(loss: Interval, one: Figure, other: Figure) -> Verdict:
    if isnan(one.value) and not isnan(other.value):
        return Verdict.WORSE  # it says so little that there is nothing to measure
    return Verdict.WORSE if loss.low > 0 else Verdict.BETTER if loss.high < 0 else Verdict.SAME


def badness(measure: Measure, found: Figure, people: Figure | None) -> Figure:
    """Return a figure of which less is better."""
    match measure.better:
        case Better.LOWER:
            return found
        case Better.HIGHER:
            interval = Interval(value=-found.value, low=-found.interval.high, high=-found.interval.low)
            return Figure(values=-found.values, interval=interval, counted=found.counted)
        case Better.PEOPLE:
            if people is None:
                return found
            values = np.abs(found.values - people.values)
            return Figure(values=values, interval=Interval(value=float(values[0]), low=0.0, high=float("inf")))


def gate(one: Figures, published: Figures, people: Figures) -> list[Comparison]:
    """Return the measures in which a new model is worse than the published one, all verdicts together at 95 %."""
    measures = [measure for measure in MEASURES if measure.gate]
    compared = compare(one, published, people, measures=measures, family=True)
    return [each for each in compared if each.verdict is Verdict.WORSE]
