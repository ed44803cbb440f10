"""Makes a `ChatModel` out of a `ChatEngine`: the engine gets a thread of its own, replies become async streams."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from actors.kernel import Hung, ThreadDied, ThreadHost
from persona.errors import InferenceError
from persona.ports import ChatEngine, ChatEvent, ChatRequest, Finished, ModelInfo

_CLOSE_SECONDS = 20.0
"""A step takes seconds at most: a thread that has not ended after this long never will."""

Event = tuple[int, ChatEvent | Exception]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Loop -> engine: write this."""

    job: int
    request: ChatRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Loop -> engine: nobody wants this any more."""

    job: int


class EngineWorker:
    """A `ChatEngine` as a thread host drives it; what a request does wrong becomes its own answer."""

    def __init__(self, engine: ChatEngine) -> None:
        self._engine = engine
        self._refused: list[Event] = []

    @property
    def info(self) -> ModelInfo:
        """What is loaded."""
        return self._engine.info

    @property
    def busy(self) -> bool:
        """Whether there is work to do or an answer to give."""
        return bool(self._refused) or self._engine.busy

    def handle(self, item: Submit | Cancel, /) -> None:
        """Take on or drop a request."""
        match item:
            case Submit(job=job, request=request):
                self._submit(job, request)
            case Cancel(job=job):
                self._engine.cancel(job)

    def step(self) -> Sequence[Event]:
        """Do one piece of work; what was refused is answered first."""
        refused, self._refused = self._refused, []
        return [*refused, *self._engine.step()] if self._engine.busy else refused

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def _submit(self, job: int, request: ChatRequest) -> None:
        try:
            self._engine.submit(job, request)
        except InferenceError as error:
            self._refused.append((job, error))
        except Exception as error:  # noqa: BLE001 - one request's trouble must not end everybody else's replies
            failure = InferenceError(f"the request could not be taken on: {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._refused.append((job, failure))


class ThreadedChatModel:
    """A language model for several conversations at once; lives on one loop, the engine on its own thread."""

    def __init__(
        self, open_engine: Callable[[], ChatEngine], *, name: str = "model", close_seconds: float = _CLOSE_SECONDS
    ) -> None:
        """Prepare it.

        Args:
            open_engine: loads the engine; called on its thread, and that thread alone uses it.
            name: the thread's name.
            close_seconds: how long `close` waits for the present step to end.
        """
        self._open_engine = open_engine
        self._name = name
        self._close_seconds = close_seconds
        self._host: ThreadHost[Submit | Cancel, Event] = ThreadHost(self._open, self._deliver, name=name)
        self._info: ModelInfo | None = None
        self._jobs = itertools.count(1)
        self._streams: dict[int, asyncio.Queue[ChatEvent | Exception]] = {}

    @property
    def info(self) -> ModelInfo:
        """What is loaded; only after `open`.

        Raises:
            InferenceError: it is not loaded yet.
        """
        if self._info is None:
            raise InferenceError("the model is not loaded yet")
        return self._info

    @property
    def running(self) -> int:
        """How many replies are being written or wait for their turn."""
        return len(self._streams)

    async def open(self) -> None:
        """Load the model once.

        Raises:
            ModelFileError: the file is missing, damaged or not a model.
        """
        await self._host.start()
        self._host.dead.add_done_callback(self._on_death)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Write a reply: text as it comes, then one `Finished`. Closing the iterator cancels between two tokens.

        Raises:
            InferenceError: this request failed; the model lives on.
            ThreadDied: the model died.
        """
        job = next(self._jobs)
        events: asyncio.Queue[ChatEvent | Exception] = asyncio.Queue()
        self._host.submit(Submit(job=job, request=request))
        self._streams[job] = events
        try:
            while True:
                event = await events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            # Of a reply that ended the engine knows nothing any more, and ignores this.
            del self._streams[job]
            self._cancel(job)

    def stalled_seconds(self) -> float:
        """Return for how long there has been work without progress (0 when idle or progressing)."""
        return self._host.stalled_seconds()

    async def closed(self) -> None:
        """Wait until the model dies on its own and raise why; never returns while it lives.

        Raises:
            ThreadDied: it did; `__cause__` is the error.
        """
        await self._host.wait_dead()

    async def close(self) -> None:
        """Stop and free it; replies in the making end with `ThreadDied`.

        Raises:
            Hung: its thread does not end; only the end of the process can stop it.
        """
        ended = await self._host.stop(self._close_seconds)
        self._end_streams(ThreadDied(self._name))
        if not ended:
            raise Hung(self._name, self._host.stalled_seconds())

    def _open(self) -> EngineWorker:
        worker = EngineWorker(self._open_engine())
        self._info = worker.info
        return worker

    def _cancel(self, job: int) -> None:
        try:
            self._host.submit(Cancel(job=job))
        except ThreadDied:
            return  # and the reply with it

    def _deliver(self, events: Sequence[Event]) -> None:
        """Hand events to the streams they belong to; those of a closed stream are dropped."""
        for job, event in events:
            stream = self._streams.get(job)
            if stream is not None:
                stream.put_nowait(event)

    def _on_death(self, dead: asyncio.Future[None]) -> None:
        if dead.cancelled():
            return
        error = dead.exception()
        self._end_streams(error if isinstance(error, Exception) else ThreadDied(self._name))

    def _end_streams(self, error: Exception) -> None:
        for stream in self._streams.values():
            stream.put_nowait(error)
