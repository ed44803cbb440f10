"""Catches up with what was said while nobody listened: rounds over the channels, one page at a time in each."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime

import structlog

from actors.kernel import Responder
from actors.messages import FetchStatus
from actors.reading.catch_up_round import CatchUpSettings, Round, Spawn, Surrounded
from actors.reading.channel_list import ChannelList, parents_of_threads, unlisted
from actors.reading.fetch_figures import FetchFigures
from actors.reading.history_reader import HistoryReader, Target
from actors.reading.link_session import LinkSession
from actors.reading.pace_gate import PaceGate
from persona.domain.catching_up import order
from persona.domain.chat import AuthorId, Channel, ChannelId, ChannelKind, GuildId, Message
from persona.domain.pacing import Pacer
from persona.errors import AccessError, PersonaError, StoreError, TransportError
from persona.ports import History, IngestProgress, MessageStore, Page, ReadableChannel, StoreCounts

_FRESH, _ARCHIVED, _AGAIN = 0, 1, 2
"""What goes first: what is new, then archived threads, then looking for edits and deletions."""

_LIST = "the list of channels"
_NOT_PERMITTED = "reading its history is not permitted (grant 'Read Message History')"


class CatchUp:
    """Runs rounds; several may run side by side, but never two requests for the same channel.

    Nothing in here has to survive: where each channel stands is in the store, so a round can be broken off anywhere.
    """

    def __init__(
        self,
        *,
        history: History,
        store: MessageStore,
        progress: IngestProgress,
        session: LinkSession,
        surroundings: Surrounded,
        spawn: Spawn,
        settings: CatchUpSettings,
        log: structlog.stdlib.BoundLogger,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        gate = PaceGate(Pacer(settings.requests_per_second), clock=clock)
        self._figures = FetchFigures(clock=clock, requests=lambda: gate.requests)
        self._list = ChannelList(
            history=history,
            store=store,
            progress=progress,
            session=session,
            gate=gate,
            rules=settings.rules,
            now=now,
            clock=clock,
            log=log,
        )
        self._reader = HistoryReader(
            history=history,
            store=store,
            progress=progress,
            session=session,
            gate=gate,
            surroundings=self,
            patience=settings.patience,
            now=now,
            clock=clock,
            chance=chance,
            log=log,
        )
        self._around = surroundings
        self._history = history
        self._settings = settings
        self._session = session
        self._spawn = spawn
        self._clock = clock
        self._log = log
        self._rounds: list[Round] = []
        self._covered: set[ChannelId] = set()
        self._soon: set[ChannelId] = set()
        self._busy: defaultdict[ChannelId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._self_id = AuthorId(0)

    # --- what others ask for ---

    def status(self, guild_id: GuildId | None = None) -> FetchStatus:
        """Return how far it is, with one server where one is given."""
        return self._figures.status(guild_id)

    def restart(self) -> None:
        """Begin anew with every channel: the session is new, anything may have been missed."""
        waiters: list[Responder[None]] = []
        for running in self._rounds:
            waiters += running.waiters
            running.waiters = []
            if running.task is not None:
                running.task.cancel()
        self._rounds.clear()
        self._figures.targets.clear()
        self._covered.clear()
        self._soon.clear()
        self._start(waiters=waiters)

    def fetch(self, channel_ids: frozenset[ChannelId] | None, waiter: Responder[None] | None = None) -> None:
        """Read these channels with their threads (None: all); `waiter` is answered when that is done."""
        waiters = [] if waiter is None else [waiter]
        running = next((each for each in self._rounds if each.is_full), None)
        if channel_ids is None and running is not None:
            running.waiters += waiters
        else:
            self._start(scope=channel_ids, waiters=waiters)

    def missed(self, channel_ids: Iterable[ChannelId]) -> None:
        """Events of these channels were lost: read them again soon."""
        channel_ids = frozenset(channel_ids)
        self._session.missed(channel_ids)
        self._later(channel_ids, self._settings.gather_seconds)

    def seen(self, channel: Channel) -> None:
        """Read a channel or thread that came into sight, from where it stands, unless that is being done."""
        if channel.id in self._covered:
            return
        self._covered.add(channel.id)
        listing = next((each for each in self._rounds if each.is_full and not each.listed), None)
        if listing is not None:
            listing.extra[channel.id] = channel
        elif channel.kind is ChannelKind.THREAD:
            self._start(given=(unlisted(channel),))
        else:
            self.fetch(frozenset({channel.id}))

    def gone(self, channel_id: ChannelId) -> None:
        """A channel is out of sight, or not on the allow-list any more."""
        self._covered.discard(channel_id)
        self._session.missed([channel_id])

    # --- rounds ---

    def _start(
        self,
        *,
        scope: frozenset[ChannelId] | None = None,
        given: tuple[ReadableChannel, ...] = (),
        waiters: Sequence[Responder[None]] = (),
    ) -> None:
        at_once = self._settings.channels_at_once
        fresh, again = asyncio.Semaphore(at_once), asyncio.Semaphore(at_once)
        new = Round(scope=scope, given=given, waiters=list(waiters), fresh=fresh, again=again)
        self._figures.begin()
        self._rounds.append(new)
        new.task = self._spawn(self._run(new), "catch up")

    def _later(self, channel_ids: Collection[ChannelId], seconds: float) -> None:
        """Read channels again in a while; further ones until then join them."""
        if not self._soon:
            self._spawn(self._gather(seconds), "catch up soon")
        self._soon.update(channel_ids)

    async def _gather(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        channel_ids, self._soon = frozenset(self._soon), set()
        if channel_ids:
            self.fetch(channel_ids)

    async def _run(self, current: Round) -> None:
        error: PersonaError | None = None
        try:
            await self._read_all(current)
        except (TransportError, StoreError) as failure:
            error = failure
            self._figures.trouble(None, failure)
            self._log.warning("catch_up_failed", error=str(failure))
        finally:
            if current in self._rounds:  # not broken off by a restart
                self._rounds.remove(current)
            if not self._rounds:
                self._figures.end()
        self._conclude(current, error)

    def _conclude(self, current: Round, error: PersonaError | None) -> None:
        figures = self._figures.status()
        self._log.info(
            "caught_up", channels=figures.channels_done, messages=figures.messages, added=figures.added,
            requests=figures.requests, troubles=len(figures.troubles),
        )  # fmt: skip
        for waiter in current.waiters:
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_error(error)
        if not self._settings.retry_seconds:
            return
        if error is not None and current.is_full:
            self._spawn(self._all_again(self._settings.retry_seconds), "catch up again")
        elif error is not None:
            self._later(current.scope or {each.channel.id for each in current.given}, self._settings.retry_seconds)
        elif current.failed:
            self._later(current.failed, self._settings.retry_seconds)

    async def _all_again(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.fetch(None)

    async def _read_all(self, current: Round) -> None:
        """Read what the round is about: the listed channels, then their archived threads as there is time."""
        self._self_id = await self._history.ready()
        readable = current.given or await self._listed(current)
        targets = await self._targets(readable)
        async with asyncio.TaskGroup() as group:
            self._launch(current, group, targets, _FRESH)
            if not current.given:
                for parent in parents_of_threads(readable):
                    group.create_task(self._archived(current, group, parent))

    async def _targets(self, readable: Sequence[ReadableChannel]) -> Sequence[Target]:
        return await self._reader.patiently(lambda: self._list.targets(readable), _LIST)

    def _launch(self, current: Round, group: asyncio.TaskGroup, targets: Sequence[Target], rank: int) -> None:
        """Begin with these channels, the smallest backlog first."""
        for target in sorted(targets, key=lambda each: order(each.standing, each.newest)):
            self._covered.add(target.channel.id)
            self._figures.targets[target.channel.id] = target
            group.create_task(self._channel(current, target, rank))

    async def _listed(self, current: Round) -> Sequence[ReadableChannel]:
        """Return the channels of a round that may be read; name those that may not."""
        asked_at = self._clock()
        listed = await self._reader.patiently(lambda: self._list.listed(asked_at), _LIST)
        current.listed = True
        found = {each.channel.id: each for each in listed.values() if current.includes(each.channel)}
        for channel in current.extra.values():
            found.setdefault(channel.id, unlisted(channel))
        allowed = [each for each in found.values() if each.channel.allowed]
        for each in allowed:
            if not each.may_read:
                self._figures.trouble(each.channel, _NOT_PERMITTED)
        return [each for each in allowed if each.may_read]

    async def _archived(self, current: Round, group: asyncio.TaskGroup, parent: Channel) -> None:
        try:
            found = await self._reader.patiently(
                lambda: self._list.archived(parent, _ARCHIVED), f"threads of #{parent.name}"
            )
            known = self._figures.targets
            new = [each for each in found if each.channel.allowed and each.may_read and each.channel.id not in known]
            if new:
                self._launch(current, group, await self._targets(new), _ARCHIVED)
        except (TransportError, StoreError) as error:
            self._fail(current, parent, error)

    async def _channel(self, current: Round, target: Target, rank: int) -> None:
        """Read one channel; whatever fails fails here alone."""
        plan = target.plan
        try:
            async with self._busy[target.channel.id]:
                if plan.fresh is not None:
                    async with current.fresh:
                        await self._reader.read(target, plan.fresh, rank=rank, final=plan.again is None)
                if plan.again is not None:
                    async with current.again:
                        await self._reader.read(target, plan.again, rank=_AGAIN, final=True)
        except (TransportError, StoreError) as error:
            self._fail(current, target.channel, error)
        finally:
            target.done = True

    def _fail(self, current: Round, channel: Channel, error: PersonaError) -> None:
        self._figures.trouble(channel, error)
        self._log.warning("channel_not_read", channel=channel.name, channel_id=channel.id, error=str(error))
        if not isinstance(error, AccessError):
            current.failed.add(channel.id)

    # --- what the reader needs ---

    async def store_heard(self, channel_id: ChannelId) -> None:
        """Make sure that what was heard in a channel until now is in the store."""
        await self._around.store_heard(channel_id)

    def wanted(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the messages without those that were forgotten just now."""
        return self._around.wanted(messages)

    async def may_read(self, channel: Channel) -> bool:
        """Ask the other side, now, whether reading a channel's history is permitted."""
        return await self._list.may_read(channel)

    async def stored(self, channel: Channel, page: Page, counts: StoreCounts) -> None:
        """Count a page that is stored, and tell of it."""
        self._figures.page(channel, len(page.messages), counts)
        await self._around.found(channel, page, self._self_id)
