"""The journal of replies: what was decided and drafted but is not out yet survives a crash."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from persona.domain.chat import ChannelId, MessageId
from persona.domain.speaking import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingReply:
    """A reply on its way: `texts` are drafted once they are not empty, the first `sent` of them are out."""

    message_id: MessageId
    channel_id: ChannelId
    decided_at: datetime
    decision: Decision
    addressed: bool = False
    texts: tuple[str, ...] = ()
    sent: int = 0


class ReplyJournal(Protocol):
    """An inbox and outbox in one: a row for each message that is to be answered, until its answer is out."""

    async def begin(self, reply: PendingReply) -> bool:
        """Take on a message; False when it was taken on, or dealt with, before."""
        ...

    async def seen(self, message_id: MessageId) -> bool:
        """Return whether a message was taken on or decided on before."""
        ...

    async def drafted(self, message_id: MessageId, texts: Sequence[str]) -> None:
        """Keep what is going to be sent."""
        ...

    async def part_sent(self, message_id: MessageId, number: int, sent_id: MessageId) -> None:
        """Note that message `number` (from 0) of the answer is out."""
        ...

    async def finish(self, message_id: MessageId) -> None:
        """Let go of a reply: it is out, or was given up. Its text is removed."""
        ...

    async def pending(self) -> Sequence[PendingReply]:
        """Return what is unfinished, oldest first."""
        ...
