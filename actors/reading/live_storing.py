"""Stores what is heard: gathers it for a moment, writes it in few transactions, keeps it while the disk is full."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from actors.reading.link_session import LinkSession
from actors.reading.live_batch import LiveBatch, LiveWriter
from persona.domain.chat import AuthorId, Channel, ChannelId, ChannelKind, Message, MessageId
from persona.errors import StoreError
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

LiveEvent = Arrival | Edited | Removed | Reacted | ReactionsCleared


@dataclass(frozen=True, slots=True, kw_only=True)
class StoringSettings:
    """Heard things gather for `flush_seconds`, or until there are `batch` of them; no more than `limit` are held.

    After a failure the next attempt comes after `retry_seconds`, twice as long each time, up to `longest_retry`.
    """

    flush_seconds: float = 0.25
    batch: int = 1000
    limit: int = 20_000
    retry_seconds: float = 1.0
    longest_retry: float = 30.0


class LiveStoring:
    """Takes what is heard and may be kept, and writes it down.

    `lost` learns of channels whose events found no room, once there is room again, `on_stored` that something was
    written. Only allowed channels count, as their events and lists last said; the terminal's talk is never kept.
    """

    def __init__(
        self,
        *,
        store: MessageStore,
        progress: IngestProgress,
        session: LinkSession,
        settings: StoringSettings,
        lost: Callable[[Iterable[ChannelId]], None],
        on_stored: Callable[[], None],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._batch = LiveBatch()
        self._writer = LiveWriter(store, progress, self._batch, session.may_advance)
        self._session = session
        self._settings = settings
        self._lost = lost
        self._on_stored = on_stored
        self._log = log
        self._allowed: set[ChannelId] = set()
        self._forgotten: dict[AuthorId, datetime] = {}
        self._writing = asyncio.Lock()
        self._work = asyncio.Event()
        self._lost_channels: set[ChannelId] = set()
        self.trouble = ""
        self.stored = 0

    def allow(self, channels: Iterable[Channel]) -> None:
        """Learn which channels are allowed, and which are not."""
        for channel in channels:
            if may_store(channel):
                self._allowed.add(channel.id)
            else:
                self._allowed.discard(channel.id)

    def hear(self, event: LiveEvent) -> None:
        """Take an event; what may not be kept is passed over."""
        channel_id = _place(event)
        match event:
            case Arrival(channel=channel):
                self.allow([channel])
                if channel_id not in self._allowed or not self.wanted([event.message]):
                    return
            case Removed():
                pass  # it may concern what was stored before the channel left the list
            case _:
                if channel_id not in self._allowed:
                    return
        if len(self._batch) >= self._settings.limit:
            self._turn_away(channel_id)
            return
        self._batch.take(event, certain=channel_id in self._allowed)
        self._work.set()

    def forget(self, author_id: AuthorId | None, message_ids: frozenset[MessageId], *, at: datetime) -> int:
        """Drop what is held of a person, or single messages, and keep it out; return how many messages that were."""
        if author_id is not None:
            self._forgotten[author_id] = at
        return self._batch.forget(author_id, message_ids)

    def wanted(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the messages without those of people who asked to be forgotten after they wrote them."""
        if not self._forgotten:
            return messages
        return [
            message
            for message in messages
            if (at := self._forgotten.get(message.author.id)) is None or message.created_at > at
        ]

    async def run(self) -> None:
        """Write batches forever; while that fails, go on holding what is heard."""
        delay = self._settings.retry_seconds
        while True:
            await self._work.wait()
            if len(self._batch) < self._settings.batch:
                await asyncio.sleep(self._settings.flush_seconds)
            try:
                await self.flush()
            except StoreError as error:
                self._complain(error)
                await asyncio.sleep(delay)
                delay = min(2 * delay, self._settings.longest_retry)
            else:
                self._be_well()
                delay = self._settings.retry_seconds

    async def flush(self, channel_id: ChannelId | None = None) -> None:
        """Write everything that is held now; with `channel_id` only if something of that channel is among it.

        Raises:
            StoreError: what could not be written is still held.
        """
        async with self._writing:
            if channel_id is not None and not self._batch.concerns(channel_id):
                return
            self._work.clear()
            try:
                counts = await self._writer.write()
            finally:
                if len(self._batch):
                    self._work.set()
        self._count(counts)

    def _count(self, counts: StoreCounts) -> None:
        self.stored += counts.added
        self._on_stored()

    def _turn_away(self, channel_id: ChannelId) -> None:
        """There is no room: what is lost now is read from the history as soon as the store works again."""
        if not self._lost_channels:
            self._log.warning("too_much_to_hold", held=len(self._batch))
        self._lost_channels.add(channel_id)
        self._session.missed([channel_id])

    def _complain(self, error: StoreError) -> None:
        if self.trouble != error.problem:
            self._log.warning("storing_failed", error=str(error), held=len(self._batch))
        self.trouble = error.problem

    def _be_well(self) -> None:
        if self.trouble:
            self._log.info("storing_works_again")
        self.trouble = ""
        if self._lost_channels:
            lost, self._lost_channels = self._lost_channels, set()
            self._lost(lost)


def may_store(channel: Channel) -> bool:
    """Whether talk may be kept: only in allowed channels, and never what is typed in the terminal."""
    return channel.allowed and channel.kind is not ChannelKind.TERMINAL


def _place(event: LiveEvent) -> ChannelId:
    match event:
        case Arrival(channel=channel):
            return channel.id
        case Edited(edit=edit):
            return edit.channel_id
        case _:
            return event.channel_id
