"""Intervals hold what they promise."""

import math
import random
from dataclasses import replace

import pytest
from scipy.stats import binomtest

from pipelines.evaluation.samples import Sample, by_conversation
from pipelines.evaluation.statistics import bootstrap, quantile, wilson


def sample(conversation, text, number=0):
    return Sample(
        context_id=f"{conversation}.{number}", conversation_id=str(conversation), context=(), messages=(text,)
    )


def mean_length(conversations):
    lengths = [len(reply.text) for one in conversations for reply in one.replies]
    return sum(lengths) / len(lengths)


def drawn(seed, *, alike=1):
    """Forty conversations of `alike` replies of one length each: replies of one conversation are all alike."""
    chance = random.Random(seed)
    samples = []
    for number in range(40):
        text = "x" * chance.randint(1, 99)
        samples += [sample(number, text, copy) for copy in range(alike)]
    return by_conversation(samples, samples)


def test_the_range_holds_the_truth_about_as_often_as_it_says():
    ranges = [bootstrap(drawn(seed), mean_length, rounds=200, seed=seed) for seed in range(100)]
    assert sum(one.low <= 50 <= one.high for one in ranges) in range(86, 100)


def test_replies_that_are_alike_do_not_make_it_surer():
    one, ten = (bootstrap(drawn(1, alike=alike), mean_length) for alike in (1, 10))
    assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.3)


def test_the_same_seed_gives_the_same_range():
    assert bootstrap(drawn(1), mean_length, seed=5) == bootstrap(drawn(1), mean_length, seed=5)


def test_one_conversation_says_nothing_about_others_and_none_is_an_error():
    only = drawn(1)[:1]
    assert bootstrap(only, mean_length).high == math.inf
    with pytest.raises(ValueError, match="no conversation"):
        bootstrap([], mean_length)


def test_conversations_are_those_that_both_sides_have():
    ours = [sample(1, "a"), sample(2, "b"), replace(sample(1, "c"), context_id="1.1")]
    (one,) = by_conversation(ours, [sample(1, "human"), sample(3, "human")])
    assert [reply.text for reply in one.replies] == ["a", "c"]


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 10), (10, 10), (55, 100), (1, 1)])
def test_wilson_is_the_one_of_scipy(hits, trials):
    known = binomtest(hits, trials).proportion_ci(method="wilson")
    ours = wilson(hits, trials)
    assert (ours.low, ours.high) == pytest.approx((known.low, known.high), abs=1e-9)
    assert ours.value == hits / trials


def test_wilson_of_nothing_is_everything_and_nonsense_is_refused():
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)
    with pytest.raises(ValueError, match="share"):
        wilson(3, 2)


def test_quantiles_lie_between_neighbours():
    assert quantile([0, 10], 0.25) == 2.5
    assert quantile([7], 0.9) == 7
    assert math.isnan(quantile([], 0.5))
