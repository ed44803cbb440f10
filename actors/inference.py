"""Lets the language model write replies, several at once, watches that it keeps moving, and exchanges it."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from actors.kernel import LATER, Actor, Hung, Responder
from actors.messages import DescribeModel, Draft, Generate, Ping
from actors.serving import Servings
from persona.errors import InferenceError
from persona.ports import ChatModel, ChatRequest, Finished, ModelSwitch, TextDelta

_WATCH_SECONDS = 0.5
_SWITCH_SECONDS = 2.0


class InferenceActor(Actor):
    """Owns one language model: loads it when it starts, frees it when it ends.

    A request that fails is its asker's affair. A model that dies takes this actor with it: the supervisor starts both
    anew. A model that hangs cannot be killed within the process: that is fatal (`Hung`).

    With a `switch` it looks every few seconds whether another model is wanted. Where both fit into memory, the new one
    is loaded beside the old one, gets every new request once it is there, and the old one ends with its last reply.
    Where they do not, new requests wait while the old one writes its last reply and the new one is loaded. A model
    that cannot be used leaves the old one where it is, or brings it back.
    """

    def __init__(
        self,
        model_factory: Callable[[], ChatModel],
        *,
        switch: ModelSwitch[Any] | None = None,
        stall_seconds: float = 120.0,
        watch_seconds: float = _WATCH_SECONDS,
        switch_seconds: float = _SWITCH_SECONDS,
    ) -> None:
        """Prepare it.

        Args:
            model_factory: makes the model, not opened yet.
            switch: says when another model is wanted; None: never.
            stall_seconds: longer than this no single step may take, the reading of a large piece of prompt included.
            watch_seconds: time between two looks at the model and at who still waits for an answer.
            switch_seconds: time between two looks for another model.
        """
        self._model_factory = model_factory
        self._stall_seconds = stall_seconds
        self._watch_seconds = watch_seconds
        self._switch = switch
        self._switch_seconds = switch_seconds
        self._servings = Servings(self.spawn)
        self._running: dict[asyncio.Task[None], Responder[Draft]] = {}

    @property
    def model(self) -> ChatModel:
        """The model that new requests get, once it was started.

        Raises:
            InferenceError: it was not.
        """
        return self._servings.current.model

    async def started(self) -> None:
        """Load the model.

        Raises:
            ModelFileError: the file is missing, damaged or not a model.
        """
        model = self._model_factory()
        await model.open()
        self._servings.serve(model)
        self.spawn(self._watch(), name="model watch")
        if self._switch is not None:
            self._switch.opened(model.info)
            self.spawn(self._follow(self._switch), name="model switch")
        info = model.info
        self.context.log.info("model_ready", model=info.name, context_tokens=info.context_tokens)

    async def receive(self, message: object) -> object:
        """Write replies, describe the model, answer pings."""
        match message:
            case Generate(request=request):
                return self._begin(request)
            case DescribeModel():
                return self.model.info
            case Ping():
                return self.describe()
        return None

    async def stopping(self) -> None:
        """Drop what is being written and free the model."""
        for task in self._running:
            task.cancel()
        await self._servings.close(stall_seconds=self._stall_seconds)

    def describe(self) -> str:
        """Say in a few words what is going on."""
        if (stalled := self._servings.stalled_seconds()) > self._stall_seconds / 4:
            return f"no progress for {stalled:.0f} s"
        state = f"{len(self._running)} running" if self._running else "idle"
        return f"{state}, loading {self._servings.loading}" if self._servings.loading else state

    def _begin(self, request: ChatRequest) -> object:
        responder: Responder[Draft] = self.respond_later()
        task = self.spawn(self._generate(request, responder), name="generation")
        self._running[task] = responder
        task.add_done_callback(lambda done: self._running.pop(done, None))
        return LATER

    async def _generate(self, request: ChatRequest, responder: Responder[Draft]) -> None:
        """Write one reply; being cancelled (because nobody waits for it any more) cancels it in the model."""
        texts: list[str] = []
        try:
            async with self._servings.admitted() as model, contextlib.aclosing(model.stream(request)) as events:
                async for event in events:
                    match event:
                        case TextDelta(text=text):
                            texts.append(text)
                        case Finished():
                            self.context.log.debug("generated", reason=event.reason, tokens=event.completion_tokens)
                            finished = replace(event, model=model.info.name)
                            responder.set_result(Draft(text="".join(texts), finished=finished))
        except InferenceError as error:
            responder.set_error(error)

    async def _watch(self) -> None:
        """Drop replies that nobody waits for; give up on the process when the model hangs.

        Raises:
            Hung: the model has been at one step for longer than any step may take.
        """
        while True:
            await asyncio.sleep(self._watch_seconds)
            stalled = self._servings.stalled_seconds()
            if stalled > self._stall_seconds:
                raise Hung("model", stalled)
            for task, responder in list(self._running.items()):
                if responder.abandoned:
                    task.cancel()

    async def _follow(self, switch: ModelSwitch[Any]) -> None:
        """Exchange the model whenever another one is wanted."""
        while True:
            await asyncio.sleep(self._switch_seconds)
            candidate = await switch.wanted(self.model.info)
            if candidate is not None:
                await self._servings.change(candidate, switch)
