"""Hears every message, decides whether to speak, and takes a reply from memory search to delivery."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

from actors.kernel import LATER, Actor, ActorRef, Responder
from actors.messages import Drain, ForgottenNow, Handled, MessageArrived, Muted, Ping
from actors.replying.answerer import Answerer
from actors.replying.book import ReplyBook, given_up, record_of
from actors.replying.forgotten import Forgotten
from actors.replying.interrupted import Interrupted
from actors.replying.lanes import Job, Lane, Lanes, RecentIds
from actors.replying.mutes import Mutes
from actors.replying.sent_before import SentBefore
from actors.replying.settings import ReplySettings
from actors.replying.voice import VoiceCoach
from actors.replying.writer import ReplyWriter
from persona.domain.chat import AuthorId, Channel, ChannelId, MessageId
from persona.domain.speaking import ChannelState, Reason, decide
from persona.ports import (
    Arrival,
    Edited,
    History,
    LinkUp,
    MessageStore,
    Outcome,
    Removed,
    ReplyJournal,
)

_WAITING_LIMIT = 4
_LOOK_AGAIN_SECONDS = 5.0
_DELETED = "the message was deleted"
_FORGOTTEN = "the message was forgotten"


async def _no_mutes() -> Mapping[ChannelId, datetime]:
    return {}


class ResponderActor(Actor):
    """The live path: hear, decide, recall, render, generate, plan, send; one reply at a time in each channel.

    `settings` is asked anew for each message and each reply. With a `journal` a reply survives the end of the process
    at any point (see docs/replying.md), and `history` shows what of it was sent. `mutes` gives the channels muted at
    the start, and until when; `allowed` says whether a channel is on the list now.
    """

    def __init__(
        self,
        *,
        store: MessageStore,
        inference: ActorRef,
        retriever: ActorRef,
        gateway: ActorRef,
        coach: VoiceCoach,
        settings: Callable[[], ReplySettings],
        journal: ReplyJournal | None = None,
        history: History | None = None,
        mutes: Callable[[], Awaitable[Mapping[ChannelId, datetime]]] | None = None,
        allowed: Callable[[Channel], bool] = lambda channel: channel.allowed,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._inference = inference
        self._retriever = retriever
        self._gateway = gateway
        self._coach = coach
        self._settings = settings
        self._journal = journal
        self._history = history
        self._load_mutes = mutes or _no_mutes
        self._allowed = allowed
        self._now = now
        self._chance = chance
        self._heard = RecentIds()
        self._mutes = Mutes()
        self._forgotten = Forgotten()
        self._running = 0
        self._finished = 0
        self._drains: list[Responder[int]] = []
        self._lanes: Lanes
        self._book: ReplyBook
        self._answerer: Answerer
        self._interrupted: Interrupted

    async def started(self) -> None:
        """Learn what is muted, and which replies were interrupted.

        Raises:
            StoreError: the database cannot be read.
        """
        log = self.context.log
        self._lanes = Lanes(self._store, log)
        self._book = ReplyBook(self._store, self._journal, log)
        writer = ReplyWriter(
            store=self._store, inference=self._inference, retriever=self._retriever, coach=self._coach, log=log
        )
        self._answerer = Answerer(
            writer=writer,
            book=self._book,
            sent_before=SentBefore(self._history, now=self._now, log=log),
            gateway=self._gateway,
            settings=self._settings,
            muted_until=self._mutes.until,
            allowed=self._allowed,
            now=self._now,
            log=log,
        )
        self.spawn(self._book.run(), name="write decisions down")
        self._mutes.load(await self._load_mutes())
        self._interrupted = Interrupted(self._store, await self._book.pending())
        if self._interrupted:
            self.spawn(self._give_up_old(), name="give up old replies")
            if self._coach.self_id is not None:  # an earlier incarnation has met itself
                await self._take_up(self._coach.self_id)

    async def stopping(self) -> None:
        """Write down what was decided last."""
        await self._book.flush()

    async def receive(self, message: object) -> object:
        """Hear messages and what becomes of them; answer pings and drains."""
        match message:
            case MessageArrived(arrival=arrival):
                await self._hear(arrival)
            case LinkUp(self_id=self_id):
                self._coach.self_id = self_id
                await self._take_up(self_id)
            case Edited(edit=edit):
                self._coach.forget_messages({edit.message_id})
                if lane := self._lanes.known(edit.channel_id):
                    lane.edit(edit)
            case Removed(message_ids=message_ids):
                self._coach.forget_messages(message_ids)
                self._let_go(None, frozenset(message_ids), _DELETED)
            case ForgottenNow(author_id=author_id, message_ids=message_ids):
                self._coach.forget_person()
                self._forget(author_id, message_ids)
            case Muted(channel_id=channel_id, until=until):
                self._mutes.mute(channel_id, until)
            case Drain():
                return self._drain()
            case Ping():
                return self.describe()
        return None

    def describe(self) -> str:
        """Say what is going on in a few words."""
        return f"{self._running} replies running" if self._running else "idle"

    # --- hearing ---

    async def _hear(self, arrival: Arrival) -> None:
        """Steps 2 to 4: remember the message, decide, and queue a reply when the decision is to speak."""
        message, settings = arrival.message, self._settings()
        if not self._heard.add(message.id) or self._forgotten.covers(message):
            return
        if not arrival.channel.allowed:
            self._keep_quiet(self._silence(arrival, ChannelState(), settings))
            return
        lane = await self._lanes.open(arrival, window=settings.window_messages)
        state = lane.state.muted(self._mutes.until(arrival.channel))
        lane.hear(message, self_id=arrival.self_id, window=settings.window_messages, live=arrival.live)
        if job := self._interrupted.claim(arrival):
            await self._queue(lane, job)
            return
        if not arrival.live and await self._book.seen(arrival):
            return
        outcome = self._silence(arrival, state, settings)
        decision = outcome.decision
        if not decision.speak:
            self._keep_quiet(outcome)
        elif await self._book.take_on(arrival, decision, self._now()):
            lane.state = lane.state.after_reply(self._now())  # from here on it counts as having spoken
            await self._queue(lane, Job(arrival=arrival, decision=decision))

    def _silence(self, arrival: Arrival, state: ChannelState, settings: ReplySettings) -> Outcome:
        """Decide; the outcome is what it is when the decision is not to speak."""
        decision = decide(
            arrival.message,
            arrival.channel,
            state,
            settings.rules,
            self_id=arrival.self_id,
            addressed=arrival.addressed,
            now=self._now(),
            chance=self._chance(),
        )
        self.context.log.info("decided", message_id=arrival.message.id, speak=decision.speak, reason=decision.reason)
        return Outcome(arrival=arrival, decision=decision, result="silent")

    async def _queue(self, lane: Lane, job: Job) -> None:
        lane.waiting.append(job)
        if len(lane.waiting) > _WAITING_LIMIT:
            old = lane.waiting.popleft()
            overtaken = "overtaken by newer messages"
            await self._report(Outcome(arrival=old.arrival, decision=old.decision, result=overtaken))
        if not lane.busy:
            lane.busy = True
            self._running += 1
            self.spawn(self._serve(lane), name=f"replies in {job.arrival.channel.id}")

    def _let_go(self, author_id: AuthorId | None, message_ids: frozenset[MessageId], why: str) -> None:
        for lane in self._lanes:
            lane.drop(author_id, message_ids, why=why)

    def _forget(self, author_id: AuthorId | None, message_ids: frozenset[MessageId]) -> None:
        """Let go of it, and of what is still on its way here; the store refuses the same things."""
        if author_id is not None:
            self._forgotten.person(author_id, self._now())
            self._interrupted.drop_all()  # whose they are is not known: they were not stored
        self._forgotten.messages(message_ids)
        self._let_go(author_id, message_ids, _FORGOTTEN)

    async def _serve(self, lane: Lane) -> None:
        """Answer what waits in one channel, oldest first, until nothing waits."""
        try:
            while lane.waiting:
                lane.current = lane.waiting.popleft()
                outcome = await self._answerer.answer(lane, lane.current)
                lane.current = None
                if outcome is not None:
                    await self._report(outcome)
                self._finished += 1
        finally:
            lane.busy = False
            self._running -= 1
            self._settle_drains()

    # --- what became of it ---

    def _keep_quiet(self, outcome: Outcome) -> None:
        """Note a decision not to speak, which is made often, and tell the gateway."""
        if outcome.decision.reason not in {Reason.OWN_MESSAGE, Reason.NOT_ALLOWED}:
            self._book.note(record_of(outcome, model=self._coach.model_name, at=self._now()))
        self._gateway.tell(Handled(outcome=outcome))

    async def _report(self, outcome: Outcome) -> None:
        """Write the outcome down, log it, and tell the gateway."""
        self.context.log.info(
            "reply_sent" if outcome.texts else "not_spoken",
            message_id=outcome.arrival.message.id,
            channel_id=outcome.arrival.channel.id,
            reason=outcome.decision.reason,
            result=outcome.result,
            characters=sum(map(len, outcome.texts)),
            retries=outcome.retries,
            **{f"{stage}_ms": ms for stage, ms in outcome.stage_ms.items()},
        )
        await self._book.settle(record_of(outcome, model=self._coach.model_name, at=self._now()))
        self._gateway.tell(Handled(outcome=outcome))

    # --- what the last process left ---

    async def _take_up(self, self_id: AuthorId) -> None:
        """Go on with the interrupted replies whose messages are stored; the others come again with the history."""
        for job in await self._interrupted.take_up(self_id):
            self._heard.add(job.arrival.message.id)
            lane = await self._lanes.open(job.arrival, window=self._settings().window_messages)
            await self._queue(lane, job)

    async def _give_up_old(self) -> None:
        """Settle interrupted replies that nobody can take up any more."""
        while self._interrupted:
            age = timedelta(seconds=self._settings().rules.max_age_seconds)
            for reply in self._interrupted.give_up(self._now() - age):
                self.context.log.info("reply_given_up", message_id=reply.message_id, sent=reply.sent)
                await self._book.settle(given_up(reply, at=self._now()))
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    # --- ending ---

    def _drain(self) -> object:
        """Answer now when idle, else as soon as the last running reply is out."""
        if not self._running:
            return self._finished
        self._drains.append(self.respond_later())
        return LATER

    def _settle_drains(self) -> None:
        if not self._running:
            for drain in self._drains:
                drain.set_result(self._finished)
            self._drains.clear()
