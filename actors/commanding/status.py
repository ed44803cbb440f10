"""The `status` command: what is known about the process, in a few lines."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from actors.commanding.support import Done, done
from actors.kernel import ActorCrashed, ActorRef, ActorStopped, AskTimeout
from actors.messages import Ping
from persona.domain.command_texts import for_how_long, when
from persona.domain.commands import Invocation
from persona.ports import Desk, Health, IngestProgress, MessageStore

_PING_SECONDS = 3.0
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """What only the application knows: since when it runs, with which model ("" while none is loaded)."""

    started_at: datetime
    model: str = ""
    memory: bool = True


class StatusCommand:
    """Carries it out: asks those who know, and looks up what was written down."""

    def __init__(
        self,
        *,
        desk: Desk,
        store: MessageStore,
        progress: IngestProgress,
        gateway: ActorRef,
        ingest: ActorRef,
        report: Callable[[], StatusReport],
        now: Callable[[], datetime],
    ) -> None:
        self._desk = desk
        self._store = store
        self._progress = progress
        self._gateway = gateway
        self._ingest = ingest
        self._report = report
        self._now = now

    async def run(self, _invocation: Invocation) -> Done:
        """Answer in one line for each thing that can go wrong."""
        report, now = self._report(), self._now()
        day = await self._desk.activity(now - _DAY)
        lines = [
            f"**Running** for {for_how_long((now - report.started_at).total_seconds())}",
            f"**Link** {await self._ping(self._gateway)}",
            f"**Model** {report.model or 'not loaded yet'}",
            f"**Memory** {await self._memory(report)}",
            f"**Catching up** {await self._catching_up()}",
            f"**Health** {_health(day.health, now)}",
            f"**Restarts of parts** {day.restarts} in the last 24 hours",
            f"**Replies** {day.replies} in the last 24 hours",
        ]
        return done("\n".join(lines))

    async def _memory(self, report: StatusReport) -> str:
        count, waiting = await self._store.count(), await self._store.memory_changes_pending()
        if not report.memory:
            return f"off; {count:,} messages stored"
        return f"{count:,} messages stored, " + (f"{waiting:,} changes to index" if waiting else "index up to date")

    async def _catching_up(self) -> str:
        reads = [row.fetched_at for row in await self._progress.progress() if row.fetched_at]
        last = f"history last read {when(max(reads))}" if reads else "no history read yet"
        return f"{await self._ping(self._ingest)}; {last}"

    async def _ping(self, ref: ActorRef) -> str:
        try:
            return await ref.ask(Ping(), timeout=_PING_SECONDS) or "running"
        except AskTimeout:
            return "does not answer at the moment"
        except (ActorCrashed, ActorStopped):
            return "is being restarted"


def _health(health: Health | None, now: datetime) -> str:
    if health is None:
        return "not measured yet"
    words = "well" if health.healthy else "not well: " + ", ".join(_troubled(health))
    return (
        f"{words} ({for_how_long((now - health.at).total_seconds())} ago; {health.rss_mb:,.0f} MB of memory, "
        f"answers within {health.loop_lag_ms:.0f} ms)"
    )


def _troubled(health: Health) -> list[str]:
    """Name what is wrong, as the parts said it themselves."""
    signs = ("silent", "degraded", "crash", "stopped", "gone")
    found = [f"{name} {state}" for name, state in health.actors.items() if state.startswith(signs)]
    if health.inference_stalled_s >= 1:
        found.append(f"the model makes no progress for {health.inference_stalled_s:.0f} s")
    return found or ["the log says more"]
