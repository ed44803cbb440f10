"""What the responder works with: its settings, a channel's lane, a stopwatch for the stages of a reply."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from persona.domain.chat import Message
from persona.domain.delivery import DeliveryLimits
from persona.domain.speaking import ChannelState, Decision, SpeakingRules
from persona.ports import Arrival, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplySettings:
    """How replies are made; see [reply], [memory] and [sampling] in config.toml."""

    rules: SpeakingRules
    limits: DeliveryLimits
    sampling: Sampling
    window_messages: int = 30
    deadline_seconds: float = 120.0
    memory_limit: int = 4
    memory_timeout_seconds: float = 1.5


@dataclass(slots=True, kw_only=True)
class Lane:
    """One channel: its recent talk, what `speaking` needs to know of it, and the replies that wait their turn."""

    state: ChannelState
    talk: deque[Message]
    waiting: deque[tuple[Arrival, Decision]] = field(default_factory=deque)
    busy: bool = False


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


def up_to(talk: Iterable[Message], last: Message) -> tuple[Message, ...]:
    """Return the talk up to and including a message: what came later is answered later."""
    messages = list(talk)
    index = next((i for i, m in enumerate(messages) if m.id == last.id), len(messages) - 1)
    return tuple(messages[: index + 1])


def reseeded(sampling: Sampling, attempt: int) -> Sampling:
    """Give a second attempt another fixed seed: the same one would write the same again."""
    if sampling.seed is None or not attempt:
        return sampling
    return replace(sampling, seed=sampling.seed + attempt)
