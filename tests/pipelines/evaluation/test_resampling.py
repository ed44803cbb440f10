"""Ranges hold the truth as often as they promise, and a comparison draw by draw is sharper than two ranges."""

import math

import numpy as np
import pytest

from pipelines.evaluation.comparing import Verdict, badness, compare, gate
from pipelines.evaluation.measures import BY_KEY
from pipelines.evaluation.resampling import difference, draws, figure, fixed
from pipelines.evaluation.statistics import Interval, wilson


def mean_of(values, drawn):
    return figure((drawn.weights @ values) / drawn.weights.sum(axis=1))


def test_the_range_of_a_mean_holds_the_truth_about_as_often_as_it_says():
    chance = np.random.default_rng(1)
    drawn = draws(60, rounds=300, seed=2)
    held = 0
    for _ in range(200):
        found = mean_of(chance.exponential(1.0, size=60), drawn).interval
        held += found.low <= 1.0 <= found.high
    assert 174 <= held <= 199


def test_a_small_difference_on_the_same_conversations_is_seen_though_the_ranges_overlap():
    chance = np.random.default_rng(3)
    drawn = draws(80, rounds=500)
    hard = chance.normal(5.0, 3.0, size=80)
    one, other = mean_of(hard + 0.3 + chance.normal(0, 0.1, size=80), drawn), mean_of(hard, drawn)
    assert one.interval.overlaps(other.interval)
    assert 0.2 < difference(one, other).low < 0.3 < difference(one, other).high < 0.4


def test_a_biased_figure_lies_within_its_range():
    drawn = draws(50, rounds=300)
    counts = np.eye(50)
    different = ((drawn.weights @ counts) > 0).sum(axis=1) / 50  # 1 as they are, about 0.63 in each draw
    assert figure(different).interval.high < 0.8
    shifted = figure(different, biased=True, bounds=(0.0, 1.0)).interval
    assert shifted.low <= 1.0 <= shifted.high == 1.0


def test_one_cluster_and_no_number_say_nothing():
    for values in (mean_of(np.ones(1), draws(1)).interval, figure([math.nan, 1.0, 2.0]).interval):
        assert (values.low, values.high) == (-math.inf, math.inf)


def test_shares_are_compared_by_newcombe():
    # Newcombe (1998), table II, case (a): 56/70 and 48/80, method 10.
    found = difference(fixed(wilson(56, 70), 5), fixed(wilson(48, 80), 5))
    assert (found.low, found.value, found.high) == pytest.approx((0.0524, 0.2, 0.3339), abs=5e-4)
    surer = difference(fixed(wilson(56, 70), 5, trials=70), fixed(wilson(48, 80), 5, trials=80), confidence=0.999)
    assert surer.low < 0 < found.low


def test_figures_of_other_draws_are_refused():
    with pytest.raises(ValueError, match="different draws"):
        difference(figure(np.ones(5)), figure(np.ones(6)))


def steady(value, spread=0.001):
    chance = np.random.default_rng(int(abs(value) * 1000))
    values = value + chance.normal(0, spread, size=400)
    values[0] = value
    return figure(values)


@pytest.mark.parametrize(
    ("key", "people", "one", "other", "verdict"),
    [
        ("energy", None, 0.3, 0.1, Verdict.WORSE),
        ("energy", None, 0.1, 0.3, Verdict.BETTER),
        ("relevance", None, 0.3, 0.5, Verdict.WORSE),
        ("distinct", 0.9, 0.5, 0.8, Verdict.WORSE),
        ("repeated", 0.1, 0.5, 0.1, Verdict.WORSE),
        ("server_words", 0.2, 0.35, 0.05, Verdict.SAME),
    ],
)
def test_each_way_of_being_better(key, people, one, other, verdict):
    known = {} if people is None else {key: steady(people)}
    (found,) = compare({key: steady(one)}, {key: steady(other)}, known, measures=[BY_KEY[key]])
    assert found.verdict is verdict


def test_the_gate_lets_pass_what_is_no_worse_beyond_noise():
    published = {"perplexity_character": steady(5.0), "recognised": steady(0.7), "energy": steady(0.05)}
    assert gate(published, published, {}) == []
    noisy = {**published, "recognised": steady(0.71, spread=0.05)}
    assert gate(noisy, published, {}) == []
    worse = {**published, "recognised": steady(0.9, spread=0.02), "vocabulary": steady(0.9)}
    assert [one.measure.key for one in gate(worse, published, {})] == ["recognised"]


def test_what_says_too_little_to_be_measured_is_worse():
    silent, some = {"distinct": figure([math.nan] * 5)}, {"distinct": figure([0.9] * 5)}
    (found,) = compare(silent, some, some, measures=[BY_KEY["distinct"]])
    assert found.verdict is Verdict.WORSE


def test_less_of_badness_is_always_better():
    assert badness(BY_KEY["relevance"], steady(0.4), None).value == -0.4
    assert badness(BY_KEY["relevance"], fixed(Interval(value=0.4, low=0.3, high=0.6), 5), None).interval.low == -0.6
    assert badness(BY_KEY["distinct"], steady(0.4), steady(0.9)).value == pytest.approx(0.5)
