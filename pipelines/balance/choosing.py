"""Which of a person's examples are taken: without replacement, by chance, with a little more for what people liked.

Weighted sampling after Efraimidis and Spirakis (2006, "Weighted random sampling with a reservoir"): every example
draws u ** (1 / weight) with u uniform in 0..1, and the largest win. Here u is a hash of seed and example id, so the
choice depends neither on the order of the examples nor on how often the program was interrupted.
"""

import math
from array import array
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

from persona.domain.chat import AuthorId
from pipelines.balance.quotas import Quotas

_Part = TypeVar("_Part", bound=Hashable)

MOST_BOOST = 1.5

_BOOST_A_REACTION = 0.05
_EVERYTHING = math.inf
_NOTHING = -math.inf
_BITS = 53


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What choosing needs to know of an example; `example_id` is unique."""

    example_id: str
    author_id: AuthorId
    reactions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The outcome: for each author the value up to which their examples are taken."""

    limits: Mapping[AuthorId, float]
    seed: int

    def takes(self, candidate: Candidate) -> bool:
        """Return whether an example that was seen while choosing is taken."""
        limit = self.limits.get(candidate.author_id, _NOTHING)
        return limit == _EVERYTHING or (limit != _NOTHING and _draw(candidate, self.seed) <= limit)


def boost(reactions: int) -> float:
    """Return the weight of an example with so many reactions: 1 + 0.05 n, at most 1.5 (reached at ten)."""
    return min(1.0 + _BOOST_A_REACTION * max(reactions, 0), MOST_BOOST)


def choose(candidates: Iterable[Candidate], quotas: Quotas, seed: int) -> Choice:
    """Choose of one part, as `choose_parts` does.

    Raises:
        ValueError: two examples of an author have the same id.
    """
    return choose_parts(((0, candidate) for candidate in candidates), {0: quotas}, seed)[0]


def choose_parts(
    candidates: Iterable[tuple[_Part, Candidate]], quotas: Mapping[_Part, Quotas], seed: int
) -> dict[_Part, Choice]:
    """Read the candidates once and return for each part which of them to take.

    That is exactly the quota of each author, or all they have. Needs 8 bytes of memory an example of those authors who
    have more than their quota. Walk through the same candidates again, in any order, and ask `takes`.

    Raises:
        ValueError: two examples of an author have the same id.
    """
    drawn: dict[_Part, dict[AuthorId, array[float]]] = {part: {} for part in quotas}
    for part, candidate in candidates:
        if quotas[part].counts.get(candidate.author_id, 0):
            drawn[part].setdefault(candidate.author_id, array("d")).append(_draw(candidate, seed))
    return {
        part: Choice(
            limits={author: _limit(author, values, quotas[part].counts[author]) for author, values in found.items()},
            seed=seed,
        )
        for part, found in drawn.items()
    }


def _limit(author: AuthorId, values: "array[float]", quota: int) -> float:
    if len(values) <= quota:
        return _EVERYTHING
    import numpy as np  # noqa: PLC0415 - sorts in place of a list of a million boxed floats, only needed here

    ordered = np.partition(np.frombuffer(values, dtype=np.float64), (quota - 1, quota))
    last, next_one = float(ordered[quota - 1]), float(ordered[quota])
    if last == next_one:
        raise ValueError(f"two examples of author {author} have the same id; ids must be unique")
    return last


def _draw(candidate: Candidate, seed: int) -> float:
    """Return -ln(u) / weight: it falls as u ** (1 / weight) grows, without losing digits near 1."""
    digest = blake2b(f"{seed}:{candidate.example_id}".encode(), digest_size=8).digest()
    uniform = ((int.from_bytes(digest, "big") >> (64 - _BITS)) + 0.5) / (1 << _BITS)
    return -math.log(uniform) / boost(candidate.reactions)
