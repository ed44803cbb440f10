"""Paces requests so that the far end never sees more of them in a second than agreed, and sees them evenly spread."""

import heapq
import math
from collections import deque

_WINDOW_SECONDS = 1.0
_ROUND_TRIPS_KEPT = 256
_ENOUGH_ROUND_TRIPS = 20
_MARGIN = 0.25
"""Of how much the way there and back varies."""


class Pacer:
    """Says when the next request may start; the caller gives the time (seconds, monotonic) and reports every end.

    Requests start evenly, `1 / rate` seconds apart, and no second holds more than `rate` of them at the far end. When
    exactly a request gets there is unknown: it may be held up on the way, by the network or by a rate limit of its
    own. What is known: it was there before its answer came back. With `out` and `back` the shortest times to get
    there and back, a request that was answered at `t` had arrived by `t - back`, and one that starts at `s` arrives
    no sooner than `s + out`. So a place is free again at `t + 1 - (out + back)`, and `out + back` is the shortest
    round trip seen lately. A request without an answer keeps its place.
    """

    def __init__(self, rate: float) -> None:
        """Make a pacer for `rate` requests per second (more than 0).

        Raises:
            ValueError: the rate is not a positive number.
        """
        if not (rate > 0 and math.isfinite(rate)):
            raise ValueError(f"a rate is a number above 0, not {rate}")
        self._interval = 1 / rate
        self._capacity = max(1, math.floor(rate))
        self._window = max(_WINDOW_SECONDS, self._interval)
        self._next = -math.inf
        self._running = 0
        self._free_at: list[float] = []
        self._round_trips: deque[float] = deque(maxlen=_ROUND_TRIPS_KEPT)

    @property
    def running(self) -> int:
        """How many requests have started and not ended."""
        return self._running

    def earliest(self, now: float) -> float:
        """Return when the next request may start: `now` or later, infinity when one that runs has to end first."""
        while self._free_at and self._free_at[0] <= now:
            heapq.heappop(self._free_at)
        if self._running + len(self._free_at) < self._capacity:
            return max(now, self._next)
        return max(self._free_at[0], self._next) if self._free_at else math.inf

    def start(self, now: float) -> None:
        """Count a request that starts now; the caller has asked `earliest` before."""
        # Whoever woke up a little late may be a little early the next time: timers are not exact.
        self._next = max(self._next + self._interval, now + self._interval / 2)
        self._running += 1

    def finish(self, started: float, now: float, *, answered: bool = True) -> None:
        """Count the end of a request that started at `started`; `answered` is False where no real answer came."""
        self._running -= 1
        if answered:
            self._round_trips.append(now - started)
        heapq.heappush(self._free_at, now + self._window - min(self._shortest_way(), now - started))

    def _shortest_way(self) -> float:
        """Return the shortest time there and back, a little less than was seen: both halves may be shorter yet."""
        if len(self._round_trips) < _ENOUGH_ROUND_TRIPS:
            return 0.0
        quickest, mean = min(self._round_trips), sum(self._round_trips) / len(self._round_trips)
        return max(0.0, quickest - _MARGIN * (mean - quickest))
