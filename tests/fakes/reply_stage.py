"""A running tree with the real responder in the middle, a real store, and scripted neighbours."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from actors.kernel import Actor, ActorSystem, ChildSpec, SupervisorSpec, new_ref
from actors.messages import DescribeModel, Draft, FitReply, Generate, Handled, MessageArrived, Recall, SendReply
from actors.replying.settings import ReplySettings
from actors.replying.voice import VoiceCoach, VoiceSettings
from actors.responder import ResponderActor
from persona.adapters.sqlite import SqliteStore
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
from persona.domain.delivery import DeliveryLimits
from persona.domain.speaking import SpeakingRules
from persona.errors import DeliveryError
from persona.ports import Arrival, Finished, FinishReason, ModelInfo, Sampling

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SELF = AuthorId(1)
ANN = Author(id=AuthorId(2), name="ann", display_name="Ann")
BEN = Author(id=AuthorId(3), name="ben", display_name="Ben")
FINISHED = Finished(
    reason=FinishReason.END,
    prompt_tokens=10,
    cached_tokens=0,
    completion_tokens=3,
    dropped_lines=0,
    first_token_seconds=0.1,
    total_seconds=0.2,
)
INFO = ModelInfo(
    name="fake",
    path="",
    sha256="",
    context_tokens=512,
    parameters=1,
    template="chatml",
    prompt_hash="x",
    persona_name="Pip",
    server_name="the attic",
)


@dataclass
class World:
    """What the scripted neighbours do, and what they saw."""

    replies: list = field(default_factory=lambda: ["sure thing"])
    found: tuple = ()
    recall_delay: float = 0.0
    crash_inference: int = 0
    crash_gateway: int = 0
    refuse_delivery: str = ""
    parts_out_before: int = 0
    hold_model: asyncio.Event | None = None
    hold_gateway: asyncio.Event | None = None
    hold_typing: asyncio.Semaphore | None = None
    fit: Callable = lambda delivery: delivery
    typing: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    recalls: list = field(default_factory=list)
    sent: list = field(default_factory=list)
    sends: list = field(default_factory=list)
    outcomes: "asyncio.Queue" = field(default_factory=asyncio.Queue)


class FakeInference(Actor):
    def __init__(self, world):
        self.world = world

    async def receive(self, message):
        match message:
            case DescribeModel():
                return INFO
            case Generate(request=request):
                self.world.requests.append(request)
                if self.world.crash_inference:
                    self.world.crash_inference -= 1
                    raise RuntimeError("the model thread died")
                if self.world.hold_model is not None:
                    await self.world.hold_model.wait()
                text = self.world.replies[min(len(self.world.requests), len(self.world.replies)) - 1]
                return Draft(text=text, finished=FINISHED)
        return None


class FakeRetriever(Actor):
    def __init__(self, world):
        self.world = world

    async def receive(self, message):
        match message:
            case Recall():
                self.world.recalls.append(message)
                await asyncio.sleep(self.world.recall_delay)
                return self.world.found
        return None


class FakeGateway(Actor):
    """Sends into a list; writes down in the journal what is out, as the real one does."""

    def __init__(self, world, journal):
        self.world = world
        self.journal = journal

    async def receive(self, message):
        match message:
            case FitReply(delivery=delivery):
                return self.world.fit(delivery)
            case SendReply() as request:
                return await self._send(request)
            case Handled(outcome=outcome):
                self.world.outcomes.put_nowait(outcome)
        return None

    async def _send(self, request):
        world = self.world
        world.sends.append(request)
        if world.crash_gateway:
            world.crash_gateway -= 1
            raise RuntimeError("no permission")
        if world.hold_gateway is not None:
            await world.hold_gateway.wait()
        answered, ids = request.arrival.message.id, []
        for number, part in enumerate(request.delivery.messages):
            if number < request.first:
                continue
            if world.hold_typing is not None:
                world.typing.append(number)
                await world.hold_typing.acquire()
            if request.objection():
                break
            if world.refuse_delivery and number >= world.parts_out_before:
                raise DeliveryError(world.refuse_delivery)
            world.sent.append((answered, number, part.text))
            ids.append(MessageId(snowflake_at(NOW, 1000 + len(world.sent))))
            if self.journal is not None:
                await self.journal.part_sent(answered, number, ids[-1])
        return tuple(ids)


class Stage:
    """A running tree with the real responder in the middle."""

    def __init__(self, tmp_path, world, rules=None, memory_timeout=0.2, *, journal=False, mutes=None, history=None):
        self.world = world
        self.now = NOW
        self.off_the_list = set()
        self.rules = rules or SpeakingRules(names=("Pip",), rate=0.0)
        self.store = SqliteStore(tmp_path / "persona.db")
        refs = {name: new_ref(name) for name in ("inference", "retriever", "responder", "gateway")}
        self.responder = refs["responder"]
        book = self.store.journal if journal else None
        coach = VoiceCoach(
            store=self.store,
            inference=refs["inference"],
            settings=VoiceSettings(),
            visible_channels=self.visible_channels,
        )

        def settings():
            return ReplySettings(
                rules=self.rules,
                limits=DeliveryLimits(),
                sampling=Sampling(seed=7),
                window_messages=10,
                deadline_seconds=2.0,
                memory_timeout_seconds=memory_timeout,
            )

        async def muted():
            return mutes or {}

        def responder():
            return ResponderActor(
                store=self.store,
                inference=refs["inference"],
                retriever=refs["retriever"],
                gateway=refs["gateway"],
                coach=coach,
                settings=settings,
                journal=book,
                history=history,
                mutes=muted,
                allowed=lambda channel: channel.allowed and channel.id not in self.off_the_list,
                now=lambda: self.now,
                chance=lambda: 0.5,
            )

        self.system = ActorSystem(
            SupervisorSpec(
                name="root",
                intensity=20,
                children=(
                    ChildSpec(ref=refs["inference"], factory=lambda: FakeInference(world)),
                    ChildSpec(ref=refs["retriever"], factory=lambda: FakeRetriever(world)),
                    ChildSpec(ref=refs["gateway"], factory=lambda: FakeGateway(world, book)),
                    ChildSpec(ref=refs["responder"], factory=responder),
                ),
            )
        )
        self.sequence = 0

    async def visible_channels(self, channel_id):
        return {channel_id}

    async def __aenter__(self):
        await self.store.open()
        await self.system.start()
        return self

    async def __aexit__(self, *error):
        await self.system.stop()
        await self.store.close()

    def message(self, author, text, *, channel=None, age=timedelta(), reply_to=None):
        self.sequence += 1
        channel = channel or CHANNEL
        return Message(
            id=MessageId(snowflake_at(NOW - age, self.sequence)),
            channel_id=channel.id,
            author=author,
            content=text,
            created_at=NOW - age,
            reply_to=reply_to,
        )

    def hear(self, author, text, *, addressed=False, channel=None, age=timedelta(), reply_to=None):
        message = self.message(author, text, channel=channel, age=age, reply_to=reply_to)
        self.arrive(message, channel=channel, addressed=addressed)
        return message

    def arrive(self, message, *, channel=None, addressed=False, live=True):
        arrival = Arrival(message=message, channel=channel or CHANNEL, self_id=SELF, addressed=addressed, live=live)
        assert self.responder.tell(MessageArrived(arrival=arrival))

    def texts(self):
        """Return what was sent, in order."""
        return [text for _, _, text in self.world.sent]

    async def outcome(self):
        async with asyncio.timeout(10):
            return await self.world.outcomes.get()

    async def eventually(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)


CHANNEL = Channel(id=ChannelId(5), guild_id=GuildId(1), name="general", guild_name="the attic", allowed=True)
OTHER = Channel(id=ChannelId(6), guild_id=GuildId(1), name="other", guild_name="the attic", allowed=True)


def play(tmp_path, scenario, **options):
    async def main():
        world = World(**{k: v for k, v in options.items() if k in World.__dataclass_fields__})
        rest = {k: v for k, v in options.items() if k not in World.__dataclass_fields__}
        async with Stage(tmp_path, world, **rest) as stage:
            await scenario(stage, world)

    asyncio.run(main())
