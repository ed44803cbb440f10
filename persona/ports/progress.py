"""How far each channel's history is stored without a gap."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from persona.domain.chat import Channel, ChannelId, Message, MessageId, Reaction
from persona.ports.store import StoreCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelProgress:
    """Where a channel stands: `watermark` is the id up to which nothing is missing (None: nothing is known).

    `messages` counts what is stored; `fetched_at` is when history was last read.
    """

    channel_id: ChannelId
    watermark: MessageId | None = None
    messages: int = 0
    fetched_at: datetime | None = None


class IngestProgress(Protocol):
    """Watermarks that move in the same transaction as the messages below them."""

    async def watermarks(self) -> Mapping[ChannelId, MessageId]:
        """Return the watermark of every channel that has one."""
        ...

    async def progress(self, channel_ids: Collection[ChannelId] | None = None) -> Sequence[ChannelProgress]:
        """Return where every known channel stands (or only some), by channel id."""
        ...

    async def adopt(self, channels: Sequence[Channel]) -> None:
        """Add or update channels that are about to be read; a known thread follows its channel onto the allow-list."""
        ...

    async def put_page(
        self,
        channel_id: ChannelId,
        messages: Sequence[Message],
        reactions: Sequence[Reaction],
        *,
        through: MessageId,
        at: datetime,
    ) -> StoreCounts:
        """Store a page of history and move the watermark up to `through` (never down), in one transaction.

        `reactions` are all there are to these messages. `at` becomes `fetched_at`.

        Raises:
            AccessError: the channel is not on the allow-list (any more); nothing is stored.
        """
        ...

    async def put_live(self, messages: Sequence[Message], advance: Mapping[ChannelId, MessageId]) -> StoreCounts:
        """Store live messages; move the watermarks in `advance` (channels that have caught up), in one transaction.

        Messages of channels that are not on the allow-list are refused.
        """
        ...

    async def stored_ids(self, channel_id: ChannelId, *, after: MessageId, through: MessageId) -> frozenset[MessageId]:
        """Return which ids are stored in a channel above `after` up to and including `through`."""
        ...

    async def react(self, message_id: MessageId, emoji: str, change: int) -> None:
        """Count one reaction more or less to a stored message."""
        ...

    async def clear_reactions(self, message_id: MessageId, emoji: str | None) -> None:
        """Remove all reactions to a message, or those with one emoji."""
        ...

    async def reset(self, channel_ids: Collection[ChannelId]) -> None:
        """Forget the watermarks: the channels are read from their beginning again."""
        ...
