"""Watches the process from the inside: pings every actor, measures the loop, and keeps the process supervisor informed.

Two loops run side by side, so that a silent actor never delays the watchdog: a quick pulse (loop lag, watchdog, start
time extensions) and a slow beat (pings, verdict, health row, status line). Progress of the language model comes from
a callable rather than from a ping: an actor that waits for a hung thread could not answer.
"""

import asyncio
import mmap
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from actors.health import LagMeter, Lifecycle, Limits, Observation, Phase, Pong, Verdict, judge, status_line
from actors.kernel import Actor, ActorCrashed, ActorRef, ActorStopped, AskTimeout
from actors.messages import Draining, Ping, TreeReady
from persona.ports import Health, MessageStore, Notifier

_MAX_ANSWER = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatSettings:
    """How often the heartbeat looks, in seconds, and what it finds healthy.

    `report_seconds`: a `health` line is logged at least this often, and whenever something changes.
    `extension_seconds`: how much more time to start is asked for at once; asked again after a third of it.
    """

    interval_seconds: float = 10.0
    ping_timeout_seconds: float = 5.0
    pulse_seconds: float = 0.5
    report_seconds: float = 600.0
    extension_seconds: float = 30.0
    limits: Limits = field(default_factory=Limits)


class HeartbeatActor(Actor):
    """Starts before and stops after everything else; told `TreeReady` and `Draining` by the app.

    Args:
        targets: every other actor; each answers `Ping`.
        store: takes a `Health` row for every beat; that it cannot is logged and harms nothing.
        notifier: the process supervisor's door.
        lifecycle: one object for all incarnations.
        stalled_seconds: for how long the language model has had work without progress; 0 while it is idle,
            progressing or being loaded. Must return at once.
        activity: a few words for the status line, such as "3 replies in the last hour; model demo".
        rss_mb: the process's memory in megabytes.
    """

    def __init__(
        self,
        *,
        targets: Sequence[ActorRef],
        store: MessageStore,
        notifier: Notifier,
        lifecycle: Lifecycle,
        stalled_seconds: Callable[[], float],
        settings: HeartbeatSettings | None = None,
        activity: Callable[[], str] = str,
        rss_mb: Callable[[], float] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._targets = targets
        self._store = store
        self._notifier = notifier
        self._life = lifecycle
        self._stalled_seconds = stalled_seconds
        self._settings = settings or HeartbeatSettings()
        self._activity = activity
        self._rss_mb = rss_mb or resident_megabytes
        self._now = now
        self._lag = LagMeter()
        self._running = asyncio.Event()
        self._silent_since: dict[str, float] = {}
        self._next_call = 0.0
        self._fed = True
        self._last_problems: frozenset[str] | None = None
        self._next_report = 0.0
        self._writing: asyncio.Task[None] | None = None

    async def started(self) -> None:
        """Begin at once: the time that the others need to start is asked for from here."""
        if self._life.phase is not Phase.STARTING:
            self._running.set()
        self._notify()
        self._show(Verdict(feed_watchdog=True))
        self.spawn(self._pulse_forever(), name="heartbeat pulse")
        self.spawn(self._beat_forever(), name="heartbeat beat")

    async def receive(self, message: object) -> object:
        """Follow the process through its life; answer pings like everybody."""
        match message:
            case TreeReady():
                self._enter(Phase.RUNNING)
            case Draining():
                self._enter(Phase.DRAINING)
                self._notifier.stopping()
            case Ping():
                return self.describe()
        return None

    async def stopping(self) -> None:
        """Say that the process ends; harmless when it has been said."""
        if self._life.phase is Phase.DRAINING:
            self._notifier.stopping()

    def describe(self) -> str:
        """Name the phase of the process."""
        return str(self._life.phase)

    def _enter(self, phase: Phase) -> None:
        """Go on to a phase; never back, for a drain may be ordered while the tree still starts."""
        if self._life.phase is Phase.DRAINING:
            return
        self._life.phase = phase
        self._next_call = 0.0
        self._running.set()
        self._notify()
        self._show(Verdict(feed_watchdog=True))

    # --- the pulse: lag, watchdog, time to start ---

    async def _pulse_forever(self) -> None:
        loop = asyncio.get_running_loop()
        pause = self._settings.pulse_seconds
        interval = self._notifier.watchdog_interval()
        if interval is not None:
            pause = min(pause, interval / 8)
        while True:
            due = loop.time() + pause
            await asyncio.sleep(pause)
            self._lag.add(loop.time(), loop.time() - due)
            self._notify()

    def _notify(self) -> None:
        """Tell the process supervisor what is due; a call that did not get through is repeated with the next pulse."""
        if self._life.phase is Phase.RUNNING and not self._life.announced:
            self._life.announced = self._notifier.ready()
        time = asyncio.get_running_loop().time()
        if self._life.phase is Phase.STARTING:
            extension = self._settings.extension_seconds
            if time >= self._next_call and self._notifier.extend_timeout(extension):
                self._next_call = time + extension / 3
            return
        interval = self._notifier.watchdog_interval()
        if interval is not None and self._may_feed() and time >= self._next_call and self._notifier.watchdog():
            self._next_call = time + interval / 4

    def _may_feed(self) -> bool:
        """Judge progress alone; log when feeding ends and begins again, for a kill may follow."""
        seen = Observation(phase=self._life.phase, stalled_seconds=self._stalled_seconds())
        feed = judge(seen, self._settings.limits).feed_watchdog
        if feed is not self._fed:
            self._fed = feed
            report = self.context.log.info if feed else self.context.log.error
            report(
                "watchdog_fed_again" if feed else "watchdog_withheld", stalled_seconds=round(seen.stalled_seconds, 1)
            )
        return feed

    # --- the beat: pings, verdict, health ---

    async def _beat_forever(self) -> None:
        await self._running.wait()
        while True:
            if self._life.phase is Phase.RUNNING:
                await self._beat()
            await asyncio.sleep(self._settings.interval_seconds)

    async def _beat(self) -> None:
        pongs = await self._ping_all()
        if self._life.phase is not Phase.RUNNING:
            return  # told to stop meanwhile: that actors are gone now is no finding
        seen = Observation(
            phase=self._life.phase,
            stalled_seconds=self._stalled_seconds(),
            lag_ms=self._lag.p99_ms(),
            pongs=pongs,
        )
        verdict = judge(seen, self._settings.limits)
        health = Health(
            at=self._now(),
            healthy=verdict.healthy,
            loop_lag_ms=round(seen.lag_ms, 2),
            inference_stalled_s=round(seen.stalled_seconds, 2),
            rss_mb=round(self._rss_mb(), 1),
            actors={name: str(pong) for name, pong in pongs.items()},
        )
        self._report(health, verdict)
        self._show(verdict)
        self._write(health)

    async def _ping_all(self) -> dict[str, Pong]:
        async with asyncio.TaskGroup() as group:
            tasks = {ref.name: group.create_task(self._ping(ref)) for ref in self._targets}
        return {name: task.result() for name, task in tasks.items()}

    async def _ping(self, target: ActorRef) -> Pong:
        """Ping one actor; what goes wrong is the finding."""
        began = asyncio.get_running_loop().time()
        try:
            answer = await target.ask(Ping(), timeout=self._settings.ping_timeout_seconds)
        except AskTimeout:
            since = self._silent_since.setdefault(target.name, began)
            return Pong(silent_seconds=asyncio.get_running_loop().time() - since)
        except ActorCrashed as error:
            return Pong(lost=f"crashed: {type(error.__cause__).__name__}")
        except ActorStopped:
            return Pong(lost="stopped")
        self._silent_since.pop(target.name, None)
        return Pong(answer=(answer or "ok")[:_MAX_ANSWER])

    def _report(self, health: Health, verdict: Verdict) -> None:
        """Log when the set of problems changes, and now and then."""
        time = asyncio.get_running_loop().time()
        problems = frozenset(verdict.problems)
        if problems == self._last_problems and time < self._next_report:
            return
        self._last_problems = problems
        self._next_report = time + self._settings.report_seconds
        log = self.context.log.info if verdict.healthy else self.context.log.warning
        log(
            "health",
            healthy=health.healthy,
            problems=dict(verdict.problems),
            loop_lag_ms=health.loop_lag_ms,
            loop_lag_worst_ms=round(self._lag.worst_ms(), 2),
            inference_stalled_s=health.inference_stalled_s,
            rss_mb=health.rss_mb,
            actors=dict(health.actors),
        )

    def _show(self, verdict: Verdict) -> None:
        self._notifier.status(status_line(self._life.phase, verdict, self._activity()))

    def _write(self, health: Health) -> None:
        """Store a row beside everything else; a store that is still busy with the last one is left alone."""
        if self._writing is not None and not self._writing.done():
            self.context.log.warning("health_not_written", error="the store has not finished the last row")
            return
        self._writing = self.spawn(self._put(health), name="heartbeat health row")

    async def _put(self, health: Health) -> None:
        try:
            await self._store.put_health(health)
        except Exception as error:  # noqa: BLE001 - a full disk must not take the bot down through its own watchman
            self.context.log.warning("health_not_written", error=f"{type(error).__name__}: {error}")


def resident_megabytes() -> float:
    """Return the memory this process holds in megabytes: now on Linux, at its highest on other Unixes, else 0."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return _highest_megabytes()
    return pages * mmap.PAGESIZE / 1e6


def _highest_megabytes() -> float:
    try:
        import resource  # noqa: PLC0415 - Unix only
    except ImportError:
        return 0.0
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / (1e6 if sys.platform == "darwin" else 1e3)
