"""Which old messages should come to mind: pure decisions of a search, from mixing the query to the final choice.

The numbers were chosen on annotated reply links of group chat (benchmarks/retrieval_quality.py, a grid on one half of
the bursts); these are the shares of questions, on the other half, where one of five messages older than the last N is
of the same thread. In brackets the 95 % interval, n = 400 each, MiniLM vectors, 196,497 messages to search:

    older than the last   20                 30                 100                300
    recency alone         0.70 [0.65 0.76]   0.66 [0.61 0.72]   0.48 [0.42 0.55]   0.21 [0.10 0.36]
    BM25                  0.29 [0.24 0.35]   0.29 [0.24 0.34]   0.25 [0.20 0.30]   0.10 [0.05 0.16]
    vectors               0.30 [0.25 0.35]   0.27 [0.22 0.32]   0.24 [0.19 0.29]   0.14 [0.08 0.23]
    both, fused           0.33 [0.28 0.38]   0.34 [0.28 0.39]   0.26 [0.21 0.31]   0.13 [0.07 0.21]
    as chosen here        0.81 [0.76 0.85]   0.79 [0.74 0.83]   0.68 [0.61 0.74]   0.31 [0.18 0.46]
    - words alone         0.76 [0.72 0.81]   0.74 [0.69 0.79]   0.59 [0.53 0.66]   0.24 [0.13 0.38]
    - query of 1 message  0.81 [0.76 0.85]   0.78 [0.73 0.83]   0.64 [0.57 0.70]   0.30 [0.18 0.46]
    - newest not again    0.56 [0.52 0.62]   0.51 [0.45 0.57]   0.47 [0.40 0.52]   0.23 [0.14 0.35]

As chosen: words and vectors each name thirty of everything and thirty of the newest 200 messages (beyond those that the
prompt holds), each stage one ranking of both, best first; with a ranking of all these by recency they are fused;
age takes its part; repeats are held back. The grid is flat around these numbers: k 5 to 20, 50 to 300 newest messages,
scales of 15 minutes to 6 hours give the same within 0.02.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

K = TypeVar("K", bound=Hashable)

RANK_CONSTANT = 20
"""The k of reciprocal rank fusion: how little the first ranks stand out from the next."""

QUERY_WEIGHTS = (1.0, 0.5, 0.25)
"""A query is mixed from so many of the last messages; the newest counts most."""

RECENT_MESSAGES = 200
"""So many of the newest messages (beyond those the prompt holds) are searched once more by themselves.

In a long history the best thirty of everything leave no room for what was said an hour ago.
"""

RECENCY_WEIGHT = 1.0
"""How much being new counts among the candidates, as a ranking beside words and meaning."""

AGE_SCALE_HOURS = 1.0
AGE_POWER = 0.5
AGE_FLOOR = 0.1
"""What age takes from a score, see `age_factor`: a day leaves a quarter, a month an eighth, ten years a tenth."""

VARIETY = 0.2
"""How much a message is held back for saying what another one said already."""

_MILLISECONDS_PER_HOUR = 3_600_000
_MAX_COMPARED_CHARACTERS = 400
_SHINGLE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """One stage's opinion: keys best first, and how much (0 or more) it counts beside the others."""

    keys: Sequence[Hashable]
    weight: float = 1.0


def fuse(rankings: Iterable[Ranking], *, constant: int = RANK_CONSTANT) -> dict[Hashable, float]:
    """Return the fused score of every key that some ranking has: the sum of weight / (constant + rank), ranks from 1.

    Reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009): it needs no common scale of scores. A key that
    stands in a ranking twice counts by its better rank. Scores are above 0 and at most the sum of weights / (k + 1).

    Raises:
        ValueError: `constant` or a weight is negative.
    """
    if constant < 0:
        raise ValueError(f"the rank constant must not be negative: {constant}")
    scores: dict[Hashable, float] = {}
    for ranking in rankings:
        if ranking.weight < 0:
            raise ValueError(f"a ranking's weight must not be negative: {ranking.weight}")
        for rank, key in enumerate(dict.fromkeys(ranking.keys), start=1):
            scores[key] = scores.get(key, 0.0) + ranking.weight / (constant + rank)
    return scores


def by_recency(created_at_ms: Mapping[K, int]) -> list[K]:
    """Return keys newest first, by their times (milliseconds since any epoch); equal times keep their order."""
    return sorted(created_at_ms, key=lambda key: created_at_ms[key], reverse=True)


def age_factor(
    age_ms: float, *, scale_hours: float = AGE_SCALE_HOURS, power: float = AGE_POWER, floor: float = AGE_FLOOR
) -> float:
    """Return what age leaves of a score, in `floor`..1: (1 + age / scale) to the minus `power`, towards the floor.

    Forgetting follows a power law, in people (Wixted and Ebbesen 1991) and in how soon a topic comes up again
    (Anderson and Schooler 1991). Unlike a half-life it fits slow servers and busy ones: tenfold age always costs about
    the same share. A message from the future (a clock that was set back) counts as new.

    Raises:
        ValueError: a scale that is not above 0, a negative power, or a floor outside 0..1.
    """
    if scale_hours <= 0 or power < 0 or not 0 <= floor <= 1:
        raise ValueError(f"no decay has a scale of {scale_hours} h, a power of {power} and a floor of {floor}")
    ages = max(age_ms, 0.0) / (scale_hours * _MILLISECONDS_PER_HOUR)
    return float(floor + (1.0 - floor) * (1.0 + ages) ** -power)


def best_first(
    stages: Iterable[Sequence[K]], created_at_ms: Mapping[K, int], *, now_ms: float
) -> list[tuple[K, float]]:
    """Return every key of `created_at_ms` with its score, best first; of equals the newer one.

    `stages` are rankings (words, vectors), best first, of keys that `created_at_ms` has (milliseconds since 1970, as
    `now_ms`). They are fused with a ranking by recency, then each score is weighed by age.

    Raises:
        KeyError: a stage names a key without a time.
    """
    newest = by_recency(created_at_ms)
    recency = Ranking(keys=newest, weight=RECENCY_WEIGHT)
    fused = fuse([*(Ranking(keys=stage) for stage in stages), recency])
    scores = {key: score * age_factor(now_ms - created_at_ms[key]) for key, score in fused.items()}  # type: ignore[index]
    return sorted(((key, scores[key]) for key in newest), key=lambda item: -item[1])


def mixed_query(messages: Sequence[str], *, count: int = len(QUERY_WEIGHTS)) -> str:
    """Return the text to search for: the last `count` messages that say something, newest first, one a line.

    The newest comes first because an embedding model cuts long texts off at the end. What is said twice is put in
    once. No messages, or empty ones, give an empty text.
    """
    said = (" ".join(text.split()) for text in reversed(messages))
    distinct = list(dict.fromkeys(text for text in said if text))
    return "\n".join(distinct[: max(count, 0)])


def mixed_vector(vectors: "Sequence[Vector]", *, weights: Sequence[float] = QUERY_WEIGHTS) -> "Vector":
    """Return the query vector (unit length) of the last messages' vectors, given oldest first; `weights` newest first.

    Adding up vectors keeps more of the newest message than embedding the joined texts, and needs no model where the
    messages are in the memory already. Vectors beyond the weights are left out.

    Raises:
        ValueError: there are no vectors, or they cancel each other out.
    """
    weighed = [vector * weight for vector, weight in zip(reversed(vectors), weights, strict=False)]
    if not weighed:
        raise ValueError("no vectors to mix")
    total = weighed[0]
    for one in weighed[1:]:
        total = total + one
    length = float(total @ total) ** 0.5
    if length == 0.0:
        raise ValueError("the vectors cancel each other out")
    mixed: Vector = (total / length).astype("float32")
    return mixed


def distinct_texts(texts: Sequence[str], *, limit: int, likeness: float = 0.7) -> list[int]:
    """Return the positions of the first `limit` texts that are not near-identical to one chosen before.

    Two texts are near-identical when their sets of character trigrams (letters and digits of the first 400 characters,
    case ignored) overlap by `likeness` (0..1) or more: Jaccard similarity of shingles, Broder 1997.
    """
    return diverse_texts([1.0] * len(texts), texts, limit=limit, likeness=likeness, variety=0.0)


def diverse_texts(
    scores: Sequence[float], texts: Sequence[str], *, limit: int, likeness: float = 0.7, variety: float = VARIETY
) -> list[int]:
    """Return up to `limit` positions, best first, of texts that say different things.

    Greedy: each time the text with the highest score x (1 - variety x its overlap with the most similar one chosen),
    the multiplicative form of maximal marginal relevance (Carbonell and Goldstein 1998), that is not near-identical
    (see `distinct_texts`) to a chosen one. `scores` (0 or more) are best first; `variety` is in 0..1, at 0 the order
    stays as it is. Looks at no more texts than it needs to.

    Raises:
        ValueError: there are not as many scores as texts.
    """
    if len(scores) != len(texts):
        raise ValueError(f"{len(scores)} scores for {len(texts)} texts")
    open_ = _Open(scores=scores, texts=texts, likeness=likeness, variety=variety)
    chosen: list[int] = []
    while len(chosen) < limit and (best := open_.take()) is not None:
        chosen.append(best)
    return chosen


class _Open:
    """The texts that are not chosen yet; overlaps are brought up to date only as far down as a choice depends on it."""

    def __init__(self, *, scores: Sequence[float], texts: Sequence[str], likeness: float, variety: float) -> None:
        self._scores = scores
        self._texts = texts
        self._likeness = likeness
        self._variety = variety
        self._left = list(range(len(texts)))
        self._shingles: dict[int, frozenset[str]] = {}
        self._overlap: dict[int, float] = {}
        self._compared: dict[int, int] = {}
        self._chosen: list[frozenset[str]] = []

    def take(self) -> int | None:
        """Choose the next one and return its position; None when nothing different is left."""
        best: int | None = None
        best_score = -1.0
        repeated: set[int] = set()
        for position in self._left:
            if self._scores[position] <= best_score:
                break
            overlap = self._overlap_of(position)
            if overlap >= self._likeness:
                repeated.add(position)
                continue
            score = self._scores[position] * (1.0 - self._variety * overlap)
            if score > best_score:
                best, best_score = position, score
        if best is not None:
            self._chosen.append(self._shingles_of(best))
        self._left = [position for position in self._left if position != best and position not in repeated]
        return best

    def _overlap_of(self, position: int) -> float:
        overlap = self._overlap.get(position, 0.0)
        for other in self._chosen[self._compared.get(position, 0) :]:
            overlap = max(overlap, _jaccard(self._shingles_of(position), other))
        self._compared[position] = len(self._chosen)
        self._overlap[position] = overlap
        return overlap

    def _shingles_of(self, position: int) -> frozenset[str]:
        if position not in self._shingles:
            self._shingles[position] = _shingles(self._texts[position])
        return self._shingles[position]


def _shingles(text: str) -> frozenset[str]:
    bare = "".join(filter(str.isalnum, text[:_MAX_COMPARED_CHARACTERS].casefold()))
    if not bare:  # symbols alone have no trigram: they are compared as they stand
        return frozenset({text[:_MAX_COMPARED_CHARACTERS]})
    return frozenset(bare[i : i + _SHINGLE] for i in range(max(1, len(bare) - _SHINGLE + 1)))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    common = len(one & other)
    return common / (len(one) + len(other) - common)
