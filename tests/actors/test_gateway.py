"""The door: every event reaches those whom it concerns, nothing waits, what is lost on the way is made up for."""

import asyncio
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from actors.gateway import GatewayActor
from actors.kernel import Actor, ActorSystem, ChildSpec, SupervisorSpec, new_ref
from actors.messages import FitReply, MessageArrived, Missed, Ping, Respond, SendReply
from persona.domain.chat import Author, AuthorId, Channel, ChannelId, Edit, GuildId, Message, MessageId, snowflake_at
from persona.domain.commands import Answer, Caller, Invocation, Via
from persona.domain.delivery import Delivery, Outgoing
from persona.domain.speaking import Reason
from persona.errors import DeliveryError, StoreError, TransportError
from persona.ports import (
    Arrival,
    ChannelGone,
    ChannelSeen,
    CommandInvoked,
    Edited,
    LinkDown,
    LinkUp,
    Reacted,
    ReactionsCleared,
    Removed,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANN = Author(id=AuthorId(2), name="ann", display_name="Ann")
GENERAL = Channel(id=ChannelId(5), guild_id=GuildId(1), name="general", allowed=True)
DELIVERY = Delivery(
    messages=(Outgoing(text="one", typing_seconds=0), Outgoing(text="two", typing_seconds=0)),
)


def arrival(number, channel=GENERAL):
    moment = NOW + timedelta(seconds=number)
    message = Message(
        id=MessageId(snowflake_at(moment)),
        channel_id=channel.id,
        author=ANN,
        content=f"line {number}",
        created_at=moment,
    )
    return Arrival(message=message, channel=channel, self_id=AuthorId(1))


def invocation(command="status"):
    return Invocation(id=9, command=command, caller=Caller(author=ANN), channel=GENERAL, via=Via.SLASH)


class Recorder(Actor):
    def __init__(self, seen, gate=None):
        self.seen = seen
        self.gate = gate

    async def receive(self, message):
        if self.gate:
            await self.gate.wait()
        self.seen.append(message)


class ScriptedTransport:
    """Says what it is told to say, notes what it is asked to send."""

    def __init__(self, events=(), *, hold=None, refuse_after=None):
        self.events, self.hold, self.refuse_after = events, hold, refuse_after
        self.sent, self.answers, self.reports, self.closed = [], [], [], False

    async def listen(self):
        for event in self.events:
            yield event
            await asyncio.sleep(0)

    def fitted(self, arrival, delivery):
        return Delivery(messages=tuple(replace(part, text=part.text.upper()) for part in delivery.messages))

    async def send(self, arrival, delivery, *, first=0, objection=lambda: ""):
        if self.hold:
            await self.hold.wait()
        for number, part in enumerate(delivery.messages[first:], start=first):
            if objection():
                return
            if number == self.refuse_after:
                raise DeliveryError("the message was deleted")
            self.sent.append(part.text)
            yield MessageId(100 + number)

    async def answer(self, invocation, answer):
        if self.refuse_after == 0:
            raise DeliveryError("the interaction has expired")
        self.answers.append((invocation.command, answer.text))

    async def report(self, outcome):
        self.reports.append(outcome)

    async def close(self):
        self.closed = True


class NotedParts:
    def __init__(self, *, broken=False):
        self.parts, self.broken = [], broken

    async def part_sent(self, message_id, number, sent_id):
        if self.broken:
            raise StoreError("the disk is full")
        self.parts.append((number, sent_id))


class Door:
    """A gateway with recorders around it."""

    def __init__(self, transport, *, journal=None, ingest_room=64, responder_room=64, late_limit=10_000):
        self.stored, self.heard, self.commanded = [], [], []
        self.slow = asyncio.Event()
        self.slow.set()
        self.ended = asyncio.Event()
        self.late = deque()
        self.ingest, self.responder = (
            new_ref("ingest", mailbox=ingest_room),
            new_ref("responder", mailbox=responder_room),
        )
        self.commands, self.gateway = new_ref("commands"), new_ref("gateway")
        self.system = ActorSystem(
            SupervisorSpec(
                name="root",
                children=(
                    ChildSpec(ref=self.ingest, factory=lambda: Recorder(self.stored, self.slow)),
                    ChildSpec(ref=self.responder, factory=lambda: Recorder(self.heard)),
                    ChildSpec(ref=self.commands, factory=lambda: Recorder(self.commanded)),
                    ChildSpec(
                        ref=self.gateway,
                        factory=lambda: GatewayActor(
                            transport=transport,
                            ingest=self.ingest,
                            responder=self.responder,
                            commands=self.commands,
                            journal=journal,
                            late=self.late,
                            late_limit=late_limit,
                            ended=self.ended.set,
                        ),
                    ),
                ),
            )
        )


def through(transport, scenario, **options):
    async def main():
        door = Door(transport, **options)
        await door.system.start()
        try:
            async with asyncio.timeout(5):
                await scenario(door)
        finally:
            await door.system.stop()

    asyncio.run(main())


async def settled(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_every_arrival_reaches_ingest_and_responder_in_order():
    arrivals = [arrival(number) for number in range(5)]
    transport = ScriptedTransport(arrivals)

    async def scenario(door):
        await door.ended.wait()
        await settled(lambda: len(door.heard) == len(door.stored) == 5)
        assert [m.arrival for m in door.heard] == [m.arrival for m in door.stored] == arrivals

    through(transport, scenario)
    assert transport.closed


def test_each_event_reaches_those_whom_it_concerns():
    edit = Edited(edit=Edit(message_id=MessageId(7), channel_id=GENERAL.id, content="new", edited_at=NOW))
    removed = Removed(channel_id=GENERAL.id, message_ids=(MessageId(7),), at=NOW)
    for_ingest = [
        Reacted(channel_id=GENERAL.id, message_id=MessageId(7), emoji="x", change=1),
        ReactionsCleared(channel_id=GENERAL.id, message_id=MessageId(7)),
        ChannelSeen(channel=GENERAL),
        ChannelGone(channel_id=GENERAL.id),
        LinkUp(resumed=False, self_id=AuthorId(1)),
        LinkDown(reason="the server said goodbye"),
    ]
    link_up = for_ingest[-2]
    command = CommandInvoked(invocation=invocation())

    async def scenario(door):
        await door.ended.wait()
        await settled(lambda: len(door.stored) == 8 and len(door.heard) == 3 and door.commanded)
        assert door.stored == [edit, removed, *for_ingest]
        assert door.heard == [edit, removed, link_up]
        assert door.commanded == [command]

    through(ScriptedTransport([edit, removed, *for_ingest, command]), scenario)


def test_the_connection_is_told_as_a_state():
    up, down = LinkUp(resumed=True, self_id=AuthorId(1)), LinkDown(reason="timed out")

    async def connected(door):
        await door.ended.wait()
        assert await door.gateway.ask(Ping(), timeout=1) == "connected"

    async def lost(door):
        await door.ended.wait()
        assert await door.gateway.ask(Ping(), timeout=1) == "not connected: timed out"

    through(ScriptedTransport([down, up]), connected)
    through(ScriptedTransport([up, down]), lost)


def test_what_finds_no_room_at_ingest_is_read_again_from_history():
    events = [arrival(number) for number in range(12)] + [LinkUp(resumed=False, self_id=AuthorId(1))]

    async def scenario(door):
        door.slow.clear()
        await door.ended.wait()
        door.slow.set()
        await settled(lambda: any(isinstance(m, LinkUp) for m in door.stored))
        await settled(lambda: any(isinstance(m, Missed) for m in door.stored))
        missed = [m for m in door.stored if isinstance(m, Missed)]
        assert all(m.channel_ids == {GENERAL.id} for m in missed)
        assert len([m for m in door.stored if isinstance(m, MessageArrived)]) < 12

    through(ScriptedTransport(events), scenario, ingest_room=2)


class Burst(ScriptedTransport):
    async def listen(self):
        for number in range(20):
            yield arrival(number)


def test_what_finds_no_room_at_the_responder_comes_later_in_order():
    transport = Burst()

    async def scenario(door):
        await door.ended.wait()
        await settled(lambda: len(door.heard) == 20)
        assert [message.arrival for message in door.heard] == [arrival(number) for number in range(20)]
        assert transport.reports == []

    through(transport, scenario, responder_room=1)


def test_when_far_too_much_waits_for_the_responder_the_rest_is_reported_as_dropped():
    transport = Burst()

    async def scenario(door):
        await door.ended.wait()
        await settled(lambda: len(transport.reports) + len(door.heard) == 20)
        assert len(transport.reports) >= 20 - 8
        assert {outcome.decision.reason for outcome in transport.reports} == {Reason.OVERLOADED}

    through(transport, scenario, responder_room=1, late_limit=5)


def test_a_slow_delivery_holds_up_nothing_else():
    async def main():
        hold = asyncio.Event()
        transport = ScriptedTransport(hold=hold)
        door = Door(transport)
        await door.system.start()
        request = SendReply(arrival=arrival(1), delivery=DELIVERY)
        sending = asyncio.create_task(door.gateway.ask(request, timeout=3))
        assert await door.gateway.ask(Ping(), timeout=1) == "listening"
        assert not transport.sent
        hold.set()
        assert await sending == (MessageId(100), MessageId(101))
        await door.system.stop()

    asyncio.run(main())


def test_each_message_is_written_down_and_a_resumed_reply_goes_on_where_it_stopped():
    journal = NotedParts()
    transport = ScriptedTransport()

    async def scenario(door):
        request = SendReply(arrival=arrival(1), delivery=DELIVERY, first=1)
        assert await door.gateway.ask(request, timeout=1) == (MessageId(101),)
        assert transport.sent == ["two"]
        assert journal.parts == [(1, MessageId(101))]

    through(transport, scenario, journal=journal)


def test_a_full_disk_does_not_stop_a_reply():
    transport = ScriptedTransport()

    async def scenario(door):
        assert len(await door.gateway.ask(SendReply(arrival=arrival(1), delivery=DELIVERY), timeout=1)) == 2

    through(transport, scenario, journal=NotedParts(broken=True))


def test_a_refused_delivery_is_the_askers_to_know_and_no_crash():
    journal = NotedParts()

    async def scenario(door):
        with pytest.raises(DeliveryError, match="deleted"):
            await door.gateway.ask(SendReply(arrival=arrival(1), delivery=DELIVERY), timeout=1)
        assert journal.parts == [(0, MessageId(100))]
        assert door.gateway.incarnations == 1

    through(ScriptedTransport(refuse_after=1), scenario, journal=journal)


def test_commands_are_answered_or_the_refusal_is_told():
    transport = ScriptedTransport()

    async def answered(door):
        await door.gateway.ask(Respond(invocation=invocation("help"), answer=Answer(text="hello")), timeout=1)
        assert transport.answers == [("help", "hello")]

    async def refused(door):
        with pytest.raises(DeliveryError, match="expired"):
            await door.gateway.ask(Respond(invocation=invocation(), answer=Answer(text="hello")), timeout=1)

    through(transport, answered)
    through(ScriptedTransport(refuse_after=0), refused)


def test_a_gateway_that_is_stopped_does_not_end_the_talk():
    """Its supervisor may be about to start it anew: only the transport's own end of input ends the process."""

    class UntilClosed(ScriptedTransport):
        def __init__(self):
            super().__init__()
            self.over = asyncio.Event()

        async def listen(self):
            yield LinkUp(resumed=False, self_id=AuthorId(1))
            await self.over.wait()

        async def close(self):
            self.over.set()
            await asyncio.sleep(0.01)

    async def main():
        door = Door(UntilClosed())
        await door.system.start()
        await settled(lambda: door.stored)
        await door.system.stop()
        assert not door.ended.is_set()

    asyncio.run(main())


def test_an_answer_is_fitted_by_the_transport_and_ends_with_an_objection():
    transport = ScriptedTransport()
    journal = NotedParts()

    async def scenario(door):
        cut = await door.gateway.ask(FitReply(arrival=arrival(1), delivery=DELIVERY), timeout=1)
        assert [part.text for part in cut.messages] == ["ONE", "TWO"]
        request = SendReply(
            arrival=arrival(1), delivery=cut, objection=lambda: "muted" if len(transport.sent) == 1 else ""
        )
        assert await door.gateway.ask(request, timeout=1) == (MessageId(100),)
        assert transport.sent == ["ONE"]
        assert journal.parts == [(0, MessageId(100))]

    through(transport, scenario, journal=journal)


class Waves(ScriptedTransport):
    """Says more at once than ingest has room for, lets it read a little, and goes on."""

    def __init__(self, door_of, waves):
        super().__init__()
        self.door_of, self.waves = door_of, waves

    async def listen(self):
        for wave in self.waves:
            for event in wave:
                yield event
            await settled(lambda: self.door_of)
            door = self.door_of[0]
            door.slow.set()
            await asyncio.sleep(0)
            door.slow.clear()
        door.slow.set()


def test_nothing_overtakes_what_ingest_has_no_room_for():
    """Else a session's first messages would seem to belong to the last one, and its gap to be read already."""
    down, up = LinkDown(reason="gone"), LinkUp(resumed=False, self_id=AuthorId(1))
    rounds = []
    for number in range(30):
        base = 10 * number
        rounds.append([arrival(base + 1), arrival(base + 2), down])
        rounds.append([up, arrival(base + 3)])
        rounds.append([arrival(base + 4), arrival(base + 5)])
    events = [event for each in rounds for event in each]
    doors = []

    async def scenario(door):
        doors.append(door)
        await door.ended.wait()
        await settled(lambda: len([m for m in door.stored if isinstance(m, LinkUp)]) == 30)
        place, missed = 0, False
        for message in door.stored:
            if isinstance(message, Missed):
                missed = True
                continue
            event = message.arrival if isinstance(message, MessageArrived) else message
            after = place
            while events[after] != event:
                after += 1
            skipped = events[place:after]
            assert not any(isinstance(one, LinkUp | LinkDown) for one in skipped)
            assert missed or not skipped
            place, missed = after + 1, missed and not isinstance(message, MessageArrived)
        assert any(isinstance(message, Missed) for message in door.stored)

    transport = Waves(doors, rounds)
    through(transport, scenario, ingest_room=1)


def test_what_waits_for_the_responder_outlives_a_gateway():
    """Ingest counts it as told: nobody else would tell it again."""

    class Breaks(ScriptedTransport):
        def __init__(self):
            super().__init__()
            self.listened = 0

        async def listen(self):
            self.listened += 1
            if self.listened > 1:
                await asyncio.Event().wait()
            for number in range(20):
                yield arrival(number)
            raise TransportError("the line broke")

    async def scenario(door):
        await settled(lambda: door.gateway.incarnations == 2 and len(door.heard) == 20)
        assert [message.arrival for message in door.heard] == [arrival(number) for number in range(20)]

    through(Breaks(), scenario, responder_room=1)
