"""Writes down what is to be answered, what is on its way out, and what became of it: no reply is lost or given twice.

docs/replying.md has the table of what happens after a kill at each point. A full disk costs the bookkeeping, not the
talk: what could not be written down is logged and gone on with.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from persona.domain.chat import ChannelKind, MessageId
from persona.domain.delivery import Delivery
from persona.domain.speaking import Decision
from persona.errors import StoreError
from persona.ports import Arrival, MessageStore, Outcome, PendingReply, ReplyJournal, ReplyRecord

_GATHER_SECONDS = 0.25
_BEFORE = "it had decided so before it was restarted"


class ReplyBook:
    """The journal and the record of decisions, in the order that makes them safe to be interrupted.

    Without a `journal`, and in the terminal, whose talk nothing outlives, only outcomes are kept.
    """

    def __init__(self, store: MessageStore, journal: ReplyJournal | None, log: structlog.stdlib.BoundLogger) -> None:
        self._store = store
        self._journal = journal
        self._log = log
        self._noted: list[ReplyRecord] = []
        self._news = asyncio.Event()

    async def pending(self) -> Sequence[PendingReply]:
        """Return what was interrupted, oldest first.

        Raises:
            StoreError: the journal cannot be read.
        """
        return () if self._journal is None else await self._journal.pending()

    async def seen(self, arrival: Arrival) -> bool:
        """Return whether a message was decided on before; when nobody can say, one from the history counts as such."""
        journal = self._journal_for(arrival)
        if journal is None:
            return False
        try:
            return await journal.seen(arrival.message.id)
        except StoreError as error:
            self._log.warning("journal_not_read", error=str(error), message_id=arrival.message.id)
            return not arrival.live

    async def take_on(self, arrival: Arrival, decision: Decision, at: datetime) -> bool:
        """Take on a message before anything is written; False when somebody has dealt with it."""
        journal = self._journal_for(arrival)
        if journal is None:
            return True
        reply = PendingReply(
            message_id=arrival.message.id,
            channel_id=arrival.channel.id,
            decided_at=at,
            decision=replace(decision, detail=_BEFORE),  # the detail names people, also those who are not stored
            addressed=arrival.addressed,
        )
        try:
            return await journal.begin(reply)
        except StoreError as error:
            self._log.warning("reply_not_journaled", error=str(error), message_id=arrival.message.id)
            return arrival.live

    async def drafted(self, arrival: Arrival, delivery: Delivery) -> None:
        """Keep what is going to be sent, before the first message of it is."""
        journal = self._journal_for(arrival)
        if journal is None:
            return
        try:
            await journal.drafted(arrival.message.id, [part.text for part in delivery.messages])
        except StoreError as error:
            self._log.warning("draft_not_journaled", error=str(error), message_id=arrival.message.id)

    async def held(self, arrival: Arrival) -> PendingReply | None:
        """Return what the journal holds of the answer to a message."""
        if self._journal_for(arrival) is None:
            return None
        try:
            return next((reply for reply in await self.pending() if reply.message_id == arrival.message.id), None)
        except StoreError as error:
            self._log.warning("journal_not_read", error=str(error), message_id=arrival.message.id)
            return None

    def keeps(self, arrival: Arrival) -> bool:
        """Say whether a reply that is interrupted now is taken up at the next start."""
        return self._journal_for(arrival) is not None

    async def settle(self, record: ReplyRecord) -> None:
        """Write down what became of a message, then let go of it: in this order it can neither be lost nor doubled."""
        try:
            await self._store.put_replies([record])
        except StoreError as error:  # the journal goes on holding it: what is out must not be said again
            self._log.warning("reply_not_recorded", error=str(error), message_id=record.message_id)
            return
        if self._journal is not None:
            await self._finish(self._journal, record.message_id)

    def note(self, record: ReplyRecord) -> None:
        """Have a decision not to speak written down soon; one that is lost by a kill is made again."""
        self._noted.append(record)
        self._news.set()

    async def run(self) -> None:
        """Write what was noted, again and again: most of what is said needs no answer, nor a transaction of its own."""
        while True:
            await self._news.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what was noted."""
        self._news.clear()
        noted, self._noted = self._noted, []
        if not noted:
            return
        try:
            await self._store.put_replies(noted)
        except StoreError as error:
            self._log.warning("decisions_not_recorded", error=str(error), count=len(noted))

    async def _finish(self, journal: ReplyJournal, message_id: MessageId) -> None:
        try:
            await journal.finish(message_id)
        except StoreError as error:  # the record stands, so the next start tidies up
            self._log.warning("reply_not_finished", error=str(error), message_id=message_id)

    def _journal_for(self, arrival: Arrival) -> ReplyJournal | None:
        return None if arrival.channel.kind is ChannelKind.TERMINAL else self._journal


def record_of(outcome: Outcome, *, model: str, at: datetime) -> ReplyRecord:
    """Return what is kept of an outcome: figures and reasons, no words."""
    finished = outcome.finished
    return ReplyRecord(
        message_id=outcome.arrival.message.id,
        channel_id=outcome.arrival.channel.id,
        decided_at=at,
        spoke=bool(outcome.texts),
        reason=outcome.decision.reason,
        outcome=outcome.result,
        model=(finished and finished.model) or model,
        prompt_tokens=finished.prompt_tokens if finished else 0,
        completion_tokens=finished.completion_tokens if finished else 0,
        retries=outcome.retries,
        recollections=len(outcome.recollections),
        stage_ms=outcome.stage_ms,
    )


def given_up(reply: PendingReply, *, at: datetime) -> ReplyRecord:
    """Return what is kept of an interrupted reply that nobody can take up any more."""
    return ReplyRecord(
        message_id=reply.message_id,
        channel_id=reply.channel_id,
        decided_at=at,
        spoke=reply.sent > 0,
        reason=reply.decision.reason,
        outcome="given up after a restart: too old",
    )
