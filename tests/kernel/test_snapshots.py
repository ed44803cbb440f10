import asyncio

import pytest

from actors.kernel import Backoff, State
from tests.kernel.probes import BoomError, Crash, Echo, Probe, Tree, started
from tests.kernel.virtual_clock import run_virtual, settle


class Chatty(Probe):
    def describe(self):
        return "chatting"


class Shy(Probe):
    def describe(self):
        raise BoomError("not telling")


def test_a_snapshot_shows_the_whole_tree():
    async def main():
        tree = Tree()
        inner = tree.supervisor("inner", "b", intensity=3, period=100)
        system = await started(tree, tree.child("a", Chatty, mailbox=3), inner)
        await asyncio.sleep(10)
        tree["b"].tell(Crash(BoomError("ouch")))
        await asyncio.sleep(5)
        tree["a"].tell(Echo(seconds=50))
        await settle()
        for number in range(4):
            tree["a"].tell(number)
        snapshot = system.snapshot()
        await asyncio.sleep(200)
        later = system.snapshot()
        await system.stop()
        return snapshot, later, system.snapshot()

    now, later, ended = run_virtual(main())
    a, b = now.actors
    inner = now.root.children[1]
    assert [child.name for child in now.root.walk()] == ["root", "a", "inner", "b"]
    assert (a.state, a.incarnation, a.uptime, a.description) == (State.RUNNING, 1, pytest.approx(15), "chatting")
    assert (a.mailbox.depth, a.mailbox.high_water, a.mailbox.capacity, a.mailbox.dead_letters) == (3, 3, 3, 1)
    assert (b.incarnation, b.uptime, b.restarts, b.last_error) == (2, pytest.approx(5), 1, "BoomError: ouch")
    assert (inner.window, inner.uptime, inner.incarnation) == (1, pytest.approx(15), 1)
    assert now.dead_letters == 2  # the message b crashed on, and the one a had no room for
    assert (later.actors[1].restarts, later.root.children[1].window) == (0, 0)
    assert {child.state for child in ended.root.walk()} == {State.ENDED}
    assert all(actor.mailbox.closed for actor in ended.actors)


def test_a_child_that_waits_for_its_restart_is_shown_as_waiting():
    async def main():
        tree = Tree()
        inner = tree.supervisor("inner", "a", intensity=0, period=100)
        system = await started(tree, inner, backoff=Backoff(base=50, cap=50))
        for _ in range(2):
            tree["a"].tell(Crash(BoomError()))
            await settle()
        snapshot = system.snapshot()
        await system.stop()
        return snapshot

    snapshot = run_virtual(main())
    inner = snapshot.root.children[0]
    assert (inner.state, inner.uptime) == (State.WAITING, 0)
    assert "Escalated: inner gave up on a" in inner.last_error
    assert (inner.children[0].state, inner.children[0].incarnation) == (State.WAITING, 2)


def test_an_actor_that_cannot_describe_itself_does_not_break_the_snapshot():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Shy))
        snapshot = system.snapshot()
        await system.stop()
        return snapshot.actors[0].description

    assert run_virtual(main()) == "no description: BoomError: not telling"


def test_a_tree_that_never_started_has_a_snapshot():
    tree = Tree()
    snapshot = tree.system(tree.supervisor("root", "a")).snapshot()
    assert [(child.name, child.state) for child in snapshot.root.walk()] == [("root", State.ENDED), ("a", State.ENDED)]


def test_a_starting_tree_is_shown_as_starting():
    class Slow(Probe):
        async def started(self):
            await asyncio.sleep(10)

    async def main():
        tree = Tree()
        system = tree.system(tree.supervisor("root", tree.child("a", Slow)))
        start = asyncio.create_task(system.start())
        await settle()
        snapshot = system.snapshot()
        await start
        await system.stop()
        return [child.state for child in snapshot.root.walk()]

    assert run_virtual(main()) == [State.STARTING, State.STARTING]
