import asyncio
import math

import pytest

from actors.kernel import (
    LATER,
    ActorCrashed,
    ActorStopped,
    AskCycle,
    AskTimeout,
    Lost,
    Request,
    new_ref,
)
from actors.kernel.envelope import Envelope
from tests.kernel.probes import BoomError, Crash, Echo, EchoLater, Probe, Tree, started
from tests.kernel.virtual_clock import now, run_virtual, settle


class Cycle(Request[str]):
    """Makes the asked actor ask the next one of a list of addresses."""

    def __init__(self, *then, spawned=False):
        self.then = then
        self.spawned = spawned


class Passer(Probe):
    async def receive(self, message):
        if isinstance(message, Cycle) and message.then:
            first, *rest = message.then
            if message.spawned:
                self.spawn(self.later(first, rest, self.respond_later()), name="pass on")
                return LATER
            return await first.ask(Cycle(*rest), timeout=10)
        return await super().receive(message)

    async def later(self, first, rest, responder):
        try:
            responder.set_result(await first.ask(Cycle(*rest), timeout=10))
        except AskCycle as error:
            responder.set_error(error)


def test_ask_and_tell_on_every_loop(run):
    async def main():
        tree = Tree()
        system = await started(tree, "a")
        assert tree["a"].tell("one")
        assert await tree["a"].send("two")
        answers = [await tree["a"].ask(Echo("hello"), timeout=5), await tree["a"].ask(EchoLater("later"), timeout=5)]
        await system.stop()
        return answers, tree.journal

    assert run(main()) == (["hello", "later"], ["a1 got one", "a1 got two", "stop a1"])


def test_a_full_mailbox_refuses_tells_and_counts_them_as_dead_letters(logs):
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", mailbox=2))
        accepted = [tree["a"].tell(number) for number in range(7)]
        depth = system.snapshot().actors[0].mailbox.depth
        await system.stop()
        return accepted, tree.dead_letters, depth

    accepted, letters, depth = run_virtual(main())
    assert accepted == [True, True] + [False] * 5
    assert depth == 2
    refused = [letter for letter in letters if letter.reason is Lost.FULL]
    assert [(letter.actor, letter.message, letter.count) for letter in refused] == [
        ("a", n, n - 1) for n in range(2, 7)
    ]
    reported = [entry["count"] for entry in logs if entry["event"] == "dead_letter" and "full" in entry["reason"]]
    assert reported == [1, 2, 4]


def test_a_broken_dead_letter_listener_does_not_hurt_the_sender(logs):
    def explode(_):
        raise BoomError("listener")

    async def main():
        ref = new_ref("alone", mailbox=1)
        ref.mailbox.listener = explode
        return ref.tell(1), ref.tell(2)

    assert run_virtual(main()) == (True, False)
    assert "dead_letter_listener_failed" in [entry["event"] for entry in logs]


def test_send_waits_for_room():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", mailbox=1))
        tree["a"].tell(Echo(seconds=3))
        await settle()
        tree["a"].tell("queued")
        began = now()
        assert await tree["a"].send("third")
        waited = now() - began
        await settle()
        await system.stop()
        return waited, tree.journal

    waited, journal = run_virtual(main())
    assert waited == pytest.approx(3)
    assert journal == ["a1 got queued", "a1 got third", "stop a1"]


def test_cancelled_senders_leave_the_room_to_others():
    async def main():
        ref = new_ref("a", mailbox=1)
        ref.tell(0)
        senders = [asyncio.create_task(ref.send(number)) for number in (1, 2, 3)]
        await settle()
        senders[0].cancel()
        await settle()
        got = [(await ref.mailbox.get()).message]
        senders[1].cancel()  # it has been told of the room already, but has not taken it
        await settle()
        got.append((await ref.mailbox.get()).message)
        await settle()
        return got, [task.cancelled() for task in senders]

    assert run_virtual(main()) == ([0, 3], [True, True, False])


def test_an_ask_times_out_and_the_late_answer_is_dropped():
    async def main():
        tree = Tree()
        system = await started(tree, "a")
        with pytest.raises(AskTimeout, match=r"a did not answer Echo within 2 s") as caught:
            await tree["a"].ask(Echo(seconds=5), timeout=2)
        at = now()
        after = await tree["a"].ask(Echo("still here"), timeout=10)
        await system.stop()
        return isinstance(caught.value, TimeoutError), at, after

    assert run_virtual(main()) == (True, pytest.approx(2), "still here")


def test_the_timeout_includes_the_wait_for_room_in_the_mailbox():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", mailbox=1))
        tree["a"].tell(Echo(seconds=100))
        await settle()
        tree["a"].tell("fills the mailbox")
        with pytest.raises(AskTimeout):
            await tree["a"].ask(Echo("never seen"), timeout=4)
        at = now()
        await asyncio.sleep(200)
        await system.stop()
        return at, tree.journal

    assert run_virtual(main()) == (pytest.approx(4), ["a1 got fills the mailbox", "stop a1"])


def test_lapsed_asks_leave_the_mailbox_and_are_never_handled():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", mailbox=2))
        tree["a"].tell(Echo(seconds=10))
        await settle()
        gone = asyncio.create_task(tree["a"].ask(Crash(BoomError("seen!")), timeout=60))
        late = asyncio.create_task(tree["a"].ask(Crash(BoomError("seen!")), timeout=1))
        await settle()
        full = tree["a"].tell("refused")
        gone.cancel()
        with pytest.raises(AskTimeout):
            await late
        await settle()
        free = [tree["a"].tell("room"), tree["a"].tell("again")]
        await asyncio.sleep(60)
        await system.stop()
        return full, free, tree.restarts, tree.journal

    assert run_virtual(main()) == (False, [True, True], [], ["a1 got room", "a1 got again", "stop a1"])


@pytest.mark.parametrize("answered", [True, False])
def test_an_envelope_that_lapsed_before_its_asker_could_react_is_skipped(answered):
    async def main():
        tree = Tree()
        system = await started(tree, "a")
        reply = asyncio.get_running_loop().create_future()
        deadline = now() + 10 if answered else now()
        tree["a"].mailbox.offer(Envelope(Crash(BoomError("seen!")), reply, deadline))
        if answered:
            reply.set_result("by somebody else")
        await tree["a"].ask(Echo(), timeout=5)
        await system.stop()
        return tree.restarts

    assert run_virtual(main()) == []


def test_an_ask_after_the_deadline_times_out_at_once():
    async def main():
        tree = Tree()
        system = await started(tree, "a")
        with pytest.raises(AskTimeout):
            await tree["a"].ask(Crash(BoomError("seen!")), timeout=-1)
        await system.stop()
        return now(), tree.restarts

    assert run_virtual(main()) == (0, [])


@pytest.mark.parametrize("timeout", [math.inf, math.nan])
def test_an_ask_needs_a_finite_timeout(timeout):
    async def main():
        await new_ref("a").ask(Echo(), timeout=timeout)

    with pytest.raises(ValueError, match="finite timeout"):
        run_virtual(main())


def test_a_crash_in_receive_reaches_the_asker_with_its_cause():
    async def main():
        tree = Tree()
        system = await started(tree, "a")
        error = BoomError("ouch")
        with pytest.raises(ActorCrashed) as caught:
            await tree["a"].ask(Crash(error), timeout=5)
        answer = await tree["a"].ask(Echo("restarted"), timeout=5)
        await system.stop()
        return caught.value.__cause__ is error, answer

    assert run_virtual(main()) == (True, "restarted")


def test_the_message_in_flight_at_a_crash_is_not_redelivered_and_queued_ones_are():
    async def main():
        tree = Tree()
        system = await started(tree, "a")
        tree["a"].tell(Crash(BoomError("poison")))
        tree["a"].tell("next")
        await asyncio.sleep(1)
        await system.stop()
        return tree.journal, [(letter.reason, type(letter.message)) for letter in tree.dead_letters]

    journal, letters = run_virtual(main())
    assert journal == ["stop a1", "start a2", "a2 got next", "stop a2"]
    assert letters == [(Lost.CRASHED, Crash)]


def test_a_crash_of_a_spawned_task_fails_deferred_answers_and_the_message_in_flight():
    async def main():
        tree = Tree()
        system = await started(tree, "a")
        deferred = asyncio.create_task(tree["a"].ask(EchoLater(seconds=math.inf), timeout=100))
        await tree["a"].ask(Crash(BoomError("task"), in_task_after=5), timeout=10)
        working = asyncio.create_task(tree["a"].ask(Echo(seconds=50), timeout=100))
        results = await asyncio.gather(deferred, working, return_exceptions=True)
        at = now()
        await system.stop()
        return [(type(result), str(result.__cause__)) for result in results], at

    assert run_virtual(main()) == ([(ActorCrashed, "task")] * 2, pytest.approx(5))


def test_an_error_set_by_a_responder_is_raised_as_it_is_and_the_actor_lives_on():
    class Refuser(Probe):
        async def receive(self, message):
            self.respond_later().set_error(TimeoutError(f"too much of {message.text}"))
            return LATER

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Refuser))
        with pytest.raises(TimeoutError, match="too much of it") as caught:
            await tree["a"].ask(Echo("it"), timeout=5)
        await system.stop()
        return isinstance(caught.value, AskTimeout), tree.restarts

    assert run_virtual(main()) == (False, [])


def test_a_responder_knows_when_nobody_waits_any_more():
    class Patient(Probe):
        async def receive(self, _):
            responder = self.respond_later()
            self.spawn(self.watch(responder), name="watch")
            return LATER

        async def watch(self, responder):
            seen = [responder.abandoned]
            await asyncio.sleep(3)
            seen.append(responder.abandoned)
            responder.set_result("too late")
            self.journal.append(seen)

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Patient))
        with pytest.raises(AskTimeout):
            await tree["a"].ask(Echo(), timeout=2)
        await asyncio.sleep(5)
        await system.stop()
        return tree.journal[0]

    assert run_virtual(main()) == [False, True]


@pytest.mark.parametrize("take", [True, False])
def test_later_without_a_responder_and_a_responder_without_later_are_errors(take):
    class Confused(Probe):
        async def receive(self, _):
            if take:
                self.respond_later()
                return "an answer"
            return LATER

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Confused))
        with pytest.raises(ActorCrashed) as caught:
            await tree["a"].ask(Echo(), timeout=5)
        await system.stop()
        return str(caught.value.__cause__)

    assert "LATER if, and only if" in run_virtual(main())


def test_a_responder_is_taken_once_and_only_while_receiving():
    class Greedy(Probe):
        async def started(self):
            self.take("idle")

        async def receive(self, _):
            self.respond_later()
            self.take("twice")
            return LATER

        def take(self, when):
            try:
                self.respond_later()
            except RuntimeError:
                self.journal.append(when)

    async def main():
        tree = Tree()
        system = tree.system(tree.supervisor("root", tree.child("a", Greedy)))
        await system.start()
        tree["a"].tell("x")
        await settle()
        await system.stop()
        return tree.journal

    assert run_virtual(main()) == ["idle", "twice", "stop a1"]


@pytest.mark.parametrize("spawned", [False, True])
def test_asking_oneself_raises(spawned):
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Passer))
        try:
            await tree["a"].ask(Cycle(tree["a"], spawned=spawned), timeout=5)
        except (AskCycle, ActorCrashed) as error:
            cycle = error if spawned else error.__cause__
            assert isinstance(cycle, AskCycle)
            assert cycle.path == ("a", "a")
        else:
            pytest.fail("it answered itself")
        finally:
            await system.stop()
        return now()

    assert run_virtual(main()) == 0


def test_asking_in_a_circle_raises_at_the_one_who_closes_it():
    async def main():
        tree = Tree()
        system = await started(tree, *(tree.child(name, Passer) for name in "abc"))
        with pytest.raises(ActorCrashed) as caught:
            await tree["a"].ask(Cycle(tree["b"], tree["c"], tree["a"]), timeout=5)
        causes, error = [], caught.value
        while error is not None:
            causes.append(type(error))
            last, error = error, error.__cause__
        await system.stop()
        return causes, last.path

    assert run_virtual(main()) == ([ActorCrashed] * 3 + [AskCycle], ("a", "b", "c", "a"))


def test_asking_back_from_a_spawned_task_is_allowed():
    class Subscriber(Probe):
        async def receive(self, message):
            match message:
                case Cycle(then=(peer,)):
                    self.spawn(self.ask_back(peer), name="ask back")
                    return "subscribed"
            return await super().receive(message)

        async def ask_back(self, peer):
            self.journal.append(await peer.ask(Echo("back"), timeout=5))

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("b", Subscriber), tree.child("a", Passer))
        await tree["a"].ask(Cycle(tree["b"], tree["a"]), timeout=5)
        await settle()
        await system.stop()
        return tree.journal[0]

    assert run_virtual(main()) == "back"


def test_an_actor_whose_task_waits_can_be_asked_by_the_one_it_waits_for():
    class Asker(Passer):
        async def receive(self, message):
            match message:
                case Cycle(then=()):
                    return "reached"
                case peer:
                    self.spawn(self.ask_around(peer), name="ask around")
                    return None

        async def ask_around(self, peer):
            self.journal.append(await peer.ask(Cycle(self.context.ref), timeout=5))

    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", Asker), tree.child("b", Passer))
        tree["a"].tell(tree["b"])
        await settle()
        await system.stop()
        return tree.restarts, tree.journal

    assert run_virtual(main()) == ([], ["reached", "stop b1", "stop a1"])


def test_a_closed_mailbox_refuses_everything():
    async def main():
        tree = Tree()
        system = await started(tree, "a")
        await system.stop()
        told, sent = tree["a"].tell(1), await tree["a"].send(2)
        with pytest.raises(ActorStopped):
            await tree["a"].ask(Echo(), timeout=5)
        return told, sent, [(letter.message, letter.reason) for letter in tree.dead_letters]

    assert run_virtual(main()) == (False, False, [(1, Lost.CLOSED), (2, Lost.CLOSED)])


def test_the_final_stop_settles_everything_that_waits():
    async def main():
        tree = Tree()
        system = await started(tree, tree.child("a", mailbox=2))
        in_flight = asyncio.create_task(tree["a"].ask(Echo(seconds=100), timeout=1000))
        await settle()
        queued = asyncio.create_task(tree["a"].ask(Echo(), timeout=1000))
        await settle()
        tree["a"].tell("queued")
        waiting = [
            asyncio.create_task(tree["a"].send("for room")),
            asyncio.create_task(tree["a"].ask(Echo(), timeout=1000)),
        ]
        await settle()
        await system.stop()
        results = await asyncio.gather(in_flight, queued, *waiting, return_exceptions=True)
        return [r if isinstance(r, bool) else type(r) for r in results], {x.message for x in tree.dead_letters}

    assert run_virtual(main()) == ([ActorStopped, ActorStopped, False, ActorStopped], {"queued", "for room"})


def test_a_second_reader_of_a_mailbox_is_refused():
    async def main():
        ref = new_ref("a")
        first = asyncio.create_task(ref.mailbox.get())
        await settle()
        with pytest.raises(RuntimeError, match="reader already"):
            await ref.mailbox.get()
        ref.tell("for the first")
        return (await first).message

    assert run_virtual(main()) == "for the first"


def test_a_cancelled_reader_takes_no_message():
    async def main():
        ref = new_ref("a")
        reader = asyncio.create_task(ref.mailbox.get())
        await settle()
        ref.tell("kept")
        reader.cancel()
        await settle()
        return reader.cancelled(), (await ref.mailbox.get()).message

    assert run_virtual(main()) == (True, "kept")


def test_a_mailbox_needs_room_for_one():
    with pytest.raises(ValueError, match="at least 1"):
        new_ref("a", mailbox=0)
