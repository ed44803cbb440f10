"""Counts by cluster, and measures of them for every draw at once."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from pipelines.evaluation.distributions import HABITS
from pipelines.evaluation.resampling import Floats
from pipelines.evaluation.samples import Sample, words

Features = Callable[[Sample], Iterable[str]]


def count_matrices(sides: Sequence[Sequence[Sample]], clusters: Mapping[str, int], features: Features) -> list[Floats]:
    """Return for each side how often each feature occurs in each cluster (clusters x features, same columns)."""
    columns: dict[str, int] = {}
    counted: list[list[tuple[int, Counter[str]]]] = []
    for side in sides:
        rows = [(clusters[sample.conversation_id], Counter(features(sample))) for sample in side]
        for _, counts in rows:
            for feature in counts:
                columns.setdefault(feature, len(columns))
        counted.append(rows)
    matrices = []
    for rows in counted:
        matrix = np.zeros((len(clusters), max(len(columns), 1)))
        for cluster, counts in rows:
            for feature, times in counts.items():
                matrix[cluster, columns[feature]] += times
        matrices.append(matrix)
    return matrices


def jensen_shannon_rows(ours: Floats, theirs: Floats) -> Floats:
    """Return the Jensen-Shannon distance (0..1) of each row of counts from the same row of the other side.

    1 where only one side has anything: whoever says none of the words has nothing in common; nan where neither has.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = ours / ours.sum(axis=1, keepdims=True), theirs / theirs.sum(axis=1, keepdims=True)
        middle = (p + q) / 2
        parts = np.where(p > 0, p * np.log2(p / middle), 0.0) + np.where(q > 0, q * np.log2(q / middle), 0.0)
    found: Floats = np.sqrt(np.maximum(parts.sum(axis=1) / 2, 0.0))
    empty = (ours.sum(axis=1) == 0).astype(int) + (theirs.sum(axis=1) == 0)
    found[empty == 1] = 1.0
    found[empty == 2] = np.nan  # noqa: PLR2004 - both sides
    return found


def wasserstein_rows(ours: Floats, theirs: Floats) -> Floats:
    """Return the earth mover's distance of each row of a histogram of whole numbers from the other side's."""
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (np.cumsum(side, axis=1) / side.sum(axis=1, keepdims=True) for side in (ours, theirs))
    found: Floats = np.abs(a - b).sum(axis=1)
    return found


def histograms(
    sides: Sequence[Sequence[Sample]], clusters: Mapping[str, int], values: Callable[[Sample], Iterable[int]]
) -> list[Floats]:
    """Return how often each whole number occurs in each cluster, for each side (clusters x numbers from 0)."""
    found = [
        [(clusters[sample.conversation_id], number) for sample in side for number in values(sample)] for side in sides
    ]
    largest = max((number for side in found for _, number in side), default=0)
    matrices = []
    for side in found:
        matrix = np.zeros((len(clusters), largest + 1))
        for cluster, number in side:
            matrix[cluster, number] += 1
        matrices.append(matrix)
    return matrices


def share_rows(weights: Floats, hits: Floats, totals: Floats) -> Floats:
    """Return the share of hits (clusters) in each draw; nan where a draw has nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = (weights @ hits) / (weights @ totals)
    return found


def habit_rows(weights: Floats, samples: Sequence[Sample], clusters: Mapping[str, int]) -> Floats:
    """Return the share of messages with each habit in each draw (draws x habits)."""
    hits, totals = np.zeros((len(clusters), len(HABITS))), np.zeros(len(clusters))
    for sample in samples:
        cluster = clusters[sample.conversation_id]
        for message in sample.messages:
            totals[cluster] += 1
            hits[cluster] += [has(message) for has in HABITS.values()]
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = (weights @ hits) / (weights @ totals)[:, None]
    return found


def by_cluster(
    values: Sequence[float], samples: Sequence[Sample], clusters: Mapping[str, int]
) -> tuple[Floats, Floats]:
    """Return the sums of one value a reply, and how many replies there are, for each cluster."""
    sums, totals = np.zeros(len(clusters)), np.zeros(len(clusters))
    for value, sample in zip(values, samples, strict=True):
        sums[clusters[sample.conversation_id]] += value
        totals[clusters[sample.conversation_id]] += 1
    return sums, totals


def letters_of(sample: Sample) -> list[str]:
    """Return the runs of three characters of a reply, as written, with the edges of its messages."""
    found = []
    for message in sample.messages:
        edged = f"\n{' '.join(message.split())}\n"
        found += [edged[at : at + 3] for at in range(len(edged) - 2)]
    return found


def pairs_of(sample: Sample) -> list[str]:
    """Return the pairs of neighbouring words of a reply."""
    said = words(sample.text)
    return [f"{one} {other}" for one, other in pairwise(said)]


def words_of(sample: Sample) -> list[str]:
    """Return the words of a reply."""
    return words(sample.text)
