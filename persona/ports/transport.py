"""The transport: where the talk happens, and everything that can happen there."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from persona.domain.chat import AuthorId, Channel, ChannelId, Edit, Message, MessageId, Recollection
from persona.domain.commands import Answer, Invocation
from persona.domain.delivery import Delivery
from persona.domain.speaking import Decision
from persona.ports.model import Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A message as a transport hands it over; `addressed` when it mentions or answers the persona (`self_id`).

    `live` is False for one that was found in the history after an outage.
    """

    message: Message
    channel: Channel
    self_id: AuthorId
    addressed: bool = False
    live: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """A message has new text."""

    edit: Edit


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Messages were deleted on the other side, one or many at once."""

    channel_id: ChannelId
    message_ids: tuple[MessageId, ...]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reacted:
    """One person added (`change` 1) or took back (-1) a reaction; `emoji` as in `Reaction`."""

    channel_id: ChannelId
    message_id: MessageId
    emoji: str
    change: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionsCleared:
    """All reactions to a message were removed, or all with one emoji."""

    channel_id: ChannelId
    message_id: MessageId
    emoji: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSeen:
    """A channel or thread was made, renamed, moved, opened, or came into sight."""

    channel: Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGone:
    """A channel or thread was deleted or is out of sight."""

    channel_id: ChannelId


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp:
    """The connection stands; after `resumed` nothing was missed, otherwise anything may have been."""

    resumed: bool
    self_id: AuthorId


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDown:
    """The connection is lost; the transport is trying again by itself."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandInvoked:
    """Somebody used a command; the answer goes to `Transport.answer`."""

    invocation: Invocation


TransportEvent = (
    Arrival
    | Edited
    | Removed
    | Reacted
    | ReactionsCleared
    | ChannelSeen
    | ChannelGone
    | LinkUp
    | LinkDown
    | CommandInvoked
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an arrival: the decision, what was sent, what memory gave, and where the time went."""

    arrival: Arrival
    decision: Decision
    result: str
    texts: tuple[str, ...] = ()
    recollections: Sequence[Recollection] = ()
    finished: Finished | None = None
    retries: int = 0
    stage_ms: Mapping[str, float] = field(default_factory=dict)


class Transport(Protocol):
    """Where the talk happens: Discord, or the terminal."""

    def listen(self) -> AsyncIterator[TransportEvent]:
        """Yield what happens, in the order in which it was heard; ends when there will be no more.

        Raises:
            ConfigError: the other side refuses this account; no restart can help.
            TransportError: listening failed; it may be tried again with a new call.
        """
        ...

    def fitted(self, arrival: Arrival, delivery: Delivery) -> Delivery:
        """Return an answer cut so that each of its messages takes `send` one step, as text that people read."""
        ...

    def send(
        self, arrival: Arrival, delivery: Delivery, *, first: int = 0, objection: Callable[[], str] = lambda: ""
    ) -> AsyncIterator[MessageId]:
        """Deliver an answer with its typing pauses, from message number `first` on; yield each id once it is out.

        `objection` is asked while it types and right before each message goes out; as soon as it gives a reason, the
        rest is not sent and the iteration ends. Sending the same message of the same answer twice (after a crash in
        between) shows it once, for some minutes at least.

        Raises:
            DeliveryError: it cannot be delivered: the message is gone, the right to write is missing.
        """
        ...

    async def answer(self, invocation: Invocation, answer: Answer) -> None:
        """Answer a command; again for the same invocation replaces the text shown (progress).

        Raises:
            DeliveryError: it cannot be delivered.
        """
        ...

    async def report(self, outcome: Outcome) -> None:
        """Learn what became of an arrival."""
        ...

    async def close(self) -> None:
        """Stop listening; what is being sent is finished."""
        ...
