"""What was heard and is not stored yet, and writing it down."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from persona.domain.chat import AuthorId, Channel, ChannelId, Edit, Message, MessageId, Tombstone, TombstoneReason
from persona.ports import (
    Arrival,
    Edited,
    IngestProgress,
    MessageStore,
    Reacted,
    ReactionsCleared,
    Removed,
    StoreCounts,
)


@dataclass(slots=True)
class LiveBatch:
    """Things heard, in order for each kind.

    The kinds need no order among each other: the store keeps an edit that comes before its message, and a tombstone
    wins over everything. Those in `unsure` count only for messages that are stored.
    """

    channels: dict[ChannelId, Channel] = field(default_factory=dict)
    messages: dict[MessageId, Message] = field(default_factory=dict)
    edits: dict[MessageId, Edit] = field(default_factory=dict)
    tombstones: dict[MessageId, Tombstone] = field(default_factory=dict)
    unsure: set[MessageId] = field(default_factory=set)
    reactions: deque[Reacted | ReactionsCleared] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self.messages) + len(self.edits) + len(self.tombstones) + len(self.reactions)

    def take(self, event: Arrival | Edited | Removed | Reacted | ReactionsCleared, *, certain: bool) -> None:
        """Take an event; `certain` when its channel is known to be allowed."""
        match event:
            case Arrival(message=message, channel=channel):
                self.messages[message.id] = message
                self.channels[channel.id] = channel
            case Edited(edit=edit):
                known = self.edits.get(edit.message_id)
                if known is None or known.edited_at <= edit.edited_at:
                    self.edits[edit.message_id] = edit
            case Removed():
                self._remove(event, certain=certain)
            case Reacted() | ReactionsCleared():
                self.reactions.append(event)

    def _remove(self, event: Removed, *, certain: bool) -> None:
        for message_id in event.message_ids:
            self.messages.pop(message_id, None)
            self.edits.pop(message_id, None)
            self.tombstones[message_id] = Tombstone(
                message_id=message_id, channel_id=event.channel_id, reason=TombstoneReason.DELETED, at=event.at
            )
            if certain:
                self.unsure.discard(message_id)
            else:
                self.unsure.add(message_id)

    def forget(self, author_id: AuthorId | None, message_ids: Collection[MessageId]) -> int:
        """Drop what a person said, or single messages; return how many messages that were."""
        gone = {key for key, message in self.messages.items() if message.author.id == author_id}
        gone.update(key for key in message_ids if key in self.messages)
        for key in gone.union(message_ids):
            self.messages.pop(key, None)
            self.edits.pop(key, None)
        return len(gone)

    def concerns(self, channel_id: ChannelId) -> bool:
        """Whether anything in here belongs to a channel."""
        return (
            any(message.channel_id == channel_id for message in self.messages.values())
            or any(edit.channel_id == channel_id for edit in self.edits.values())
            or any(tombstone.channel_id == channel_id for tombstone in self.tombstones.values())
            or any(event.channel_id == channel_id for event in self.reactions)
        )


class LiveWriter:
    """Writes a batch down, kind by kind; each kind is let go of once it is committed.

    `may_advance` says of a channel whether its watermark may move with what is heard there: nothing is missing below.
    """

    def __init__(
        self, store: MessageStore, progress: IngestProgress, batch: LiveBatch, may_advance: Callable[[ChannelId], bool]
    ) -> None:
        self._store = store
        self._progress = progress
        self._batch = batch
        self._may_advance = may_advance
        self._put: dict[ChannelId, Channel] = {}

    async def write(self) -> StoreCounts:
        """Write everything that is in the batch now.

        Raises:
            StoreError: the rest could not be written; it stays in the batch.
        """
        # Both looked at together: a message must not overtake the channel that it was said in.
        channels, messages = list(self._batch.channels.values()), list(self._batch.messages.values())
        await self._write_channels(channels)
        counts = await self._write_messages(messages)
        await self._write_edits()
        await self._write_tombstones()
        await self._write_reactions()
        return counts

    async def _write_channels(self, channels: Sequence[Channel]) -> None:
        new = [channel for channel in channels if self._put.get(channel.id) != channel]
        if new:
            await self._store.put_channels(new)
            self._put.update((channel.id, channel) for channel in new)
        for channel in channels:
            if self._batch.channels.get(channel.id) is channel:
                del self._batch.channels[channel.id]

    async def _write_messages(self, messages: Sequence[Message]) -> StoreCounts:
        messages = [message for message in messages if message.id in self._batch.messages]  # not forgotten meanwhile
        if not messages:
            return StoreCounts()
        advance: dict[ChannelId, MessageId] = {}
        for message in messages:
            if self._may_advance(message.channel_id):
                advance[message.channel_id] = max(message.id, advance.get(message.channel_id, message.id))
        counts = await self._progress.put_live(messages, advance)
        for message in messages:
            if self._batch.messages.get(message.id) is message:
                del self._batch.messages[message.id]
        return counts

    async def _write_edits(self) -> None:
        edits = list(self._batch.edits.values())
        if edits:
            await self._store.apply_edits(edits)
            for edit in edits:
                if self._batch.edits.get(edit.message_id) is edit:
                    del self._batch.edits[edit.message_id]

    async def _write_tombstones(self) -> None:
        tombstones = list(self._batch.tombstones.values())
        if not tombstones:
            return
        unsure = {each.message_id for each in tombstones} & self._batch.unsure
        known = await self._store.messages_by_id(unsure) if unsure else {}
        certain = [each for each in tombstones if each.message_id not in unsure or each.message_id in known]
        if certain:
            await self._store.bury(certain)
        for tombstone in tombstones:
            if self._batch.tombstones.get(tombstone.message_id) is tombstone:
                del self._batch.tombstones[tombstone.message_id]
                self._batch.unsure.discard(tombstone.message_id)

    async def _write_reactions(self) -> None:
        for _ in range(len(self._batch.reactions)):
            event = self._batch.reactions[0]
            match event:
                case Reacted():
                    await self._progress.react(event.message_id, event.emoji, event.change)
                case ReactionsCleared():
                    await self._progress.clear_reactions(event.message_id, event.emoji)
            self._batch.reactions.popleft()
