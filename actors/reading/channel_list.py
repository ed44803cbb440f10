"""Finds out which channels and threads there are, and what is to be read of each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime

import structlog

from actors.reading.history_reader import Target
from actors.reading.link_session import LinkSession
from actors.reading.pace_gate import PaceGate
from persona.domain.catching_up import NEWEST, Rules, Standing, may_hold_changes, plan, window_start
from persona.domain.chat import Channel, ChannelId, ChannelKind, MessageId
from persona.ports import History, IngestProgress, MessageStore, ReadableChannel, ThreadPage

_NOTHING_TO_READ = {ChannelKind.FORUM, ChannelKind.DIRECT, ChannelKind.TERMINAL}
_HAS_THREADS = {ChannelKind.TEXT, ChannelKind.NEWS, ChannelKind.FORUM}


class ChannelList:
    """Channels as the other side lists them, and as the store knows them."""

    def __init__(
        self,
        *,
        history: History,
        store: MessageStore,
        progress: IngestProgress,
        session: LinkSession,
        gate: PaceGate,
        rules: Rules,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._history = history
        self._store = store
        self._progress = progress
        self._session = session
        self._gate = gate
        self._rules = rules
        self._now = now
        self._clock = clock
        self._log = log
        self._asking = asyncio.Lock()
        self._known: Mapping[ChannelId, ReadableChannel] = {}
        self._asked_at: float | None = None

    async def listed(self, since: float) -> Mapping[ChannelId, ReadableChannel]:
        """Return what the other side lists; asks unless it was asked after `since` already.

        Raises:
            TransportError: it cannot be reached.
        """
        async with self._asking:
            if self._asked_at is None or self._asked_at < since:
                async with self._gate.request():
                    asked_at = self._clock()
                    self._known = {each.channel.id: each for each in await self._history.channels()}
                self._asked_at = asked_at
        return self._known

    async def may_read(self, channel: Channel) -> bool:
        """Return whether a channel's history may be read now; an archived thread is as readable as its parent.

        Raises:
            TransportError: the other side cannot be reached.
        """
        known = await self.listed(self._clock())
        found = known.get(channel.id)
        if found is None and channel.parent_id is not None:
            found = known.get(channel.parent_id)
        return found is not None and found.may_read

    async def archived(self, parent: Channel, rank: int) -> Sequence[ReadableChannel]:
        """Return the archived threads of a channel.

        Raises:
            AccessError: they may not be listed.
            TransportError: the other side cannot be reached.
        """
        found: list[ReadableChannel] = []
        pages = self._history.archived_threads(parent.id)
        while (page := await self._next(pages, rank)) is not None:
            found += page.threads
            if page.last:
                break
        return found

    async def targets(self, readable: Sequence[ReadableChannel]) -> list[Target]:
        """Return what is to be read of channels that may be read and are allowed; the store knows them afterwards.

        Raises:
            StoreError: the database cannot be used.
        """
        began = self._now()
        marks = {each.channel.id: self._session.mark(each.channel.id) for each in readable}
        await self._introduce([each.channel for each in readable])
        rows = await self._progress.progress(list(marks))
        standings = {row.channel_id: Standing(watermark=row.watermark, fetched_at=row.fetched_at) for row in rows}
        targets = []
        for each in readable:
            if each.channel.kind in _NOTHING_TO_READ:
                continue
            target = await self._target(each, standings.get(each.channel.id, Standing()), began)
            if target.plan.fresh is None:
                self._session.caught_up(each.channel.id, marks[each.channel.id])
            targets.append(target)
        return targets

    async def _target(self, each: ReadableChannel, standing: Standing, began: datetime) -> Target:
        start = window_start(standing, self._rules, now=began)
        known: frozenset[MessageId] = frozenset()
        if standing.watermark is not None and may_hold_changes(standing, self._rules, now=began):
            known = await self._progress.stored_ids(each.channel.id, after=start, through=standing.watermark)
        return Target(
            channel=each.channel,
            newest=each.last_message_id,
            standing=standing,
            plan=plan(standing, each.last_message_id, known, self._rules),
            began=began,
            bury_from=start,
        )

    async def _introduce(self, channels: Sequence[Channel]) -> None:
        """Make the store know the channels by their present names."""
        stored = {channel.id: channel for channel in await self._store.channels()}
        changed = [channel for channel in channels if stored.get(channel.id) != channel]
        if changed:
            await self._progress.adopt(changed)

    async def _next(self, pages: AsyncIterator[ThreadPage], rank: int) -> ThreadPage | None:
        async with self._gate.request(rank):
            return await anext(pages, None)


def parents_of_threads(readable: Iterable[ReadableChannel]) -> list[Channel]:
    """Return the channels among these that can have threads."""
    return [each.channel for each in readable if each.channel.kind in _HAS_THREADS]


def unlisted(channel: Channel) -> ReadableChannel:
    """Return a channel that was seen and not listed: if and what can be read there will show."""
    return ReadableChannel(channel=channel, may_read=True, last_message_id=NEWEST)
