"""Steps 5 to 9 of a reply: what comes to mind, the scene, the prompt, the draft, and the messages that it becomes."""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from actors.kernel import ActorCrashed, ActorRef, ActorStopped, AskTimeout
from actors.messages import Draft, Generate, Recall
from actors.replying.lanes import Lane
from actors.replying.settings import ReplyFailedError, ReplyInterruptedError, ReplySettings, Stages, reseeded
from actors.replying.voice import Voice, VoiceCoach
from persona.domain.chat import AuthorId, Message, Recollection
from persona.domain.delivery import Delivery, plan
from persona.domain.prompt import Scene, Turn, render, speaker_names
from persona.domain.recall import mixed_query
from persona.domain.verbatim import copied
from persona.errors import InferenceError
from persona.ports import Arrival, ChatRequest, Finished, FinishReason, MessageStore

STOP_STRINGS = ("<|im_end|>", "<|im_start|>")

_ASK_MARGIN_SECONDS = 5.0
_QUERY_MESSAGES = 3
_TRIES = 2
_NAMES_A_PERSON = re.compile(r"<@!?[0-9]")
_NAMES_A_CHANNEL = re.compile(r"<#[0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A reply that is ready to be sent, and what it was made of."""

    delivery: Delivery
    recollections: Sequence[Recollection]
    finished: Finished
    retries: int


class ReplyWriter:
    """Writes replies with the help of the coach, the memory and the model."""

    def __init__(
        self,
        *,
        store: MessageStore,
        inference: ActorRef,
        retriever: ActorRef,
        coach: VoiceCoach,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._store = store
        self._inference = inference
        self._retriever = retriever
        self._coach = coach
        self._log = log

    async def write(self, lane: Lane, arrival: Arrival, settings: ReplySettings, stages: Stages) -> Written:
        """Write the answer to a message of the lane's talk.

        Raises:
            ReplyFailedError: nothing came of it that may be sent; says why.
            ReplyInterruptedError: the process is ending.
        """
        voice = await self._coach.voice(arrival)
        stages.mark("voice")
        found = await self._recall(lane, arrival, settings)
        stages.mark("recall")
        scene = await self._scene(lane, arrival, voice, found)
        stages.mark("scene")
        return await self._draft(arrival, scene, settings, stages)

    async def _recall(self, lane: Lane, arrival: Arrival, settings: ReplySettings) -> Sequence[Recollection]:
        """Step 5: ask memory about the last few things said; too slow or broken means nothing comes to mind."""
        if not settings.memory_limit:
            return ()
        talk = lane.up_to(arrival.message)
        recent = [m.content for m in talk[-_QUERY_MESSAGES:] if m.author.id != arrival.self_id]
        request = Recall(
            text=mixed_query(recent),
            last=tuple(recent),
            channel_id=arrival.channel.id,
            exclude=frozenset(m.id for m in lane.talk),
            exclude_authors=frozenset({arrival.self_id}),
            limit=settings.memory_limit,
        )
        try:
            return await self._retriever.ask(request, timeout=settings.memory_timeout_seconds)
        except (AskTimeout, ActorCrashed, ActorStopped) as error:
            self._log.warning("recall_skipped", error=type(error).__name__)
            return ()

    async def _scene(self, lane: Lane, arrival: Arrival, voice: Voice, found: Sequence[Recollection]) -> Scene:
        """Gather what step 7 renders; reply targets that scrolled out of the talk are fetched to be quoted."""
        talk = lane.up_to(arrival.message)
        seen = {m.id for m in talk}
        missing = {m.reply_to for m in talk if m.reply_to is not None} - seen
        quoted = await self._store.messages_by_id(missing) if missing else {}
        texts = [m.content for m in (*talk, *quoted.values())] + [recollection.text for recollection in found]
        names = await self._coach.channel_names(arrival.channel.id) if _any_has(_NAMES_A_CHANNEL, texts) else {}
        return Scene(
            identity=voice.identity,
            messages=talk,
            channel_name=arrival.channel.name,
            recollections=found,
            quoted=quoted,
            channel_names=names,
            people=await self._people_in(found),
            style=voice.style,
            examples=voice.examples,
        )

    async def _people_in(self, found: Sequence[Recollection]) -> dict[AuthorId, str]:
        """Return the names of those whom recollections mention."""
        ids = [recollection.message_id for recollection in found if _NAMES_A_PERSON.search(recollection.text)]
        stored: Iterable[Message] = (await self._store.messages_by_id(ids)).values() if ids else ()
        return {person.id: person.display_name or person.name for message in stored for person in message.mentions}

    async def _draft(self, arrival: Arrival, scene: Scene, settings: ReplySettings, stages: Stages) -> Written:
        """Steps 7 to 9; one more try after a crash of the model, or when the draft copies what somebody once wrote."""
        turns = render(scene)
        stages.mark("render")
        failure = ""
        for attempt in range(_TRIES):
            request = _request(arrival, turns, settings, attempt)
            timeout = settings.deadline_seconds + _ASK_MARGIN_SECONDS
            draft = await self._generate(request, timeout_seconds=timeout, last_try=attempt + 1 == _TRIES)
            stages.mark("generate")
            if draft is None:
                continue
            delivery = _plan(scene, draft, settings)
            stages.mark("plan")
            failure = _objection(delivery, scene)
            if not failure:
                return Written(
                    delivery=delivery, recollections=scene.recollections, finished=draft.finished, retries=attempt
                )
        raise ReplyFailedError(f"withheld: {failure}")

    async def _generate(self, request: ChatRequest, *, timeout_seconds: float, last_try: bool) -> Draft | None:
        """Step 8: let the model write; None when it crashed and another try is worth it."""
        try:
            return await self._inference.ask(Generate(request=request), timeout=timeout_seconds)
        except ActorCrashed as error:
            if isinstance(error.__cause__, InferenceError):
                raise ReplyFailedError(str(error.__cause__)) from error
            if last_try:
                raise ReplyFailedError("the model crashed twice") from error
            self._log.warning("generation_retried", error=type(error.__cause__).__name__)
            return None
        except InferenceError as error:
            raise ReplyFailedError(str(error)) from error
        except AskTimeout as error:
            raise ReplyFailedError("the model took too long") from error
        except ActorStopped as error:
            raise ReplyInterruptedError("the model is shutting down") from error


def _request(arrival: Arrival, turns: tuple[Turn, ...], settings: ReplySettings, attempt: int) -> ChatRequest:
    return ChatRequest(
        turns=turns,
        sampling=reseeded(settings.sampling, attempt),
        stop=STOP_STRINGS,
        deadline=time.monotonic() + settings.deadline_seconds,
        conversation=str(arrival.channel.id),
    )


def _plan(scene: Scene, draft: Draft, settings: ReplySettings) -> Delivery:
    """Step 9: clean the draft and split it into messages."""
    return plan(
        draft.text,
        persona_name=scene.identity.name,
        names=set(speaker_names(scene).values()),
        limits=settings.limits,
        complete=draft.finished.reason in {FinishReason.END, FinishReason.STOP},
    )


def _objection(delivery: Delivery, scene: Scene) -> str:
    """Say why a draft must not be sent; empty when it may."""
    if not delivery.messages:
        return "nothing was left of the draft"
    whole = "\n".join(part.text for part in delivery.messages)
    old = (*(found.text for found in scene.recollections), *(line for e in scene.examples for line in e.lines))
    return "it copied what somebody once wrote" if copied(whole, old) is not None else ""


def _any_has(pattern: re.Pattern[str], texts: Iterable[str]) -> bool:
    return any(pattern.search(text) for text in texts)
