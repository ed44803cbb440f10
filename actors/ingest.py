"""Keeps the store in step with the talk: writes down what is heard, and catches up with what was missed."""

import random
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from actors.kernel import LATER, Actor, ActorRef, Responder
from actors.messages import (
    DescribeFetch,
    Fetch,
    FetchStatus,
    Forget,
    ForgottenNow,
    MessageArrived,
    Missed,
    Ping,
    StoreChanged,
)
from actors.reading.catch_up import CatchUp
from actors.reading.catch_up_round import CatchUpSettings
from actors.reading.link_session import LinkSession
from actors.reading.live_storing import LiveStoring, StoringSettings
from persona.domain.chat import AuthorId, Channel, ChannelId, Message, MessageId
from persona.errors import PersonaError, StoreError
from persona.ports import (
    Arrival,
    ChannelGone,
    ChannelSeen,
    Edited,
    History,
    IngestProgress,
    LinkDown,
    LinkUp,
    MessageStore,
    Page,
    Reacted,
    ReactionsCleared,
    Removed,
)

_TOLD_IDS = 20_000
_WAKE_SECONDS = 0.5


class Forgetter(Protocol):
    """Removes for good, from the store and everything made of it; answers with how many stored messages that were."""

    async def forget_author(self, author_id: AuthorId) -> int:
        """Forget everything a person said.

        Raises:
            PersonaError: it could not be done to the end.
        """
        ...

    async def forget_messages(self, message_ids: Collection[MessageId]) -> int:
        """Forget single messages.

        Raises:
            PersonaError: it could not be done to the end.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """`fresh_seconds`: messages found in history that are no older may still be answered."""

    fresh_seconds: float = 600.0
    catch_up: CatchUpSettings = field(default_factory=CatchUpSettings)
    storing: StoringSettings = field(default_factory=StoringSettings)


class IngestActor(Actor):
    """Stores live talk; with a `history` it also catches up, and finds edits and deletions it did not hear of.

    Live messages are stored at once, but they move a channel's watermark only while the channel is in step with the
    session (see `LinkSession`). So whatever is lost, to a cut connection, a full mailbox or the end of the process,
    lies above the watermark and is read from the history.
    """

    def __init__(
        self,
        *,
        store: MessageStore,
        progress: IngestProgress,
        history: History | None,
        retriever: ActorRef | None,
        responder: ActorRef | None,
        forgetter: Forgetter | None,
        settings: IngestSettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._progress = progress
        self._history = history
        self._retriever = retriever
        self._responder = responder
        self._forgetter = forgetter
        self._settings = settings
        self._now = now
        self._clock = clock
        self._chance = chance
        self._session = LinkSession()
        self._told: dict[MessageId, None] = {}
        self._woken_at = 0.0
        self._catch_up: CatchUp | None = None
        self._live: LiveStoring

    async def started(self) -> None:
        """Store from now on, and catch up as soon as there is a connection."""
        self._live = LiveStoring(
            store=self._store,
            progress=self._progress,
            session=self._session,
            settings=self._settings.storing,
            lost=self._missed,
            on_stored=self._wake_memory,
            log=self.context.log,
        )
        self._live.allow(await self._store.channels())
        self.spawn(self._live.run(), name="store what is heard")
        if self._history is not None:
            self._catch_up = CatchUp(
                history=self._history,
                store=self._store,
                progress=self._progress,
                session=self._session,
                surroundings=self,
                spawn=lambda work, name: self.spawn(work, name=name),
                settings=self._settings.catch_up,
                log=self.context.log,
                now=self._now,
                clock=self._clock,
                chance=self._chance,
            )
            self._catch_up.fetch(None)

    async def stopping(self) -> None:
        """Write what is left; what cannot be written is above the watermark and is read again."""
        try:
            await self._live.flush()
        except StoreError as error:
            self.context.log.warning("stopped_with_unwritten_talk", error=str(error))

    async def receive(self, message: object) -> object:
        """Take what was heard; answer how far catching up is."""
        match message:
            case MessageArrived(arrival=arrival):
                self._hear(arrival)
            case Edited() | Removed():
                self._live.hear(message)
            case Reacted() | ReactionsCleared():
                self._session.reacted(message.channel_id, message.message_id)
                self._live.hear(message)
            case ChannelSeen() | ChannelGone() | LinkUp() | LinkDown() | Missed():
                self._follow(message)
            case Fetch():
                return self._fetch(message)
            case Forget():
                self.spawn(self._forget(message, self.respond_later()), name="forget")
                return LATER
            case DescribeFetch(guild_id=guild_id):
                return FetchStatus(running=False) if self._catch_up is None else self._catch_up.status(guild_id)
            case Ping():
                return self.describe()
        return None

    def describe(self) -> str:
        """Say in a few words what is going on."""
        if self._live.trouble:
            return f"degraded: {self._live.trouble}"
        status = None if self._catch_up is None else self._catch_up.status()
        if status is not None and status.running:
            return f"catching up, {status.channels_done} of {status.channels_total} channels"
        return f"{self._live.stored} stored"

    # --- what happens out there ---

    def _hear(self, arrival: Arrival) -> None:
        self._session.heard(arrival.channel.id, arrival.message.id)
        self._remember_told(arrival.message.id)
        self._live.hear(arrival)
        if arrival.channel.allowed and self._catch_up is not None:
            self._catch_up.seen(arrival.channel)

    def _follow(self, event: ChannelSeen | ChannelGone | LinkUp | LinkDown | Missed) -> None:
        match event:
            case ChannelSeen(channel=channel):
                self._see(channel)
            case ChannelGone(channel_id=channel_id):
                self._lose(channel_id)
            case LinkUp(resumed=resumed):
                self._session.link_up(resumed=resumed)
                if not resumed and self._catch_up is not None:
                    self._catch_up.restart()
            case LinkDown():
                self._session.link_down()
            case Missed(channel_ids=channel_ids):
                self._missed(channel_ids)

    def _see(self, channel: Channel) -> None:
        self._live.allow([channel])
        if not channel.allowed:
            self._lose(channel.id)
        elif self._catch_up is not None:
            self._catch_up.seen(channel)

    def _lose(self, channel_id: ChannelId) -> None:
        if self._catch_up is not None:
            self._catch_up.gone(channel_id)

    def _missed(self, channel_ids: Iterable[ChannelId]) -> None:
        if self._catch_up is not None:
            self._catch_up.missed(channel_ids)

    # --- what is asked for ---

    def _fetch(self, request: Fetch) -> object:
        answer = self.respond_later()
        if self._catch_up is None:
            answer.set_error(PersonaError("there is no history to read here"))
        else:
            self._catch_up.fetch(request.channel_ids, answer)
        return LATER

    async def _forget(self, request: Forget, answer: Responder[int]) -> None:
        """Let go of it here first, so that nothing of it is written after it was forgotten."""
        count = self._live.forget(request.author_id, request.message_ids, at=self._now())
        try:
            if self._forgetter is None:
                raise PersonaError("nothing is kept here that could be forgotten")  # noqa: TRY301 - answered below
            if request.author_id is not None:
                count += await self._forgetter.forget_author(request.author_id)
            if request.message_ids:
                count += await self._forgetter.forget_messages(request.message_ids)
        except PersonaError as error:
            answer.set_error(error)
        else:
            answer.set_result(count)
        finally:
            if self._responder is not None:
                # `tell` could find no room, and then the words would live on there.
                await self._responder.send(ForgottenNow(author_id=request.author_id, message_ids=request.message_ids))
            self._tell_retriever()

    # --- what catching up needs ---

    async def store_heard(self, channel_id: ChannelId) -> None:
        """Make sure that what was heard in a channel until now is in the store."""
        await self._live.flush(channel_id)

    def wanted(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the messages without those that were forgotten just now."""
        return self._live.wanted(messages)

    async def found(self, channel: Channel, page: Page, self_id: AuthorId) -> None:
        """Tell the responder of talk that is young enough to be answered and was not heard live."""
        self._live.allow([channel])
        self._wake_memory()
        if self._responder is None:
            return
        now = self._now()
        for message in self.wanted(page.messages):
            age = (now - message.created_at).total_seconds()
            if not message.is_talk or age > self._settings.fresh_seconds or message.id in self._told:
                continue
            addressed = message.id in page.addressed
            arrival = Arrival(message=message, channel=channel, self_id=self_id, addressed=addressed, live=False)
            await self._responder.send(MessageArrived(arrival=arrival))
            self._remember_told(message.id)  # only now: waiting for room may be broken off

    def _remember_told(self, message_id: MessageId) -> None:
        self._told[message_id] = None
        if len(self._told) > _TOLD_IDS:
            del self._told[next(iter(self._told))]

    def _tell_retriever(self) -> None:
        if self._retriever is not None:
            self._retriever.tell(StoreChanged())

    def _wake_memory(self) -> None:
        """Tell the retriever, which looks by itself now and then, too: not for every page."""
        if self._clock() - self._woken_at >= _WAKE_SECONDS:
            self._woken_at = self._clock()
            self._tell_retriever()
