"""No second at the far end holds more requests than agreed, whatever happens on the way; and none is wasted."""

import heapq
import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona.domain.pacing import Pacer


def simulate(pacer, count, out, back, *, wait=lambda number: 0.0):
    """Send requests as soon as the pacer lets them; return when they started and when they got there.

    `out(number)` and `back(number)` are seconds on the way; `wait(number)` is how long one is held up before it leaves.
    """
    now, started, arrived, ends = 0.0, [], [], []
    while len(started) < count:
        earliest = pacer.earliest(now)
        if ends and ends[0][0] <= earliest:
            now, began = heapq.heappop(ends)
            pacer.finish(began, now)
            continue
        assert earliest < math.inf, "everything waits and nothing is on its way"
        now = max(now, earliest)
        pacer.start(now)
        number = len(started)
        started.append(now)
        arrived.append(now + wait(number) + out(number))
        heapq.heappush(ends, (arrived[-1] + back(number), now))
    return started, sorted(arrived)


def fullest_second(moments):
    """The most requests that any second (its end not included) holds."""
    first = most = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - 1 + 1e-9:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_with_a_steady_way_there_nearly_the_whole_rate_is_used():
    _, arrived = simulate(Pacer(47), 2000, lambda _: 0.075, lambda _: 0.075)
    assert fullest_second(arrived) == 47
    assert 2000 / (arrived[-1] - arrived[0]) > 0.98 * 47


def test_requests_are_spread_evenly():
    started, _ = simulate(Pacer(47), 500, lambda _: 0.075, lambda _: 0.075)
    gaps = [later - earlier for earlier, later in itertools.pairwise(started[60:])]
    assert min(gaps) > 0.49 / 47
    assert max(gaps) < 3 / 47


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.005, 0.02, 0.04]))
def test_jitter_never_fills_a_second_over_the_rate(seed, jitter):
    rng = random.Random(seed)
    _, arrived = simulate(
        Pacer(47), 600, lambda _: 0.05 + rng.random() * jitter, lambda _: 0.05 + rng.random() * jitter
    )
    # The shortest way there and back is learnt from samples: at most one request more than the rate slips in.
    assert fullest_second(arrived) <= 48


@pytest.mark.parametrize("seed", range(5))
def test_requests_that_are_held_up_and_let_go_together_do_not_break_the_limit(seed):
    rng = random.Random(seed)
    held = {number: 5.0 - number % 40 * 0.02 for number in range(600) if rng.random() < 0.25}
    _, arrived = simulate(Pacer(47), 600, lambda _: 0.075, lambda _: 0.075, wait=lambda n: held.get(n, 0.0))
    assert fullest_second(arrived) <= 47


def test_one_that_never_ends_keeps_its_place_only():
    pacer = Pacer(10)
    pacer.start(0.0)  # never answered
    started, _ = simulate(pacer, 90, lambda _: 0.05, lambda _: 0.05)
    assert 8.5 < 90 / (started[-1] - started[0]) < 9.6


def test_everything_outstanding_means_waiting_for_an_end():
    pacer = Pacer(2)
    for moment in (0.0, 0.5):
        assert pacer.earliest(moment) == moment
        pacer.start(moment)
    assert pacer.running == 2
    assert pacer.earliest(100.0) == math.inf
    pacer.finish(0.0, 100.0, answered=False)
    assert pacer.earliest(100.0) == 101.0


def test_less_than_one_a_second():
    started, arrived = simulate(Pacer(0.5), 10, lambda _: 0.05, lambda _: 0.05)
    assert min(b - a for a, b in itertools.pairwise(arrived)) >= 2 - 1e-9
    assert started[-1] <= 9 * 2.2


def test_a_pause_is_not_made_up_for_by_a_burst():
    pacer = Pacer(47)
    simulate(pacer, 100, lambda _: 0.05, lambda _: 0.05)
    while pacer.running:
        pacer.finish(2.0, 3.0)
    moments, now = [], 100.0
    for _ in range(20):
        now = pacer.earliest(now)
        pacer.start(now)
        moments.append(now)
    assert moments[-1] - moments[0] > 16 / 47


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_a_rate_that_is_none(rate):
    with pytest.raises(ValueError, match="a rate is"):
        Pacer(rate)
