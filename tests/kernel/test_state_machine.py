"""Hypothesis drives a supervision tree through hours of crashes, hangs and shutdowns, and checks what must never break.

Invariants: never two incarnations of an actor; every ask settles by its timeout; no more restarts within a window than
the intensity allows; whoever is stopped for good goes after everything that was started after it; and once the tree has
ended: no leaked task, every mailbox closed, and the reason for the end is the right one.
"""

import asyncio
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.kernel import (
    LATER,
    Actor,
    ActorCrashed,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Backoff,
    ChildSpec,
    Escalated,
    Request,
    Restart,
    StartFailed,
    State,
    Strategy,
    SupervisorSpec,
    new_ref,
)
from tests.kernel.probes import BoomError, FatalError
from tests.kernel.virtual_clock import VirtualClockLoop, settle

PERIOD = 100.0
PARENT = {"a": "root", "mid": "root", "b": "mid", "c": "mid", "d": "mid", "e": "root"}
LATER_SIBLINGS = {"a": "bcde", "b": "cd", "c": "d", "d": "", "e": ""}
ACTORS = ("a", "b", "c", "d", "e")
STARTS = ("raise", "hang", "slow", "factory", "task", "lose a cancel")
STOPS = ("raise", "hang", "slow", "lose a cancel")
ORDERS = ("reply", "slow", "later", "never", "crash", "crash in task", "crash both", "cancelled", "finish", "spawn")


@dataclass(frozen=True)
class Order(Request[str]):
    """What the probe is to do."""

    kind: str
    seconds: float = 0.0


async def losing_a_cancel(seconds):
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        await asyncio.sleep(seconds)


class World:
    """What all the probes share: their orders, and what an observer saw."""

    def __init__(self):
        self.inside = defaultdict(Counter)
        self.violations = []
        self.starts = defaultdict(list)
        self.stops = defaultdict(list)
        self.ready = Counter()
        self.stopped = Counter()

    @contextmanager
    def running(self, name, incarnation):
        """Mark that code of an incarnation runs, or is suspended half-way."""
        running = self.inside[name]
        running[incarnation] += 1
        if len(+running) > 1:
            self.violations.append(f"{name} has incarnations {sorted(+running)} at once")
        try:
            yield
        finally:
            running[incarnation] -= 1

    def check_that_later_ones_are_gone(self, name):
        """Whoever is stopped for good is stopped after everything that was started after it."""
        for later in LATER_SIBLINGS[name]:
            if +self.inside[later]:
                self.violations.append(f"{name} is stopped before {later}")


class Probe(Actor):
    """Behaves as the world says."""

    def __init__(self, world, name):
        self.world = world
        self.start = world.starts[name].pop(0) if world.starts[name] else "ok"
        if self.start == "factory":
            raise BoomError("factory")

    @property
    def me(self):
        return self.context.name, self.context.incarnation

    def here(self):
        return self.world.running(*self.me)

    async def started(self):
        with self.here():
            self.spawn(self.linger(), name="linger")
            match self.start:
                case "raise":
                    raise BoomError("start")
                case "hang":
                    await asyncio.Event().wait()
                case "slow":
                    await asyncio.sleep(5)
                case "task":
                    self.spawn(self.boom(1), name="boom")
                    await asyncio.sleep(5)
                case "lose a cancel":
                    await losing_a_cancel(60)

        self.world.ready[self.me] += 1

    async def stopping(self):
        name = self.context.name
        self.world.stopped[self.me] += 1
        if self.context.ref.mailbox.closed:
            self.world.check_that_later_ones_are_gone(name)
        with self.here():
            match self.world.stops[name].pop(0) if self.world.stops[name] else "ok":
                case "raise":
                    raise BoomError("stop")
                case "hang":
                    await asyncio.Event().wait()
                case "slow":
                    await asyncio.sleep(2)
                case "lose a cancel":
                    await losing_a_cancel(60)

    async def receive(self, message):
        with self.here():
            return await self.obey(message)

    async def obey(self, message):  # noqa: C901 - one case an order
        match message:
            case Order("slow", seconds):
                await asyncio.sleep(seconds)
            case Order("later", seconds):
                self.spawn(self.answer(self.respond_later(), seconds), name="answer")
                return LATER
            case Order("never"):
                self.respond_later()
                return LATER
            case Order("crash"):
                raise BoomError("receive")
            case Order("crash in task", seconds):
                self.spawn(self.boom(seconds), name="boom")
            case Order("crash both", seconds):
                self.spawn(self.boom(seconds), name="boom")
                await asyncio.sleep(seconds)
                raise BoomError("both")
            case Order("cancelled"):
                asyncio.current_task().cancel()
                await asyncio.sleep(0)
            case Order("finish"):
                self.finish()
            case Order("spawn"):
                self.spawn(self.linger(), name="another")
            case Order("fatal"):
                raise FatalError("over")
        return "done"

    async def answer(self, responder, seconds):
        with self.here():
            await asyncio.sleep(seconds)
            responder.set_result("done later")

    async def boom(self, seconds):
        with self.here():
            await asyncio.sleep(seconds)
            raise BoomError("task")

    async def linger(self):
        with self.here():
            await asyncio.Event().wait()


names = st.sampled_from(ACTORS)
seconds_of_work = st.sampled_from([0.0, 0.5, 3.0, 20.0])
restart_types = st.sampled_from([Restart.PERMANENT] * 4 + [Restart.TRANSIENT, Restart.TEMPORARY])


class Tree(RuleBasedStateMachine):
    """root: a, mid (b, c, d), e."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualClockLoop)
        self.loop = self.runner.get_loop()
        self.world = World()
        self.asks = []
        self.restarts = defaultdict(list)
        self.shut_down = False
        self.fatal_asked = False

    def teardown(self):
        try:
            if hasattr(self, "system"):
                self.runner.run(self.system.stop())
                self.runner.run(settle())
                self.check_the_end()
        finally:
            self.runner.close()

    # --- rules -------------------------------------------------------------------------------------------------------

    @initialize(
        strategies=st.tuples(st.sampled_from(Strategy), st.sampled_from(Strategy)),
        intensities=st.tuples(st.integers(min_value=0, max_value=6), st.integers(min_value=0, max_value=6)),
        types=st.fixed_dictionaries(dict.fromkeys((*ACTORS, "mid"), restart_types)),
        significant=st.sets(st.sampled_from((*ACTORS, "mid")), max_size=2),
        first_starts=st.just({}) | st.just({}) | st.dictionaries(names, st.lists(st.sampled_from(STARTS), max_size=1)),
    )
    def start(self, *, strategies, intensities, types, significant, first_starts):
        self.world.starts.update(first_starts)
        self.types = types
        self.refs = {name: new_ref(name, mailbox=3) for name in ACTORS}
        options = {
            name: {"restart": types[name], "significant": name in significant and types[name] is not Restart.PERMANENT}
            for name in types
        }
        children = {
            name: ChildSpec(
                ref=self.refs[name],
                factory=lambda name=name: Probe(self.world, name),
                start_timeout=10,
                stop_timeout=4,
                kill_timeout=2,
                **options[name],
            )
            for name in ACTORS
        }
        self.intensity = dict(zip(("root", "mid"), intensities, strict=True))
        shared = {"period": PERIOD, "backoff": Backoff(base=1, cap=8, stable_after=30)}
        mid = SupervisorSpec(
            name="mid",
            children=tuple(children[name] for name in "bcd"),
            strategy=strategies[1],
            intensity=intensities[1],
            **shared,
            **options["mid"],
        )
        root = SupervisorSpec(
            name="root",
            children=(children["a"], mid, children["e"]),
            strategy=strategies[0],
            intensity=intensities[0],
            **shared,
        )
        self.system = ActorSystem(root, fatal=(FatalError,), on_restart=self.restarted, chance=lambda: 0.5)
        try:
            self.runner.run(self.system.start())
            self.started = True
        except StartFailed:
            self.started = False

    def restarted(self, name, _):
        parent = PARENT[name]
        self.restarts[parent].append(self.loop.time())
        if parent == "root":
            self.restarts["mid"].clear()  # it may be a new mid, whose window is empty

    @rule(name=names, kind=st.sampled_from(ORDERS), seconds=seconds_of_work)
    def tell(self, name, kind, seconds):
        self.runner.run(self.told(name, Order(kind, seconds)))

    async def told(self, name, order):
        self.refs[name].tell(order)
        await settle()

    @rule(name=names, seconds=seconds_of_work)
    def crash(self, name, seconds):
        self.runner.run(self.told(name, Order("crash in task" if seconds else "crash", seconds)))

    @rule(
        name=names,
        kind=st.sampled_from(ORDERS),
        seconds=seconds_of_work,
        timeout=st.sampled_from([0.5, 5.0, 50.0]),
        cancel=st.booleans(),
    )
    def ask(self, name, kind, seconds, timeout, cancel):
        async def begin():
            task = asyncio.create_task(self.refs[name].ask(Order(kind, seconds), timeout=timeout))
            await settle()
            if cancel and kind == "slow":
                task.cancel()
            return task

        self.asks.append((self.loop.time() + timeout, self.runner.run(begin())))

    @rule(name=names, how=st.lists(st.sampled_from(STARTS), min_size=1, max_size=3))
    def bad_start(self, name, how):
        self.world.starts[name].extend(how)

    @rule(name=names, how=st.sampled_from(STOPS))
    def bad_stop(self, name, how):
        self.world.stops[name].append(how)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 30.0, 150.0]))
    def advance(self, seconds):
        self.runner.run(asyncio.sleep(seconds))

    @rule(name=names, dice=st.integers(min_value=0, max_value=9))
    def fatal(self, name, dice):
        if dice == 0:
            self.fatal_asked = True
            self.runner.run(self.told(name, Order("fatal")))

    @precondition(lambda self: not self.shut_down)
    @rule(cancels=st.lists(st.sampled_from([0.0, 0.5, 3.0]), max_size=3), dice=st.integers(min_value=0, max_value=4))
    def shutdown(self, cancels, dice):
        if dice:
            return
        self.shut_down = True

        async def stop():
            task = asyncio.create_task(self.system.stop())
            for seconds in cancels:
                await asyncio.sleep(seconds)
                task.cancel()
            await asyncio.wait({task})
            await settle()

        self.runner.run(stop())
        self.check_the_end()

    # --- invariants --------------------------------------------------------------------------------------------------

    @invariant()
    def never_two_incarnations(self):
        assert self.world.violations == []

    @invariant()
    def asks_settle_by_their_timeout(self):
        self.runner.run(settle())
        now = self.loop.time()
        for deadline, task in self.asks:
            assert task.done() or now < deadline
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                assert isinstance(error, AskTimeout | ActorCrashed | ActorStopped)
                if isinstance(error, ActorCrashed):
                    assert error.__cause__ is not None
        self.asks = [(deadline, task) for deadline, task in self.asks if not task.done()]

    @invariant()
    def restarts_stay_within_intensity(self):
        for supervisor, times in self.restarts.items():
            for last in times:
                window = [time for time in times if last - PERIOD < time <= last]
                assert len(window) <= self.intensity[supervisor]

    @invariant()
    def snapshots_always_work(self):
        if hasattr(self, "system"):
            assert [child.name for child in self.system.snapshot().root.walk()] == [
                "root",
                "a",
                "mid",
                "b",
                "c",
                "d",
                "e",
            ]

    @invariant()
    def permanent_children_are_alive_or_have_a_restart_coming(self):
        if not hasattr(self, "system"):
            return
        for supervisor in self.system.snapshot().root.walk():
            states = {child.name: child.state for child in supervisor.children}
            # While it starts or stops something, it has not heard of what else has happened.
            busy = {State.STARTING, State.STOPPING} & {child.state for child in supervisor.walk()}
            if not busy and supervisor.state is State.RUNNING:
                for name, state in states.items():
                    assert state is not State.ENDED or self.types[name] is not Restart.PERMANENT

    def check_the_end(self):
        self.never_two_incarnations()
        assert asyncio.all_tasks(self.loop) == set()
        assert self.world.stopped == self.world.ready  # `stopping` ran exactly once in each life that became ready
        assert all(not +running for running in self.world.inside.values())
        assert all(ref.mailbox.closed and not ref.tell("x") for ref in self.refs.values())
        assert all(child.mailbox.depth == 0 for child in self.system.snapshot().actors)
        self.asks_settle_by_their_timeout()
        assert self.asks == []
        self.check_the_reason()

    def check_the_reason(self):
        (reason,) = self.runner.run(self.reason())
        match reason:
            case StartFailed():
                assert not self.started
            case FatalError():
                assert self.fatal_asked
            case Escalated():
                assert reason.supervisor == "root"
                assert reason.__cause__ is not None
            case _:
                assert reason is None

    async def reason(self):
        return await asyncio.gather(self.system.wait(), return_exceptions=True)


def drop(*_):
    raise structlog.DropEvent


@pytest.fixture(autouse=True)
def logs():
    """Hundreds of trees crash here on purpose: keep nothing of what they say."""
    structlog.configure(processors=[drop])
    yield
    structlog.reset_defaults()


TestTree = pytest.mark.timeout(300)(Tree.TestCase)
TestTree.settings = settings(
    max_examples=800,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
