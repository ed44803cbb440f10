"""One life of an actor: start it, feed it its mailbox, and clean up after it, however it ends.

Two tasks: the first serves the actor (`started`, then one message after the other) and may be cancelled at any moment;
the second watches over the first and does the cleaning up, which nothing interrupts.
"""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from actors.kernel.actor import Actor, Context
from actors.kernel.envelope import LATER, Envelope, Responder, at_work, blocked
from actors.kernel.errors import ActorCrashed, ActorStopped, StartTimeout, Unkillable
from actors.kernel.life import Exit, Life
from actors.kernel.mailbox import Lost
from actors.kernel.snapshot import State
from actors.kernel.spec import ChildSpec, Surroundings
from actors.kernel.tasks import error_of, kill, uninterrupted

T = TypeVar("T")

log = structlog.get_logger()


class Incarnation(Life):
    """See the module."""

    def __init__(self, spec: ChildSpec, around: Surroundings) -> None:
        super().__init__(spec.name)
        spec.ref.incarnations += 1
        self.number = spec.ref.incarnations
        self._spec = spec
        self._around = around
        self._ref = spec.ref
        self._actor: Actor | None = None
        self._context = contextvars.copy_context()
        self._verdict: asyncio.Future[Exit] = self._loop.create_future()
        """Set when something other than the serving task ends this life: the supervisor, or a failed spawned task."""
        self._last = False
        """No further message is taken from the mailbox."""
        self._in_flight: Envelope | None = None
        self._taken = False
        """The answer to the message in flight was taken by a responder."""
        self._deferred: set[Envelope] = set()
        self._tasks: set[asyncio.Task[Any]] | None = set()
        """The spawned tasks; None when there may be no more."""
        self._survivors: set[asyncio.Task[Any]] = set()
        self._fatal: BaseException | None = None
        """An error met while stopping that no restart can cure."""

    # --- what the supervisor and the actor call ----------------------------------------------------------------------

    def request_stop(self, *, final: bool) -> None:
        """End after the message in flight."""
        if final:
            self._ref.mailbox.close()
        if not self._verdict.done():
            self._verdict.set_result(Exit(asked=True))

    def describe(self) -> str:
        """Return the actor's own words on what it does."""
        if self._actor is None or not self.ready:
            return ""
        try:
            return self._actor.describe()
        except Exception as error:  # noqa: BLE001 - an actor that cannot describe itself must not break the snapshot
            return f"no description: {type(error).__name__}: {error}"

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """See `Actor.spawn`."""
        if self._tasks is None:
            coro.close()
            raise ActorStopped(self.name)
        context = contextvars.copy_context()
        context.run(self._introduce)
        context.run(blocked.set, ())  # while a task waits, the actor goes on receiving
        task = self._loop.create_task(coro, name=f"{self.name}: {name}", context=context)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def respond_later(self) -> Responder[Any]:
        """See `Actor.respond_later`."""
        if self._in_flight is None or self._taken:
            raise RuntimeError(f"{self.name}: respond_later() is for receive(), once a message")
        self._taken = True
        envelope = self._in_flight
        if envelope.reply is not None:
            self._deferred.add(envelope)
            envelope.reply.add_done_callback(lambda _: self._deferred.discard(envelope))
        return Responder(envelope)

    def finish(self) -> None:
        """See `Actor.finish`."""
        self._last = True
        if self.ready and self._in_flight is None and not self._verdict.done():
            self._verdict.set_result(Exit())

    # --- serving -----------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        structlog.contextvars.clear_contextvars()
        self._introduce()
        self._actor = actor = self._spec.factory()
        own_log = structlog.get_logger().bind(actor=self.name, incarnation=self.number)
        actor.context = Context(ref=self._ref, incarnation=self.number, log=own_log, host=self)
        self._context = contextvars.copy_context()
        await actor.started()
        self._become_ready()
        while not self._last:
            envelope = await self._ref.mailbox.get()
            if not envelope.lapsed(self._loop.time()):
                self._in_flight, self._taken = envelope, False
                await self._handle(actor, envelope)
                # Not in a `finally`: after a crash the envelope is still needed, to tell the asker.
                self._in_flight = None

    async def _handle(self, actor: Actor, envelope: Envelope) -> None:
        blocked.set((*envelope.path, self._ref))
        bound = structlog.contextvars.bind_contextvars(**envelope.fields) if envelope.fields else {}
        try:
            answer = await actor.receive(envelope.message)
        finally:
            structlog.contextvars.reset_contextvars(**bound)
        if self._taken is not (answer is LATER):
            raise RuntimeError(f"{self.name}: receive() returns LATER if, and only if, it called respond_later()")
        if answer is not LATER:
            envelope.answer(answer)

    def _introduce(self) -> None:
        """Say in the current context who is at work: for the log, and to recognise an ask in a circle."""
        at_work.set(self._ref)
        blocked.set((self._ref,))
        structlog.contextvars.bind_contextvars(actor=self.name, incarnation=self.number)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        if self._tasks is not None:
            self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if self._verdict.done() or self.state is State.STOPPING:
            self._too_late("task_failed_while_stopping", error, task=task.get_name())
        else:
            self._verdict.set_result(Exit(error=error))

    # --- watching and cleaning up ------------------------------------------------------------------------------------

    async def _live(self) -> None:
        serving = self._loop.create_task(self._serve(), name=f"{self.name}: serve")
        try:
            end = await self._watch(serving)
        except asyncio.CancelledError as error:  # the loop is being torn down around us
            end = Exit(error=error)
        await uninterrupted(self._wind_down(serving, end))

    async def _watch(self, serving: asyncio.Task[None]) -> Exit:
        """Return why this life ends, as soon as it has to."""
        enough: set[asyncio.Future[Any]] = {serving, self._verdict}
        limit = self._spec.start_timeout
        await asyncio.wait({*enough, self.settled}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if not (self.ready or serving.done() or self._verdict.done()):
            return Exit(error=StartTimeout(self.name, limit))
        await asyncio.wait(enough, return_when=asyncio.FIRST_COMPLETED)
        if serving.done() and (error := error_of(serving)) is not None:
            return Exit(error=error)
        return self._verdict.result() if self._verdict.done() else Exit()

    async def _wind_down(self, serving: asyncio.Task[None], end: Exit) -> None:
        self.state = State.STOPPING
        self._last = True
        deadline = self._loop.time() + self._spec.stop_timeout
        if end.error is None and self._in_flight is not None:
            await asyncio.wait({serving}, timeout=self._spec.stop_timeout / 2)
        await self._kill({serving})
        error = self._cause(serving, end)
        self._settle_in_flight(error)
        if error is not None:
            self._settle_deferred(error)
        if self.ready and self._actor is not None:
            await self._run_stopping(self._actor, deadline)
        tasks, self._tasks = self._tasks or set(), None
        await self._kill(tasks)
        self._settle_deferred(None)
        if self._survivors:
            self.exit = self._unkillable()
        else:
            self.exit = end if self._fatal is None else Exit(error=self._fatal)

    async def _run_stopping(self, actor: Actor, deadline: float) -> None:
        async def stopping() -> None:
            await actor.stopping()

        task = self._loop.create_task(stopping(), name=f"{self.name}: stopping", context=self._context.copy())
        await asyncio.wait({task}, timeout=max(0.0, deadline - self._loop.time()))
        if not task.done():
            log.warning("stopping_timed_out", actor=self.name, seconds=self._spec.stop_timeout)
            await self._kill({task})
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            self._too_late("stopping_failed", error)

    async def _kill(self, tasks: set[asyncio.Task[Any]]) -> None:
        self._survivors |= await kill(tasks, timeout=self._spec.kill_timeout)

    def _unkillable(self) -> Exit:
        names = sorted(task.get_name() for task in self._survivors)
        log.critical("child_unkillable", actor=self.name, tasks=names)
        self._around.unkillable.append(self.name)
        return Exit(error=Unkillable(self.name))

    def _cause(self, serving: asyncio.Task[None], end: Exit) -> BaseException | None:
        """Return the error that askers hear of; the message in flight may also fail after the end was decided."""
        late = serving.exception() if serving.done() and not serving.cancelled() else None
        if late is not None and late is not end.error:
            self._too_late("failed_while_stopping", late)
        return end.error or late

    def _too_late(self, event: str, error: BaseException, **details: str) -> None:
        """Note an error that comes when the end is decided already: no more than a line in the log, unless fatal."""
        log.warning(event, actor=self.name, exc_info=error, **details)
        self._fatal = self._fatal or self._around.fatal_in(error)

    def _settle_in_flight(self, error: BaseException | None) -> None:
        """Tell the asker of the message in flight; it is not redelivered, since it may be what the actor died of."""
        envelope, self._in_flight = self._in_flight, None
        if envelope is None:
            return
        if envelope.reply is None:
            self._ref.mailbox.lose(envelope.message, Lost.INTERRUPTED if error is None else Lost.CRASHED)
        elif not self._taken:
            envelope.fail(self._news(error))

    def _settle_deferred(self, error: BaseException | None) -> None:
        for envelope in tuple(self._deferred):
            envelope.fail(self._news(error))

    def _news(self, error: BaseException | None) -> Exception:
        """Return what an asker is told: a new exception each time, since every raise writes into it."""
        news = ActorStopped(self.name) if error is None else ActorCrashed(self.name)
        news.__cause__ = error
        return news
