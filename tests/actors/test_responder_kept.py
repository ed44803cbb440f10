"""No reply is lost or given twice: what a restart, a deletion, a mute or time does to one that is under way."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from actors.messages import ForgottenNow, MessageArrived, Muted
from persona.domain.chat import Author, AuthorId, ChannelId, Edit, MessageId, MessageKind, snowflake_at
from persona.domain.speaking import Decision, Reason, SpeakingRules
from persona.errors import StoreError
from persona.ports import Arrival, Edited, LinkUp, PendingReply, Removed, ReplyRecord
from tests.fakes.reply_stage import ANN, BEN, CHANNEL, NOW, OTHER, SELF, play

UP = LinkUp(resumed=False, self_id=SELF)


def pending(message, **changes):
    decision = Decision(speak=True, reason=Reason.MENTIONED, detail="Ann mentioned it")
    held = PendingReply(message_id=message.id, channel_id=message.channel_id, decided_at=NOW, decision=decision)
    return replace(held, **changes)


async def stored(stage, *messages):
    await stage.store.put_channels([CHANNEL])
    await stage.store.put_messages(messages)


def lives(tmp_path, *scenarios, **options):
    """Play scenarios one after the other over the same store: each is a process of its own."""
    for scenario in scenarios:
        play(tmp_path, scenario, journal=True, **options)


def test_a_reply_that_was_not_drafted_is_written_in_the_next_life(tmp_path):
    async def first(stage, world):
        message = stage.message(ANN, "pip?")
        await stored(stage, message)
        await stage.store.journal.begin(pending(message))

    async def second(stage, world):
        assert world.sent == []  # not before it knows who it is
        stage.responder.tell(UP)
        outcome = await stage.outcome()
        assert outcome.texts == ("sure thing",)
        assert outcome.decision.reason is Reason.MENTIONED
        assert await stage.store.journal.pending() == []

    async def third(stage, world):
        stage.responder.tell(UP)
        stage.sequence = 10
        stage.hear(BEN, "pip, me")
        await stage.outcome()
        assert stage.texts() == ["sure thing"]  # only Ben's

    lives(tmp_path, first, second, third)


@pytest.mark.parametrize("out", [0, 1])
def test_a_drafted_reply_goes_on_where_it_was_broken_off(tmp_path, out):
    async def first(stage, world):
        message = stage.message(ANN, "pip?")
        await stored(stage, message)
        await stage.store.journal.begin(pending(message, texts=("one", "two"), sent=out))

    async def second(stage, world):
        stage.responder.tell(UP)
        outcome = await stage.outcome()
        assert outcome.texts == ("one", "two")
        assert [(number, text) for _, number, text in world.sent] == [(0, "one"), (1, "two")][out:]
        assert world.requests == []

    lives(tmp_path, first, second)


def test_parts_that_stand_in_the_history_are_not_sent_again(tmp_path):
    me = Author(id=SELF, name="pip", display_name="Pip", is_bot=True)

    async def first(stage, world):
        message = stage.message(ANN, "pip?")
        answer = replace(stage.message(me, "one", reply_to=message.id), kind=MessageKind.REPLY)
        await stored(stage, message, answer, stage.message(me, "two"))
        await stage.store.journal.begin(pending(message, texts=("one", "two")))

    async def second(stage, world):
        stage.responder.tell(UP)
        assert (await stage.outcome()).texts == ("one", "two")
        assert world.sent == []
        assert await stage.store.journal.pending() == []

    lives(tmp_path, first, second)


def test_one_whose_message_was_not_stored_waits_until_the_history_brings_it_again(tmp_path):
    async def life(stage, world):
        message = stage.message(ANN, "pip?")
        await stage.store.journal.begin(pending(message))

    async def next_life(stage, world):
        stage.responder.tell(UP)
        message = stage.message(ANN, "pip?")
        await asyncio.sleep(0.05)
        assert world.requests == []
        stage.arrive(message, live=False)
        assert (await stage.outcome()).texts == ("sure thing",)
        stage.arrive(message, live=False)
        stage.hear(BEN, "pip, me too")
        assert (await stage.outcome()).arrival.message.author == BEN

    lives(tmp_path, life, next_life)


def test_one_that_nobody_brings_again_is_given_up_when_it_is_too_old(tmp_path):
    async def first(stage, world):
        await stage.store.journal.begin(pending(stage.message(ANN, "pip?"), decided_at=NOW - timedelta(hours=1)))

    async def second(stage, world):
        message = stage.message(ANN, "pip?")
        async with asyncio.timeout(10):
            while await stage.store.journal.pending():
                await asyncio.sleep(0.01)
        assert await stage.store.journal.seen(message.id)
        assert world.requests == []

    lives(tmp_path, first, second)


def test_a_stale_one_is_not_sent_even_when_it_is_drafted(tmp_path):
    async def first(stage, world):
        message = stage.message(ANN, "pip?", age=timedelta(hours=1))
        await stored(stage, message)
        await stage.store.journal.begin(pending(message, texts=("good morning",)))

    async def second(stage, world):
        stage.responder.tell(UP)
        outcome = await stage.outcome()
        assert (outcome.texts, world.sent) == ((), [])
        assert "old" in outcome.result
        assert await stage.store.journal.pending() == []

    lives(tmp_path, first, second)


def test_what_was_decided_in_another_life_is_not_decided_again(tmp_path):
    async def first(stage, world):
        message = stage.message(ANN, "hello all")
        await stage.store.put_replies(
            [
                ReplyRecord(
                    message_id=message.id, channel_id=CHANNEL.id, decided_at=NOW, spoke=False, reason="x", outcome=""
                )
            ]
        )

    async def second(stage, world):
        message = stage.message(ANN, "hello all")
        stage.rules = SpeakingRules(names=("Pip",), rate=1.0)
        stage.arrive(message, live=False)
        stage.hear(BEN, "pip?")
        outcome = await stage.outcome()
        assert outcome.arrival.message.author == BEN
        assert "Ann: hello all" in world.requests[0].turns[-1].lines  # but it is part of the talk

    lives(tmp_path, first, second)


def test_an_end_of_the_process_leaves_the_reply_to_the_next_one(tmp_path):
    async def first(stage, world):
        world.hold_model = asyncio.Event()
        message = stage.hear(ANN, "pip?")
        await stored(stage, message)
        await stage.eventually(lambda: world.requests)

    async def second(stage, world):
        stage.responder.tell(UP)
        assert (await stage.outcome()).texts == ("sure thing",)

    lives(tmp_path, first, second)


def test_a_deleted_message_is_not_answered_though_the_answer_was_being_written(tmp_path):
    async def scenario(stage, world):
        world.hold_model = asyncio.Event()
        message = stage.hear(ANN, "pip?")
        await stage.eventually(lambda: world.requests)
        waiting = stage.hear(ANN, "pip, are you there?")
        stage.responder.tell(Removed(channel_id=CHANNEL.id, message_ids=(message.id, waiting.id), at=NOW))
        await asyncio.sleep(0.05)
        world.hold_model.set()
        assert [(await stage.outcome()).result for _ in range(2)] == ["the message was deleted"] * 2
        assert world.sent == []
        stage.hear(BEN, "pip, what did ann say?")
        await stage.outcome()
        assert not any("Ann" in line for turn in world.requests[-1].turns for line in turn.lines)

    lives(tmp_path, scenario)


def test_a_forgotten_person_is_out_of_the_talk_at_once(tmp_path):
    async def scenario(stage, world):
        stage.hear(ANN, "my address is a secret")
        await stage.outcome()
        stage.responder.tell(ForgottenNow(author_id=ANN.id))
        stage.hear(BEN, "pip, what did ann say?")
        await stage.outcome()
        assert not any("secret" in line for turn in world.requests[-1].turns for line in turn.lines)

    lives(tmp_path, scenario)


def test_an_edit_counts_in_the_next_prompt(tmp_path):
    async def scenario(stage, world):
        message = stage.hear(ANN, "it is at five")
        await stage.outcome()
        edit = Edit(message_id=message.id, channel_id=CHANNEL.id, content="it is at six", edited_at=NOW)
        stage.responder.tell(Edited(edit=edit))
        stage.hear(BEN, "pip, when is it?")
        await stage.outcome()
        assert "Ann: it is at six" in world.requests[-1].turns[-1].lines

    lives(tmp_path, scenario)


def test_it_is_silent_in_a_muted_channel_and_its_threads_also_for_what_it_is_writing(tmp_path):
    thread = replace(OTHER, id=ChannelId(55), parent_id=CHANNEL.id)

    async def scenario(stage, world):
        world.hold_model = asyncio.Event()
        stage.hear(ANN, "pip?")
        await stage.eventually(lambda: world.requests)
        stage.responder.tell(Muted(channel_id=CHANNEL.id, until=NOW + timedelta(minutes=5)))
        stage.hear(ANN, "pip, in the thread", channel=thread)
        assert (await stage.outcome()).decision.reason is Reason.MUTED
        world.hold_model.set()
        assert "muted" in (await stage.outcome()).result
        assert world.sent == []
        stage.responder.tell(Muted(channel_id=CHANNEL.id, until=None))
        stage.hear(ANN, "pip, now?")
        assert (await stage.outcome()).texts

    lives(tmp_path, scenario)


def test_mutes_are_known_from_the_start(tmp_path):
    async def scenario(stage, world):
        stage.hear(ANN, "pip?")
        assert (await stage.outcome()).decision.reason is Reason.MUTED

    lives(tmp_path, scenario, mutes={CHANNEL.id: NOW + timedelta(minutes=5)})


def test_a_reply_that_took_too_long_is_dropped(tmp_path):
    async def scenario(stage, world):
        world.hold_model = asyncio.Event()
        stage.hear(ANN, "pip?")
        await stage.eventually(lambda: world.requests)
        stage.now = NOW + timedelta(hours=1)
        world.hold_model.set()
        assert "old" in (await stage.outcome()).result
        assert world.sent == []

    lives(tmp_path, scenario)


def test_a_refused_delivery_says_why_and_what_was_out_already(tmp_path):
    async def scenario(stage, world):
        stage.hear(ANN, "pip?")
        outcome = await stage.outcome()
        assert outcome.result == "the thread is archived"
        assert outcome.texts == ("one",)
        assert await stage.store.journal.pending() == []

    lives(tmp_path, scenario, replies=["one\n\ntwo"], refuse_delivery="the thread is archived", parts_out_before=1)


def test_its_own_words_heard_through_the_transport_are_not_taken_twice(tmp_path):
    me = Author(id=SELF, name="pip", display_name="Pip", is_bot=True)

    async def scenario(stage, world):
        message = stage.hear(ANN, "pip?")
        await stage.outcome()
        own = stage.message(me, "sure thing", reply_to=message.id)
        own = replace(own, id=MessageId(snowflake_at(NOW, 1001)), kind=MessageKind.REPLY)
        stage.arrive(own)
        await stage.outcome()
        stage.hear(ANN, "pip, again")
        await stage.outcome()
        turns = world.requests[-1].turns
        assert sum(line.count("sure thing") for turn in turns for line in turn.lines) == 1

    lives(tmp_path, scenario)


def test_settings_count_from_the_next_message_on(tmp_path):
    async def scenario(stage, world):
        stage.hear(ANN, "nice weather")
        assert not (await stage.outcome()).decision.speak
        stage.rules = SpeakingRules(names=("Pip",), rate=1.0)
        stage.hear(ANN, "very nice weather")
        assert (await stage.outcome()).decision.reason is Reason.JOINED_IN

    lives(tmp_path, scenario)


def test_a_webhook_is_not_answered_even_when_it_replies_and_mentions(tmp_path):
    hook = Author(id=AuthorId(77), name="hook", display_name="Hook", is_bot=True)

    async def scenario(stage, world):
        first = stage.hear(ANN, "pip?")
        await stage.outcome()
        message = stage.message(hook, "pip <@1>", reply_to=MessageId(snowflake_at(NOW, 1001)))
        stage.responder.tell(
            MessageArrived(arrival=Arrival(message=message, channel=CHANNEL, self_id=SELF, addressed=True))
        )
        assert (await stage.outcome()).decision.reason is Reason.BOT
        assert {answered for answered, _, _ in world.sent} == {first.id}

    lives(tmp_path, scenario)


def test_what_a_forgotten_person_said_before_is_not_heard_when_it_comes_late(tmp_path):
    async def scenario(stage, world):
        stage.responder.tell(ForgottenNow(author_id=ANN.id))
        stage.hear(ANN, "pip, my diagnosis is lupus", age=timedelta(minutes=1))
        stage.hear(BEN, "pip, what did ann say?")
        assert (await stage.outcome()).arrival.message.author == BEN
        assert not any("lupus" in line for turn in world.requests[-1].turns for line in turn.lines)

    lives(tmp_path, scenario)


def test_a_reply_is_written_anew_when_words_that_it_may_be_made_of_are_gone(tmp_path):
    async def scenario(stage, world):
        world.hold_model = asyncio.Event()
        stage.hear(ANN, "my diagnosis is lupus")
        await stage.outcome()
        stage.hear(BEN, "pip, what did ann say?")
        await stage.eventually(lambda: world.requests)
        stage.responder.tell(ForgottenNow(author_id=ANN.id))
        await asyncio.sleep(0.05)
        world.hold_model.set()
        assert (await stage.outcome()).texts == ("nothing",)
        first, second = world.requests
        assert any("lupus" in line for turn in first.turns for line in turn.lines)
        assert not any("lupus" in line for turn in second.turns for line in turn.lines)

    lives(tmp_path, scenario, replies=["lupus", "nothing"])


def test_a_channel_that_is_taken_off_the_list_while_it_writes_is_not_answered(tmp_path):
    async def scenario(stage, world):
        world.hold_model = asyncio.Event()
        stage.hear(ANN, "pip?")
        await stage.eventually(lambda: world.requests)
        stage.off_the_list.add(CHANNEL.id)
        world.hold_model.set()
        assert "not on the list" in (await stage.outcome()).result
        assert world.sent == []

    lives(tmp_path, scenario)


def test_nothing_is_written_down_about_channels_that_are_not_on_the_list(tmp_path):
    async def scenario(stage, world):
        message = stage.hear(ANN, "pip?", channel=replace(OTHER, allowed=False))
        assert (await stage.outcome()).decision.reason is Reason.NOT_ALLOWED
        await asyncio.sleep(0.4)
        assert not await stage.store.journal.seen(message.id)

    lives(tmp_path, scenario)


def test_the_names_of_people_are_not_in_the_journal(tmp_path):
    async def scenario(stage, world):
        world.hold_model = asyncio.Event()
        stage.hear(ANN, "pip?")
        await stage.eventually(lambda: world.requests)
        (held,) = await stage.store.journal.pending()
        assert held.decision.reason is Reason.NAMED
        assert "Ann" not in held.decision.detail
        world.hold_model.set()
        await stage.outcome()

    lives(tmp_path, scenario)


def test_a_store_that_cannot_be_read_is_an_outcome_not_a_crash(tmp_path):
    async def scenario(stage, world):
        async def broken(ids):
            raise StoreError("the disk is gone")

        stage.store.messages_by_id = broken
        stage.hear(ANN, "pip?", reply_to=MessageId(4))
        assert "the disk is gone" in (await stage.outcome()).result
        assert world.sent == []

    lives(tmp_path, scenario)
