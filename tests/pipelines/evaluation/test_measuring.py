"""The figures for all draws at once are what the plain measures and slow readings of definitions say."""

import math
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the extra `evaluate`: scikit-learn")

from pipelines.evaluation import distributions
from pipelines.evaluation.measures import Contender
from pipelines.evaluation.measuring import Yardstick, distractors
from pipelines.evaluation.resampling import draws
from pipelines.evaluation.samples import by_conversation
from pipelines.evaluation.style import separability
from pipelines.evaluation.usage import vocabulary
from pipelines.evaluation.vectors import LetterVectors
from tests.fakes.dialogues import people

HUMAN, OTHERS = people(1, conversations=30, replies=4), people(2, conversations=30, replies=4)
NAMES = sorted({sample.conversation_id for sample in HUMAN}, key=int)
VECTORS = LetterVectors()


@pytest.fixture(scope="module")
def yardstick():
    known = vocabulary(sample.text for sample in people(3))
    return Yardstick(HUMAN, clusters=NAMES, draws=draws(30, rounds=200, seed=1), known=known, vectors=VECTORS)


def contender(*rounds):
    return Contender(key="some", name="some", about="", replies=tuple(map(tuple, rounds)))


@pytest.fixture(scope="module")
def measured(yardstick):
    return yardstick.measure(contender(OTHERS))


def test_the_figures_are_those_of_the_plain_measures(measured):
    plain = {
        "letters": distributions.jensen_shannon(
            distributions.letter_counts(OTHERS), distributions.letter_counts(HUMAN)
        ),
        "vocabulary": distributions.jensen_shannon(distributions.word_counts(OTHERS), distributions.word_counts(HUMAN)),
        "message_words": distributions.wasserstein(
            distributions.message_words(OTHERS), distributions.message_words(HUMAN)
        ),
        "burst": distributions.wasserstein(distributions.burst_sizes(OTHERS), distributions.burst_sizes(HUMAN)),
        "habits": distributions.habit_distance(OTHERS, HUMAN),
        "distinct": distributions.distinct(OTHERS, 2),
        "repeated": distributions.repeated(OTHERS),
        "recognised": separability(by_conversation(OTHERS, HUMAN)).value,
    }
    assert {key: measured[key].value for key in plain} == pytest.approx(plain, abs=1e-9)


def test_every_figure_has_a_range_that_holds_it(measured):
    for key, found in measured.items():
        assert math.isfinite(found.value), key
        assert found.interval.low <= found.value <= found.interval.high, key


def test_the_energy_distance_is_its_definition(measured):
    ours, theirs = (VECTORS.embed([sample.text for sample in side]) for side in (OTHERS, HUMAN))

    def mean(x, xs, y, ys):
        found = [
            float(np.linalg.norm(a - b))
            for a, one in zip(x, xs, strict=True)
            for b, other in zip(y, ys, strict=True)
            if one.conversation_id != other.conversation_id
        ]
        return sum(found) / len(found)

    wanted = (
        2 * mean(ours, OTHERS, theirs, HUMAN) - mean(ours, OTHERS, ours, OTHERS) - mean(theirs, HUMAN, theirs, HUMAN)
    )
    assert measured["energy"].value == pytest.approx(wanted, abs=1e-4)


def test_a_range_is_what_measuring_the_drawn_conversations_would_give(yardstick, measured):
    weights = yardstick.draws.weights[7]
    drawn = [
        [sample for sample in side for _ in range(int(weights[NAMES.index(sample.conversation_id)]))]
        for side in (OTHERS, HUMAN)
    ]
    wanted = distributions.jensen_shannon(*(distributions.letter_counts(side) for side in drawn))
    assert measured["letters"].values[7] == pytest.approx(wanted, abs=1e-9)
    lengths = distributions.wasserstein(*(distributions.message_words(side) for side in drawn))
    assert measured["message_words"].values[7] == pytest.approx(lengths, abs=1e-9)


def test_several_rounds_are_averaged_not_piled_up(yardstick):
    once, twice = yardstick.measure(contender(OTHERS)), yardstick.measure(contender(OTHERS, OTHERS))
    for key in ("distinct", "repeated", "letters", "recognised"):
        assert twice[key].value == pytest.approx(once[key].value, abs=1e-9)


def test_distractors_are_of_other_conversations_and_always_the_same():
    found = distractors(HUMAN, count=9, seed=1)
    assert found == distractors(HUMAN, count=9, seed=1) != distractors(HUMAN, count=9, seed=2)
    for place, others in enumerate(found):
        assert len(set(others)) == 9
        assert all(HUMAN[other].conversation_id != HUMAN[place].conversation_id for other in others)


def test_server_words_are_frequent_here_and_nowhere_else():
    known = vocabulary(["the zibble is on the frob"] * 6 + [f"word{number} and" for number in range(150)])
    assert "the" in known.function_words
    assert {"zibble", "frob"} <= known.function_words | known.server_words
    assert "word3" not in known.server_words
    assert "the frob" in known.pairs


def test_letter_vectors_are_unit_and_near_for_shared_words():
    one, same, other, empty = VECTORS.embed(["feed the cat", "feed the cats", "quarterly budget", ""])
    assert [float(np.linalg.norm(each)) for each in (one, same, other, empty)] == pytest.approx([1.0] * 4, abs=1e-5)
    assert one @ same > 0.7
    assert one @ other < 0.2
    assert Counter(map(len, VECTORS.embed([]))) == Counter()
