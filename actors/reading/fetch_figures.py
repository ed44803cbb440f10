"""Counts what catching up does, for whoever asks how far it is."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from actors.messages import ChannelTrouble, FetchStatus
from actors.reading.history_reader import Target
from persona.domain.catching_up import seconds_left
from persona.domain.chat import Channel, ChannelId, GuildId
from persona.ports import StoreCounts


@dataclass(slots=True)
class FetchFigures:
    """The figures of a run over channels, from idle to idle; `requests` returns how many were sent so far."""

    clock: Callable[[], float]
    requests: Callable[[], int]
    began: float = 0.0
    ended: float | None = 0.0
    requests_before: int = 0
    messages: Counter[GuildId] = field(default_factory=Counter)
    added: Counter[GuildId] = field(default_factory=Counter)
    targets: dict[ChannelId, Target] = field(default_factory=dict)
    list_trouble: str = ""
    troubles: dict[ChannelId, ChannelTrouble] = field(default_factory=dict)

    def begin(self) -> None:
        """Start from zero, unless it is running."""
        if self.ended is None:
            return
        self.began, self.ended = self.clock(), None
        self.requests_before = self.requests()
        self.messages.clear()
        self.added.clear()
        self.list_trouble = ""
        self.targets.clear()
        self.troubles.clear()

    def end(self) -> None:
        """Nothing is being read any more."""
        self.ended = self.clock()

    def page(self, channel: Channel, messages: int, counts: StoreCounts) -> None:
        """Count a page that is stored."""
        self.messages[channel.guild_id] += messages
        self.added[channel.guild_id] += counts.added

    def trouble(self, channel: Channel | None, error: object) -> None:
        """Note what is wrong with a channel (None: with all of them)."""
        if channel is None:
            self.list_trouble = f"the list of channels: {error}"
        else:
            self.troubles[channel.id] = ChannelTrouble(channel=channel, problem=str(error))

    def status(self, guild_id: GuildId | None = None) -> FetchStatus:
        """Return how far it is, with the channels of one server alone where one is given."""
        running = self.ended is None
        seconds = (self.clock() if self.ended is None else self.ended) - self.began
        targets = [each for each in self.targets.values() if guild_id in {None, each.channel.guild_id}]
        troubles = [each for each in self.troubles.values() if guild_id in {None, each.channel.guild_id}]
        messages, added = (
            counts.total() if guild_id is None else counts[guild_id] for counts in (self.messages, self.added)
        )
        rate = messages / seconds if seconds > 0 else 0.0
        readings = [reading for target in targets if (reading := target.reading())]
        waiting = sum(target.plan.fresh is not None and target.started is None for target in targets)
        return FetchStatus(
            running=running,
            channels_done=sum(target.done for target in targets),
            channels_total=len(targets),
            messages=messages,
            added=added,
            requests=self.requests() - self.requests_before,
            messages_per_second=rate,
            seconds_left=seconds_left(readings, waiting=waiting, messages_per_second=rate) if running else None,
            troubles=tuple(self._named(troubles)),
            channel_troubles=tuple(troubles),
        )

    def _named(self, troubles: Iterable[ChannelTrouble]) -> Iterator[str]:
        if self.list_trouble:
            yield self.list_trouble
        for trouble in troubles:
            yield f"#{trouble.channel.name}: {trouble.problem}"
