"""What a reply is made with: the settings, a stopwatch for its stages, the ways in which it can end early."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from persona.domain.delivery import DeliveryLimits
from persona.domain.speaking import SpeakingRules
from persona.ports import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplySettings:
    """How replies are made; see [reply], [memory] and [sampling] in config.toml.

    `slots` replies are written at the same time. `delivery_seconds` is how long one message may take to get out: slow
    mode, rate limits and a lost connection included. The transport should give up first, and say why.
    """

    rules: SpeakingRules
    limits: DeliveryLimits
    sampling: Sampling
    window_messages: int = 30
    deadline_seconds: float = 120.0
    memory_limit: int = 4
    memory_timeout_seconds: float = 1.5
    slots: int = 2
    delivery_seconds: float = 180.0


@dataclass(slots=True)
class Stages:
    """A stopwatch that names what it timed, in milliseconds."""

    clock: Callable[[], float] = time.perf_counter
    ms: dict[str, float] = field(default_factory=dict)
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        self._last = self.clock()

    def mark(self, stage: str) -> None:
        """Book the time since the last mark under a stage (added up when it comes again)."""
        now = self.clock()
        self.ms[stage] = round(self.ms.get(stage, 0.0) + (now - self._last) * 1000, 2)
        self._last = now


class ReplyFailedError(Exception):
    """A reply came to nothing; the text says why, in words for `/why`."""


class ReplyInterruptedError(Exception):
    """The process is ending under a reply; what the journal holds of it is taken up at the next start."""


def reseeded(sampling: Sampling, attempt: int) -> Sampling:
    """Give a second attempt another fixed seed: the same one would write the same again."""
    if sampling.seed is None or not attempt:
        return sampling
    return replace(sampling, seed=sampling.seed + attempt)
