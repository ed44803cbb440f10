"""Reads one channel's history page by page into the store, and finds what was deleted there."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

import structlog

from actors.reading.link_session import Flight, LinkSession
from actors.reading.pace_gate import PaceGate
from persona.domain.catching_up import NEWEST, Plan, Reading, Standing, Sweep, backoff, vanished
from persona.domain.chat import Channel, ChannelId, Message, MessageId, Tombstone, TombstoneReason
from persona.errors import AccessError, StoreError, TransportError
from persona.ports import History, IngestProgress, MessageStore, Page, StoreCounts

T = TypeVar("T")

_BEGINNING = MessageId(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often something is tried in all, and how long the pauses in between are, in seconds."""

    attempts: int = 8
    first_seconds: float = 1.0
    longest_seconds: float = 30.0


@dataclass(slots=True, kw_only=True)
class Target:
    """A channel to be read, and how far that is."""

    channel: Channel
    newest: MessageId | None
    standing: Standing
    plan: Plan
    began: datetime
    bury_from: MessageId
    at: MessageId = _BEGINNING
    messages: int = 0
    started: float | None = None
    seconds: float = 0.0
    done: bool = False

    def reading(self) -> Reading | None:
        """Return how far reading what is new is; None before it starts."""
        if self.plan.fresh is None or self.started is None:
            return None
        newest = self.at if self.newest in {None, NEWEST} else self.newest
        start = max(self.plan.fresh.after, MessageId(self.channel.id))  # nothing is older than its channel
        return Reading(
            start=start,
            at=self.at,
            end=newest or self.at,
            messages=self.messages,
            seconds=self.seconds,
            done=self.done,
        )


class Surroundings(Protocol):
    """What a reader needs of the actor around it."""

    async def store_heard(self, channel_id: ChannelId) -> None:
        """Make sure that what was heard in a channel until now is in the store.

        Raises:
            StoreError: it cannot be written.
        """
        ...

    def wanted(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the messages without those that were forgotten just now."""
        ...

    async def may_read(self, channel: Channel) -> bool:
        """Ask the other side, now, whether reading a channel's history is permitted.

        Raises:
            TransportError: it cannot be reached.
        """
        ...

    async def stored(self, channel: Channel, page: Page, counts: StoreCounts) -> None:
        """Learn that a page is in the store."""
        ...


class HistoryReader:
    """Reads channels; everything it needs to go on after a crash is in the store."""

    def __init__(
        self,
        *,
        history: History,
        store: MessageStore,
        progress: IngestProgress,
        session: LinkSession,
        gate: PaceGate,
        surroundings: Surroundings,
        patience: Patience,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        chance: Callable[[], float],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._history = history
        self._store = store
        self._progress = progress
        self._session = session
        self._gate = gate
        self._surroundings = surroundings
        self._patience = patience
        self._now = now
        self._clock = clock
        self._chance = chance
        self._log = log

    async def read(self, target: Target, sweep: Sweep, *, rank: int, final: bool) -> None:
        """Read a stretch of history; with `final` the channel counts as read to the end after it.

        Raises:
            AccessError: the channel may not be read, or must not be (any more).
            TransportError: the other side failed, again and again.
            StoreError: the database failed, again and again.
        """
        target.started = target.started or self._clock()
        after = target.at = sweep.after
        while True:
            page, through = await self._step(target, after, sweep, rank=rank, final=final)
            target.at, target.messages = through, target.messages + len(page.messages)
            target.seconds = self._clock() - target.started
            if _is_end(page, through, sweep):
                return
            after = through

    async def patiently(self, work: Callable[[], Awaitable[T]], what: str) -> T:
        """Do something that may fail for a while; after the last attempt its error is raised."""
        attempt = 0
        while True:
            try:
                return await work()
            except AccessError:
                raise
            except (TransportError, StoreError) as error:
                attempt += 1
                if attempt >= self._patience.attempts:
                    raise
                self._log.warning("history_retry", what=what, attempt=attempt, error=str(error))
            first, longest = self._patience.first_seconds, self._patience.longest_seconds
            await asyncio.sleep(backoff(attempt - 1, first=first, longest=longest, chance=self._chance()))
            await self._history.ready()

    async def _step(
        self, target: Target, after: MessageId, sweep: Sweep, *, rank: int, final: bool
    ) -> tuple[Page, MessageId]:
        """Read and store one page; return it with the id up to which the channel is known now."""
        channel = target.channel
        try:
            page, flight = await self._undisturbed(target, after, rank)
            if not page.messages and not page.last:
                raise TransportError("a page without anything in it that is not the last one makes no sense")
            through = page.messages[-1].id if page.messages else after
            gone = await self._gone(target, after, page, flight)
            if not page.messages and (gone or (target.newest or 0) > after):
                await self._check_access(channel)  # an empty list may also mean that reading is not permitted
            at = target.began
            if not (final and _is_end(page, through, sweep)):
                at = target.standing.fetched_at or at  # what may have changed is still to be looked at
            if gone:  # before the channel counts as read that far
                await self.patiently(lambda: self._bury(channel, gone), f"#{channel.name}")
            counts = await self.patiently(lambda: self._keep(channel, page, through, at), f"#{channel.name}")
            if page.last:
                self._session.caught_up(channel.id, flight.mark)
            await self._surroundings.stored(channel, page, counts)
        finally:
            self._session.land(channel.id)
        return page, through

    async def _undisturbed(self, target: Target, after: MessageId, rank: int) -> tuple[Page, Flight]:
        """Ask for a page; once more if reactions to it were heard meanwhile: nobody could say if they are in it."""

        async def ask() -> tuple[Page, Flight]:
            await self._surroundings.store_heard(target.channel.id)
            flight = self._session.take_off(target.channel.id)
            async with self._gate.request(rank):
                return await self._history.page(target.channel.id, after=after), flight

        what = f"#{target.channel.name}"
        page, flight = await self.patiently(ask, what)
        if not flight.reacted.isdisjoint(message.id for message in page.messages):
            page, flight = await self.patiently(ask, what)
        return page, flight

    async def _keep(self, channel: Channel, page: Page, through: MessageId, at: datetime) -> StoreCounts:
        messages = self._surroundings.wanted(page.messages)
        kept = {message.id for message in messages}
        reactions = [reaction for reaction in page.reactions if reaction.message_id in kept]
        return await self._progress.put_page(channel.id, messages, reactions, through=through, at=at)

    async def _gone(self, target: Target, after: MessageId, page: Page, flight: Flight) -> frozenset[MessageId]:
        """Return which stored messages the page should have shown, if they still were there."""
        low = max(after, target.bury_from)
        high = NEWEST if page.last else page.messages[-1].id
        if high <= low:
            return frozenset()
        channel_id = target.channel.id
        stored = await self.patiently(
            lambda: self._progress.stored_ids(channel_id, after=low, through=high), f"#{target.channel.name}"
        )
        return vanished(stored, {message.id for message in page.messages}, flight.heard)

    async def _bury(self, channel: Channel, gone: frozenset[MessageId]) -> None:
        at = self._now()
        buried = await self._store.bury(
            [
                Tombstone(message_id=message_id, channel_id=channel.id, reason=TombstoneReason.DELETED, at=at)
                for message_id in sorted(gone)
            ]
        )
        self._log.info("deletions_found", channel_id=channel.id, messages=buried)

    async def _check_access(self, channel: Channel) -> None:
        if not await self.patiently(lambda: self._surroundings.may_read(channel), "the list of channels"):
            raise AccessError("reading its history is not permitted", cure="grant 'Read Message History'")


def _is_end(page: Page, through: MessageId, sweep: Sweep) -> bool:
    return page.last or (sweep.until is not None and through >= sweep.until)
