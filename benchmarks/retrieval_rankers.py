"""Exact searches over a channel's past, by words (BM25) and by vectors, and the statistics of their hits."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from py_rust_stemmers import SnowballStemmer

from persona.adapters.lance.ranking import query_words, words

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

_K1, _B = 1.2, 0.75
_RESAMPLES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Postings:
    positions: Ids
    counts: Floats


class Words:
    """BM25 (Robertson and Zaragoza 2009; k1 1.2, b 0.75) over stemmed words, always of the past alone."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._stemmer = SnowballStemmer("english")
        self._stems: dict[str, str] = {}
        gathered: defaultdict[str, dict[int, int]] = defaultdict(dict)
        lengths = np.zeros(len(texts))
        for position, text in enumerate(texts):
            for stem in map(self._stem, words(text)):
                gathered[stem][position] = gathered[stem].get(position, 0) + 1
                lengths[position] += 1
        self._lengths = lengths
        self._means = np.cumsum(lengths) / np.arange(1, len(texts) + 1)
        self._postings = {
            stem: _Postings(positions=np.fromiter(found, np.int64), counts=np.fromiter(found.values(), np.float64))
            for stem, found in gathered.items()
        }

    def scores(self, text: str, end: int) -> Floats:
        """Return the score of every message before position `end` (0: none of the words)."""
        scores = np.zeros(end)
        if end == 0:
            return scores
        norms = _K1 * (1 - _B + _B * self._lengths[:end] / self._means[end - 1])
        for stem in {self._stem(word) for word in query_words(text)}:
            postings = self._postings.get(stem)
            if postings is None:
                continue
            known = int(np.searchsorted(postings.positions, end))
            at, counts = postings.positions[:known], postings.counts[:known]
            rarity = np.log1p((end - known + 0.5) / (known + 0.5))
            scores[at] += rarity * counts * (_K1 + 1) / (counts + norms[at])
        return scores

    def _stem(self, word: str) -> str:
        found = self._stems.get(word)
        if found is None:
            found = self._stems[word] = self._stemmer.stem_word(word)
        return found


def best(scores: Floats, limit: int) -> Ids:
    """Return the positions of the best scores above zero, best first; of equals the newer one."""
    positive = np.flatnonzero(scores > 0)
    if len(positive) > limit:
        # One more than needed would not do where many are equal: keep every one that reaches the last place.
        least = np.partition(scores[positive], -limit)[-limit]
        positive = positive[scores[positive] >= least]
    order = np.lexsort((-positive, -scores[positive]))
    return positive[order][:limit]


def interval(hits: Sequence[bool], clusters: Sequence[int], *, seed: int = 1) -> tuple[float, float, float]:
    """Return a share with its 95 % interval: percentile bootstrap (Efron 1979) over whole threads, not questions."""
    return ratio_interval(hits, [True] * len(hits), clusters, seed=seed)


def ratio_interval(
    hits: Sequence[bool], others: Sequence[bool], clusters: Sequence[int], *, seed: int = 1
) -> tuple[float, float, float]:
    """Return how many times the hits of another ranking of the same questions, with its 95 % interval (paired).

    The other one must hit at least once.
    """
    names, group = np.unique(np.asarray(clusters), return_inverse=True)
    mine = np.bincount(group, weights=np.asarray(hits, dtype=float), minlength=len(names))
    theirs = np.bincount(group, weights=np.asarray(others, dtype=float), minlength=len(names))
    drawn = np.random.default_rng(seed).integers(0, len(names), size=(_RESAMPLES, len(names)))
    below = theirs[drawn].sum(axis=1)
    shares = mine[drawn].sum(axis=1)[below > 0] / below[below > 0]
    share = float(mine.sum() / theirs.sum())
    low, high = np.percentile(shares, (2.5, 97.5))
    return share, float(low), float(high)


def windows(texts: Sequence[str], size: int) -> Iterator[tuple[int, str]]:
    """Yield neighbouring messages joined, `size` at a time without overlap, each with the position of its first."""
    for start in range(0, len(texts) - size + 1, size):
        yield start, "\n".join(texts[start : start + size])
