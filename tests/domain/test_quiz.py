"""A quiz on the server: its file, what is shown of it, and what is counted."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from persona.domain.chat import ChannelId, GuildId
from persona.domain.quiz import (
    AskedQuestion,
    AskedQuiz,
    Quiz,
    QuizAnswer,
    QuizError,
    QuizQuestion,
    card_text,
    question_text,
    read_quiz,
    result_text,
    write_quiz,
)
from persona.domain.recognition import Tally, wilson, worth

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ASKED = AskedQuiz(
    test_id="ab" * 32,
    guild_id=GuildId(1),
    channel_id=ChannelId(2),
    asked_at=NOON,
    closes_at=NOON + timedelta(hours=3),
    questions=tuple(AskedQuestion(number=n, message_ids=frozenset()) for n in range(20)),
)


def question(**more):
    told = {"context": ("ann: who ate it", "bob: not me"), "left": ("lies",), "right": ("hm", "ok"), "human": "right"}
    return QuizQuestion(**{**told, "marks": ("00ff",), **more})


def quiz(*questions):
    return Quiz(test_id="ab" * 32, questions=questions or (question(), question(human="left")))


def test_a_quiz_comes_back_from_its_file():
    assert read_quiz(write_quiz(quiz())) == quiz()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data.update(format="persona-blindtest-1"), "no quiz"),
        (lambda data: data.update(questions=[]), "no question"),
        (lambda data: data.update(test="short"), "no name"),
        (lambda data: data["questions"][1].update(human="top"), "question 2 of the quiz is damaged"),
        (lambda data: data["questions"][1].pop("left"), "question 2 of the quiz is damaged: 'left'"),
        (lambda data: data["questions"][0].update(left=[]), "question 1 of the quiz lacks a reply"),
        (lambda data: data["questions"][0].update(marks=[]), "question 1 of the quiz lacks"),
        (lambda data: data["questions"][0].update(right="text"), "question 1 of the quiz is damaged"),
        (lambda data: data["questions"].append(7), "question 3 of the quiz is damaged"),
    ],
)
def test_a_damaged_file_says_what_is_wrong_and_what_to_do(change, says):
    data = json.loads(write_quiz(quiz()))
    change(data)
    with pytest.raises(QuizError, match=says) as told:
        read_quiz(json.dumps(data))
    assert "blindtest make" in str(told.value)
    with pytest.raises(QuizError, match="not JSON"):
        read_quiz("{")


def test_a_question_shows_both_replies_alike_and_not_which_is_which():
    text = question_text(question(), number=3, total=20)
    assert text.startswith("**3 of 20.**")
    assert "ann: who ate it\nbob: not me" in text
    assert "**A**\n```text\nlies\n```" in text
    assert "**B**\n```text\nhm\nok\n```" in text
    assert text == question_text(question(human="left"), number=3, total=20)


def test_nothing_that_people_wrote_gets_out_of_its_box():
    nasty = ("```", "`` ` ```\u200b```", "@everyone <@5> <#6> ||spoiler|| **bold**", "\u202ereversed\n\n# big", "")
    text = question_text(question(context=nasty, left=nasty, right=nasty), number=1, total=1)
    assert text.count("```") == 6
    assert "\u202e" not in text
    assert "\n# big" not in text


def test_a_question_fits_into_one_message_however_long_it_is():
    chance = random.Random(3)
    for _ in range(200):
        lines = tuple("ab`c🙂 "[: chance.randint(1, 6)] * chance.randint(0, 500) for _ in range(chance.randint(1, 60)))
        shown = question_text(question(context=lines, left=lines[:9], right=lines[-9:]), number=400, total=500)
        assert len(shown) <= 2000
    newest = question_text(question(context=(*("old " * 50,) * 30, "ann: the last")), number=1, total=1)
    assert "ann: the last" in newest


def test_the_card_gives_no_figures_and_the_result_all():
    card = card_text(ASKED, "Pip")
    assert "20 questions" in card
    assert f"<t:{int(ASKED.closes_at.timestamp())}:R>" in card
    own = [QuizAnswer(test_id=ASKED.test_id, number=n, right=n < 2, at=NOON) for n in range(3)]
    alike = Tally(by_person=((20, 12),) * 4, by_question=((4, 2), (4, 3)) * 8 + ((4, 2),) * 4)
    text = result_text(ASKED, alike, own)
    assert "4 people gave 80 answers" in text
    assert "**60%** (49% to 70%)" in text
    assert "You: 2 of 3." in text
    assert "1 person gave" in result_text(ASKED, Tally(by_person=((1, 1),), by_question=((1, 1),)))
    assert result_text(ASKED, Tally(by_person=(), by_question=())) == "The quiz is closed. Nobody answered."


def test_the_range_covers_the_truth_when_everybody_answers_the_same_questions():
    chance, covered, narrow = Random(5), 0, 0
    for _ in range(150):
        questions = [chance.gauss(0.6, 0.2) for _ in range(25)]
        given = [[chance.random() < share for share in questions] for _ in range(25)]
        tally = Tally(
            by_person=tuple((25, sum(row)) for row in given),
            by_question=tuple((25, sum(column)) for column in zip(*given, strict=True)),
        )
        share, much = tally.right / tally.answers, worth(tally)
        low, high = wilson(share * much, much)
        covered += low <= 0.6 <= high
        low, high = wilson(tally.right, tally.answers)
        narrow += low <= 0.6 <= high
    assert covered >= 132  # 88 %; of 95 % one time in thousands less
    assert narrow <= 110


def test_answers_are_never_worth_more_than_they_are():
    assert worth(Tally(by_person=((10, 10),) * 3, by_question=((3, 3),) * 10)) == 10
    assert worth(Tally(by_person=((1, 1),), by_question=((1, 1),))) == 1
    assert worth(Tally(by_person=((10, 5),) * 2, by_question=((2, 1),) * 10)) == 20
    assert worth(Tally(by_person=((10, 10), (10, 0)), by_question=((2, 1),) * 10)) == 1


def test_a_quiz_closes_by_its_time():
    assert ASKED.is_open(ASKED.closes_at - timedelta(microseconds=1))
    assert not ASKED.is_open(ASKED.closes_at)
    assert not replace(ASKED, closes_at=NOON).is_open(NOON)


def test_wilson_against_published_values():
    # Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20.
    for right, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson(right, of) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)
