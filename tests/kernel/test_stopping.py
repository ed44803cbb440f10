import asyncio
import math

import pytest

from actors.kernel import LATER, ActorCrashed, ActorStopped, Lost, State, Strategy, Unkillable
from tests.kernel.probes import BoomError, Crash, Echo, EchoLater, FatalError, Incarnation, Probe, Tree, started
from tests.kernel.test_supervision import SLOW, fragile
from tests.kernel.virtual_clock import now, run_virtual, settle


class Sticky(Probe):
    """Hangs in `stopping`, but obeys its cancellation."""

    async def stopping(self):
        await super().stopping()
        await asyncio.Event().wait()


class Failing(Probe):
    async def stopping(self):
        await super().stopping()
        raise BoomError("in stopping")


def test_the_message_in_flight_may_finish():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", stop_timeout=10))
        asked = asyncio.create_task(tree["a"].ask(Echo("done", seconds=4), timeout=100))
        await settle()
        await system.stop()
        return await asked, now()

    assert run_virtual(main()) == ("done", pytest.approx(4))


def test_a_message_that_takes_longer_than_half_the_deadline_is_cancelled_and_stopping_still_runs():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", stop_timeout=10))
        tree["a"].tell(Echo(seconds=1000))
        await settle()
        await system.stop()
        return now(), tree.journal, [letter.reason for letter in tree.dead_letters]

    assert run_virtual(main()) == (pytest.approx(5), ["stop a1"], [Lost.INTERRUPTED])


def test_a_message_that_fails_while_its_actor_stops_tells_the_asker(logs):
    class Late(Probe):
        async def receive(self, _):
            await asyncio.sleep(1)
            raise BoomError("late")

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Late))
        asked = asyncio.create_task(tree["a"].ask(Echo(), timeout=100))
        await settle()
        await system.stop()
        with pytest.raises(ActorCrashed) as caught:
            await asked
        return str(caught.value.__cause__), tree.journal

    assert run_virtual(main()) == ("late", ["stop a1"])
    assert "failed_while_stopping" in [entry["event"] for entry in logs]


def test_spawned_tasks_run_during_stopping_and_are_cancelled_afterwards():
    class Courier(Probe):
        async def started(self):
            self.delivered = asyncio.Event()
            self.spawn(self.forever(), name="forever")

        async def receive(self, _):
            self.spawn(self.deliver(), name="deliver")

        async def deliver(self):
            await asyncio.sleep(1)
            self.journal.append("delivered")
            self.delivered.set()

        async def forever(self):
            try:
                await asyncio.Event().wait()
            finally:
                self.journal.append("forever cancelled")

        async def stopping(self):
            await self.delivered.wait()
            self.journal.append("stopping done")

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Courier))
        tree["a"].tell("parcel")
        await settle()
        await system.stop()
        return tree.journal

    assert run_virtual(main()) == ["delivered", "stopping done", "forever cancelled"]


def test_a_task_that_fails_while_its_actor_stops_is_only_logged(logs):
    class Late(Probe):
        async def stopping(self):
            self.spawn(self.fail(BoomError("late"), 0), name="late")
            await asyncio.sleep(1)
            await super().stopping()

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Late))
        await system.stop()
        await system.wait()
        return tree.journal

    assert run_virtual(main()) == ["stop a1"]
    assert "task_failed_while_stopping" in [entry["event"] for entry in logs]


def test_nothing_can_be_spawned_after_the_end():
    actors = []

    class Kept(Probe):
        async def started(self):
            actors.append(self)

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Kept))
        await system.stop()
        with pytest.raises(ActorStopped):
            actors[0].spawn(asyncio.sleep(1), name="too late")

    run_virtual(main())


def test_deferred_answers_get_actor_stopped_after_stopping_had_its_chance():
    class Graceful(Probe):
        async def receive(self, _):
            self.responder = self.respond_later()
            return LATER

        async def stopping(self):
            self.responder.set_result("goodbye")

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Graceful), "b")
        answered = asyncio.create_task(tree["a"].ask(Echo(), timeout=100))
        dropped = asyncio.create_task(tree["b"].ask(EchoLater(seconds=math.inf), timeout=100))
        await settle()
        await system.stop()
        return await asyncio.gather(answered, dropped, return_exceptions=True)

    answered, dropped = run_virtual(main())
    assert answered == "goodbye"
    assert isinstance(dropped, ActorStopped)


def test_stopping_runs_once_after_a_crash_and_never_after_a_failed_start():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", fragile("ok", "fail")))
        tree["a"].tell(Crash(BoomError()))
        await tree["a"].ask(Incarnation(), timeout=50)
        seen = tree.take()
        await system.stop()
        return seen

    assert run_virtual(main()) == ["stop a1", "fail a2", "start a3"]


def test_a_crash_in_stopping_does_not_keep_the_others_from_stopping(logs):
    async def main():
        tree = Tree()
        system = await started(tree, "a", tree.child("b", Failing))
        await system.stop()
        await system.wait()
        return tree.journal

    assert run_virtual(main()) == ["stop b1", "stop a1"]
    assert "stopping_failed" in [entry["event"] for entry in logs]


def test_a_crash_in_stopping_after_a_crash_is_one_restart():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Failing))
        tree["a"].tell(Crash(BoomError("the reason")))
        await tree["a"].ask(Incarnation(), timeout=50)
        await system.stop()
        return [str(error) for _, error in tree.restarts]

    assert run_virtual(main()) == ["the reason"]


def test_stopping_has_a_deadline_for_each_child(logs):
    async def main():
        tree = Tree()
        children = [tree.child(name, Sticky, stop_timeout=seconds) for name, seconds in (("a", 3), ("b", 4))]
        system = await started(tree, *children)
        await system.stop()
        return now(), tree.journal

    assert run_virtual(main()) == (pytest.approx(7), ["stop b1", "stop a1"])
    assert [entry["actor"] for entry in logs if entry["event"] == "stopping_timed_out"] == ["b", "a"]


def test_stop_while_the_tree_starts_ends_the_start():
    async def main():
        tree = Tree()
        system = tree.system(tree.supervisor("root", "a", tree.child("b", fragile("hang")), "c"))
        starting = asyncio.create_task(system.start())
        await asyncio.sleep(1)
        await system.stop()
        with pytest.raises(ActorStopped):
            await starting
        return now(), tree.journal

    assert run_virtual(main()) == (pytest.approx(1), ["start a1", "hang b1", "stop a1"])


def test_a_cancelled_start_stops_what_it_started():
    async def main():
        tree = Tree()
        system = tree.system(tree.supervisor("root", "a", tree.child("b", fragile("hang"))))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await system.start()
        return now(), tree.journal, len(asyncio.all_tasks())

    assert run_virtual(main()) == (pytest.approx(2), ["start a1", "hang b1", "stop a1"], 1)


@pytest.mark.parametrize("moment", ["backoff", "hanging restart", "group stop"])
def test_stop_in_the_middle_of_a_restart(moment):
    async def main():
        tree = Tree()
        first = tree.child("a", fragile("ok", "hang") if moment == "hanging restart" else Probe)
        second = tree.child("b", Sticky if moment == "group stop" else Probe, stop_timeout=4)
        backoff = {"backoff": SLOW} if moment == "backoff" else {}
        system = await started(tree, first, second, strategy=Strategy.ONE_FOR_ALL, **backoff)
        for _ in range(2 if moment == "backoff" else 1):
            tree["a"].tell(Crash(BoomError()))
            await settle()
        asked = asyncio.create_task(tree["a"].ask(Echo(), timeout=1000))
        await asyncio.sleep(1)
        tree.take()
        await system.stop()
        await system.wait()
        with pytest.raises(ActorStopped):
            await asked
        return now(), tree.take(), len(asyncio.all_tasks()), [str(c.state) for c in system.snapshot().root.walk()]

    at, journal, tasks, states = run_virtual(main())
    assert at == pytest.approx(4 if moment == "group stop" else 1)
    assert journal == []
    assert tasks == 1
    assert states == [State.ENDED] * 3


def test_stop_is_idempotent_and_can_be_called_at_the_same_time():
    async def main():
        tree = Tree()
        system = await started(tree, "a", tree.child("b", Sticky, stop_timeout=3))
        await asyncio.gather(system.stop(), system.stop(), system.wait())
        await system.stop()
        return now(), tree.journal

    assert run_virtual(main()) == (pytest.approx(3), ["stop b1", "stop a1"])


def test_stop_after_an_escalation_in_progress_waits_for_its_end():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Sticky, stop_timeout=3), "b", intensity=0)
        tree["b"].tell(Crash(FatalError("over")))
        await asyncio.sleep(1)
        await system.stop()
        with pytest.raises(FatalError, match="over"):
            await system.wait()
        return now(), tree.journal

    assert run_virtual(main()) == (pytest.approx(3), ["stop b1", "stop a1"])


def test_an_ask_to_a_stopping_actor_fails_at_once_and_the_others_still_answer():
    async def main():
        tree = Tree()
        system = await started(tree, "a", tree.child("b", Sticky, stop_timeout=3))
        stop = asyncio.create_task(system.stop())
        await asyncio.sleep(1)
        with pytest.raises(ActorStopped):
            await tree["b"].ask(Echo(), timeout=5)
        answer = await tree["a"].ask(Echo("still here"), timeout=5)
        at = now()
        await stop
        return answer, at

    assert run_virtual(main()) == ("still here", pytest.approx(1))


def test_children_of_a_nested_supervisor_close_one_after_the_other():
    async def main():
        tree = Tree()
        inner = tree.supervisor("inner", "a", tree.child("b", Sticky, stop_timeout=3))
        system = await started(tree, inner)
        stop = asyncio.create_task(system.stop())
        await asyncio.sleep(1)
        answer = await tree["a"].ask(Echo("still here"), timeout=5)
        await stop
        return answer

    assert run_virtual(main()) == "still here"


def test_an_actor_that_a_stranger_cancels_is_restarted():
    class Victim(Probe):
        async def receive(self, message):
            if message == "cancel me":
                asyncio.current_task().cancel()
                await asyncio.sleep(1)
            return await super().receive(message)

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Victim))
        tree["a"].tell("cancel me")
        incarnation = await tree["a"].ask(Incarnation(), timeout=5)
        await system.stop()
        return incarnation

    assert run_virtual(main()) == 2


def test_cancelling_a_spawned_task_is_not_a_crash():
    class Canceller(Probe):
        async def receive(self, message):
            self.spawn(asyncio.sleep(100), name="nap").cancel()
            await asyncio.sleep(1)
            return await super().receive(message)

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Canceller))
        incarnation = await tree["a"].ask(Incarnation(), timeout=5)
        await system.stop()
        return incarnation, tree.restarts

    assert run_virtual(main()) == (1, [])


def test_leaving_the_loop_without_stop_still_stops_the_actors(run):
    journal = []

    async def main():
        tree = Tree()
        tree.journal = journal
        await started(tree, "a", "b")

    run(main())
    assert sorted(journal) == ["stop a1", "stop b1"]


def test_an_unkillable_actor_is_reported_and_the_others_stop(logs):
    release = []

    class Zombie(Probe):
        async def receive(self, _):
            gate = asyncio.Event()
            release.append(gate)
            while not gate.is_set():
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    self.journal.append("no")

    async def main():
        tree = Tree()
        system = await started(tree, "a", tree.child("b", Zombie, stop_timeout=2, kill_timeout=2))
        tree["b"].tell("never end")
        await settle()
        with pytest.raises(Unkillable, match="b cannot be stopped"):
            await system.stop()
        with pytest.raises(Unkillable):
            await system.stop()
        with pytest.raises(Unkillable):
            await system.wait()
        seen = tree.take()
        release[0].set()
        await settle()
        return seen, now()

    assert run_virtual(main()) == (["no", "no", "stop b1", "stop a1"], pytest.approx(3))
    assert [entry["actor"] for entry in logs if entry["event"] == "child_unkillable"] == ["b"]


def test_a_fatal_error_that_meets_a_stop_is_still_the_reason_of_the_end():
    async def main():
        tree = Tree()
        system = await started(tree, "a", tree.child("b", Sticky, stop_timeout=3))
        stop = asyncio.create_task(system.stop())
        tree["a"].tell(Crash(FatalError("bad setting"), in_task_after=1))
        await stop
        with pytest.raises(FatalError, match="bad setting"):
            await system.wait()
        return tree.journal

    assert run_virtual(main()) == ["stop b1", "stop a1"]


@pytest.mark.parametrize("where", ["stopping", "task", "receive"])
def test_a_fatal_error_while_a_crashed_actor_stops_is_not_followed_by_a_restart(where):
    class Cursed(Probe):
        async def stopping(self):
            if where == "task":
                self.spawn(self.fail(FatalError("hung"), 0), name="late")
                await asyncio.sleep(1)
            if where == "stopping":
                raise FatalError("hung")

        async def receive(self, message):
            if where == "receive":
                self.spawn(self.fail(BoomError("first"), 1), name="first")
                try:
                    await asyncio.sleep(5)
                finally:
                    raise FatalError("hung")
            raise BoomError("first")

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Cursed), "b")
        tree["a"].tell("go")
        with pytest.raises(FatalError, match="hung"):
            await system.wait()
        return tree["a"].incarnations, tree.journal

    assert run_virtual(main()) == (1, ["stop b1"])


def test_a_fatal_error_in_the_last_stop_is_the_reason_of_the_end():
    class Cursed(Probe):
        async def stopping(self):
            raise FatalError("hung")

    async def main():
        tree = Tree()
        system = await started(tree, "a", tree.child("b", Cursed))
        await system.stop()
        with pytest.raises(FatalError, match="hung"):
            await system.wait()
        return tree.journal

    assert run_virtual(main()) == ["stop a1"]
