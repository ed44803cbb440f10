import asyncio

import pytest

from actors.kernel import (
    ActorStopped,
    Backoff,
    Escalated,
    KernelError,
    Restart,
    StartFailed,
    StartTimeout,
    Strategy,
    SupervisorSpec,
    UnexpectedEnd,
    new_ref,
)
from tests.kernel.probes import BoomError, Crash, Echo, FatalError, Finish, Incarnation, Probe, Tree, started
from tests.kernel.virtual_clock import now, run_virtual, settle

SLOW = Backoff(base=100.0, cap=100.0, stable_after=1000.0)


class Fragile(Probe):
    """Starts the way the next entry of a plan says: ok, fail, hang, fatal; then always ok."""

    plan = ()

    def __init__(self, journal):
        super().__init__(journal)
        self.how = type(self).plan.pop(0) if type(self).plan else "ok"

    async def started(self):
        if self.how != "ok":
            self.journal.append(f"{self.how} {self.me}")
        match self.how:
            case "fail":
                raise BoomError("no start")
            case "fatal":
                raise FatalError("no cure")
            case "hang":
                await asyncio.Event().wait()
        await super().started()


def fragile(*plan):
    return type("Fragile", (Fragile,), {"plan": list(plan)})


def test_children_start_in_order_and_stop_in_reverse_on_every_loop(run):
    async def main():
        tree = Tree()
        inner = tree.supervisor("inner", "b", "c")
        system = tree.system(tree.supervisor("root", "a", inner, "d"))
        await system.start()
        before = tree.take()
        await system.stop()
        await system.wait()
        return before, tree.journal

    assert run(main()) == (
        ["start a1", "start b1", "start c1", "start d1"],
        ["stop d1", "stop c1", "stop b1", "stop a1"],
    )


@pytest.mark.parametrize(
    ("strategy", "journal"),
    [
        (Strategy.ONE_FOR_ONE, ["stop b1", "start b2"]),
        (Strategy.ONE_FOR_ALL, ["stop b1", "stop c1", "stop a1", "start a2", "start b2", "start c2"]),
        (Strategy.REST_FOR_ONE, ["stop b1", "stop c1", "start b2", "start c2"]),
    ],
)
def test_who_is_restarted(strategy, journal):
    async def main():
        tree = Tree()
        system = await started(tree, "a", "b", "c", strategy=strategy)
        tree["b"].tell(Crash(BoomError()))
        await settle()
        seen = tree.take()
        await system.stop()
        return seen, [name for name, _ in tree.restarts]

    assert run_virtual(main()) == (journal, ["b"])


def test_a_restart_works_on_every_loop(run):
    async def main():
        tree = Tree()
        system = await started(tree, "a")
        tree["a"].tell(Crash(BoomError()))
        incarnation = await tree["a"].ask(Incarnation(), timeout=5)
        await system.stop()
        return incarnation

    assert run(main()) == 2


@pytest.mark.parametrize(
    ("restart", "message", "back"),
    [
        (Restart.PERMANENT, Crash(BoomError()), True),
        (Restart.PERMANENT, Finish(), True),
        (Restart.TRANSIENT, Crash(BoomError()), True),
        (Restart.TRANSIENT, Finish(), False),
        (Restart.TEMPORARY, Crash(BoomError()), False),
        (Restart.TEMPORARY, Finish(), False),
    ],
)
def test_restart_types_decide_who_comes_back(restart, message, back):
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", restart=restart), "b")
        tree["a"].tell(message)
        await settle()
        if back:
            assert await tree["a"].ask(Incarnation(), timeout=5) == 2
        else:
            with pytest.raises(ActorStopped):
                await tree["a"].ask(Incarnation(), timeout=5)
        assert await tree["b"].ask(Incarnation(), timeout=5) == 1
        await system.stop()
        return tree.restarts

    restarts = run_virtual(main())
    assert [name for name, _ in restarts] == (["a"] if back else [])
    if isinstance(message, Finish) and back:
        assert isinstance(restarts[0][1], UnexpectedEnd)


def test_finishing_from_a_spawned_task_ends_an_idle_actor():
    class Timer(Probe):
        async def started(self):
            self.spawn(self.tick(), name="tick")

        async def tick(self):
            await asyncio.sleep(5)
            self.finish()

    async def main():
        tree = Tree()
        child = tree.child("a", Timer, restart=Restart.TRANSIENT, significant=True)
        system = await started(tree, child)
        await system.wait()
        return now(), tree.journal

    assert run_virtual(main()) == (pytest.approx(5), ["stop a1"])


def test_finishing_lets_the_current_message_end_and_leaves_the_rest():
    class Last(Probe):
        async def receive(self, message):
            self.finish()
            await asyncio.sleep(3)
            return f"last words on {message.text}"

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Last, restart=Restart.TEMPORARY))
        first = asyncio.create_task(tree["a"].ask(Echo("one"), timeout=10))
        second = asyncio.create_task(tree["a"].ask(Echo("two"), timeout=10))
        results = await asyncio.gather(first, second, return_exceptions=True)
        await system.stop()
        return results[0], type(results[1])

    assert run_virtual(main()) == ("last words on one", ActorStopped)


def test_a_temporary_sibling_that_is_stopped_with_a_group_does_not_come_back():
    async def main():
        tree = Tree()
        children = ["a", tree.child("b", restart=Restart.TEMPORARY), tree.child("c", restart=Restart.TRANSIENT)]
        system = await started(tree, *children, strategy=Strategy.ONE_FOR_ALL)
        tree["a"].tell(Crash(BoomError()))
        await settle()
        seen = tree.take()
        told = tree["b"].tell("anyone?")
        await system.stop()
        return seen, told

    assert run_virtual(main()) == (["stop a1", "stop c1", "stop b1", "start a2", "start c2"], False)


def test_a_child_that_ended_for_good_is_left_out_of_group_restarts():
    async def main():
        tree = Tree()
        children = [tree.child("a", restart=Restart.TRANSIENT), "b"]
        system = await started(tree, *children, strategy=Strategy.ONE_FOR_ALL)
        tree["a"].tell(Finish())
        await settle()
        tree.take()
        tree["b"].tell(Crash(BoomError()))
        await settle()
        seen = tree.take()
        await system.stop()
        return seen

    assert run_virtual(main()) == ["stop b1", "start b2"]


def test_one_restart_too_many_escalates_and_stops_the_rest_in_reverse():
    async def main():
        tree = Tree()
        system = await started(tree, "a", "b", "c", intensity=2, period=100, backoff=Backoff(base=1, cap=1))
        for _ in range(3):
            tree["b"].tell(Crash(BoomError("again")))
            await asyncio.sleep(2)
        with pytest.raises(Escalated, match=r"root gave up on b: more than 2 restarts within 100 s") as caught:
            await system.wait()
        with pytest.raises(ActorStopped):
            await tree["a"].ask(Echo(), timeout=5)
        await system.stop()
        return str(caught.value.__cause__), tree.take()[-3:], len(tree.restarts)

    assert run_virtual(main()) == ("again", ["stop b3", "stop c1", "stop a1"], 2)


def test_restarts_outside_the_window_do_not_count():
    async def main():
        tree = Tree()
        system = await started(tree, "a", intensity=1, period=10)
        for _ in range(5):
            tree["a"].tell(Crash(BoomError()))
            await asyncio.sleep(11)
        incarnation = await tree["a"].ask(Incarnation(), timeout=5)
        await system.stop()
        return incarnation

    assert run_virtual(main()) == 6


def test_a_supervisor_that_gave_up_is_restarted_by_its_own_and_addresses_stay_valid():
    async def main():
        tree = Tree()
        inner = tree.supervisor("inner", "a", "b", intensity=1, period=100)
        system = await started(tree, inner, "c")
        tree["b"].tell(Crash(BoomError("one")))
        await settle()
        tree["b"].tell(Crash(BoomError("two")))
        tree["b"].tell("kept")
        await asyncio.sleep(1)
        answers = [await tree[name].ask(Incarnation(), timeout=5) for name in "abc"]
        seen = tree.take()
        snapshot = system.snapshot()
        await system.stop()
        errors = [(name, type(error)) for name, error in tree.restarts]
        return answers, "b3 got kept" in seen, errors, snapshot.root.children[0].incarnation

    answers, kept, errors, lives = run_virtual(main())
    assert answers == [2, 3, 1]
    assert kept
    assert errors == [("b", BoomError), ("inner", Escalated)]
    assert lives == 2


def test_the_first_restart_is_immediate_and_the_next_ones_back_off_until_the_child_was_well():
    async def main():
        tree = Tree()
        backoff = Backoff(base=10.0, cap=15.0, stable_after=50.0)
        system = await started(tree, "a", intensity=100, backoff=backoff)
        downtimes = []
        for well_for in (0, 0, 0, 60, 0):
            await asyncio.sleep(well_for)
            began = now()
            tree["a"].tell(Crash(BoomError()))
            await tree["a"].ask(Incarnation(), timeout=100)
            downtimes.append(now() - began)
        await system.stop()
        return downtimes

    assert run_virtual(main()) == pytest.approx([0, 9.99, 14.985, 0, 9.99], abs=0.01)


def test_one_for_one_children_do_not_wait_for_each_others_backoff():
    async def main():
        tree = Tree()
        system = await started(tree, "a", "b", backoff=SLOW)
        for _ in range(2):
            tree["a"].tell(Crash(BoomError()))
            await settle()
        tree["b"].tell(Crash(BoomError()))
        began = now()
        incarnation = await tree["b"].ask(Incarnation(), timeout=5)
        quick = now() - began
        states = [str(child.state) for child in system.snapshot().actors]
        await system.stop()
        return incarnation, quick, states

    assert run_virtual(main()) == (2, 0, ["waiting", "running"])


def test_a_group_restart_does_not_shorten_the_backoff_of_a_child_that_waits_already():
    async def main():
        tree = Tree()
        system = await started(tree, "a", "b", strategy=Strategy.REST_FOR_ONE, backoff=SLOW)
        for _ in range(2):
            tree["b"].tell(Crash(BoomError()))
            await settle()
        tree.take()
        await asyncio.sleep(10)
        tree["a"].tell(Crash(BoomError()))
        await asyncio.sleep(1)
        soon = tree.take()
        await tree["b"].ask(Incarnation(), timeout=1000)
        at = now()
        await system.stop()
        return soon, at

    assert run_virtual(main()) == (["stop a1", "start a2"], pytest.approx(99.9, abs=0.01))


def test_messages_wait_in_the_mailbox_while_the_actor_is_down():
    async def main():
        tree = Tree()
        system = await started(tree, "a", backoff=SLOW)
        for _ in range(2):
            tree["a"].tell(Crash(BoomError()))
            await settle()
        began = now()
        incarnation = await tree["a"].ask(Incarnation(), timeout=1000)
        await system.stop()
        return incarnation, now() - began

    assert run_virtual(main()) == (3, pytest.approx(99.9, abs=0.01))


@pytest.mark.parametrize("how", ["fail", "hang"])
def test_a_failed_first_start_stops_the_started_ones_in_reverse_and_fails_the_tree(how):
    async def main():
        tree = Tree()
        inner = tree.supervisor("inner", "b", tree.child("c", fragile(how), start_timeout=3), "d")
        system = tree.system(tree.supervisor("root", "a", inner, "e"))
        with pytest.raises(StartFailed, match="c did not start") as caught:
            await system.start()
        with pytest.raises(StartFailed):
            await system.wait()
        await system.stop()
        return type(caught.value.__cause__), caught.value.actor, tree.journal, tree["e"].tell("x"), now()

    cause, actor, journal, told, at = run_virtual(main())
    assert cause is {"fail": BoomError, "hang": StartTimeout}[how]
    assert actor == "c"
    assert journal == ["start a1", "start b1", f"{how} c1", "stop b1", "stop a1"]
    assert told is False
    assert at == pytest.approx({"fail": 0, "hang": 3}[how])


def test_a_factory_that_raises_is_a_failed_start():
    def broken(_):
        raise BoomError("no actor")

    async def main():
        tree = Tree()
        system = tree.system(tree.supervisor("root", tree.child("a", broken)))
        with pytest.raises(StartFailed, match="a did not start: no actor"):
            await system.start()

    run_virtual(main())


def test_a_task_that_fails_during_the_start_fails_the_start():
    class Starter(Probe):
        async def started(self):
            self.spawn(self.fail(BoomError("early"), 1), name="early")
            await asyncio.sleep(10)

    async def main():
        tree = Tree()
        system = tree.system(tree.supervisor("root", tree.child("a", Starter)))
        with pytest.raises(StartFailed, match="a did not start: early"):
            await system.start()
        return now(), tree.journal

    assert run_virtual(main()) == (pytest.approx(1), [])


def test_a_restart_that_fails_to_start_counts_as_another_restart():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", fragile("ok", "fail", "fail")), intensity=3)
        tree["a"].tell(Crash(BoomError("first")))
        incarnation = await tree["a"].ask(Incarnation(), timeout=50)
        await system.stop()
        return incarnation, [str(error) for _, error in tree.restarts]

    assert run_virtual(main()) == (4, ["first", "a did not start: no start", "a did not start: no start"])


def test_restarts_that_fail_too_often_escalate():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", fragile("ok", *["fail"] * 10)), intensity=3)
        tree["a"].tell(Crash(BoomError()))
        with pytest.raises(Escalated) as caught:
            await system.wait()
        return type(caught.value.__cause__), tree["a"].incarnations

    assert run_virtual(main()) == (StartFailed, 4)


@pytest.mark.parametrize("where", ["receive", "task", "restart", "nested"])
def test_a_fatal_error_ends_the_tree_at_once(where):
    async def main():
        tree = Tree()
        child = tree.child("a", fragile("ok", "fatal"))
        inner = tree.supervisor("inner", child, "b") if where == "nested" else child
        system = await started(tree, inner, "c")
        error = FatalError("from the message")
        match where:
            case "task":
                tree["a"].tell(Crash(error, in_task_after=1))
            case "restart":
                tree["a"].tell(Crash(BoomError()))
            case _:
                tree["a"].tell(Crash(error))
        with pytest.raises(FatalError) as caught:
            await system.wait()
        await system.stop()
        return str(caught.value), len(tree.restarts), tree["c"].tell("x")

    text, restarts, told = run_virtual(main())
    assert text == ("no cure" if where == "restart" else "from the message")
    assert restarts == (1 if where == "restart" else 0)
    assert told is False


def test_a_fatal_error_at_the_first_start_is_the_cause_of_the_failed_start():
    async def main():
        tree = Tree()
        system = tree.system(tree.supervisor("root", tree.supervisor("inner", tree.child("a", fragile("fatal")))))
        with pytest.raises(StartFailed) as caught:
            await system.start()
        return type(caught.value.__cause__)

    assert run_virtual(main()) is FatalError


def test_the_normal_end_of_a_significant_child_is_the_end_of_its_supervisor():
    async def main():
        tree = Tree()
        last = tree.child("b", restart=Restart.TRANSIENT, significant=True)
        inner = tree.supervisor("inner", "a", last, restart=Restart.TRANSIENT, significant=True)
        system = await started(tree, "z", inner)
        tree["b"].tell(Finish())
        await system.wait()
        return tree.journal, tree.restarts

    assert run_virtual(main()) == (["stop b1", "stop a1", "stop z1"], [])


def test_a_normal_end_that_meets_the_crash_of_a_sibling_is_not_undone_by_the_group_restart():
    async def main():
        tree = Tree()
        last = tree.child("b", restart=Restart.TRANSIENT, significant=True)
        system = await started(tree, "a", last, strategy=Strategy.ONE_FOR_ALL)
        tree["a"].tell(Crash(BoomError()))
        tree["b"].tell(Finish())
        await system.wait()
        return sorted(tree.journal), tree.restarts

    assert run_virtual(main()) == (["stop a1", "stop b1"], [])


def test_the_crash_of_a_significant_transient_child_is_restarted():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", restart=Restart.TRANSIENT, significant=True))
        tree["a"].tell(Crash(BoomError()))
        incarnation = await tree["a"].ask(Incarnation(), timeout=5)
        await system.stop()
        return incarnation

    assert run_virtual(main()) == 2


def test_a_listener_that_raises_does_not_stop_supervision(logs):
    async def main():
        tree = Tree()
        tree.restarts = None  # so that the listener fails
        system = await started(tree, "a")
        tree["a"].tell(Crash(BoomError()))
        incarnation = await tree["a"].ask(Incarnation(), timeout=5)
        await system.stop()
        return incarnation

    assert run_virtual(main()) == 2
    assert "on_restart_failed" in [entry["event"] for entry in logs]


def test_crashes_of_siblings_at_the_same_moment_are_one_group_restart():
    async def main():
        tree = Tree()
        system = await started(tree, "a", "b", "c", strategy=Strategy.ONE_FOR_ALL)
        for name in "abc":
            tree[name].tell(Crash(BoomError(name)))
        await asyncio.sleep(1)
        incarnations = [await tree[name].ask(Incarnation(), timeout=5) for name in "abc"]
        await system.stop()
        return incarnations, len(tree.restarts)

    assert run_virtual(main()) == ([2, 2, 2], 1)


def test_a_tree_is_checked_before_it_runs():
    tree = Tree()
    with pytest.raises(ValueError, match="two children are called a"):
        tree.system(tree.supervisor("root", "a", tree.supervisor("inner", "a")))
    with pytest.raises(ValueError, match="two children are called root"):
        tree.system(tree.supervisor("root", "root"))
    with pytest.raises(ValueError, match="significant and permanent"):
        tree.child("a", significant=True)
    with pytest.raises(ValueError, match="timeouts"):
        tree.child("a", stop_timeout=0)
    with pytest.raises(ValueError, match="timeouts"):
        tree.child("a", start_timeout=float("nan"))
    with pytest.raises(ValueError, match="intensity"):
        SupervisorSpec(name="s", children=(), intensity=-1)
    with pytest.raises(ValueError, match="period"):
        SupervisorSpec(name="s", children=(), period=0)


def test_a_tree_runs_once_and_addresses_are_not_used_again():
    async def main():
        tree = Tree()
        root = tree.supervisor("root", "a")
        system = tree.system(root)
        with pytest.raises(KernelError, match="not been started"):
            await system.wait()
        await system.start()
        with pytest.raises(KernelError, match="started before"):
            await system.start()
        await system.stop()
        with pytest.raises(ValueError, match="belonged to a tree that has ended"):
            tree.system(root)

    run_virtual(main())


def test_stopping_a_tree_that_never_started_closes_the_mailboxes():
    async def main():
        tree = Tree()
        system = tree.system(tree.supervisor("root", "a"))
        waiting = asyncio.create_task(tree["a"].ask(Echo(), timeout=5))
        await settle()
        await system.stop()
        with pytest.raises(ActorStopped):
            await waiting
        with pytest.raises(KernelError, match="has stopped"):
            await system.start()

    run_virtual(main())


def test_an_address_can_be_used_before_the_tree_runs():
    async def main():
        tree = Tree()
        system = tree.system(tree.supervisor("root", "a"))
        early = asyncio.create_task(tree["a"].ask(Echo("early"), timeout=5))
        await settle()
        await system.start()
        answer = await early
        await system.stop()
        return answer

    assert run_virtual(main()) == "early"


def test_new_ref_has_a_name_and_says_so():
    assert repr(new_ref("inference")) == "<ActorRef inference>"
