"""When the connection as a whole stands, what was missed, and how long to wait for the next try."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.adapters.discord.line import delay
from persona.adapters.discord.link import Change, Link


def test_one_connection_is_up_once_every_server_has_arrived():
    link = Link([None])
    assert not link.is_up
    assert link.began(None, [1, 2]) is None
    assert link.arrived(1) is None
    assert link.arrived(2) is Change.UP
    assert link.is_up


def test_a_server_in_an_outage_is_not_waited_for_and_counts_as_missed_when_it_comes():
    link = Link([None])
    link.began(None, [1, 2])
    link.arrived(1)
    assert link.waited_enough(None) is Change.UP
    assert link.waited_enough(None) is None
    assert link.arrived(2) is Change.UP


def test_without_servers_it_is_up_at_once():
    assert Link([None]).began(None, []) is Change.UP


def test_resumed_misses_nothing_but_a_new_session_does():
    link = Link([None])
    link.began(None, [])
    assert link.lost(None) is Change.DOWN
    assert link.lost(None) is None
    assert link.resumed(None) is Change.RESUMED
    link.lost(None)
    assert link.began(None, [1]) is None
    assert link.lost(None) is None
    assert link.resumed(None) is Change.UP, "the new session was lost before its servers came: not all is known"


def test_all_shards_must_stand_and_one_new_session_is_enough_to_have_missed_something():
    link = Link([0, 1])
    assert link.began(0, []) is None
    assert link.began(1, []) is Change.UP
    assert link.lost(0) is Change.DOWN
    assert link.lost(1) is None
    assert link.resumed(1) is None
    assert link.resumed(0) is Change.RESUMED
    link.lost(0)
    link.lost(1)
    link.resumed(1)
    assert link.began(0, []) is Change.UP


SHARDS = st.sampled_from([0, 1])
STEPS = st.one_of(
    st.tuples(st.just("lost"), SHARDS),
    st.tuples(st.just("resumed"), SHARDS),
    st.tuples(st.just("waited_enough"), SHARDS),
    st.tuples(st.just("arrived"), st.integers(1, 3)),
    st.tuples(st.just("began"), SHARDS, st.sets(st.integers(1, 3), max_size=2)),
)


@given(st.lists(STEPS, max_size=40))
def test_what_it_tells_fits_together(steps):
    link = Link([0, 1])
    up = missed = False
    for name, *arguments in steps:
        if name == "began":  # a session only ever begins where there is none
            up &= link.lost(arguments[0]) is None
            missed = True
        change = getattr(link, name)(*arguments)
        if change is Change.DOWN:
            assert up
            up = False
        elif change is not None:
            assert change is Change.UP or not missed
            up, missed = True, False
        assert link.is_up == up


@given(st.integers(0, 2000), st.integers(0, 2**32))
def test_no_wait_is_longer_than_the_cap(failures, seed):
    assert 0 <= delay(failures, base=1, cap=60, rng=random.Random(seed)) <= 60


def test_the_first_failure_costs_nothing_and_the_next_ones_ever_more():
    rng = random.Random(1)
    assert delay(1, base=1, cap=60, rng=rng) == 0
    waits = [delay(n, base=1, cap=60, rng=rng) for n in range(2, 20)]
    assert 0.5 <= waits[0] <= 1
    assert waits[-1] >= 30
    assert sum(waits[:5]) == pytest.approx(23, abs=10)
