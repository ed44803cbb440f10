"""The door and the cellar: what is heard is told on, what may be stored is stored, in batches and once."""

import asyncio
from datetime import UTC, datetime, timedelta

from actors.gateway import GatewayActor
from actors.kernel import Actor, ActorSystem, ChildSpec, SupervisorSpec, new_ref
from actors.messages import Ping, SendReply
from persona.domain.chat import (
    Author,
    AuthorId,
    Channel,
    ChannelId,
    GuildId,
    Message,
    MessageId,
    snowflake_at,
)
from persona.domain.delivery import Delivery, Outgoing
from persona.domain.speaking import Reason
from persona.ports import Arrival

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANN = Author(id=AuthorId(2), name="ann", display_name="Ann")
GENERAL = Channel(id=ChannelId(5), guild_id=GuildId(1), name="general", allowed=True)


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


class Recorder(Actor):
    def __init__(self, seen):
        self.seen = seen

    async def receive(self, message):
        self.seen.append(message)


class FakeTransport:
    def __init__(self, arrivals, hold=None):
        self.arrivals, self.hold = arrivals, hold
        self.sent, self.reports, self.closed = [], [], False

    async def listen(self):
        for each in self.arrivals:
            yield each

    async def send(self, arrival, delivery):
        if self.hold:
            await self.hold.wait()
        self.sent.append(delivery)
        return (MessageId(1),)

    async def report(self, outcome):
        self.reports.append(outcome)

    async def close(self):
        self.closed = True


def run_gateway(transport, scenario, *, mailbox=64):
    async def main():
        ended = asyncio.Event()
        heard, stored = [], []
        ingest, responder, gateway = new_ref("ingest"), new_ref("responder", mailbox=mailbox), new_ref("gateway")
        system = ActorSystem(
            SupervisorSpec(
                name="root",
                children=(
                    ChildSpec(ref=ingest, factory=lambda: Recorder(stored)),
                    ChildSpec(ref=responder, factory=lambda: Recorder(heard)),
                    ChildSpec(
                        ref=gateway,
                        factory=lambda: GatewayActor(
                            transport=transport, ingest=ingest, responder=responder, ended=ended.set
                        ),
                    ),
                ),
            )
        )
        await system.start()
        async with asyncio.timeout(5):
            await ended.wait()
            await scenario(gateway, heard, stored)
        await system.stop()

    asyncio.run(main())


def test_every_arrival_reaches_ingest_and_responder_in_order():
    arrivals = [arrival(number) for number in range(5)]
    transport = FakeTransport(arrivals)

    async def scenario(gateway, heard, stored):
        await gateway.ask(Ping(), timeout=1)
        assert [m.arrival for m in heard] == [m.arrival for m in stored] == arrivals

    run_gateway(transport, scenario)
    assert transport.closed


def test_a_slow_delivery_holds_up_nothing_else():
    hold = asyncio.Event()
    transport = FakeTransport([], hold)

    async def scenario(gateway, heard, stored):
        delivery = Delivery(messages=(Outgoing(text="hi", typing_seconds=0),))
        sending = asyncio.create_task(gateway.ask(SendReply(arrival=arrival(1), delivery=delivery), timeout=3))
        assert await gateway.ask(Ping(), timeout=1) == "listening"
        assert not transport.sent
        hold.set()
        assert await sending == (MessageId(1),)

    run_gateway(transport, scenario)


def test_a_message_that_finds_no_room_is_reported_as_dropped():
    transport = FakeTransport([arrival(number) for number in range(4)])

    async def scenario(gateway, heard, stored):
        await gateway.ask(Ping(), timeout=1)
        assert len(transport.reports) >= 1
        assert {outcome.decision.reason for outcome in transport.reports} == {Reason.OVERLOADED}
        assert len(transport.reports) + len(heard) == 4

    run_gateway(transport, scenario, mailbox=1)
