"""A quiz asks what its readers may see, counts each answer once, closes by its time and says nothing before that."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from persona.domain.chat import MessageId
from persona.domain.commands import Via
from persona.domain.consent import Choice, Entry, Scope, Source
from persona.domain.quiz import QuizError
from persona.mydata import mydata
from tests.fakes.quiz_world import ANN, ATTIC, BOB, CAT, HERE, KITCHEN, NOON, playing


def test_from_the_card_to_the_result(tmp_path):
    async def play(world):
        card = (await world.card(hours=2)).answer
        assert not card.private
        assert [button.command for button in card.buttons] == ["quiz"]
        assert "4 questions" in card.text
        first = await world.press(card.buttons[0])
        assert first.private
        assert "**1 of 4.**" in first.text
        second = await world.press(first.buttons[0])
        assert "**2 of 4.**" in second.text
        for _ in range(3):  # neither the old button nor the other one of that question changes anything
            assert (await world.press(first.buttons[1])).text == second.text
        assert "thank you" in (await world.answer_all()).text
        assert "thank you" in (await world.answer_all(who=BOB, skill=False)).text
        while_open = (await world.card("count")).answer.text
        assert "2 people have taken part so far, 8 answers" in while_open
        assert "%" not in while_open
        world.now = NOON + timedelta(hours=2)
        result = await world.press(card.buttons[0])
        assert "2 people gave 8 answers to 4 questions" in result.text
        assert "**50%**" in result.text
        assert result.text.endswith("You: 4 of 4.")
        assert "**50%**" in (await world.card("count")).answer.text

    playing(tmp_path, play)


def test_an_answer_that_comes_after_the_end_does_not_count(tmp_path):
    async def play(world):
        await world.card()
        first = await world.press()
        stopped = (await world.card("stop")).answer
        assert not stopped.private
        assert "Nobody answered" in stopped.text
        assert "Nobody answered" in (await world.press(first.buttons[0])).text
        assert (await world.store.quizzes.tally(world.asked)).answers == 0
        assert "a test is asked once" in await world.refused(world.card())

    playing(tmp_path, play)


def test_buttons_that_nobody_was_shown_do_nothing(tmp_path):
    async def play(world):
        await world.card()
        fine = (await world.press()).buttons[0]
        for change in ({"test": "000000000000"}, {"question": 99}, {"question": "0"}, {"question": -1}, {"pick": "up"}):
            shown = await world.press(replace(fine, options={**fine.options, **change}))
            assert "**1 of 4.**" in shown.text
        assert (await world.store.quizzes.tally(world.asked)).answers == 0

    playing(tmp_path, play)


def test_only_what_everybody_there_may_read_is_asked(tmp_path):
    async def play(world):
        world.visible = {ATTIC.id}
        assert "None of the questions may be shown here" in await world.refused(world.card())
        world.visible = {ATTIC.id, KITCHEN.id}
        assert "4 questions" in (await world.card()).answer.text
        assert f"<#{KITCHEN.id}>" in await world.refused(world.press(channel=ATTIC))
        world.visible = {ATTIC.id}  # the kitchen was closed to some meanwhile
        assert not (await world.press()).buttons

    playing(tmp_path, play)


def test_what_was_forgotten_removed_or_opted_out_is_not_shown(tmp_path):
    async def play(world):
        store = world.store
        await store.ledger.forget_messages([world.talk[0].id], NOON)
        assert "3 questions" in (await world.card()).answer.text
        await world.press((await world.press()).buttons[0])
        await store.ledger.forget_messages([world.talk[7].id], NOON)
        second = await world.press()
        assert "**2 of 2.**" in second.text
        entry = Entry(
            author_id=CAT.id, scope=Scope.STORE, choice=Choice.NO, at=NOON, source=Source.COMMAND, guild_id=HERE
        )
        await store.ledger.record(entry)
        assert not (await world.press()).buttons
        assert "nothing of you is kept" in await world.refused(world.press(who=CAT))
        assert await store.quizzes.answers(CAT.id) == []

    playing(tmp_path, play)


def test_messages_of_another_database_are_nobodys(tmp_path):
    async def play(world):
        strange = tuple(replace(one, marks=("00" * 8,)) for one in world.quiz.questions)
        world.quiz = replace(world.quiz, questions=strange)
        assert "None of the questions" in await world.refused(world.card())
        mixed = (replace(strange[0], marks=("not hex", "zz")), *strange[1:])
        world.quiz = replace(world.quiz, questions=mixed)
        assert "None of the questions" in await world.refused(world.card())

    playing(tmp_path, play)


def test_one_quiz_at_a_time_and_its_card_can_be_posted_again(tmp_path):
    async def play(world):
        assert "no quiz here" in await world.refused(world.press())
        for action in ("stop", "count"):
            assert "no quiz here" in await world.refused(world.card(action))
        first = (await world.card()).answer
        assert (await world.card(hours=700)).answer == first
        assert f"A quiz is open in <#{KITCHEN.id}>" in await world.refused(world.card(channel=ATTIC))
        ours, world.quiz = world.quiz, replace(world.quiz, test_id="cd" * 32)
        assert "A quiz is open" in await world.refused(world.card())
        assert "replaced by another one" in await world.refused(world.press())
        world.quiz = ours
        assert (await world.press()).buttons
        world.quiz = None
        with pytest.raises(QuizError, match="gone or damaged"):
            await world.press()

    playing(tmp_path, play)


def test_a_typed_command_shows_the_card_and_no_question(tmp_path):
    async def play(world):
        card = (await world.card()).answer
        typed = await world.press(via=Via.PREFIX)
        assert (typed.text, typed.buttons) == (card.text, card.buttons)

    playing(tmp_path, play)


def test_double_presses_at_the_same_time_count_once(tmp_path):
    async def play(world):
        await world.card()
        first = await world.press()
        shown = await asyncio.gather(*(world.press(button) for button in first.buttons * 5))
        assert {one.text for one in shown} == {(await world.press()).text}
        assert (await world.store.quizzes.tally(world.asked)).answers == 1

    playing(tmp_path, play)


def test_answers_are_part_of_what_is_kept_of_somebody(tmp_path):
    async def play(world):
        await world.card()
        await world.answer_all()
        (data,) = await mydata(world.store.ledger, world.store, world.store.quizzes, ANN.id, at=NOON)
        # Or whoever looks could have all forgotten, and begin anew with what they know now.
        told = {one["right"] for one in json.loads(data)["about"]["quiz_answers"]}
        assert told == {"is told once the quiz is closed"}
        await world.card("stop")
        (data,) = await mydata(world.store.ledger, world.store, world.store.quizzes, ANN.id, at=NOON)
        kept = json.loads(data)["about"]["quiz_answers"]
        assert [(one["question"], one["right"]) for one in kept] == [(n, True) for n in range(1, 5)]
        assert {one["quiz"] for one in kept} == {world.asked[:8]}

    playing(tmp_path, play)


def test_ids_are_found_again_among_many(tmp_path):
    async def play(world):
        more = [replace(world.talk[0], id=MessageId(world.talk[-1].id + n)) for n in range(1, 12_000)]
        await world.store.put_messages(more)
        assert "4 questions" in (await world.card()).answer.text

    playing(tmp_path, play)
