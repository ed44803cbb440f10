"""The heartbeat: what it tells systemd, what it writes down, and what it makes of silent actors and a hung model."""

import asyncio
import mmap
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from actors.health import LagMeter, Lifecycle, Limits, Observation, Phase, Pong, Verdict, judge, status_line
from actors.heartbeat import HeartbeatActor, HeartbeatSettings, resident_megabytes
from actors.kernel import Actor, ActorRef, ActorSystem, Backoff, ChildSpec, SupervisorSpec, new_ref
from actors.messages import Draining, Ping, TreeReady
from persona.adapters.systemd import SdNotify
from persona.errors import StoreError
from persona.ports import Health
from tests.kernel.virtual_clock import now, run_virtual, settle

WATCHDOG_SECONDS = 40.0


# --- decisions ------------------------------------------------------------------------------------------------------


def running(**changes: Any) -> Observation:
    return Observation(
        **{"phase": Phase.RUNNING, "stalled_seconds": 0.0, "pongs": {"gateway": Pong(answer="ok")}, **changes}
    )


def test_all_well() -> None:
    verdict = judge(running(), Limits())
    assert verdict.healthy
    assert verdict.feed_watchdog
    assert status_line(Phase.RUNNING, verdict, "3 replies in the last hour; model demo") == (
        "answering; 3 replies in the last hour; model demo"
    )


@pytest.mark.parametrize(("stalled", "fed"), [(0.0, True), (119.9, True), (120.0, True), (120.1, False), (1e6, False)])
def test_only_a_stalled_model_stops_the_watchdog(stalled: float, fed: bool) -> None:
    verdict = judge(
        running(stalled_seconds=stalled, lag_ms=60_000.0, pongs={"gateway": Pong(silent_seconds=900)}), Limits()
    )
    assert verdict.feed_watchdog is fed
    assert not verdict.healthy
    assert ("inference" in verdict.problems) is not fed


def test_every_unwell_part_is_named() -> None:
    pongs = {
        "gateway": Pong(answer="connected"),
        "ingest": Pong(silent_seconds=12.4),
        "retriever": Pong(lost="crashed: OSError"),
        "inference": Pong(silent_seconds=300),
    }
    verdict = judge(running(stalled_seconds=300.0, lag_ms=1500.0, pongs=pongs), Limits())
    assert verdict.problems == {
        "inference": "no progress for 300 s",
        "loop": "lags by 1500 ms",
        "ingest": "silent for 12 s",
        "retriever": "crashed: OSError",
    }
    line = status_line(Phase.RUNNING, verdict, "")
    assert line.startswith("in trouble: inference no progress for 300 s, loop lags by 1500 ms, ")


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.DRAINING])
def test_actors_that_are_gone_are_no_problem_before_and_after(phase: Phase) -> None:
    verdict = judge(running(phase=phase, pongs={"gateway": Pong(lost="stopped")}), Limits())
    assert verdict.healthy
    assert status_line(phase, verdict, "3 replies").startswith({"starting": "starting", "draining": "stopping"}[phase])


def test_lag_is_the_99th_of_100_of_the_last_minute() -> None:
    meter = LagMeter(window=60.0)
    assert (meter.p99_ms(), meter.worst_ms()) == (0.0, 0.0)
    for number in range(1, 101):
        meter.add(number / 10, number / 1000)
    assert meter.p99_ms() == pytest.approx(99)
    assert meter.worst_ms() == pytest.approx(100)
    meter.add(10.1 + 60, -0.5)
    assert (meter.p99_ms(), meter.worst_ms()) == (0.0, 0.0), "older than a minute; sleeping too short is no lag"


# --- the actor on a virtual clock -----------------------------------------------------------------------------------


@dataclass
class Recorder:
    """A notifier that notes what it is told and when; deaf until `deaf_until`."""

    watchdog_seconds: float | None = WATCHDOG_SECONDS
    deaf_until: float = 0.0
    calls: list[tuple[float, str]] = field(default_factory=list)

    def note(self, text: str) -> bool:
        if now() < self.deaf_until:
            return False
        self.calls.append((now(), text))
        return True

    def watchdog_interval(self) -> float | None:
        return self.watchdog_seconds

    def ready(self) -> bool:
        return self.note("READY")

    def status(self, text: str) -> bool:
        return self.note(f"STATUS {text}")

    def watchdog(self) -> bool:
        return self.note("WATCHDOG")

    def stopping(self) -> bool:
        return self.note("STOPPING")

    def extend_timeout(self, seconds: float) -> bool:
        return self.note(f"EXTEND {seconds:g}")

    def times(self, text: str) -> list[float]:
        return [at for at, call in self.calls if call == text]

    def statuses(self) -> list[str]:
        return [call.removeprefix("STATUS ") for _, call in self.calls if call.startswith("STATUS ")]


class Rows:
    """The store, as far as the heartbeat uses it."""

    def __init__(self) -> None:
        self.rows: list[Health] = []
        self.trouble: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def put_health(self, health: Health) -> None:
        if self.gate:
            await self.gate.wait()
        if self.trouble:
            raise self.trouble
        self.rows.append(health)


class Target(Actor):
    """Answers pings; is busy, crashes, or takes long to start when told so."""

    def __init__(self, start_seconds: float = 0.0, words: str = "idle") -> None:
        self.start_seconds = start_seconds
        self.words = words

    async def started(self) -> None:
        await asyncio.sleep(self.start_seconds)

    async def receive(self, message: object) -> object:
        match message:
            case Ping():
                return self.words
            case float() as seconds:
                await asyncio.sleep(seconds)
            case "crash":
                raise RuntimeError("told to")
        return None


@dataclass
class World:
    """A running tree with a heartbeat and two targets."""

    system: ActorSystem
    heartbeat: ActorRef
    targets: dict[str, ActorRef]
    notifier: Recorder
    rows: Rows
    logs: list[Any]
    stalled: float = 0.0


def live(
    scenario: Callable[[World], Awaitable[None]],
    *,
    settings: HeartbeatSettings | None = None,
    notifier: Recorder | None = None,
    start_seconds: float = 0.0,
    ready: bool = True,
) -> World:
    """Run a scenario on a virtual clock against a real tree."""

    async def main() -> World:
        refs = {name: new_ref(name) for name in ("responder", "gateway")}
        world: World
        heart, life, rows, told = new_ref("heartbeat"), Lifecycle(), Rows(), notifier or Recorder()

        def factory() -> HeartbeatActor:
            return HeartbeatActor(
                targets=list(refs.values()),
                store=rows,
                notifier=told,
                lifecycle=life,
                stalled_seconds=lambda: world.stalled,
                activity=lambda: "3 replies in the last hour; model demo",
                rss_mb=lambda: 123.45,
                settings=settings,
            )

        root = SupervisorSpec(
            name="root",
            children=(
                ChildSpec(ref=heart, factory=factory),
                ChildSpec(ref=refs["responder"], factory=lambda: Target(start_seconds), start_timeout=1000),
                ChildSpec(ref=refs["gateway"], factory=lambda: Target(words="connected")),
            ),
            backoff=Backoff(),
        )
        with capture_logs() as logs:
            world = World(ActorSystem(root), heart, refs, told, rows, logs)
            await world.system.start()
            if ready:
                heart.tell(TreeReady())
                await settle()
            try:
                await scenario(world)
            finally:
                await world.system.stop()
        return world

    return run_virtual(main())


def only_wait(seconds: float) -> Callable[[World], Awaitable[None]]:
    """A scenario in which nothing happens for a while."""
    return lambda _: asyncio.sleep(seconds)


def test_it_asks_for_time_while_the_model_loads_then_says_ready_once() -> None:
    world = live(only_wait(100), start_seconds=95.0)
    asked = world.notifier.times("EXTEND 30")
    assert asked[0] == 0.0, "from its very start"
    assert all(later - earlier < 30 for earlier, later in zip(asked, [*asked[1:], 95.0], strict=True))
    assert max(asked) <= 95.0
    assert world.notifier.times("READY") == [95.0]
    assert min(world.notifier.times("WATCHDOG")) >= 95.0
    assert world.notifier.statuses()[0] == "starting: the model loads"
    assert world.notifier.statuses()[-1] == "answering; 3 replies in the last hour; model demo"


def test_the_watchdog_is_fed_at_least_twice_in_its_interval() -> None:
    fed = live(only_wait(600)).notifier.times("WATCHDOG")
    gaps = [later - earlier for earlier, later in zip(fed, [*fed[1:], 600.0], strict=True)]
    assert max(gaps) <= WATCHDOG_SECONDS / 2
    assert len(fed) < 600, "and not with every pulse"


def test_a_model_without_progress_starves_the_watchdog_until_it_moves_again() -> None:
    async def scenario(world: World) -> None:
        await asyncio.sleep(20)
        world.stalled = 121.0
        await asyncio.sleep(200)
        world.stalled = 0.0
        await asyncio.sleep(20)

    world = live(scenario)
    fed = world.notifier.times("WATCHDOG")
    assert not [at for at in fed if 20 < at < 220]
    assert [at for at in fed if at >= 220]
    assert any(status.startswith("in trouble: inference no progress for 121 s") for status in world.notifier.statuses())
    events = [entry["event"] for entry in world.logs]
    assert events.count("watchdog_withheld") == 1
    assert events.count("watchdog_fed_again") == 1
    assert [row.healthy for row in world.rows.rows if row.inference_stalled_s > 21] == [False] * 20


def test_a_silent_actor_is_named_and_neither_killed_nor_in_the_way() -> None:
    async def scenario(world: World) -> None:
        await asyncio.sleep(15)
        world.targets["responder"].tell(200.0)
        await asyncio.sleep(150)
        incarnations = [child.incarnation for child in world.system.snapshot().root.children]
        assert incarnations == [1, 1, 1]
        assert world.targets["responder"].mailbox.snapshot().depth == 0, "pings that nobody waits for do not pile up"
        await asyncio.sleep(100)

    world = live(scenario)
    words = [row.actors["responder"] for row in world.rows.rows]
    assert words[0] == "idle"
    assert "silent for 5 s" in words
    assert words[-1] == "idle"
    assert {row.actors["gateway"] for row in world.rows.rows} == {"connected"}
    silent = [int(word.split()[2]) for word in words if word.startswith("silent")]
    assert silent == sorted(silent)
    assert silent[-1] > 100
    health = [(entry["healthy"], list(entry["problems"])) for entry in world.logs if entry["event"] == "health"]
    assert health == [(True, []), (False, ["responder"]), (True, [])], "one line for each change"
    fed = world.notifier.times("WATCHDOG")
    assert max(later - earlier for earlier, later in pairwise(fed)) <= WATCHDOG_SECONDS / 2


def test_health_is_logged_now_and_then_even_without_news() -> None:
    world = live(only_wait(3600), settings=HeartbeatSettings(report_seconds=600))
    reports = [entry for entry in world.logs if entry["event"] == "health"]
    assert 6 <= len(reports) <= 7
    assert len(world.rows.rows) == pytest.approx(360, abs=2)
    row = world.rows.rows[-1]
    assert (row.healthy, row.rss_mb, row.inference_stalled_s) == (True, 123.5, 0.0)
    assert row.at.tzinfo is not None


@pytest.mark.parametrize("trouble", [StoreError("disk full"), OSError(28, "No space left on device")])
def test_a_store_that_cannot_write_harms_nothing(trouble: Exception) -> None:
    async def scenario(world: World) -> None:
        world.rows.trouble = trouble
        await asyncio.sleep(95)
        world.rows.trouble = None
        await asyncio.sleep(20)
        assert world.system.snapshot().root.children[0].incarnation == 1

    world = live(scenario)
    assert len(world.rows.rows) == 3, "one before and two after, none in between"
    assert [entry["event"] for entry in world.logs].count("health_not_written") == 9
    assert len(world.notifier.times("WATCHDOG")) >= 10


def test_a_store_that_hangs_does_not_stop_the_beat() -> None:
    async def scenario(world: World) -> None:
        world.rows.gate = asyncio.Event()
        await asyncio.sleep(100)
        world.rows.gate.set()
        await asyncio.sleep(20)

    world = live(scenario)
    assert world.notifier.times("WATCHDOG")[-1] > 100
    assert len(world.notifier.statuses()) > 10
    assert 1 <= len(world.rows.rows) <= 5, "rows are not queued up behind it"


def test_a_crashed_heartbeat_goes_on_where_it_was() -> None:
    async def scenario(world: World) -> None:
        await asyncio.sleep(20)
        world.rows.trouble = None
        world.heartbeat.tell(KillHeartbeat())
        await asyncio.sleep(60)
        assert world.system.snapshot().root.children[0].incarnation == 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeartbeatActor, "receive", fragile(HeartbeatActor.receive))
        world = live(scenario)
    assert len(world.notifier.times("READY")) == 1
    assert not world.notifier.times("EXTEND 30")[1:], "a restart is no start of the process"
    assert not world.notifier.times("STOPPING"), "nor its end"
    assert world.notifier.times("WATCHDOG")[-1] > 60
    assert len(world.rows.rows) >= 8, "the beat goes on, too"


class KillHeartbeat:
    """Makes a `fragile` actor crash."""


def fragile(receive: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    async def wrapped(self: HeartbeatActor, message: object) -> object:
        if isinstance(message, KillHeartbeat):
            raise TypeError("told to crash")
        return await receive(self, message)

    return wrapped


def test_draining_is_announced_and_actors_that_stop_are_no_trouble() -> None:
    async def scenario(world: World) -> None:
        await asyncio.sleep(20)
        world.heartbeat.tell(Draining())
        await asyncio.sleep(45)

    world = live(scenario)
    assert world.notifier.times("STOPPING")[0] == 20.0
    assert world.notifier.statuses()[-1] == "stopping: running replies are finished"
    assert world.notifier.times("WATCHDOG")[-1] > 50, "a long drain is no hang"
    assert all(row.healthy for row in world.rows.rows)


def test_told_to_stop_while_starting_it_never_says_ready() -> None:
    async def scenario(world: World) -> None:
        world.heartbeat.tell(Draining())
        world.heartbeat.tell(TreeReady())
        await asyncio.sleep(20)

    world = live(scenario, ready=False)
    assert not world.notifier.times("READY")
    assert world.notifier.times("STOPPING")


def test_ready_is_repeated_until_it_gets_through() -> None:
    world = live(only_wait(60), notifier=Recorder(deaf_until=30.0))
    ready = world.notifier.times("READY")
    assert len(ready) == 1
    assert 30.0 <= ready[0] <= 31.0


def test_without_a_watchdog_nobody_is_fed() -> None:
    world = live(only_wait(60), notifier=Recorder(watchdog_seconds=None))
    assert not world.notifier.times("WATCHDOG")
    assert len(world.rows.rows) >= 6


def test_it_answers_pings_itself() -> None:
    async def scenario(world: World) -> None:
        assert await world.heartbeat.ask(Ping(), timeout=1) == "running"

    live(scenario)


# --- on a real loop, with a real socket -----------------------------------------------------------------------------


def test_a_whole_life_over_a_real_socket(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")

    async def main() -> tuple[list[str], Rows]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(address)
            server.setblocking(False)
            heard: list[str] = []

            def listen() -> None:
                heard.append(server.recv(4096).decode())

            loop = asyncio.get_running_loop()
            loop.add_reader(server, listen)
            notifier = SdNotify({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"})
            heart, target, rows, life = new_ref("heartbeat"), new_ref("gateway"), Rows(), Lifecycle()
            settings = HeartbeatSettings(interval_seconds=0.1, pulse_seconds=0.02)

            def factory() -> HeartbeatActor:
                return HeartbeatActor(
                    targets=[target],
                    store=rows,
                    notifier=notifier,
                    lifecycle=life,
                    stalled_seconds=lambda: 0.0,
                    settings=settings,
                )

            children = (
                ChildSpec(ref=heart, factory=factory),
                ChildSpec(ref=target, factory=lambda: Target(start_seconds=0.2)),
            )
            system = ActorSystem(SupervisorSpec(name="root", children=children))
            await system.start()
            heart.tell(TreeReady())
            await asyncio.sleep(1.0)
            time.sleep(0.3)  # noqa: ASYNC251 - the loop is to lag
            await asyncio.sleep(0.3)
            heart.tell(Draining())
            await asyncio.sleep(0.1)
            await system.stop()
            await asyncio.sleep(0.05)
            loop.remove_reader(server)
            return heard, rows

    heard, rows = asyncio.run(main())
    assert heard[0] == "EXTEND_TIMEOUT_USEC=30000000"
    assert heard.count("READY=1") == 1
    order = [heard.index(word) for word in ("EXTEND_TIMEOUT_USEC=30000000", "READY=1", "WATCHDOG=1", "STOPPING=1")]
    assert order == sorted(order)
    assert heard.count("WATCHDOG=1") >= 5
    assert "STATUS=answering" in heard
    assert heard[-1] in {"STOPPING=1", "STATUS=stopping: running replies are finished"}
    assert len(rows.rows) >= 5
    assert rows.rows[-1].loop_lag_ms > 100, "the blocked loop was noticed"
    assert rows.rows[0].rss_mb > 10


def test_memory_is_measured() -> None:
    before = resident_megabytes()
    with mmap.mmap(-1, 50_000_000) as ballast:  # new pages for sure: an allocator may have some to spare
        for page in range(0, len(ballast), 4096):
            ballast[page] = 1
        grown = resident_megabytes() - before
    assert 40 < grown < 80


def test_a_verdict_without_problems_is_healthy() -> None:
    assert Verdict(feed_watchdog=False).healthy
    assert not Verdict(feed_watchdog=True, problems={"loop": "lags"}).healthy
