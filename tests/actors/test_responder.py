"""The live path with real kernel, real store and scripted neighbours."""

import asyncio
from datetime import timedelta

import pytest

from actors.messages import Drain
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
from persona.domain.prompt import Role
from tests.fakes.reply_stage import ANN, BEN, CHANNEL, NOW, OTHER, SELF, play


def test_an_addressed_message_is_answered_with_the_talk_before_it(tmp_path):
    async def scenario(stage, world):
        stage.hear(BEN, "i fed the cat")
        assert (await stage.outcome()).texts == ()
        stage.hear(ANN, "pip, who fed the cat?")
        outcome = await stage.outcome()
        assert outcome.texts == ("sure thing",)
        assert stage.texts() == ["sure thing"]
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
        assert stage.texts() == ["something about a fox"]

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
        stage.arrive(message)
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
        assert stage.texts() == ["sure thing"]

    play(tmp_path, scenario, recall_delay=0.1)


def test_terminal_lines_are_answered_without_being_addressed(tmp_path):
    terminal = Channel(id=ChannelId(7), guild_id=GuildId(0), name="terminal", kind=ChannelKind.TERMINAL, allowed=True)

    async def scenario(stage, world):
        stage.hear(ANN, "nice weather", channel=terminal)
        assert (await stage.outcome()).texts == ("sure thing",)

    play(tmp_path, scenario)
