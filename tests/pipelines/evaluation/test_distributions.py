"""Each measure catches what it is there for, and lets people who sound like themselves pass."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from pipelines.evaluation.distributions import (
    burst_sizes,
    distinct,
    function_words,
    habit_distance,
    habit_shares,
    jensen_shannon,
    letter_counts,
    message_words,
    repeated,
    wasserstein,
    word_counts,
)
from tests.fakes.dialogues import ATTIC, OFFICE, constant, people, shuffled

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)
counts = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 50), min_size=1)


@given(numbers, numbers)
def test_the_earth_movers_distance_is_the_one_of_scipy(a, b):
    assert wasserstein(a, b) == pytest.approx(stats.wasserstein_distance(a, b), rel=1e-6, abs=1e-6)


@given(counts, counts)
def test_the_jensen_shannon_distance_is_the_one_of_scipy(a, b):
    keys = sorted(a.keys() | b.keys())
    known = jensenshannon([a.get(k, 0) for k in keys], [b.get(k, 0) for k in keys], base=2)
    assert jensen_shannon(a, b) == pytest.approx(known, abs=1e-6)


def test_nothing_to_compare_is_not_a_number():
    assert math.isnan(wasserstein([], [1]))
    assert math.isnan(jensen_shannon({}, {"a": 1}))
    assert math.isnan(distinct([], 1))
    assert math.isnan(repeated([]))
    assert all(math.isnan(share) for share in habit_shares([]).values())


HUMAN, OTHERS = people(1), people(2)

MEASURES = {
    "length": lambda ours, theirs: wasserstein(message_words(ours), message_words(theirs)),
    "bursts": lambda ours, theirs: wasserstein(burst_sizes(ours), burst_sizes(theirs)),
    "words": lambda ours, theirs: jensen_shannon(word_counts(ours), word_counts(theirs)),
    "letters": lambda ours, theirs: jensen_shannon(letter_counts(ours), letter_counts(theirs)),
    "habits": habit_distance,
    "fewer words": lambda ours, theirs: distinct(theirs, 2) - distinct(ours, 2),
    "repetition": lambda ours, theirs: repeated(ours) - repeated(theirs),
}
FAILURES = {
    "shuffled words": (shuffled(OTHERS), {"letters"}),
    "another server": (people(3, phrases=OFFICE), {"length", "words", "letters", "habits"}),
    "one constant reply": (constant(OTHERS), {"bursts", "words", "letters", "habits", "fewer words", "repetition"}),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_each_failure_is_caught_by_the_measures_for_it(failure):
    replies, caught_by = FAILURES[failure]
    ceiling = {name: measure(OTHERS, HUMAN) for name, measure in MEASURES.items()}
    for name in caught_by:
        assert MEASURES[name](replies, HUMAN) > 1.5 * abs(ceiling[name]) + 0.01, name


def test_the_small_words_are_those_said_most_often():
    assert {"the", "ok"} <= function_words(people(1, phrases=ATTIC))
    assert "lol" not in function_words(people(1, phrases=OFFICE))


def test_habits_are_shares_of_messages():
    shares = habit_shares(constant(people(1), "Really? see https://example.org \U0001f600"))
    assert shares["asks"] == shares["link"] == shares["emoji"] == 1.0
    assert shares["begins in lower case"] == shares["shouts"] == 0.0
