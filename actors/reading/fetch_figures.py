"""Counts what catching up does, for whoever asks how far it is."""

from collections.abc import Callable
from dataclasses import dataclass, field

from actors.messages import FetchStatus
from actors.reading.history_reader import Target
from persona.domain.catching_up import seconds_left
from persona.domain.chat import Channel, ChannelId
from persona.ports import StoreCounts


@dataclass(slots=True)
class FetchFigures:
    """The figures of a run over channels, from idle to idle; `requests` returns how many were sent so far."""

    clock: Callable[[], float]
    requests: Callable[[], int]
    began: float = 0.0
    ended: float | None = 0.0
    requests_before: int = 0
    messages: int = 0
    added: int = 0
    targets: dict[ChannelId, Target] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Start from zero, unless it is running."""
        if self.ended is None:
            return
        self.began, self.ended = self.clock(), None
        self.requests_before = self.requests()
        self.messages = self.added = 0
        self.targets.clear()
        self.troubles.clear()

    def end(self) -> None:
        """Nothing is being read any more."""
        self.ended = self.clock()

    def page(self, messages: int, counts: StoreCounts) -> None:
        """Count a page that is stored."""
        self.messages += messages
        self.added += counts.added

    def trouble(self, channel: Channel | None, error: object) -> None:
        """Note what is wrong with a channel (None: with all of them)."""
        name = "the list of channels" if channel is None else f"#{channel.name}"
        self.troubles[name] = f"{name}: {error}"

    def status(self) -> FetchStatus:
        """Return how far it is."""
        running = self.ended is None
        seconds = (self.clock() if self.ended is None else self.ended) - self.began
        rate = self.messages / seconds if seconds > 0 else 0.0
        targets = self.targets.values()
        readings = [reading for target in targets if (reading := target.reading())]
        waiting = sum(target.plan.fresh is not None and target.started is None for target in targets)
        return FetchStatus(
            running=running,
            channels_done=sum(target.done for target in targets),
            channels_total=len(self.targets),
            messages=self.messages,
            added=self.added,
            requests=self.requests() - self.requests_before,
            messages_per_second=rate,
            seconds_left=seconds_left(readings, waiting=waiting, messages_per_second=rate) if running else None,
            troubles=tuple(self.troubles.values()),
        )
