"""How long a silence ends a conversation: learned from each channel."""

import math
from collections import Counter
from collections.abc import Iterable

SHORTEST_GAP_SECONDS = 5 * 60
LONGEST_GAP_SECONDS = 4 * 3600
USUAL_GAP_SECONDS = 30 * 60
"""Where a channel is too young to learn from."""

_ENOUGH = 200
_BINS_AN_OCTAVE = 4
_OCTAVE_SECONDS = 1.0


class GapLearner:
    """Counts the silences of one channel on a logarithmic scale; needs no memory to speak of."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._last: int | None = None

    def add(self, micros: int) -> None:
        """Take the time of the next message (microseconds); one that is not later than the last is no silence."""
        last, self._last = self._last, micros
        if last is None:
            return
        seconds = max((micros - last) / 1e6, _OCTAVE_SECONDS)
        self._bins[int(math.log2(seconds) * _BINS_AN_OCTAVE)] += 1

    def extend(self, times: Iterable[int]) -> "GapLearner":
        """Take many times, in order."""
        for micros in times:
            self.add(micros)
        return self

    def gap_seconds(self) -> float:
        """Return the silence that separates conversations, between the shortest and the longest that are allowed.

        Silences within a conversation and between conversations are two heaps on a logarithmic scale (Halfaker et al.
        2015, "User session identification based on strong regularities in inter-activity time"). The threshold between
        them is the one that leaves the least variance within the heaps (Otsu 1979).
        """
        if sum(self._bins.values()) < _ENOUGH:
            return float(USUAL_GAP_SECONDS)
        threshold = _otsu(self._bins)
        if threshold is None:
            return float(USUAL_GAP_SECONDS)
        seconds = 2.0 ** ((threshold + 1) / _BINS_AN_OCTAVE)
        return float(min(max(seconds, SHORTEST_GAP_SECONDS), LONGEST_GAP_SECONDS))


def _otsu(bins: Counter[int]) -> int | None:
    """Return the last bin of the lower heap; None when everything lies in one bin."""
    places = sorted(bins)
    total = sum(bins.values())
    whole = sum(place * bins[place] for place in places)
    below = below_sum = 0
    best, best_place = 0.0, None
    for place in places[:-1]:
        below += bins[place]
        below_sum += place * bins[place]
        above = total - below
        difference = below_sum / below - (whole - below_sum) / above
        between = below * above * difference * difference
        if between > best:
            best, best_place = between, place
    return best_place
