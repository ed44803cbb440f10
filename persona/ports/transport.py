"""The transport: where the talk happens."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from persona.domain.chat import AuthorId, Channel, Message, MessageId, Recollection
from persona.domain.delivery import Delivery
from persona.domain.speaking import Decision
from persona.ports.model import Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A message as a transport hands it over; `addressed` when it mentions or answers the persona (`self_id`)."""

    message: Message
    channel: Channel
    self_id: AuthorId
    addressed: bool = False


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

    def listen(self) -> AsyncIterator[Arrival]:
        """Yield messages as they come; ends when there will be no more (the terminal's end of input)."""
        ...

    async def send(self, arrival: Arrival, delivery: Delivery) -> tuple[MessageId, ...]:
        """Deliver an answer, with its typing pauses; return the ids its messages got."""
        ...

    async def report(self, outcome: Outcome) -> None:
        """Learn what became of an arrival."""
        ...

    async def close(self) -> None:
        """Stop listening; what is being sent is finished."""
        ...
