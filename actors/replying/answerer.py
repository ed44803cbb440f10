"""Steps 5 to 10 of a reply: have it written, make sure that it is still wanted, hand it over, remember it as said."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import structlog

from actors.kernel import ActorCrashed, ActorRef, ActorStopped, AskTimeout
from actors.messages import FitReply, SendReply
from actors.replying.book import ReplyBook
from actors.replying.lanes import Job, Lane
from actors.replying.sent_before import SentBefore
from actors.replying.settings import ReplyFailedError, ReplyInterruptedError, ReplySettings, Stages
from actors.replying.writer import ReplyWriter, Written
from persona.domain.chat import Author, Channel, Message, MessageId, MessageKind
from persona.domain.delivery import Delivery, typed
from persona.domain.speaking import Reason, silenced
from persona.errors import DeliveryError, StoreError
from persona.ports import Outcome

T = TypeVar("T")

_WRITTEN_ANEW = 3
_FIT_SECONDS = 30.0


class Answerer:
    """Takes one message after another from the decision to the outcome; as many are written at once as there are slots.

    `muted_until` says until when the persona keeps quiet in a channel, `allowed` whether it is on the list now.
    """

    def __init__(
        self,
        *,
        writer: ReplyWriter,
        book: ReplyBook,
        sent_before: SentBefore,
        gateway: ActorRef,
        settings: Callable[[], ReplySettings],
        muted_until: Callable[[Channel], datetime | None],
        allowed: Callable[[Channel], bool],
        now: Callable[[], datetime],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._writer = writer
        self._book = book
        self._sent_before = sent_before
        self._gateway = gateway
        self._settings = settings
        self._muted_until = muted_until
        self._allowed = allowed
        self._now = now
        self._log = log
        self._slots = asyncio.Semaphore(settings().slots)

    async def answer(self, lane: Lane, job: Job) -> Outcome | None:
        """Steps 5 to 10 for one message; a failure is an outcome, never a crash of the channel.

        None when the process is ending and the journal keeps the reply for the next one.
        """
        stages, settings = Stages(), self._settings()
        outcome = Outcome(arrival=job.arrival, decision=job.decision, result="sent", stage_ms=stages.ms)
        try:
            job.sent = await self._sent_before.count(job)
            if job.sent and job.sent >= len(job.texts):
                return replace(outcome, texts=job.texts)
            self._make_sure_wanted(job)
            delivery = typed(job.texts, settings.limits)
            if not job.texts:
                written = await self._write(lane, job, settings, stages)
                outcome = replace(
                    outcome, recollections=written.recollections, finished=written.finished, retries=written.retries
                )
                self._make_sure_wanted(job)
                delivery = await self._fit(job, written.delivery)
                await self._book.drafted(job.arrival, delivery)
            texts = tuple(part.text for part in delivery.messages)
            ids = await self._send(job, delivery, settings)
            stages.mark("send")
        except (ReplyFailedError, StoreError) as failure:
            return replace(outcome, result=str(failure), texts=await self._already_out(job))
        except ReplyInterruptedError as interruption:
            self._log.info("reply_interrupted", message_id=job.arrival.message.id, reason=str(interruption))
            return None if self._book.keeps(job.arrival) else replace(outcome, result=str(interruption))
        self._said(lane, job, texts[job.sent :], ids)
        out = texts[: job.sent + len(ids)]
        return replace(outcome, texts=out, result="sent" if len(out) == len(texts) else job.withdrawn)

    async def _write(self, lane: Lane, job: Job, settings: ReplySettings, stages: Stages) -> Written:
        """Have it written once a slot is free; anew when something that it may be made of is gone meanwhile."""
        async with self._slots:
            stages.mark("slot")
            for _ in range(_WRITTEN_ANEW):
                self._make_sure_wanted(job)
                job.outdated = job.forgotten = False
                written = await self._writer.write(lane, job.arrival, settings, stages)
                if not job.outdated:
                    return written
        raise ReplyFailedError("what it was made of was deleted again and again")

    def _make_sure_wanted(self, job: Job) -> None:
        """Ask again before anything is sent: writing takes a while, and a restart may have taken longer."""
        if objection := self._objection(job):
            raise ReplyFailedError(objection)

    def _objection(self, job: Job, *, is_typing: bool = False) -> str:
        """Say why an answer is not wanted any more; empty while it is.

        One that is being typed was begun in time, so age does not count, but it must not show what is forgotten.
        """
        arrival = job.arrival
        channel = replace(arrival.channel, allowed=self._allowed(arrival.channel))
        rules, muted_until = self._settings().rules, self._muted_until(channel)
        quiet = silenced(arrival.message, channel, rules, muted_until=muted_until, now=self._now())
        if not job.withdrawn and is_typing and job.forgotten:
            job.withdrawn = "what it may have been made of was forgotten"
        if not job.withdrawn and quiet is not None and not (is_typing and quiet.reason is Reason.STALE):
            job.withdrawn = quiet.detail
        return job.withdrawn

    async def _fit(self, job: Job, delivery: Delivery) -> Delivery:
        """Have it cut as it is sent: what is written down and what goes out must be counted alike."""
        request = FitReply(arrival=job.arrival, delivery=delivery)
        return await _delivered(self._gateway.ask(request, timeout=_FIT_SECONDS))

    async def _send(self, job: Job, delivery: Delivery, settings: ReplySettings) -> tuple[MessageId, ...]:
        """Step 10: hand the messages to the gateway and wait until they are out."""
        parts = delivery.messages[job.sent :]
        patience = sum(part.typing_seconds + settings.delivery_seconds for part in parts)
        request = SendReply(
            arrival=job.arrival,
            delivery=delivery,
            first=job.sent,
            objection=lambda: self._objection(job, is_typing=True),
        )
        return await _delivered(self._gateway.ask(request, timeout=patience))

    async def _already_out(self, job: Job) -> tuple[str, ...]:
        """Return what was said before a reply failed: part of a burst may be out."""
        held = await self._book.held(job.arrival)
        return held.texts[: max(held.sent, job.sent)] if held is not None else ()

    def _said(self, lane: Lane, job: Job, texts: Sequence[str], ids: Sequence[MessageId]) -> None:
        """Remember the persona's own words as part of the talk; the transport may hear them, too, before or after."""
        arrival = job.arrival
        me = Author(id=arrival.self_id, name="persona", display_name="persona", is_bot=True)
        for number, (message_id, text) in enumerate(zip(ids, texts, strict=False), start=job.sent):
            own = Message(
                id=message_id,
                channel_id=arrival.channel.id,
                author=me,
                content=text,
                created_at=self._now(),
                kind=MessageKind.DEFAULT if number else MessageKind.REPLY,
                reply_to=None if number else arrival.message.id,
            )
            lane.hear(own, self_id=arrival.self_id, window=self._settings().window_messages)


async def _delivered(asked: Awaitable[T]) -> T:
    """Wait for what the gateway answers.

    Raises:
        ReplyFailedError: it could not be done; says why.
        ReplyInterruptedError: the process is ending.
    """
    try:
        return await asked
    except DeliveryError as error:
        raise ReplyFailedError(str(error)) from error
    except ActorCrashed as error:
        known = error.__cause__ if isinstance(error.__cause__, DeliveryError) else None
        raise ReplyFailedError(str(known or "it was written but could not be delivered")) from error
    except AskTimeout as error:
        raise ReplyFailedError("it was written but nobody knows whether it was delivered") from error
    except ActorStopped as error:
        raise ReplyInterruptedError("the process is ending") from error
