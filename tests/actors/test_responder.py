"""The live path with real kernel, real store and scripted neighbours."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from actors.kernel import Actor, ActorSystem, ChildSpec, SupervisorSpec, new_ref
from actors.messages import DescribeModel, Draft, Drain, Generate, Handled, MessageArrived, Recall, SendReply
from actors.reply import ReplySettings
from actors.responder import ResponderActor
from actors.voice import VoiceCoach, VoiceSettings
from persona.adapters.sqlite import SqliteStore
from persona.domain.chat import (
    Author,
    AuthorId,
    Channel,
    ChannelId,
    ChannelKind,
    GuildId,
    Message,
    MessageId,
    Recollection,
    snowflake_at,
)
from persona.domain.delivery import DeliveryLimits
from persona.domain.prompt import Role
from persona.domain.speaking import SpeakingRules
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
    requests: list = field(default_factory=list)
    recalls: list = field(default_factory=list)
    sent: list = field(default_factory=list)
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
    def __init__(self, world):
        self.world = world

    async def receive(self, message):
        match message:
            case SendReply(delivery=delivery):
                if self.world.crash_gateway:
                    self.world.crash_gateway -= 1
                    raise RuntimeError("no permission")
                texts = [part.text for part in delivery.messages]
                self.world.sent.append(texts)
                return tuple(
                    MessageId(snowflake_at(NOW, 1000 + len(self.world.sent) * 10 + i)) for i in range(len(texts))
                )
            case Handled(outcome=outcome):
                self.world.outcomes.put_nowait(outcome)
        return None


class Stage:
    """A running tree with the real responder in the middle."""

    def __init__(self, tmp_path, world, rules=None, memory_timeout=0.2):
        self.world = world
        self.store = SqliteStore(tmp_path / "persona.db")
        refs = {name: new_ref(name) for name in ("inference", "retriever", "responder", "gateway")}
        self.responder = refs["responder"]
        settings = ReplySettings(
            rules=rules or SpeakingRules(names=("Pip",), rate=0.0),
            limits=DeliveryLimits(),
            sampling=Sampling(seed=7),
            window_messages=10,
            deadline_seconds=2.0,
            memory_timeout_seconds=memory_timeout,
        )

        def responder():
            coach = VoiceCoach(
                store=self.store,
                inference=refs["inference"],
                settings=VoiceSettings(),
                visible_channels=self.visible_channels,
            )
            return ResponderActor(
                store=self.store,
                inference=refs["inference"],
                retriever=refs["retriever"],
                gateway=refs["gateway"],
                coach=coach,
                settings=lambda: settings,
                now=lambda: NOW,
                chance=lambda: 0.5,
            )

        self.system = ActorSystem(
            SupervisorSpec(
                name="root",
                intensity=20,
                children=(
                    ChildSpec(ref=refs["inference"], factory=lambda: FakeInference(world)),
                    ChildSpec(ref=refs["retriever"], factory=lambda: FakeRetriever(world)),
                    ChildSpec(ref=refs["gateway"], factory=lambda: FakeGateway(world)),
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

    def hear(self, author, text, *, addressed=False, channel=None, age=timedelta(), reply_to=None):
        self.sequence += 1
        channel = channel or CHANNEL
        message = Message(
            id=MessageId(snowflake_at(NOW - age, self.sequence)),
            channel_id=channel.id,
            author=author,
            content=text,
            created_at=NOW - age,
            reply_to=reply_to,
        )
        arrival = Arrival(message=message, channel=channel, self_id=SELF, addressed=addressed)
        assert self.responder.tell(MessageArrived(arrival=arrival))
        return message

    async def outcome(self):
        async with asyncio.timeout(10):
            return await self.world.outcomes.get()


CHANNEL = Channel(id=ChannelId(5), guild_id=GuildId(1), name="general", guild_name="the attic", allowed=True)
OTHER = Channel(id=ChannelId(6), guild_id=GuildId(1), name="other", guild_name="the attic", allowed=True)


def play(tmp_path, scenario, **options):
    async def main():
        world = World(**{k: v for k, v in options.items() if k in World.__dataclass_fields__})
        rest = {k: v for k, v in options.items() if k not in World.__dataclass_fields__}
        async with Stage(tmp_path, world, **rest) as stage:
            await scenario(stage, world)

    asyncio.run(main())


def test_an_addressed_message_is_answered_with_the_talk_before_it(tmp_path):
    async def scenario(stage, world):
        stage.hear(BEN, "i fed the cat")
        assert (await stage.outcome()).texts == ()
        stage.hear(ANN, "pip, who fed the cat?")
        outcome = await stage.outcome()
        assert outcome.texts == ("sure thing",)
        assert world.sent == [["sure thing"]]
        system, user = world.requests[0].turns
        assert system.role is Role.SYSTEM
        assert "Pip" in system.text
        assert user.lines == ("Ben: i fed the cat", "Ann: pip, who fed the cat?")
        assert {"recall", "render", "generate", "send"} <= set(outcome.stage_ms)

    play(tmp_path, scenario)


def test_its_own_words_are_part_of_the_next_prompt(tmp_path):
    async def scenario(stage, world):
        stage.hear(ANN, "pip hello")
        await stage.outcome()
        stage.hear(ANN, "pip what did you say?")
        await stage.outcome()
        assert [turn.role for turn in world.requests[1].turns] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER]
        assert world.requests[1].turns[2].text == "sure thing"

    play(tmp_path, scenario)


def test_memory_reaches_the_prompt_and_the_outcome(tmp_path):
    note = Recollection(
        message_id=MessageId(1),
        channel_id=ChannelId(5),
        author_name="cleo",
        text="grub lives on sda",
        created_at=NOW - timedelta(days=100),
        score=2.0,
    )

    async def scenario(stage, world):
        stage.hear(ANN, "pip where does grub live?")
        outcome = await stage.outcome()
        assert outcome.recollections == (note,)
        assert any("cleo" in line and "grub lives on sda" in line for line in world.requests[0].turns[-1].notes)
        assert "grub" in world.recalls[0].text
        assert world.recalls[0].channel_id == CHANNEL.id

    play(tmp_path, scenario, found=(note,))


def test_a_slow_memory_costs_the_memory_not_the_reply(tmp_path):
    async def scenario(stage, world):
        stage.hear(ANN, "pip?")
        outcome = await stage.outcome()
        assert outcome.texts == ("sure thing",)
        assert outcome.recollections == ()

    play(tmp_path, scenario, recall_delay=5.0)


def test_a_crash_of_the_model_is_tried_once_more(tmp_path):
    async def scenario(stage, world):
        stage.hear(ANN, "pip?")
        outcome = await stage.outcome()
        assert outcome.texts == ("sure thing",)
        assert outcome.retries == 1
        assert len(world.requests) == 2

    play(tmp_path, scenario, crash_inference=1)


def test_two_crashes_are_an_outcome_and_the_next_message_is_answered(tmp_path):
    async def scenario(stage, world):
        stage.hear(ANN, "pip?")
        outcome = await stage.outcome()
        assert outcome.texts == ()
        assert "crashed twice" in outcome.result
        stage.hear(ANN, "pip??")
        assert (await stage.outcome()).texts == ("sure thing",)

    play(tmp_path, scenario, crash_inference=2)


def test_a_failed_delivery_is_an_outcome_and_is_not_remembered_as_said(tmp_path):
    async def scenario(stage, world):
        stage.hear(ANN, "pip one")
        assert "could not be delivered" in (await stage.outcome()).result
        stage.hear(ANN, "pip two")
        assert (await stage.outcome()).texts == ("sure thing",)
        assert [turn.role for turn in world.requests[-1].turns] == [Role.SYSTEM, Role.USER]

    play(tmp_path, scenario, crash_gateway=1)


def test_a_draft_that_copies_an_old_message_is_written_again_with_another_seed(tmp_path):
    old = "the quick brown fox jumps over the lazy dog every single morning"
    note = Recollection(
        message_id=MessageId(1), channel_id=ChannelId(5), author_name="cleo", text=old, created_at=NOW, score=1.0
    )

    async def scenario(stage, world):
        stage.hear(ANN, "pip?")
        outcome = await stage.outcome()
        assert outcome.texts == ("something about a fox",)
        assert world.requests[0].sampling.seed != world.requests[1].sampling.seed
        assert world.sent == [["something about a fox"]]

    play(tmp_path, scenario, found=(note,), replies=[old, "something about a fox"])


def test_a_draft_that_copies_twice_is_withheld(tmp_path):
    old = "the quick brown fox jumps over the lazy dog every single morning"
    note = Recollection(
        message_id=MessageId(1), channel_id=ChannelId(5), author_name="cleo", text=old, created_at=NOW, score=1.0
    )

    async def scenario(stage, world):
        stage.hear(ANN, "pip?")
        assert "withheld" in (await stage.outcome()).result
        assert world.sent == []

    play(tmp_path, scenario, found=(note,), replies=[old])


def test_the_same_message_twice_is_heard_once(tmp_path):
    async def scenario(stage, world):
        message = stage.hear(ANN, "pip?")
        await stage.outcome()
        arrival = Arrival(message=message, channel=CHANNEL, self_id=SELF)
        stage.responder.tell(MessageArrived(arrival=arrival))
        stage.hear(ANN, "pip again")
        await stage.outcome()
        assert len(world.sent) == 2

    play(tmp_path, scenario)


def test_channels_do_not_wait_for_each_other_and_do_not_mix(tmp_path):
    async def scenario(stage, world):
        stage.hear(ANN, "pip in general")
        stage.hear(BEN, "pip in other", channel=OTHER)
        done = {(await stage.outcome()).arrival.channel.id, (await stage.outcome()).arrival.channel.id}
        assert done == {CHANNEL.id, OTHER.id}
        by_channel = {request.conversation: request.turns[-1].text for request in world.requests}
        assert by_channel == {"5": "Ann: pip in general", "6": "Ben: pip in other"}

    play(tmp_path, scenario)


def test_history_from_the_store_is_the_start_of_the_talk(tmp_path):
    async def scenario(stage, world):
        await stage.store.put_channels([CHANNEL])
        past = Message(
            id=MessageId(snowflake_at(NOW - timedelta(minutes=1))),
            channel_id=CHANNEL.id,
            author=BEN,
            content="from before the restart",
            created_at=NOW - timedelta(minutes=1),
        )
        await stage.store.put_messages([past])
        stage.hear(ANN, "pip what did ben say?")
        await stage.outcome()
        assert "Ben: from before the restart" in world.requests[0].turns[-1].text

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "author",
    [
        Author(id=SELF, name="pip", display_name="Pip", is_bot=True),
        Author(id=AuthorId(9), name="bot", display_name="Bot", is_bot=True),
    ],
)
def test_it_answers_neither_itself_nor_other_bots(tmp_path, author):
    async def scenario(stage, world):
        stage.hear(author, "pip pip pip", addressed=True)
        outcome = await stage.outcome()
        assert not outcome.decision.speak
        assert world.requests == []

    play(tmp_path, scenario)


def test_drain_waits_for_the_reply_in_the_making(tmp_path):
    async def scenario(stage, world):
        stage.hear(ANN, "pip?")
        while not world.recalls:
            await asyncio.sleep(0.01)
        finished = await stage.responder.ask(Drain(), timeout=5)
        assert finished == 1
        assert world.sent == [["sure thing"]]

    play(tmp_path, scenario, recall_delay=0.1)


def test_terminal_lines_are_answered_without_being_addressed(tmp_path):
    terminal = Channel(id=ChannelId(7), guild_id=GuildId(0), name="terminal", kind=ChannelKind.TERMINAL, allowed=True)

    async def scenario(stage, world):
        stage.hear(ANN, "nice weather", channel=terminal)
        assert (await stage.outcome()).texts == ("sure thing",)

    play(tmp_path, scenario)
