"""Which loaded model writes the replies: one, and while it is exchanged the old one, until its last reply is out."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog

from persona.errors import InferenceError
from persona.ports import ChatModel, ModelCandidate, ModelSwitch

C = TypeVar("C", bound=ModelCandidate)

log = structlog.get_logger(__name__)


class Spawn(Protocol):
    """Runs a task that belongs to the owner: its failure is the owner's."""

    def __call__(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Start it."""
        ...


@dataclass(eq=False, slots=True, kw_only=True)
class Serving:
    """A model that is open, the task that waits for its death, and how many replies it is writing."""

    model: ChatModel
    life: asyncio.Task[None]
    replies: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def close(self) -> None:
        """Free the model; that it ends now is no death.

        Raises:
            Hung: its thread does not end.
        """
        self.life.cancel()
        await self.model.close()


class Servings:
    """The model that new replies get, and old ones that are still writing."""

    def __init__(self, spawn: Spawn, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._spawn = spawn
        self._clock = clock
        self._current: Serving | None = None
        self._retiring: list[Serving] = []
        self._admits = asyncio.Event()
        self.loading = ""

    @property
    def current(self) -> Serving:
        """The one that new replies get.

        Raises:
            InferenceError: none was opened yet.
        """
        if self._current is None:
            raise InferenceError("the model is not loaded yet")
        return self._current

    def serve(self, model: ChatModel) -> None:
        """Give new replies to an open model from now on."""
        self._current = Serving(model=model, life=self._spawn(model.closed(), name="model life"))
        self._admits.set()

    @contextlib.asynccontextmanager
    async def admitted(self) -> AsyncGenerator[ChatModel, None]:
        """Give the model for one reply, which stays open for it; waits while models are exchanged."""
        await self._admits.wait()
        serving = self.current
        serving.replies += 1
        serving.idle.clear()
        try:
            yield serving.model
        finally:
            serving.replies -= 1
            if not serving.replies:
                serving.idle.set()

    def stalled_seconds(self) -> float:
        """Return for how long a model has had work without progress, the worst of all."""
        return max((serving.model.stalled_seconds() for serving in self._all()), default=0.0)

    async def close(self, *, stall_seconds: float) -> None:
        """Free every model, except those that hang: these cannot be closed and are left behind."""
        for serving in self._all():
            if serving.model.stalled_seconds() <= stall_seconds:
                await serving.close()

    async def change(self, candidate: C, switch: ModelSwitch[C]) -> None:
        """Exchange the model; one that cannot be used leaves the old one where it is, or brings it back.

        Raises:
            Hung: the old one does not end.
            Exception: not even the old one could be loaded again.
        """
        began, before = self._clock(), self.current.model.info.name
        self.loading = candidate.name
        log.info("model_switch_begins", model=candidate.name, before=before)
        try:
            fits = await self._prepared(candidate, switch)
            if fits is not None and await (self._beside if fits else self._instead)(candidate, switch):
                after = self.current.model.info
                switch.accepted(candidate, after)
                seconds = round(self._clock() - began, 2)
                log.info("model_switched", model=after.name, before=before, both_in_memory=fits, seconds=seconds)
        finally:
            self.loading = ""

    async def _prepared(self, candidate: C, switch: ModelSwitch[C]) -> bool | None:
        """Check a model; return whether it fits beside the old one, None when it cannot be used."""
        try:
            await candidate.check()
            return candidate.fits_beside()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a new model, the old one goes on
            self._refuse(candidate, switch, error)
            return None

    async def _beside(self, candidate: C, switch: ModelSwitch[C]) -> bool:
        """Load it while the old one goes on, which from then on only finishes what it has begun; False: it failed."""
        model = await self._opened(candidate, switch)
        if model is None:
            return False
        old = self.current
        self._retiring.append(old)
        self.serve(model)
        self._spawn(self._retire(old), name="model retires")
        return True

    async def _instead(self, candidate: C, switch: ModelSwitch[C]) -> bool:
        """Let new replies wait, finish what is being written, free the old model, load the new one; False: it failed.

        Then the old one was loaded again. Whatever else goes wrong leaves no model, and is the owner's end.
        """
        self._admits.clear()
        old = self.current
        await _drained(old)
        await old.close()
        model = await self._opened(candidate, switch)
        if model is None:
            again = switch.make()
            await again.open()
            self.serve(again)
            return False
        self.serve(model)
        return True

    async def _opened(self, candidate: C, switch: ModelSwitch[C]) -> ChatModel | None:
        """Load a model; None when that fails."""
        model = candidate.make()
        try:
            await model.open()
        except Exception as error:  # noqa: BLE001 - whatever keeps a new model out must not take the old one down
            self._refuse(candidate, switch, error)
            return None
        return model

    async def _retire(self, old: Serving) -> None:
        await _drained(old)
        await old.close()
        self._retiring.remove(old)

    def _refuse(self, candidate: C, switch: ModelSwitch[C], error: Exception) -> None:
        switch.refused(candidate, error)
        stays = self.current.model.info.name
        log.error("model_switch_failed", model=candidate.name, stays=stays, error=str(error) or type(error).__name__)

    def _all(self) -> list[Serving]:
        return [*self._retiring, *([self._current] if self._current else [])]


async def _drained(serving: Serving) -> None:
    """Wait until a model writes nothing any more."""
    while serving.replies:
        await serving.idle.wait()
