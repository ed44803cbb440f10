"""Hears every message, decides whether to speak, and takes a reply from memory search to delivery."""

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from actors.kernel import LATER, Actor, ActorCrashed, ActorRef, ActorStopped, AskTimeout, Responder
from actors.messages import Draft, Drain, Generate, Handled, MessageArrived, Ping, Recall, SendReply
from actors.reply import Lane, ReplyFailedError, ReplySettings, Stages, reseeded, up_to
from actors.voice import Voice, VoiceCoach
from persona.domain.chat import Author, ChannelId, Message, MessageId, MessageKind, Recollection
from persona.domain.delivery import Delivery, plan
from persona.domain.prompt import Scene, Turn, render, speaker_names
from persona.domain.speaking import ChannelState, Decision, decide
from persona.domain.verbatim import copied
from persona.errors import InferenceError, StoreError
from persona.ports import Arrival, ChatRequest, Finished, FinishReason, MessageStore, Outcome, ReplyRecord

_ASK_MARGIN_SECONDS = 5.0
_WAITING_LIMIT = 4
_QUERY_MESSAGES = 3
_TRIES = 2
STOP_STRINGS = ("<|im_end|>", "<|im_start|>")


class ResponderActor(Actor):
    """The live path: hear, decide, recall, render, generate, plan, send; one reply at a time in each channel."""

    def __init__(
        self,
        *,
        store: MessageStore,
        inference: ActorRef,
        retriever: ActorRef,
        gateway: ActorRef,
        coach: VoiceCoach,
        settings: ReplySettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._inference = inference
        self._retriever = retriever
        self._gateway = gateway
        self._coach = coach
        self._settings = settings
        self._now = now
        self._chance = chance
        self._lanes: dict[ChannelId, Lane] = {}
        self._running = 0
        self._finished = 0
        self._drains: list[Responder[int]] = []

    async def receive(self, message: object) -> object:
        """Hear messages; answer pings and drains."""
        match message:
            case MessageArrived(arrival=arrival):
                await self._hear(arrival)
            case Drain():
                return self._drain()
            case Ping():
                return self.describe()
        return None

    def describe(self) -> str:
        """Say what is going on in a few words."""
        return f"{self._running} replies running" if self._running else "idle"

    async def _hear(self, arrival: Arrival) -> None:
        """Steps 2 to 4: remember the message, decide, and queue a reply when the decision is to speak."""
        lane = await self._lane(arrival)
        message = arrival.message
        if any(known.id == message.id for known in lane.talk):
            return
        decision = decide(
            message,
            arrival.channel,
            lane.state,
            self._settings.rules,
            self_id=arrival.self_id,
            addressed=arrival.addressed,
            now=self._now(),
            chance=self._chance(),
        )
        lane.talk.append(message)
        lane.state = lane.state.after(message, self_id=arrival.self_id)
        self.context.log.info("decided", message_id=message.id, speak=decision.speak, reason=decision.reason)
        if not decision.speak:
            await self._report(Outcome(arrival=arrival, decision=decision, result="silent"))
            return
        lane.state = lane.state.after_reply(self._now())  # from here on it counts as having spoken
        lane.waiting.append((arrival, decision))
        if len(lane.waiting) > _WAITING_LIMIT:
            old, why = lane.waiting.popleft()
            await self._report(Outcome(arrival=old, decision=why, result="overtaken by newer messages"))
        if not lane.busy:
            lane.busy = True
            self._running += 1
            self.spawn(self._serve(lane), name=f"replies in {arrival.channel.id}")

    async def _serve(self, lane: Lane) -> None:
        """Answer what waits in one channel, oldest first, until nothing waits."""
        try:
            while lane.waiting:
                arrival, decision = lane.waiting.popleft()
                await self._report(await self._reply(lane, arrival, decision))
                self._finished += 1
        finally:
            lane.busy = False
            self._running -= 1
            self._settle_drains()

    async def _reply(self, lane: Lane, arrival: Arrival, decision: Decision) -> Outcome:
        """Steps 5 to 10 for one message; a failure is an outcome, never a crash of the channel."""
        stages = Stages()
        outcome = Outcome(arrival=arrival, decision=decision, result="sent", stage_ms=stages.ms)
        try:
            voice = await self._coach.voice(arrival)
            stages.mark("voice")
            found = await self._recall(lane, arrival)
            stages.mark("recall")
            outcome = replace(outcome, recollections=found)
            scene = await self._scene(lane, arrival, voice, found)
            stages.mark("scene")
            delivery, finished, retries = await self._write(arrival, scene, stages)
            outcome = replace(outcome, finished=finished, retries=retries)
            ids = await self._send(arrival, delivery)
            stages.mark("send")
        except ReplyFailedError as failure:
            return replace(outcome, result=str(failure))
        self._said(lane, arrival, delivery, ids)
        return replace(outcome, texts=tuple(part.text for part in delivery.messages))

    async def _recall(self, lane: Lane, arrival: Arrival) -> Sequence[Recollection]:
        """Step 5: ask memory about the last few things said; too slow or broken means nothing comes to mind."""
        settings = self._settings
        if not settings.memory_limit:
            return ()
        recent = [m.content for m in list(lane.talk)[-_QUERY_MESSAGES:] if m.author.id != arrival.self_id]
        request = Recall(
            text=" \n".join(reversed(recent)),
            channel_id=arrival.channel.id,
            exclude=frozenset(m.id for m in lane.talk),
            exclude_authors=frozenset({arrival.self_id}),
            limit=settings.memory_limit,
        )
        try:
            return await self._retriever.ask(request, timeout=settings.memory_timeout_seconds)
        except (AskTimeout, ActorCrashed, ActorStopped) as error:
            self.context.log.warning("recall_skipped", error=type(error).__name__)
            return ()

    async def _scene(self, lane: Lane, arrival: Arrival, voice: Voice, found: Sequence[Recollection]) -> Scene:
        """Gather what step 7 renders; reply targets that scrolled out of the talk are fetched to be quoted."""
        talk = up_to(lane.talk, arrival.message)
        seen = {m.id for m in talk}
        missing = {m.reply_to for m in talk if m.reply_to is not None} - seen
        return Scene(
            identity=voice.identity,
            messages=talk,
            channel_name=arrival.channel.name,
            recollections=found,
            quoted=await self._store.messages_by_id(missing) if missing else {},
            style=voice.style,
            examples=voice.examples,
        )

    async def _write(self, arrival: Arrival, scene: Scene, stages: Stages) -> tuple[Delivery, Finished, int]:
        """Steps 7 to 9; one more try after a crash of the model, or when the draft copies what somebody once wrote."""
        turns = render(scene)
        stages.mark("render")
        failure = ""
        for attempt in range(_TRIES):
            request = self._request(arrival, turns, attempt)
            draft = await self._generate(request, last_try=attempt + 1 == _TRIES)
            stages.mark("generate")
            if draft is None:
                continue
            delivery = self._plan(scene, draft)
            stages.mark("plan")
            failure = _objection(delivery, scene)
            if not failure:
                return delivery, draft.finished, attempt
        raise ReplyFailedError(f"withheld: {failure}")

    def _request(self, arrival: Arrival, turns: tuple[Turn, ...], attempt: int) -> ChatRequest:
        return ChatRequest(
            turns=turns,
            sampling=reseeded(self._settings.sampling, attempt),
            stop=STOP_STRINGS,
            deadline=time.monotonic() + self._settings.deadline_seconds,
            conversation=str(arrival.channel.id),
        )

    def _plan(self, scene: Scene, draft: Draft) -> Delivery:
        """Step 9: clean the draft and split it into messages."""
        return plan(
            draft.text,
            persona_name=scene.identity.name,
            names=set(speaker_names(scene).values()),
            limits=self._settings.limits,
            complete=draft.finished.reason in {FinishReason.END, FinishReason.STOP},
        )

    async def _generate(self, request: ChatRequest, *, last_try: bool) -> Draft | None:
        """Step 8: let the model write; None when it crashed and another try is worth it."""
        timeout = self._settings.deadline_seconds + _ASK_MARGIN_SECONDS
        try:
            return await self._inference.ask(Generate(request=request), timeout=timeout)
        except ActorCrashed as error:
            if isinstance(error.__cause__, InferenceError):
                raise ReplyFailedError(str(error.__cause__)) from error
            if last_try:
                raise ReplyFailedError("the model crashed twice") from error
            self.context.log.warning("generation_retried", error=type(error.__cause__).__name__)
            return None
        except InferenceError as error:
            raise ReplyFailedError(str(error)) from error
        except AskTimeout as error:
            raise ReplyFailedError("the model took too long") from error
        except ActorStopped as error:
            raise ReplyFailedError("the model is shutting down") from error

    async def _send(self, arrival: Arrival, delivery: Delivery) -> tuple[MessageId, ...]:
        """Step 10: hand the messages to the gateway and wait until they are out."""
        typing = sum(part.typing_seconds for part in delivery.messages)
        try:
            request = SendReply(arrival=arrival, delivery=delivery)
            return await self._gateway.ask(request, timeout=typing + self._settings.deadline_seconds)
        except (AskTimeout, ActorCrashed, ActorStopped) as error:
            raise ReplyFailedError("it was written but could not be delivered") from error

    def _said(self, lane: Lane, arrival: Arrival, delivery: Delivery, ids: Sequence[MessageId]) -> None:
        """Remember the persona's own words as part of the talk."""
        me = Author(id=arrival.self_id, name="persona", display_name="persona", is_bot=True)
        for number, (message_id, part) in enumerate(zip(ids, delivery.messages, strict=False)):
            own = Message(
                id=message_id,
                channel_id=arrival.channel.id,
                author=me,
                content=part.text,
                created_at=self._now(),
                kind=MessageKind.DEFAULT if number else MessageKind.REPLY,
                reply_to=None if number else arrival.message.id,
            )
            lane.talk.append(own)
            lane.state = lane.state.after(own, self_id=arrival.self_id)

    async def _lane(self, arrival: Arrival) -> Lane:
        """Return the channel's lane; a new one starts with what the store knows of the channel."""
        lane = self._lanes.get(arrival.channel.id)
        if lane is None:
            window = self._settings.window_messages
            past = await self._store.tail(arrival.channel.id, window, before=arrival.message.id)
            lane = Lane(state=ChannelState(), talk=deque(past, maxlen=window))
            for message in past:
                lane.state = lane.state.after(message, self_id=arrival.self_id)
            self._lanes[arrival.channel.id] = lane
        return lane

    async def _report(self, outcome: Outcome) -> None:
        """Write the decision down, log it, and tell the gateway."""
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
        try:
            await self._store.put_reply(self._record(outcome))
        except StoreError as error:  # a full disk costs the statistics, not the talk
            self.context.log.warning("reply_not_recorded", error=str(error))
        self._gateway.tell(Handled(outcome=outcome))

    def _record(self, outcome: Outcome) -> ReplyRecord:
        finished = outcome.finished
        return ReplyRecord(
            message_id=outcome.arrival.message.id,
            channel_id=outcome.arrival.channel.id,
            decided_at=self._now(),
            spoke=bool(outcome.texts),
            reason=outcome.decision.reason,
            outcome=outcome.result,
            model=self._coach.model_name,
            prompt_tokens=finished.prompt_tokens if finished else 0,
            completion_tokens=finished.completion_tokens if finished else 0,
            retries=outcome.retries,
            recollections=len(outcome.recollections),
            stage_ms=outcome.stage_ms,
        )

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


def _objection(delivery: Delivery, scene: Scene) -> str:
    """Say why a draft must not be sent; empty when it may."""
    if not delivery.messages:
        return "nothing was left of the draft"
    whole = "\n".join(part.text for part in delivery.messages)
    old = (*(found.text for found in scene.recollections), *(line for e in scene.examples for line in e.lines))
    return "it copied what somebody once wrote" if copied(whole, old) is not None else ""
