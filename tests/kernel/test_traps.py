"""Each of these has gone wrong before, here or elsewhere; none may come back."""

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from collections import Counter
from pathlib import Path

import pytest
import structlog

from actors.kernel import (
    LATER,
    Actor,
    ActorCrashed,
    ActorSystem,
    Backoff,
    ChildSpec,
    Strategy,
    SupervisorSpec,
    ThreadDied,
    ThreadHost,
    Unkillable,
    new_ref,
)
from actors.kernel.tasks import uninterrupted
from tests.kernel.probes import BoomError, Crash, Echo, Incarnation, Probe, Tree, started
from tests.kernel.virtual_clock import now, run_virtual, settle

ROOT = Path(__file__).parents[2]


class Slow(Probe):
    """Takes 2 s to stop."""

    async def stopping(self):
        await asyncio.sleep(2)
        await super().stopping()


# 1. A second cancellation interrupts clean-up and orphans children.


@pytest.mark.parametrize("cancels", [0, 1, 2, 5])
def test_trap_1_cancelling_stop_again_and_again_does_not_cut_it_short(cancels):
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Slow), tree.supervisor("inner", tree.child("b", Slow)))
        stop = asyncio.create_task(system.stop())
        for _ in range(cancels):
            await asyncio.sleep(0.5)
            stop.cancel()
        await asyncio.wait({stop})
        return stop.cancelled(), tree.journal, len(asyncio.all_tasks()), now()

    assert run_virtual(main()) == (cancels > 0, ["stop b1", "stop a1"], 1, pytest.approx(4))


def test_trap_1_clean_up_ends_before_the_cancellation_is_raised():
    async def main():
        done = []

        async def clean_up():
            await asyncio.sleep(1)
            done.append(now())

        task = asyncio.create_task(uninterrupted(clean_up()))
        for _ in range(3):
            await asyncio.sleep(0.1)
            task.cancel()
        await asyncio.wait({task})
        return task.cancelled(), done

    assert run_virtual(main()) == (True, [pytest.approx(1)])


def test_trap_1_an_error_of_the_clean_up_is_not_hidden_by_a_cancellation():
    async def main():
        async def clean_up():
            await asyncio.sleep(1)
            raise BoomError("unclean")

        task = asyncio.create_task(uninterrupted(clean_up()))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(BoomError):
            await task

    run_virtual(main())


def test_trap_1_an_interrupt_and_one_more_cancellation_leave_nobody_behind(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio, contextlib, os, signal
            from tests.kernel.probes import Tree, started
            from tests.kernel.test_traps import Slow

            async def main():
                tree = Tree()
                system = await started(tree, tree.child("a", Slow), tree.child("b", Slow))
                asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGINT)
                try:
                    await system.wait()
                finally:
                    asyncio.get_running_loop().call_later(0.5, lambda: task.cancel())
                    task = asyncio.current_task()
                    try:
                        await system.stop()
                    finally:
                        print("journal:", tree.journal)

            signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if the tests run in the background
            with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
                asyncio.run(main())
            """
        )
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(program)], env=env, capture_output=True, text=True, timeout=40, check=False
    )
    assert "journal: ['stop b1', 'stop a1']" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


# 2. A group restart that fails half-way gives two live incarnations.


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
def test_trap_2_a_group_restart_that_fails_half_way_never_doubles_anybody(strategy):
    alive, most = Counter(), Counter()

    class Counted(Probe):
        fails = 0

        async def started(self):
            if self.context.name == "b" and Counted.fails > 0:
                Counted.fails -= 1
                raise BoomError("no start")
            alive[self.context.name] += 1
            most[self.context.name] = max(most[self.context.name], alive[self.context.name])

        async def stopping(self):
            alive[self.context.name] -= 1

    async def main():
        tree = Tree()
        children = [tree.child(name, Counted) for name in "abc"]
        system = await started(tree, *children, strategy=strategy, intensity=10)
        Counted.fails = 3
        tree["a"].tell(Crash(BoomError()))
        await asyncio.sleep(10)
        during = dict(alive)
        incarnations = [await tree[name].ask(Incarnation(), timeout=5) for name in "abc"]
        await system.stop()
        return during, incarnations

    during, incarnations = run_virtual(main())
    assert during == {"a": 1, "b": 1, "c": 1}
    assert dict(most) == {"a": 1, "b": 1, "c": 1}
    assert +alive == Counter()
    # b failed three times; with one_for_all a had to be started again each time, with rest_for_one it was left alone
    assert incarnations == ([5, 5, 2] if strategy is Strategy.ONE_FOR_ALL else [2, 5, 2])


# 3. Python 3.11's asyncio.wait_for swallows a cancellation that arrives together with the result.


def test_trap_3_wait_for_is_not_used_in_the_kernel():
    sources = list((ROOT / "actors" / "kernel").glob("*.py"))
    assert len(sources) > 10
    assert [path.name for path in sources if "wait_for(" in path.read_text()] == []


def test_trap_3_a_cancellation_that_arrives_together_with_the_answer_is_not_lost(run):
    async def main():
        tree = Tree()
        system = await started(tree, "a")
        outcomes = Counter()
        for _ in range(200):
            ref = new_ref("bare")
            asked = asyncio.create_task(ref.ask(Echo(), timeout=5))
            envelope = await ref.mailbox.get()
            envelope.answer("answer")
            asked.cancel()
            await asyncio.wait({asked})
            outcomes["cancelled" if asked.cancelled() else "swallowed"] += 1
        await system.stop()
        return outcomes

    assert run(main()) == Counter(cancelled=200)


def test_trap_3_a_cancelled_sender_that_was_just_given_room_stays_cancelled(run):
    async def main():
        outcomes = Counter()
        for _ in range(200):
            ref = new_ref("bare", mailbox=1)
            ref.tell(1)
            sender = asyncio.create_task(ref.send(2))
            await asyncio.sleep(0)
            await ref.mailbox.get()
            sender.cancel()
            await asyncio.wait({sender})
            outcomes["cancelled" if sender.cancelled() else "swallowed"] += 1
        return outcomes

    assert run(main()) == Counter(cancelled=200)


def test_trap_3_one_lost_cancellation_does_not_make_an_actor_unkillable():
    class Careless(Probe):
        async def started(self):
            self.spawn(self.swallow_one(), name="careless")

        async def swallow_one(self):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.Event().wait()

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Careless, kill_timeout=4))
        await system.stop()
        return now()

    assert run_virtual(main()) == pytest.approx(2)


# 4. asyncio cannot kill: a task that swallows its cancellation survives.


class Zombie(Probe):
    """Never lets go, in one part of its life, until its gates are opened."""

    where = ""
    gates = ()

    async def undying(self, where):
        if where != self.where:
            return
        gate = asyncio.Event()
        self.gates.append(gate)
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()

    async def started(self):
        self.spawn(self.undying("task"), name="undying")
        if self.context.incarnation > 1:
            await self.undying("started")

    async def receive(self, _):
        self.spawn(self.fail(BoomError("task"), 1), name="fail")
        await self.undying("receive")
        raise BoomError("receive")

    async def stopping(self):
        await self.undying("stopping")


@pytest.mark.parametrize("where", ["receive", "task", "started", "stopping"])
def test_trap_4_an_actor_that_cannot_be_stopped_ends_the_system(where, logs):
    factory = type("Zombie", (Zombie,), {"where": where, "gates": []})

    async def main():
        tree = Tree()
        zombie = tree.child("z", factory, start_timeout=3, stop_timeout=2, kill_timeout=1)
        system = await started(tree, "a", tree.supervisor("inner", "b", zombie))
        tree["z"].tell("go")
        with pytest.raises(Unkillable, match="z cannot be stopped"):
            await system.wait()
        with pytest.raises(Unkillable):
            await system.stop()
        seen = tree.take()
        for gate in factory.gates:
            gate.set()
        await settle()
        return seen, tree["z"].incarnations

    journal, incarnations = run_virtual(main())
    assert journal == ["stop b1", "stop a1"]
    assert incarnations == (2 if where == "started" else 1)
    assert [entry["actor"] for entry in logs if entry["event"] == "child_unkillable"] == ["z"]


# 5. Threads that are not daemons, and the default executor's, keep a process from ending.


def test_trap_5_a_hung_hosted_thread_does_not_keep_the_process_from_ending(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio, time
            from actors.kernel import ThreadHost

            class Hanging:
                busy = True
                def handle(self, item): ...
                def step(self): time.sleep(1000)
                def close(self): ...

            async def main():
                host = ThreadHost(Hanging, print, name="hanging")
                await host.start()
                await asyncio.sleep(0.05)
                print("ended in time:", await host.stop(0.1))

            asyncio.run(main())
            """
        )
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(program)], env=env, capture_output=True, text=True, timeout=40, check=False
    )
    assert "ended in time: False" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_trap_5_hosted_threads_are_daemons(run):
    seen = []

    class Looker:
        busy = False

        def handle(self, item):
            """Nothing to do."""

        def step(self):
            return ()

        def close(self):
            seen.append(threading.current_thread().daemon)

    async def main():
        host = ThreadHost(Looker, seen.append, name="looker")
        await host.start()
        return await host.stop(10)

    assert run(main())
    assert seen == [True]


# 6. A task that nobody refers to is garbage-collected.


def test_trap_6_spawned_tasks_are_kept_alive(run):
    class Forgetful(Probe):
        async def started(self):
            self.spawn(self.wait_for_garbage_day(), name="unreferenced")

        async def wait_for_garbage_day(self):
            # Only this task knows the future it waits for: without an owner, both are garbage.
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            loop.call_later(0.05, lambda done=future: done.set_result(None))
            await future
            self.journal.append("survived")

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Forgetful))
        for _ in range(5):
            gc.collect()
            await asyncio.sleep(0.02)
        await system.stop()
        return tree.journal

    assert run(main()) == ["survived", "stop a1"]


def test_trap_6_the_failure_of_a_spawned_task_is_never_lost():
    async def main():
        tree = Tree()
        system = await started(tree, "a")
        tree["a"].tell(Crash(BoomError("in a task"), in_task_after=3))
        await asyncio.sleep(5)
        await system.stop()
        return [str(error) for _, error in tree.restarts]

    assert run_virtual(main()) == ["in a task"]


def test_trap_6_errors_that_nobody_fetches_make_no_noise(run):
    async def main():
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        tree = Tree()
        system = await started(tree, "a", backoff=Backoff(base=0.001, cap=0.001))
        asked = asyncio.create_task(tree["a"].ask(Echo(seconds=0.05), timeout=10))
        await asyncio.sleep(0.01)
        asked.cancel()
        tree["a"].tell(Crash(BoomError()))
        ref = new_ref("bare")
        failed = asyncio.create_task(ref.ask(Echo(), timeout=5))
        envelope = await ref.mailbox.get()
        envelope.fail(ActorCrashed("bare"))
        failed.cancel()
        await asyncio.wait({asked, failed})
        await system.stop()
        del asked, failed, envelope, tree, system, ref
        gc.collect()
        await asyncio.sleep(0)
        return complaints

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(main()) == []


# 7. Context variables reach neither the reader of a mailbox, nor threads, nor what threads schedule.


def test_trap_7_the_log_context_travels_with_the_message_and_names_stay_at_home(run):
    seen = []

    class Listener(Actor):
        async def started(self):
            seen.append(("started", structlog.contextvars.get_contextvars()))

        async def receive(self, message):
            seen.append((message, structlog.contextvars.get_contextvars()))
            if message == "later":
                self.spawn(self.note("task"), name="note")

        async def note(self, what):
            seen.append((what, structlog.contextvars.get_contextvars()))

        async def stopping(self):
            await self.note("stopping")

    class Speaker(Actor):
        def __init__(self, peer):
            self.peer = peer

        async def receive(self, _):
            with structlog.contextvars.bound_contextvars(message_id=7):
                self.peer.tell("from an actor")

    async def main():
        structlog.contextvars.bind_contextvars(process="outside")
        listener, speaker = new_ref("listener"), new_ref("speaker")
        children = (
            ChildSpec(ref=listener, factory=Listener),
            ChildSpec(ref=speaker, factory=lambda: Speaker(listener)),
        )
        system = ActorSystem(SupervisorSpec(name="root", children=children))
        await system.start()
        structlog.contextvars.clear_contextvars()
        with structlog.contextvars.bound_contextvars(message_id=1):
            listener.tell("told")
            await listener.send("sent")
        listener.tell("nothing bound")
        speaker.tell("go")
        with structlog.contextvars.bound_contextvars(message_id=3):
            listener.tell("later")
        while len(seen) < 7:
            await asyncio.sleep(0.001)
        await system.stop()

    run(main())
    me = {"actor": "listener", "incarnation": 1}
    by_message = dict(seen)
    assert by_message == {
        "started": me,
        "told": {**me, "message_id": 1},
        "sent": {**me, "message_id": 1},
        "nothing bound": me,
        "from an actor": {**me, "message_id": 7},
        "later": {**me, "message_id": 3},
        "task": {**me, "message_id": 3},
        "stopping": me,
    }


def test_trap_7_hosted_threads_and_their_outputs_log_as_their_actor(run):
    seen = {}

    class Worker:
        busy = False

        def handle(self, _):
            seen["thread"] = structlog.contextvars.get_contextvars()
            self.busy = True

        def step(self):
            self.busy = False
            return ("out",)

        def close(self):
            """Nothing to let go of."""

    class Owner(Actor):
        async def started(self):
            self.responder = None
            self.host = ThreadHost(Worker, self.deliver, name="worker")
            await self.host.start()

        async def stopping(self):
            await self.host.stop(5)

        async def receive(self, message):
            self.responder = self.respond_later()
            self.host.submit(message)
            return LATER

        def deliver(self, outputs):
            seen["loop"] = structlog.contextvars.get_contextvars()
            self.responder.set_result(outputs[0])

    async def main():
        ref = new_ref("owner")
        system = ActorSystem(SupervisorSpec(name="root", children=(ChildSpec(ref=ref, factory=Owner),)))
        await system.start()
        answer = await ref.ask(Echo(), timeout=5)
        await system.stop()
        return answer

    assert run(main()) == "out"
    assert seen == {where: {"actor": "owner", "incarnation": 1} for where in ("thread", "loop")}


# 8. call_soon_threadsafe on a closed loop raises; uvloop.install() is deprecated.


def test_trap_8_a_thread_that_outlives_the_loop_closes_its_worker_quietly():
    closed, go_on = threading.Event(), threading.Event()
    unhandled = []

    class Worker:
        busy = True

        def handle(self, item):
            """Takes no items."""

        def step(self):
            go_on.wait(10)
            return ("nobody is left to hear this",)

        def close(self):
            closed.set()

    async def main():
        host = ThreadHost(Worker, print, name="survivor")
        await host.start()
        return host

    hook, threading.excepthook = threading.excepthook, unhandled.append
    try:
        host = asyncio.run(main())
        go_on.set()
        assert closed.wait(10)
        host._thread.join(10)
    finally:
        threading.excepthook = hook
    assert not host._thread.is_alive()
    assert unhandled == []


def test_trap_8_submitting_to_a_host_after_its_loop_has_closed_is_refused():
    class Idle:
        busy = False

        def handle(self, item):
            """Never called."""

        def step(self):
            return ()

        def close(self):
            """Nothing to let go of."""

    async def main():
        host = ThreadHost(Idle, print, name="idle")
        await host.start()
        await host.stop(5)
        return host

    host = asyncio.run(main())
    with pytest.raises(ThreadDied):
        host.submit("x")


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="uvloop is not available on this system")
def test_trap_8_uvloop_runs_through_a_runner_without_warnings():
    import uvloop

    async def main():
        return type(asyncio.get_running_loop())

    with warnings.catch_warnings(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        warnings.simplefilter("error")
        assert runner.run(main()) is uvloop.Loop
