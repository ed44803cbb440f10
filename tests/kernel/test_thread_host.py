import asyncio
import threading
import time

import pytest

from actors.kernel import (
    LATER,
    Actor,
    ActorCrashed,
    ActorSystem,
    ChildSpec,
    Hung,
    KernelError,
    Request,
    SupervisorSpec,
    ThreadDied,
    ThreadHost,
    new_ref,
)
from tests.kernel.probes import BoomError


class Counter:
    """Counts down from every number it is given, one a step; strings are orders."""

    def __init__(self, closed=None):
        self.jobs = []
        self.closed = closed if closed is not None else []
        self.thread = threading.get_ident()
        self.gate = None

    @property
    def busy(self):
        return bool(self.jobs) or self.gate is not None

    def handle(self, item):
        match item:
            case int():
                self.jobs.append(item)
            case threading.Event():
                self.gate = item
            case "exit":
                raise SystemExit(3)
            case "crash":
                raise BoomError("on the thread")

    def step(self):
        assert threading.get_ident() == self.thread
        if self.gate is not None:
            self.gate.wait(30)
            self.gate = None
        out = [(index, job) for index, job in enumerate(self.jobs)]
        self.jobs = [job - 1 for job in self.jobs if job > 0]
        return out

    def close(self):
        self.closed.append(threading.get_ident() == self.thread)


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


def test_outputs_come_back_in_order_on_the_loop(run):
    async def main():
        outputs, threads, closed = [], set(), []

        def take(batch):
            threads.add(threading.get_ident())
            outputs.extend(value for _, value in batch)

        host = ThreadHost(lambda: Counter(closed), take, name="counter")
        await host.start()
        host.submit(500)
        await until(lambda: len(outputs) == 501)
        ended = await host.stop(10)
        return outputs, threads == {threading.get_ident()}, ended, closed

    assert run(main()) == (list(range(500, -1, -1)), True, True, [True])


def test_work_is_taken_on_between_two_steps(run):
    async def main():
        steps = []
        host = ThreadHost(Counter, steps.append, name="counter")
        await host.start()
        gate = threading.Event()
        host.submit(gate)
        await until(lambda: host.stalled_seconds() > 0)
        host.submit(3)
        host.submit(5)
        gate.set()
        await until(lambda: steps and steps[-1] == [(0, 0)])
        await host.stop(10)
        return steps[0]

    assert run(main()) == [(0, 3), (1, 5)]


@pytest.mark.parametrize("order", ["exit", "crash"])
def test_a_thread_that_ends_by_itself_is_dead_and_closes_its_worker(run, order):
    async def main():
        closed = []
        host = ThreadHost(lambda: Counter(closed), print, name="counter")
        await host.start()
        host.submit(order)
        with pytest.raises(ThreadDied, match="the thread counter has ended") as caught:
            await host.wait_dead()
        with pytest.raises(ThreadDied):
            host.submit(1)
        return type(caught.value.__cause__), await host.stop(5), closed, host.stalled_seconds()

    assert run(main()) == ({"exit": SystemExit, "crash": BoomError}[order], True, [True], 0.0)


def test_cancelling_a_wait_for_the_death_leaves_the_future_alone(run):
    async def main():
        host = ThreadHost(Counter, print, name="counter")
        await host.start()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await host.wait_dead()
        host.submit("crash")
        with pytest.raises(ThreadDied):
            await host.wait_dead()
        return await host.stop(5)

    assert run(main())


@pytest.mark.parametrize(
    ("raised", "expected"), [(BoomError("no model"), BoomError), (SystemExit(1), ThreadDied)], ids=["error", "exit"]
)
def test_an_error_while_opening_is_raised_by_start(run, raised, expected):
    def broken():
        raise raised

    async def main():
        host = ThreadHost(broken, print, name="broken")
        with pytest.raises(expected) as caught:
            await host.start()
        with pytest.raises(ThreadDied):
            host.submit(1)
        with pytest.raises(KernelError, match="started before"):
            await host.start()
        return raised in (caught.value, caught.value.__cause__), await host.stop(5)

    assert run(main()) == (True, True)


def test_a_failing_consumer_kills_the_host_with_its_error(run):
    def refuse(_):
        raise BoomError("cannot take it")

    async def main():
        closed = []
        host = ThreadHost(lambda: Counter(closed), refuse, name="counter")
        await host.start()
        host.submit(100)
        with pytest.raises(ThreadDied) as caught:
            await host.wait_dead()
        return str(caught.value.__cause__), await host.stop(5), closed

    assert run(main()) == ("cannot take it", True, [True])


def test_stalled_seconds_grow_while_a_step_hangs_and_vanish_with_progress(run):
    async def main():
        host = ThreadHost(Counter, print, name="counter")
        await host.start()
        idle = host.stalled_seconds()
        gate = threading.Event()
        host.submit(gate)
        await until(lambda: host.stalled_seconds() > 0.1)
        gate.set()
        await until(lambda: host.stalled_seconds() == 0)
        await host.stop(5)
        return idle

    assert run(main()) == 0.0


def test_many_short_steps_are_progress(run):
    async def main():
        worst = []
        done = []
        host = ThreadHost(Counter, done.extend, name="counter")
        await host.start()
        host.submit(2000)
        began = time.monotonic()
        while len(done) < 2001:
            worst.append(host.stalled_seconds())
            await asyncio.sleep(0)
        await host.stop(5)
        return max(worst), time.monotonic() - began

    worst, total = run(main())
    assert worst < max(0.5, total)


def test_stop_gives_up_on_a_hung_thread(run, logs):
    async def main():
        host = ThreadHost(Counter, print, name="counter")
        await host.start()
        gate = threading.Event()
        host.submit(gate)
        await until(lambda: host.stalled_seconds() > 0)
        in_time = await host.stop(0.05)
        gate.set()
        return in_time, await host.stop(10)

    assert run(main()) == (False, True)
    assert "thread_does_not_end" in [entry["event"] for entry in logs]


def test_what_was_not_begun_is_dropped_at_stop(run):
    async def main():
        outputs, closed = [], []
        host = ThreadHost(lambda: Counter(closed), outputs.extend, name="counter")
        await host.start()
        gate = threading.Event()
        host.submit(gate)
        await until(lambda: host.stalled_seconds() > 0)
        host.submit(10)
        stop = asyncio.create_task(host.stop(10))
        await asyncio.sleep(0)
        with pytest.raises(ThreadDied):
            host.submit(11)
        gate.set()
        return await stop, outputs, closed

    assert run(main()) == (True, [], [True])


def test_an_error_while_closing_is_logged_and_the_stop_succeeds(run, logs):
    class Unclosable(Counter):
        def close(self):
            raise BoomError("stuck lid")

    async def main():
        host = ThreadHost(Unclosable, print, name="counter")
        await host.start()
        return await host.stop(5), host.dead.done()

    assert run(main()) == (True, False)
    assert "thread_failed_while_stopping" in [entry["event"] for entry in logs]


def test_the_first_error_counts_when_closing_fails_too(run):
    class Unclosable(Counter):
        def close(self):
            raise BoomError("stuck lid")

    async def main():
        host = ThreadHost(Unclosable, print, name="counter")
        await host.start()
        host.submit("crash")
        with pytest.raises(ThreadDied) as caught:
            await host.wait_dead()
        await host.stop(5)
        return str(caught.value.__cause__)

    assert run(main()) == "on the thread"


def test_a_cancelled_start_lets_the_thread_close_by_itself(run):
    opening, go_on, closed = threading.Event(), threading.Event(), []

    def slow():
        opening.set()
        go_on.wait(20)
        return Counter(closed)

    async def main():
        host = ThreadHost(slow, print, name="slow")
        start = asyncio.create_task(host.start())
        await until(opening.is_set)
        start.cancel()
        await asyncio.wait({start})
        go_on.set()
        return start.cancelled(), await host.stop(10), closed

    assert run(main()) == (True, True, [True])


def test_a_host_that_never_started_stops_and_refuses_work(run):
    async def main():
        host = ThreadHost(Counter, print, name="never")
        with pytest.raises(ThreadDied):
            host.submit(1)
        return await host.stop(1), host.stalled_seconds()

    assert run(main()) == (True, 0.0)


class Count(Request[list]):
    """Answers with a countdown."""

    def __init__(self, order):
        self.order = order


class Model(Actor):
    """An actor as it should own a thread: death is a crash, a hang is fatal."""

    def __init__(self, *, stall_limit=5.0):
        self.host = ThreadHost(Counter, self.deliver, name="model")
        self.stall_limit = stall_limit
        self.responder = None
        self.got = []

    async def started(self):
        await self.host.start()
        self.spawn(self.host.wait_dead(), name="watch the thread")
        self.spawn(self.watch_progress(), name="watch progress")

    async def stopping(self):
        if not await self.host.stop(0.05):
            raise Hung("model", self.host.stalled_seconds())

    async def receive(self, message):
        self.responder = self.respond_later()
        self.host.submit(message.order)
        return LATER

    def deliver(self, outputs):
        self.got.extend(value for _, value in outputs)
        if self.got[-1] == 0:
            self.responder.set_result(self.got)

    async def watch_progress(self):
        while True:
            await asyncio.sleep(0.01)
            stalled = self.host.stalled_seconds()
            if stalled > self.stall_limit:
                raise Hung("model", stalled)


def model_system(factory):
    ref = new_ref("model")
    root = SupervisorSpec(name="root", children=(ChildSpec(ref=ref, factory=factory),))
    return ref, ActorSystem(root, fatal=(Hung,))


@pytest.mark.parametrize("order", ["exit", "crash"])
def test_the_death_of_the_thread_crashes_the_actor_and_the_next_one_answers(run, order):
    async def main():
        ref, system = model_system(Model)
        await system.start()
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Count(order), timeout=10)
        answer = await ref.ask(Count(3), timeout=10)
        await system.stop()
        return type(caught.value.__cause__), answer, ref.incarnations

    assert run(main()) == (ThreadDied, [3, 2, 1, 0], 2)


def test_a_hung_thread_ends_the_system(run):
    gate = threading.Event()

    async def main():
        ref, system = model_system(lambda: Model(stall_limit=0.1))
        await system.start()
        with pytest.raises(ActorCrashed):
            await ref.ask(Count(gate), timeout=10)
        with pytest.raises(Hung, match=r"no progress for 0\.\d s"):
            await system.wait()
        await system.stop()
        return ref.incarnations

    try:
        assert run(main()) == 1
    finally:
        gate.set()


def test_an_actor_that_crashes_while_its_thread_hangs_is_not_restarted(run):
    gate = threading.Event()

    class Careless(Model):
        async def receive(self, message):
            self.host.submit(gate)
            await until(lambda: self.host.stalled_seconds() > 0)
            raise BoomError("on the loop")

    async def main():
        ref, system = model_system(Careless)
        await system.start()
        with pytest.raises(ActorCrashed):
            await ref.ask(Count(1), timeout=10)
        with pytest.raises(Hung):
            await system.wait()
        return ref.incarnations

    try:
        assert run(main()) == 1
    finally:
        gate.set()
