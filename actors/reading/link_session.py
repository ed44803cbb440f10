"""What the ingest actor knows of the running session: which channels have no gap, and what is heard meanwhile."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from persona.domain.chat import ChannelId, MessageId


@dataclass(slots=True)
class Flight:
    """A page that was asked for and is not stored yet: what was heard in its channel since then.

    `mark` is the number of gaps in the channel when it was asked for.
    """

    mark: int
    heard: set[MessageId] = field(default_factory=set)
    reacted: set[MessageId] = field(default_factory=set)


class LinkSession:
    """A channel is in step when its history was read to the end after the session began, and no event was lost since.

    Only then everything up to the newest live message is stored, and the watermark may move with it.
    """

    def __init__(self) -> None:
        self._linked = True
        self._sessions = 0
        self._in_step: set[ChannelId] = set()
        self._gaps: Counter[ChannelId] = Counter()
        self._flights: dict[ChannelId, Flight] = {}

    def link_down(self) -> None:
        """Nothing is certain until the connection stands again."""
        self._linked = False

    def link_up(self, *, resumed: bool) -> None:
        """Go on where it was after a resumption; otherwise every channel has to catch up again."""
        self._linked = True
        if not resumed:
            self._sessions += 1
            self._in_step.clear()

    def missed(self, channel_ids: Iterable[ChannelId]) -> None:
        """Events of these channels were lost."""
        for channel_id in channel_ids:
            self._gaps[channel_id] += 1
            self._in_step.discard(channel_id)

    def mark(self, channel_id: ChannelId) -> int:
        """Return how many gaps a channel has had, for `caught_up`; a new session is one in every channel."""
        return self._sessions + self._gaps[channel_id]

    def caught_up(self, channel_id: ChannelId, mark: int) -> None:
        """Count a channel as in step, unless there was a new gap since `mark`."""
        if self.mark(channel_id) == mark:
            self._in_step.add(channel_id)

    def may_advance(self, channel_id: ChannelId) -> bool:
        """Return whether a channel's watermark may move with live messages."""
        return self._linked and channel_id in self._in_step

    def take_off(self, channel_id: ChannelId) -> Flight:
        """Note that a page of a channel is about to be asked for."""
        flight = self._flights[channel_id] = Flight(mark=self.mark(channel_id))
        return flight

    def land(self, channel_id: ChannelId) -> None:
        """The page is stored, or given up."""
        self._flights.pop(channel_id, None)

    def heard(self, channel_id: ChannelId, message_id: MessageId) -> None:
        """A message came in."""
        if flight := self._flights.get(channel_id):
            flight.heard.add(message_id)

    def reacted(self, channel_id: ChannelId, message_id: MessageId) -> None:
        """A reaction came in or went away."""
        if flight := self._flights.get(channel_id):
            flight.reacted.add(message_id)
