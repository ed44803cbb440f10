"""The blind test gives nothing away, and its score is right."""

import json
import random
import re
from dataclasses import replace

import pytest

from pipelines.evaluation.blindtest import FORMAT, BlindTestError, make, page, score
from tests.fakes.dialogues import people

HUMAN, MODEL = people(1), people(2)


def shown(written):
    return json.loads(re.search(r'id="data">(.*?)</script>', written, re.DOTALL)[1])


def answers(test, rater, chosen):
    return json.dumps({"format": FORMAT, "test": test.test_id, "rater": rater, "answers": chosen})


def rated(test, skill, seed):
    """The answers of somebody who knows with a probability and guesses otherwise."""
    chance = random.Random(seed)
    return [side if chance.random() < skill else chance.choice(("left", "right")) for side in test.human]


def test_each_question_shows_both_replies_and_hides_which_is_which():
    test = make(MODEL, HUMAN, questions=50, seed=1)
    ours, theirs = ({sample.context_id: sample for sample in side} for side in (MODEL, HUMAN))
    real, made = ({sample.messages for sample in side.values()} for side in (theirs, ours))
    for question, side in zip(test.questions, test.human, strict=True):
        person, model = (question.left, question.right) if side == "left" else (question.right, question.left)
        assert person in real
        assert model in made
    assert 15 < test.human.count("left") < 35
    written = page(test, server="the attic")
    assert set(shown(written)) == {"format", "test", "questions"}
    assert all(set(question) == {"context", "left", "right"} for question in shown(written)["questions"])
    assert "human" not in written


def test_the_page_needs_no_network_and_what_people_wrote_cannot_break_out():
    nasty = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028"
    broken = [replace(sample, messages=(nasty,)) for sample in MODEL]
    written = page(make(broken, HUMAN, questions=3, seed=1), server="<b>us</b> & them")
    assert written.count("</script>") == 2
    assert "<img" not in written
    assert "&lt;b&gt;us&lt;/b&gt; &amp; them" in written
    assert not re.search(r"https?://|src=", written.replace("src=x onerror", ""))
    assert any(nasty in question[side] for question in shown(written)["questions"] for side in ("left", "right"))


def test_the_same_seed_makes_the_same_test_and_equal_replies_are_no_question():
    assert make(MODEL, HUMAN, questions=9, seed=4) == make(MODEL, HUMAN, questions=9, seed=4)
    assert make(MODEL, HUMAN, questions=9, seed=4) != make(MODEL, HUMAN, questions=9, seed=5)
    with pytest.raises(BlindTestError, match="there are 0 contexts"):
        make(HUMAN, HUMAN, questions=1, seed=0)


@pytest.mark.parametrize("skill", [0.0, 0.5, 1.0])
def test_a_rater_of_known_skill_is_recovered_within_the_interval(skill):
    test = make(MODEL, HUMAN, questions=200, seed=1)
    files = [answers(test, f"r{seed}", rated(test, skill, seed)) for seed in range(10)]
    found = score(test.key(), files)
    truth = skill + (1 - skill) / 2
    assert found.overall.low <= truth <= found.overall.high
    assert sum(one.low <= truth <= one.high for one in found.raters.values()) >= 8


def test_what_does_not_fit_is_refused_in_one_line():
    test, other = make(MODEL, HUMAN, questions=4, seed=1), make(MODEL, HUMAN, questions=4, seed=2)
    good = answers(test, "ann", ["left"] * 4)
    for files, problem in [
        (["nonsense"], "answer file 1 is not JSON"),
        (["[]"], "answer file 1 is no file of a blind test"),
        ([answers(other, "ann", ["left"] * 4)], "ann belong to another test"),
        ([answers(test, "ann", ["left"] * 3)], "ann are incomplete"),
        ([answers(test, "ann", ["left", "up", "left", "left"])], "ann are incomplete"),
        ([good, good], "two answer files of ann"),
    ]:
        with pytest.raises(BlindTestError, match=problem):
            score(test.key(), files)
    with pytest.raises(BlindTestError, match="the key is no file"):
        score("{}", [good])


def test_the_quiz_for_the_server_is_the_same_test_with_its_key():
    test = make(MODEL, HUMAN, questions=9, seed=4)
    marks = {sample.context_id: (f"{number:016x}",) for number, sample in enumerate(HUMAN)}
    quiz = test.quiz(marks)
    assert quiz.test_id == test.test_id
    for asked, shown, side in zip(quiz.questions, test.questions, test.human, strict=True):
        assert (asked.context, asked.left, asked.right) == (shown.context, shown.left, shown.right)
        assert asked.human == side
        (real,) = [one for one in HUMAN if marks[one.context_id] == asked.marks]
        assert real.messages == (asked.left if side == "left" else asked.right)
    with pytest.raises(BlindTestError, match="which messages"):
        test.quiz({**marks, test.context_ids[3]: ()})
