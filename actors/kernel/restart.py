"""Decides about restarts: whether, who else, how often, how soon. Pure: no loop, no clock, no randomness of its own.

The rules are those of Erlang/OTP's `supervisor`; the delay between restarts is "full jitter" exponential backoff
(M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum


class Restart(StrEnum):
    """Whether a child that ended is started again."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """After a crash."""
    TEMPORARY = "temporary"
    """Never."""


class Strategy(StrEnum):
    """Who is restarted together with a child that ended."""

    ONE_FOR_ONE = "one_for_one"
    """Nobody else."""
    ONE_FOR_ALL = "one_for_all"
    """All its siblings."""
    REST_FOR_ONE = "rest_for_one"
    """The siblings that were started after it."""


def wants_restart(restart: Restart, *, crashed: bool) -> bool:
    """Whether a child that ended by itself is started again."""
    return restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and crashed)


def affected(strategy: Strategy, *, index: int, count: int) -> range:
    """Return the positions (in start order) of the children to restart when the one at `index` of `count` ended."""
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return range(index, index + 1)
        case Strategy.ONE_FOR_ALL:
            return range(count)
        case Strategy.REST_FOR_ONE:
            return range(index, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartWindow:
    """The restarts of the last `period` seconds, of which `intensity` are allowed."""

    intensity: int
    period: float
    times: tuple[float, ...] = ()

    def admit(self, now: float) -> "RestartWindow | None":
        """Return the window with one more restart in it, or None when that would be one too many."""
        recent = self.recent(now)
        if len(recent) >= self.intensity:
            return None
        return replace(self, times=(*recent, now))

    def recent(self, now: float) -> tuple[float, ...]:
        """Return the times of the restarts that still count."""
        return tuple(time for time in self.times if now - time < self.period)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before a restart: not at all the first time, then up to `base`, twice that, ... up to `cap` s.

    A child that was well for `stable_after` seconds starts over.
    """

    base: float = 0.5
    cap: float = 60.0
    stable_after: float = 60.0

    def __post_init__(self) -> None:
        if not (0 <= self.base < math.inf and 0 <= self.cap < math.inf and self.stable_after >= 0):
            raise ValueError(f"a backoff counts seconds, at least 0 and finite: {self}")

    def next_delay(self, streak: int, chance: float) -> float:
        """Return the seconds to wait after `streak` earlier restarts in a row; `chance` is uniform in [0, 1)."""
        if streak == 0:
            return 0.0
        doublings = min(streak - 1, 64)  # far beyond any cap, and no float overflows
        return chance * min(self.cap, self.base * 2.0**doublings)

    def streak_after(self, streak: int, well_for: float) -> int:
        """Return how many restarts in a row count for a child that was well for so many seconds before it ended."""
        return 0 if well_for >= self.stable_after else streak
