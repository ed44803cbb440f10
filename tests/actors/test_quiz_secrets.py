"""A quiz gives nothing away: not its key, nor words that are gone, nor places that somebody may not see."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from persona.domain.chat import Channel, ChannelId, GuildId
from persona.domain.command_texts import AboutBot, botdata_text
from persona.domain.commands import Via
from persona.domain.consent import Choice, Entry, Scope, Source
from persona.domain.quiz import QuizError, QuizQuestion, question_text, write_quiz
from persona.forgetting import Forgetter
from persona.mydata import mydata
from tests.fakes.quiz_world import ANN, ATTIC, BOB, CAT, HERE, KITCHEN, NOON, playing


async def told(world, who=ANN):
    (data,) = await mydata(world.store.ledger, world.store, world.store.quizzes, who.id, at=world.now)
    return json.loads(data)["about"]["quiz_answers"]


def test_mydata_does_not_tell_how_one_did_while_the_quiz_is_open(tmp_path):
    async def play(world):
        await world.card()
        await world.answer_all()
        assert not [one for one in await told(world) if isinstance(one.get("right"), bool)]

    playing(tmp_path, play)


def test_a_bystander_cannot_look_up_the_key_and_answer_again(tmp_path):
    async def play(world):
        lurker = replace(ANN, id=type(ANN.id)(77), name="eve", display_name="Eve")
        await world.card()
        first, shown = {}, await world.press(who=lurker)
        while shown.buttons:
            first[shown.buttons[0].options["question"]] = shown.buttons[0].options["pick"]
            shown = await world.press(shown.buttons[0], who=lurker)
        key = {one["question"] - 1: one["right"] for one in await told(world, lurker)}
        await world.store.ledger.forget_author(lurker.id, NOON)
        other = {"left": "right", "right": "left"}
        shown = await world.press(who=lurker)
        while shown.buttons:
            n = shown.buttons[0].options["question"]
            pick = first[n] if key[n] else other[first[n]]
            shown = await world.press(next(b for b in shown.buttons if b.options["pick"] == pick), who=lurker)
        tally = await world.store.quizzes.tally(world.asked)
        assert tally.answers == 4
        assert tally.right < 4, "all right, by looking the key up with /mydata and clearing the slate with /forget"

    playing(tmp_path, play)


def test_what_its_writer_edited_away_is_not_shown_any_more(tmp_path):
    async def play(world):
        await world.card()
        secret = world.talk[0]
        await world.store.put_messages([replace(secret, content="(my address is gone)", edited_at=NOON)])
        stored = await world.store.messages_by_id([secret.id])
        assert stored[secret.id].content == "(my address is gone)"
        assert "said 0 ann" not in (await world.press()).text

    playing(tmp_path, play)


def test_the_words_of_the_forgotten_do_not_stay_in_the_quiz_file(tmp_path):
    async def play(world):
        file = tmp_path / "quiz.json"
        file.write_text(write_quiz(world.quiz), encoding="utf-8")
        await world.card()
        forgetter = Forgetter(world.store.ledger, runs=tmp_path / "runs", drop_memory=lambda: True, quiz=file)
        await forgetter.forget_author(ANN.id)
        await forgetter.finish()
        assert "said 0 ann" not in file.read_text(encoding="utf-8")

    playing(tmp_path, play)


@pytest.mark.parametrize(
    ("context", "reply"),
    [
        (("Ann: " + "`" * 240,) * 3, ("`" * 450,)),
        (tuple(f"A: {n % 10}" for n in range(200)), tuple("k" for _ in range(400))),
        (tuple(f"A: {n % 10}" for n in range(200)), tuple("lol" for _ in range(150))),
    ],
    ids=["backticks", "letters", "short lines"],
)
def test_a_question_is_one_message(context, reply):
    question = QuizQuestion(context=context, left=reply, right=reply, human="left", marks=("00",))
    assert len(question_text(question, number=1, total=1)) < 2000


def test_a_closed_quiz_is_not_offered_when_asked_by_a_typed_command(tmp_path):
    async def play(world):
        await world.card(hours=1)
        await world.answer_all()
        world.now = NOON + timedelta(hours=2)
        assert "It closes" not in (await world.press(via=Via.PREFIX)).text

    playing(tmp_path, play)


def test_two_admins_at_once_both_get_a_card(tmp_path):
    async def play(world):
        first, second = await asyncio.gather(world.card(), world.card(), return_exceptions=True)
        assert not isinstance(first, Exception), first
        assert not isinstance(second, Exception), second

    playing(tmp_path, play)


def test_two_admins_in_two_channels_the_second_is_told_where_it_is(tmp_path):
    async def play(world):
        world.visible = {KITCHEN.id, ATTIC.id}
        given = await asyncio.gather(world.card(), world.card(channel=ATTIC), return_exceptions=True)
        refused = next(one for one in given if isinstance(one, Exception))
        assert "A quiz is open in" in str(refused)

    playing(tmp_path, play)


def test_a_file_with_the_same_name_and_fewer_questions_is_refused_in_words(tmp_path):
    async def play(world):
        await world.card()
        shown = await world.press()
        while shown.buttons and shown.buttons[0].options["question"] < 2:
            shown = await world.press(shown.buttons[0])
        world.quiz = replace(world.quiz, questions=world.quiz.questions[:2])
        await world.refused(world.press())

    playing(tmp_path, play)


def test_another_server_cannot_use_the_test_up(tmp_path):
    """One question of four is about their server: posting it there keeps it from being asked here for good."""

    async def play(world):
        theirs = Channel(id=ChannelId(900), guild_id=GuildId(2), name="street", guild_name="town", allowed=True)
        await world.store.put_channels([theirs])
        moved = [replace(m, id=type(m.id)(m.id + 1_000_000), channel_id=theirs.id) for m in world.talk[:2]]
        await world.store.put_messages(moved)
        key = await world.store.ledger.lineage_key()
        marks = tuple(key.message(m.id).hex() for m in moved)
        first, *rest = world.quiz.questions
        world.quiz = replace(world.quiz, questions=(replace(first, marks=marks), *rest))
        world.visible = {theirs.id}
        assert "1 question" in (await world.card(channel=theirs)).answer.text
        world.visible = {KITCHEN.id}
        assert "3 questions" in (await world.card()).answer.text

    playing(tmp_path, play)


def test_what_is_kept_is_said_where_it_is_said_what_is_kept(tmp_path):
    text = botdata_text(AboutBot(name="Pip"), [], held=None, memory=True, direct=False)
    assert "quiz" in text.lower() or "answers" in text.lower()


def test_the_card_says_that_answers_are_kept(tmp_path):
    async def play(world):
        card = (await world.card()).answer.text
        assert "for your eyes only" not in card
        assert "kept" in card.lower()

    playing(tmp_path, play)


def test_nobody_is_thanked_for_answering_nothing(tmp_path):
    async def play(world):
        await world.card()
        world.visible = set()
        assert "That was the last one" not in (await world.press()).text

    playing(tmp_path, play)


def test_whoever_does_not_see_the_channel_is_not_told_its_id(tmp_path):
    async def play(world):
        await world.card()
        world.visible = {ChannelId(500)}
        street = Channel(id=ChannelId(500), guild_id=HERE, name="street", guild_name="home", allowed=True)
        assert str(KITCHEN.id) not in await world.refused(world.press(channel=street))

    playing(tmp_path, play)


def test_members_are_not_told_how_to_make_the_file(tmp_path):
    async def play(world):
        await world.card()
        world.quiz = None
        with pytest.raises(QuizError) as told_them:
            await world.press()
        assert "there is no quiz" not in str(told_them.value).lower()

    playing(tmp_path, play)


def test_own_replies_are_not_asked_about(tmp_path):
    """Cat wrote one of the two replies in every question, and knows which."""

    async def play(world):
        await world.card()
        assert not (await world.press(who=CAT)).buttons
        assert (await world.press(who=BOB)).buttons

    playing(tmp_path, play)


def _about_bob(world):
    """Make the first question about one message of Ann's, in which she speaks to Bob; his name stands in its text."""
    from persona.domain.chat import MessageId

    first, *rest = world.quiz.questions
    spoken = replace(world.talk[0], id=MessageId(world.talk[-1].id + 5), content=f"<@{BOB.id}> hi", mentions=(BOB,))
    return spoken, first, rest


@pytest.mark.parametrize("how", ["forgotten", "opted out"])
def test_the_names_of_the_forgotten_and_the_opted_out_are_not_shown(tmp_path, how):
    async def play(world):
        store = world.store
        spoken, first, rest = _about_bob(world)
        await store.put_messages([spoken])
        key = await store.ledger.lineage_key()
        first = replace(first, context=("Ann: @Bob hi",), marks=(key.message(spoken.id).hex(),))
        world.quiz = replace(world.quiz, questions=(first, *rest))
        await world.card()
        assert "Bob" in (await world.press(who=CAT)).text
        if how == "forgotten":
            await store.ledger.forget_author(BOB.id, NOON)
        else:
            await store.ledger.record(
                Entry(
                    author_id=BOB.id, scope=Scope.STORE, choice=Choice.NO, at=NOON, source=Source.COMMAND, guild_id=HERE
                )
            )
        assert "Bob" not in (await world.press(who=CAT)).text

    playing(tmp_path, play)


def test_opted_out_everywhere_counts_here(tmp_path):
    async def play(world):
        await world.card()
        await world.store.ledger.record(
            Entry(
                author_id=CAT.id,
                scope=Scope.STORE,
                choice=Choice.NO,
                at=NOON,
                source=Source.COMMAND,
                guild_id=GuildId(0),
            )
        )
        assert not (await world.press()).buttons
        assert "nothing of you is kept" in await world.refused(world.press(who=CAT))

    playing(tmp_path, play)


@pytest.mark.parametrize("number", [True, 1.0, float("nan"), float("inf"), "1", 10**60, -1])
def test_odd_numbers_harm_nothing(tmp_path, number):
    async def play(world):
        await world.card()
        fine = (await world.press()).buttons[0]
        await world.press(replace(fine, options={**fine.options, "question": number}))
        answers = await world.store.quizzes.answers(ANN.id)
        assert all(type(one.number) is int and 0 <= one.number < 4 for one in answers)

    playing(tmp_path, play)


def test_nothing_ends_the_code_block_or_formats():
    for evil in ("```", "a```b", "````", "`" * 7, "``\n``", "` ` `", "`\u200b``", "x\x00``\x00`", "`\u202e``"):
        one = QuizQuestion(context=(evil, evil), left=(evil,), right=("ok", evil), human="left", marks=("00",))
        text = question_text(one, number=1, total=1)
        assert text.count("```") == 6, (evil, text)


def test_a_quiz_closed_between_question_and_answer(tmp_path):
    async def play(world):
        await world.card(hours=1)
        first = await world.press()
        world.now = NOON + timedelta(hours=1)
        assert "closed" in (await world.press(first.buttons[0])).text
        assert (await world.store.quizzes.tally(world.asked)).answers == 0

    playing(tmp_path, play)
