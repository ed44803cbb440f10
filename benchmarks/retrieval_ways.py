"""The ways to rank that are compared: each takes what the searches found and names the best messages."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retrieval_rankers import best

from persona.domain.recall import Ranking, age_factor, by_recency, diverse_texts, fuse

_HOUR_MS = 3_600_000
_ROOM = 6
_FEW = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Decay:
    """How age counts: by a power law, or (half_life_days) by half-lives towards a floor."""

    scale_hours: float = 1.0
    power: float = 0.0
    half_life_days: float = 0.0
    floor: float = 0.0

    def factors(self, ages_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what is left of scores of these ages."""
        if self.half_life_days:
            halved = 0.5 ** (ages_ms / (24 * _HOUR_MS * self.half_life_days))
            return np.asarray(self.floor + (1 - self.floor) * halved)
        if len(ages_ms) < _FEW:
            left = [age_factor(a, scale_hours=self.scale_hours, power=self.power, floor=self.floor) for a in ages_ms]
            return np.array(left)
        left = (1.0 + ages_ms / (self.scale_hours * _HOUR_MS)) ** -self.power  # the same, of the whole past at once
        return np.asarray(self.floor + (1 - self.floor) * left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to rank.

    `query` is how many messages it is mixed from ("3v": their vectors added up instead of their texts joined).
    `words`, `vectors` and `recency` weigh the stages, each of which names `pool` candidates, of the whole past and
    again (`recent` above 0) of that many newest messages. `score` is "fused" (by ranks) or "similarity" (the cosine).
    """

    name: str
    query: str = "1"
    words: float = 0.0
    vectors: float = 0.0
    recency: float = 0.0
    pool: int = 30
    recent: int = 0
    score: str = "fused"
    constant: int = 60
    decay: Decay | None = None
    variety: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What exact searches say of everything before a question: scores by position, and ages."""

    by_words: NDArray[np.float64]
    by_vectors: NDArray[np.float64] | None
    ages_ms: NDArray[np.float64]
    texts: Sequence[str]
    eligible: NDArray[np.bool_]


def ranked(way: Way, found: Found, limit: int) -> list[int]:
    """Return the best `limit` positions by a way, best first."""
    end = len(found.ages_ms)
    if not (way.words or way.vectors):
        return np.flatnonzero(found.eligible)[-limit:][::-1].tolist()
    starts = [0] if not way.recent else [0, max(0, end - way.recent)]
    rankings = _stages(way, found, starts)
    candidates = sorted({int(key) for ranking in rankings for key in ranking.keys})  # type: ignore[call-overload]
    if not candidates:
        return []
    order = _scored(way, found, candidates, rankings)
    if way.variety is None:
        return [position for position, _ in order[:limit]]
    top = order[: limit * _ROOM]
    texts = [found.texts[position] for position, _ in top]
    kept = diverse_texts([score for _, score in top], texts, limit=limit, variety=way.variety)
    return [top[i][0] for i in kept]


def _stages(way: Way, found: Found, starts: Sequence[int]) -> list[Ranking]:
    rankings = []
    for weight, scores in ((way.words, found.by_words), (way.vectors, found.by_vectors)):
        if not weight or scores is None:
            continue
        masked = np.where(found.eligible, scores, 0.0)
        keys: list[int] = []
        for start in starts:
            keys += (best(masked[start:], way.pool) + start).tolist()
        keys = sorted(set(keys), key=lambda position: (-masked[position], -position))
        rankings.append(Ranking(keys=keys, weight=weight))
    return rankings


def _scored(way: Way, found: Found, candidates: Sequence[int], rankings: Sequence[Ranking]) -> list[tuple[int, float]]:
    at = np.asarray(candidates)
    if way.score == "similarity":
        assert found.by_vectors is not None  # noqa: S101 - such a way is not run without vectors
        scores = np.maximum(found.by_vectors[at], 0.0)
    elif way.score == "words":
        scores = found.by_words[at]
    else:
        stages: list[Ranking] = list(rankings)
        if way.recency:
            newest: Sequence[Hashable] = by_recency({p: -int(found.ages_ms[p]) for p in candidates})
            stages.append(Ranking(keys=newest, weight=way.recency))
        fused = fuse(stages, constant=way.constant)
        scores = np.array([fused[position] for position in candidates])
    if way.decay is not None:
        scores = scores * way.decay.factors(found.ages_ms[at])
    order = np.lexsort((-at, -scores))
    return [(int(at[i]), float(scores[i])) for i in order]
