"""Steps 5 to 10 of a reply: have it written, make sure that it is still wanted, hand it over, remember it as said."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from actors.kernel import ActorCrashed, ActorRef, ActorStopped, AskTimeout
from actors.messages import SendReply
from actors.replying.book import ReplyBook
from actors.replying.lanes import Job, Lane
from actors.replying.settings import ReplyFailedError, ReplyInterruptedError, ReplySettings, Stages
from actors.replying.writer import ReplyWriter, Written
from persona.domain.chat import Author, Channel, Message, MessageId, MessageKind
from persona.domain.delivery import Delivery, typed
from persona.domain.speaking import silenced
from persona.errors import DeliveryError, StoreError
from persona.ports import Outcome

_WRITTEN_ANEW = 3


class Answerer:
    """Takes one message after another from the decision to the outcome; as many are written at once as there are slots.

    `muted_until` says until when the persona keeps quiet in a channel, `allowed` whether it is on the list now.
    """

    def __init__(
        self,
        *,
        writer: ReplyWriter,
        book: ReplyBook,
        gateway: ActorRef,
        settings: Callable[[], ReplySettings],
        muted_until: Callable[[Channel], datetime | None],
        allowed: Callable[[Channel], bool],
        now: Callable[[], datetime],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._writer = writer
        self._book = book
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
            if job.sent and job.sent >= len(job.texts):
                return replace(outcome, texts=job.texts)
            self._make_sure_wanted(job, settings)
            delivery = typed(job.texts, settings.limits)
            if not job.texts:
                written = await self._write(lane, job, settings, stages)
                outcome = replace(
                    outcome, recollections=written.recollections, finished=written.finished, retries=written.retries
                )
                self._make_sure_wanted(job, settings)
                delivery = written.delivery
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
        return replace(outcome, texts=texts)

    async def _write(self, lane: Lane, job: Job, settings: ReplySettings, stages: Stages) -> Written:
        """Have it written once a slot is free; anew when something that it may be made of is gone meanwhile."""
        async with self._slots:
            stages.mark("slot")
            for _ in range(_WRITTEN_ANEW):
                self._make_sure_wanted(job, settings)
                job.outdated = False
                written = await self._writer.write(lane, job.arrival, settings, stages)
                if not job.outdated:
                    return written
        raise ReplyFailedError("what it was made of was deleted again and again")

    def _make_sure_wanted(self, job: Job, settings: ReplySettings) -> None:
        """Ask again before anything is sent: writing takes a while, and a restart may have taken longer."""
        channel = replace(job.arrival.channel, allowed=self._allowed(job.arrival.channel))
        quiet = silenced(
            job.arrival.message, channel, settings.rules, muted_until=self._muted_until(channel), now=self._now()
        )
        if job.withdrawn or quiet:
            raise ReplyFailedError(job.withdrawn or (quiet.detail if quiet else ""))

    async def _send(self, job: Job, delivery: Delivery, settings: ReplySettings) -> tuple[MessageId, ...]:
        """Step 10: hand the messages to the gateway and wait until they are out."""
        parts = delivery.messages[job.sent :]
        patience = sum(part.typing_seconds + settings.delivery_seconds for part in parts)
        request = SendReply(arrival=job.arrival, delivery=delivery, first=job.sent)
        try:
            return await self._gateway.ask(request, timeout=patience)
        except DeliveryError as error:
            raise ReplyFailedError(str(error)) from error
        except ActorCrashed as error:
            known = error.__cause__ if isinstance(error.__cause__, DeliveryError) else None
            raise ReplyFailedError(str(known or "it was written but could not be delivered")) from error
        except AskTimeout as error:
            raise ReplyFailedError("it was written but nobody knows whether it was delivered") from error
        except ActorStopped as error:
            raise ReplyInterruptedError("the process is ending") from error

    async def _already_out(self, job: Job) -> tuple[str, ...]:
        """Return what was said before a reply failed: part of a burst may be out."""
        held = await self._book.held(job.arrival)
        return held.texts[: held.sent] if held is not None else ()

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
