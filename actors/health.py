"""Judges what the heartbeat sees: is the process well, may the watchdog be fed, and how is that said in one line?"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """Where the process stands in its life."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"


@dataclass(slots=True, kw_only=True)
class Lifecycle:
    """What must outlive a crash of the heartbeat: a new incarnation is not told again that the tree is ready."""

    phase: Phase = Phase.STARTING
    announced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """What a ping brought: the actor's own words, or since how many seconds it has been silent or why it is gone."""

    answer: str = ""
    silent_seconds: float | None = None
    lost: str = ""

    def __str__(self) -> str:
        if self.silent_seconds is not None:
            return f"silent for {self.silent_seconds:.0f} s"
        return self.lost or self.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is still healthy: seconds without progress of the language model, and milliseconds of loop lag."""

    stall_seconds: float = 120.0
    lag_ms: float = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One look at the process; `stalled_seconds` is 0 while the language model is idle or progressing."""

    phase: Phase
    stalled_seconds: float
    lag_ms: float = 0.0
    pongs: Mapping[str, Pong] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from an observation; `problems` name who is unwell and how."""

    feed_watchdog: bool
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def judge(seen: Observation, limits: Limits) -> Verdict:
    """Judge an observation.

    The watchdog is fed unless the language model hangs: only a new process cures a hung native call, while a silent
    actor or a slow loop is reported and left to the supervisors.
    """
    problems: dict[str, str] = {}
    stalled = seen.stalled_seconds > limits.stall_seconds
    if stalled:
        problems["inference"] = f"no progress for {seen.stalled_seconds:.0f} s"
    if seen.lag_ms > limits.lag_ms:
        problems["loop"] = f"lags by {seen.lag_ms:.0f} ms"
    if seen.phase is Phase.RUNNING:
        for name, pong in seen.pongs.items():
            if pong.lost or pong.silent_seconds is not None:
                problems.setdefault(name, str(pong))
    return Verdict(feed_watchdog=not stalled, problems=problems)


def status_line(phase: Phase, verdict: Verdict, activity: str) -> str:
    """Put the state into one line for people, as `systemctl status` shows it."""
    trouble = ", ".join(f"{name} {problem}" for name, problem in verdict.problems.items())
    match phase:
        case Phase.STARTING:
            head = "starting: the model loads"
        case Phase.DRAINING:
            head = "stopping: running replies are finished"
        case Phase.RUNNING:
            head = f"in trouble: {trouble}" if trouble else "answering"
    return f"{head}; {activity}" if activity and phase is Phase.RUNNING else head


class LagMeter:
    """Remembers by how much the loop overslept within the last `window` seconds."""

    def __init__(self, window: float = 60.0) -> None:
        self._window = window
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, now: float, lag: float) -> None:
        """Note that a sleep ended `lag` seconds too late, at `now` on any clock that does not go back."""
        self._samples.append((now, max(lag, 0.0)))
        while self._samples[0][0] <= now - self._window:
            self._samples.popleft()

    def p99_ms(self) -> float:
        """Return the lag in milliseconds that 99 of 100 sleeps kept below (nearest rank); 0 without samples."""
        lags = sorted(lag for _, lag in self._samples)
        return lags[math.ceil(0.99 * len(lags)) - 1] * 1000 if lags else 0.0

    def worst_ms(self) -> float:
        """Return the longest lag in milliseconds; 0 without samples."""
        return max((lag for _, lag in self._samples), default=0.0) * 1000
