"""How many examples of each person are taken, so that nobody's voice drowns the others.

All arithmetic is exact (integers and fractions): the cap holds for the counts that come out, not nearly, but always.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from persona.domain.chat import AuthorId

DEFAULT_CAP = 0.12

_SMALL = Fraction(5, 100)
"""Up to this share of everything, a person's weight is their share."""

_LARGE = Fraction(20, 100)
"""Up to this share the weight lies halfway between the share and `_SMALL`; above it is the cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """How many examples each author gives (0 is possible), and the share that none of them exceeds.

    `reason` says why `effective_cap` is above the cap that was asked for; empty when it is not.
    """

    counts: Mapping[AuthorId, int]
    effective_cap: float
    reason: str = ""

    @property
    def total(self) -> int:
        """How many examples are taken in all."""
        return sum(self.counts.values())


def balance(available: Mapping[AuthorId, int], cap: float = DEFAULT_CAP, *, most: int | None = None) -> Quotas:
    """Return how many of the available examples of each author to take; `cap` is a share in 0..1, 0 excluded.

    As many examples are kept as the cap allows, or, of those, up to `most`. They are shared out by weight: with s an
    author's share of what is available, s up to 5 %, (s + 5 %) / 2 up to 20 %, and the cap above (so somebody with 21 %
    can weigh a little less than somebody with 19 %). What an author cannot give, because there is no more or the cap is
    reached, goes to the others by weight (water-filling); fractions go to the largest remainders (Hamilton's method).
    Without `most` the weights decide nothing: to keep as many as can be, everyone gives all they have or all they may.

    The cap is relaxed to the smallest one that keeps at least half of the examples where it would keep fewer (before
    `most`); that is always so when there are too few authors for it. A `most` below 1 / cap leaves nothing: whoever
    gave one example would have more than the cap. The result does not depend on the order of `available`.

    Raises:
        ValueError: the cap is outside its range, or a number is negative.
    """
    if not 0 < cap <= 1:
        raise ValueError(f"a cap is a share above 0 and up to 1, not {cap}")
    if any(count < 0 for count in available.values()) or (most is not None and most < 0):
        raise ValueError("there are never fewer than 0 examples")
    given = {author: count for author, count in sorted(available.items()) if count}
    if not given:
        return Quotas(counts=dict.fromkeys(sorted(available), 0), effective_cap=cap)
    supply = _Supply(list(given.values()))
    asked = Fraction(str(cap))
    effective, reason = _feasible_cap(supply, asked)
    total = supply.most(effective, supply.total if most is None else most)
    shares = _fill(list(given.values()), _weights(list(given.values()), asked), math.floor(effective * total), total)
    counts = dict(zip(given, shares, strict=True))
    return Quotas(
        counts={author: counts.get(author, 0) for author in sorted(available)},
        effective_cap=cap if effective == asked else float(effective),
        reason=reason,
    )


class _Supply:
    """What is available, sorted, with running sums: how much there is when nobody gives more than so much."""

    def __init__(self, counts: Sequence[int]) -> None:
        self._sorted = sorted(counts)
        self._sums = [0, *accumulate(self._sorted)]
        self.authors = len(counts)
        self.total = self._sums[-1]
        self.largest = self._sorted[-1]

    def up_to(self, limit: int) -> int:
        """Return how many examples there are when nobody gives more than `limit`."""
        whole = bisect_right(self._sorted, limit)
        return self._sums[whole] + (self.authors - whole) * limit

    def least_limit(self, wanted: int) -> int:
        """Return the smallest limit with which there are `wanted` examples (at most all of them)."""
        return bisect_left(range(self.largest + 1), wanted, key=self.up_to)

    def most(self, cap: Fraction, bound: int) -> int:
        """Return the largest total T up to `bound` with sum(min(available, floor(cap * T))) >= T; 0 if there is none.

        Without the rounding down such T form an interval from 0 (the sum is concave in T): its end is searched by
        halving. Let L be the cap times that end, rounded down, and S the sum with nobody above L. L / cap lies in the
        interval, so S >= L / cap: L is within the cap of S, and S is such a T. No larger one is: it would need more
        than S, and nobody may give more than L.
        """
        low, high = 0, min(self.total, bound)
        while low < high:
            middle = (low + high + 1) // 2
            if self._holds(cap, middle):
                low = middle
            else:
                high = middle - 1
        return min(low, self.up_to(math.floor(cap * low)))

    def _holds(self, cap: Fraction, total: int) -> bool:
        """Return whether sum(min(available, cap * total)) >= total, without rounding."""
        limit = cap * total
        whole = bisect_right(self._sorted, limit)
        return self._sums[whole] + (self.authors - whole) * limit >= total


def _feasible_cap(supply: _Supply, asked: Fraction) -> tuple[Fraction, str]:
    """Return the cap that is used, and why it is another than the one asked for.

    With at most m examples of anybody there are S(m) in all, and the largest share is m / S(m). S is concave and S(0)
    is 0, so that share never falls as m grows: the smallest m that keeps half gives the smallest cap that does.
    """
    half = (supply.total + 1) // 2
    kept = supply.most(asked, supply.total)
    if kept >= half:
        return asked, ""
    limit = supply.least_limit(half)
    effective = Fraction(limit, supply.up_to(limit))
    share = f"{float(asked):.4g}"
    if supply.authors * asked < 1:
        many = f"{supply.authors} author{'s' * (supply.authors > 1)}"
        why = f"with {many} somebody always has more than {share} of it all"
    else:
        why = f"a cap of {share} would keep only {kept:,} of {supply.total:,} examples"
    return effective, f"{why}; {float(effective):.4g} is the smallest cap that keeps at least half"


def _weights(counts: Sequence[int], cap: Fraction) -> list[int]:
    """Return the formula's weights, all multiplied by the same number that makes them whole."""
    total = sum(counts)
    weights = []
    for count in counts:
        share = Fraction(count, total)
        if share <= _SMALL:
            weights.append(share)
        elif share <= _LARGE:
            weights.append((share + _SMALL) / 2)
        else:
            weights.append(cap)
    scale = 40 * total * cap.denominator
    return [int(weight * scale) for weight in weights]


def _fill(available: Sequence[int], weights: Sequence[int], limit: int, total: int) -> list[int]:
    """Share `total` out by weight; nobody gets more than is available or than `limit`, and the sum is exact."""
    most = [min(count, limit) for count in available]
    shares = [0] * len(most)
    open_places = list(range(len(most)))
    rest = total
    while open_places:
        weight = sum(weights[place] for place in open_places)
        full = [place for place in open_places if rest * weights[place] >= most[place] * weight]
        if not full:
            break
        for place in full:
            shares[place] = most[place]
            rest -= most[place]
        closed = set(full)
        open_places = [place for place in open_places if place not in closed]
    if open_places:
        weight = sum(weights[place] for place in open_places)
        remainders = []
        for place in open_places:
            shares[place], remainder = divmod(rest * weights[place], weight)
            remainders.append((-remainder, -available[place], place))
        missing = rest - sum(shares[place] for place in open_places)
        # Whoever has a remainder is below their limit, and there are more of them than examples are missing.
        for _, _, place in sorted(remainders)[:missing]:
            shares[place] += 1
    return shares
