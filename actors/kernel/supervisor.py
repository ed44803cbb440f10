"""Starts children in order, restarts them by the rules of `restart`, and stops them in reverse.

A supervisor never ends while a child of its own lives. It does one thing at a time: while a child starts, the failures
of its siblings wait (a stop does not), so slow work belongs after `started`.
"""

import asyncio
from contextlib import suppress

import structlog

from actors.kernel.errors import Escalated, StartFailed, UnexpectedEnd
from actors.kernel.incarnation import Incarnation
from actors.kernel.life import Exit, Life
from actors.kernel.restart import Restart, RestartWindow, affected
from actors.kernel.slot import Slot
from actors.kernel.snapshot import ChildSnapshot, State
from actors.kernel.spec import AnySpec, ChildSpec, SupervisorSpec, Surroundings
from actors.kernel.tasks import uninterrupted

log = structlog.get_logger()

_EARLY_SECONDS = 0.001
"""How much too early a timer may fire: uvloop counts whole milliseconds."""


class Supervisor(Life):
    """One life of a supervisor; `final` when nobody above could start it again."""

    def __init__(self, spec: SupervisorSpec, around: Surroundings, *, final: bool = False) -> None:
        super().__init__(spec.name)
        self._spec = spec
        self._around = around
        self._final = final
        self._slots = [Slot(child, self._new_life) for child in spec.children]
        self._window = RestartWindow(intensity=spec.intensity, period=spec.period)
        self._stop: asyncio.Future[None] = self._loop.create_future()
        self._wake = asyncio.Event()

    def request_stop(self, *, final: bool) -> None:
        """End: stop all children in reverse order."""
        self._final = self._final or final
        if not self._stop.done():
            self._stop.set_result(None)
        self._wake.set()

    def window(self) -> int:
        """Return how many restarts count at present."""
        return len(self._window.recent(self._loop.time()))

    def children(self) -> tuple[ChildSnapshot, ...]:
        """Return what the children look like."""
        since = self._loop.time() - self._spec.period
        return tuple(slot.snapshot(since=since) for slot in self._slots)

    def _new_life(self, spec: AnySpec) -> Life:
        if isinstance(spec, ChildSpec):
            return Incarnation(spec, self._around)
        return Supervisor(spec, self._around)

    async def _live(self) -> None:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(supervisor=self.name)
        try:
            end = await self._supervise()
        except BaseException as error:  # noqa: BLE001 - whatever it is, no child may be left behind
            end = Exit(error=error)
        await uninterrupted(self._wind_down(end))

    async def _supervise(self) -> Exit:
        """Start the children, then deal with whatever happens to them until this supervisor has to end.

        Raises:
            StartFailed: a child did not become ready the first time.
            Escalated: there were too many restarts.
            BaseException: a child met an error that no restart can cure.
        """
        for slot in self._slots:
            await slot.start(self._wake.set, unless=self._stop)
            if self._stop.done():
                return Exit(asked=True)
        self._become_ready()
        while True:
            self._wake.clear()
            if self._stop.done():
                return Exit(asked=True)
            if ended := self._next_ended():
                if await self._take_leave(ended):
                    return Exit()
            elif due := self._next_due():
                await self._restart(due)
            else:
                await self._sleep()

    async def _take_leave(self, slot: Slot) -> bool:
        """Decide what follows from the end of a child; True when it is the normal end of this supervisor."""
        stays_down = slot.stays_down
        error = await slot.bury()
        self._report(slot, error)
        if error is None and slot.spec.significant:
            slot.drop()
            return True
        if stays_down:
            log.info("child_dropped", child=slot.name)
            slot.drop()
        else:
            await self._plan_restart(slot, error or UnexpectedEnd(slot.name))
        return False

    async def _plan_restart(self, culprit: Slot, error: BaseException) -> None:
        """Stop everyone whom the strategy names, and set the time of their restart.

        They are all down before the first one starts again, also when an earlier restart got stuck half-way:
        so no child ever has two lives.
        """
        now = self._loop.time()
        spec = self._spec
        window = self._window.admit(now)
        if window is None:
            raise Escalated(spec.name, actor=culprit.name, intensity=spec.intensity, period=spec.period) from error
        self._window = window
        culprit.restarts = (*culprit.restarts[-spec.intensity :], now)
        delay = culprit.next_delay(spec.backoff, self._around.chance())
        self._announce(culprit, error, delay)
        group = self._group(culprit)
        for slot in group:
            slot.due = max(now + delay, slot.due or now)
        for slot in reversed(group):
            stays_down = slot.spec.restart is Restart.TEMPORARY
            self._report(slot, await slot.halt(final=stays_down))

    def _group(self, culprit: Slot) -> list[Slot]:
        """Return the children to restart with this one, itself included, in start order."""
        index = self._slots.index(culprit)
        positions = affected(self._spec.strategy, index=index, count=len(self._slots))
        return [self._slots[position] for position in positions if not self._slots[position].dropped]

    async def _restart(self, slot: Slot) -> None:
        """Start a child again; a start that fails counts as one more restart."""
        try:
            await slot.start(self._wake.set, unless=self._stop)
        except StartFailed as failure:
            self._report(slot, failure)
            await self._plan_restart(slot, failure)

    def _next_ended(self) -> Slot | None:
        """Return a child that ended; first those that stay down, lest a group restart brings them back."""
        ended = [slot for slot in self._slots if slot.ended]
        return next((slot for slot in ended if slot.stays_down), ended[0] if ended else None)

    def _next_due(self) -> Slot | None:
        """Return the first child, in start order, whose restart is due."""
        now = self._loop.time() + _EARLY_SECONDS
        return next((slot for slot in self._slots if slot.due is not None and slot.due <= now), None)

    async def _sleep(self) -> None:
        """Wait until a child ends, a restart is due, or a stop is asked for."""
        due = min((slot.due for slot in self._slots if slot.due is not None), default=None)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._wake.wait()

    def _report(self, slot: Slot, error: BaseException | None) -> None:
        """Log the error that a child ended with, and raise it when no restart can cure it."""
        if error is None:
            return
        fatal = self._around.fatal_in(error)
        if fatal is not None:
            raise fatal
        log.error("child_failed", child=slot.name, error=type(error).__name__, exc_info=error)

    def _announce(self, slot: Slot, error: BaseException, delay: float) -> None:
        """Let the log and the listener know of a restart."""
        window = len(self._window.times)
        log.warning("restart_planned", child=slot.name, delay_s=round(delay, 3), in_window=window)
        if self._around.on_restart is None:
            return
        try:
            self._around.on_restart(slot.name, error)
        except Exception:
            # Supervision goes on without its listener.
            log.exception("on_restart_failed", child=slot.name)

    async def _wind_down(self, end: Exit) -> None:
        self.state = State.STOPPING
        for slot in reversed(self._slots):
            slot.due = None
            error = await slot.halt(final=self._final)
            if error is None:
                continue
            log.warning("child_failed_while_stopping", child=slot.name, exc_info=error)
            if (fatal := self._around.fatal_in(error)) is not None:
                end = Exit(error=fatal)
        self.exit = end
