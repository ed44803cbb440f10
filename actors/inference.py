"""Lets the language model write replies, several at once, and watches that it keeps moving."""

import asyncio
import contextlib
from collections.abc import Callable

from actors.kernel import LATER, Actor, Hung, Responder
from actors.messages import DescribeModel, Draft, Generate, Ping
from persona.errors import InferenceError
from persona.ports import ChatModel, ChatRequest, Finished, TextDelta

_WATCH_SECONDS = 0.5


class InferenceActor(Actor):
    """Owns one language model: loads it when it starts, frees it when it ends.

    A request that fails is its asker's affair. A model that dies takes this actor with it: the supervisor starts both
    anew. A model that hangs cannot be killed within the process: that is fatal (`Hung`).
    """

    def __init__(
        self,
        model_factory: Callable[[], ChatModel],
        *,
        stall_seconds: float = 120.0,
        watch_seconds: float = _WATCH_SECONDS,
    ) -> None:
        """Prepare it.

        Args:
            model_factory: makes the model, not opened yet.
            stall_seconds: longer than this no single step may take, the reading of a large piece of prompt included.
            watch_seconds: time between two looks at the model and at who still waits for an answer.
        """
        self._model_factory = model_factory
        self._stall_seconds = stall_seconds
        self._watch_seconds = watch_seconds
        self._model: ChatModel | None = None
        self._running: dict[asyncio.Task[None], Responder[Draft]] = {}

    @property
    def model(self) -> ChatModel:
        """The model, once it was started.

        Raises:
            InferenceError: it was not.
        """
        if self._model is None:
            raise InferenceError("the model is not loaded yet")
        return self._model

    async def started(self) -> None:
        """Load the model.

        Raises:
            ModelFileError: the file is missing, damaged or not a model.
        """
        model = self._model_factory()
        await model.open()
        self._model = model
        self.spawn(model.closed(), name="model life")
        self.spawn(self._watch(), name="model watch")
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
        if self.model.stalled_seconds() <= self._stall_seconds:  # a hung model cannot be closed: leave it behind
            await self.model.close()

    def describe(self) -> str:
        """Say in a few words what is going on."""
        if self._model is not None and (stalled := self._model.stalled_seconds()) > self._stall_seconds / 4:
            return f"no progress for {stalled:.0f} s"
        return f"{len(self._running)} running" if self._running else "idle"

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
            async with contextlib.aclosing(self.model.stream(request)) as events:
                async for event in events:
                    match event:
                        case TextDelta(text=text):
                            texts.append(text)
                        case Finished():
                            self.context.log.debug("generated", reason=event.reason, tokens=event.completion_tokens)
                            responder.set_result(Draft(text="".join(texts), finished=event))
        except InferenceError as error:
            responder.set_error(error)

    async def _watch(self) -> None:
        """Drop replies that nobody waits for; give up on the process when the model hangs.

        Raises:
            Hung: the model has been at one step for longer than any step may take.
        """
        while True:
            await asyncio.sleep(self._watch_seconds)
            stalled = self.model.stalled_seconds()
            if stalled > self._stall_seconds:
                raise Hung("model", stalled)
            for task, responder in list(self._running.items()):
                if responder.abandoned:
                    task.cancel()
