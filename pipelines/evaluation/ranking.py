"""How well something predicts: ranks of the right answer, a speaking policy beside what people really did."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Predictions of about the same height: how high they were on average, and how often it really happened."""

    predicted: float
    happened: float
    count: int


def mean_reciprocal_rank(ranks: Sequence[int]) -> float:
    """Return the mean of one over the rank (from 1) of the right answer; nan without any."""
    return sum(1 / rank for rank in ranks) / len(ranks) if ranks else nan


def rank_of(right: float, others: Sequence[float]) -> int:
    """Return the rank (from 1) of the right answer's score; of equal ones it is in the middle, rounded up."""
    better = sum(other > right for other in others)
    equal = sum(other == right for other in others)
    return 1 + better + (equal + 1) // 2


def auc(scores: Sequence[float], happened: Sequence[bool]) -> float:
    """Return the chance that what happened had a higher score than what did not; ties count half, nan if one is empty.

    The Mann-Whitney statistic (Hanley and McNeil 1982), from ranks: n log n.
    """
    order = sorted(range(len(scores)), key=scores.__getitem__)
    positives = sum(happened)
    negatives = len(happened) - positives
    if not positives or not negatives:
        return nan
    ranks, start = 0.0, 0
    while start < len(order):
        end = start
        while end < len(order) and scores[order[end]] == scores[order[start]]:
            end += 1
        middle = (start + 1 + end) / 2
        ranks += middle * sum(happened[place] for place in order[start:end])
        start = end
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def calibration(scores: Sequence[float], happened: Sequence[bool], *, bins: int = 10) -> list[Bin]:
    """Return bins of equally many predictions, lowest first: a curve on the diagonal means that they can be trusted."""
    order = sorted(range(len(scores)), key=scores.__getitem__)
    cuts = [len(order) * number // bins for number in range(bins + 1)]
    curve = []
    for start, end in itertools.pairwise(cuts):
        if places := order[start:end]:
            predicted = sum(scores[place] for place in places) / len(places)
            share = sum(happened[place] for place in places) / len(places)
            curve.append(Bin(predicted=predicted, happened=share, count=len(places)))
    return curve


def calibration_error(curve: Sequence[Bin]) -> float:
    """Return the mean distance between predicted and happened, weighted by how many predictions there were (0..1)."""
    total = sum(one.count for one in curve)
    return sum(one.count * abs(one.predicted - one.happened) for one in curve) / total if total else nan
