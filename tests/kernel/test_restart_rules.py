import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.kernel import Backoff, Restart, RestartWindow, Strategy, affected, wants_restart


@pytest.mark.parametrize(
    ("restart", "after_crash", "after_end"),
    [(Restart.PERMANENT, True, True), (Restart.TRANSIENT, True, False), (Restart.TEMPORARY, False, False)],
)
def test_restart_types(restart, after_crash, after_end):
    assert wants_restart(restart, crashed=True) is after_crash
    assert wants_restart(restart, crashed=False) is after_end


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [(Strategy.ONE_FOR_ONE, [1]), (Strategy.ONE_FOR_ALL, [0, 1, 2, 3]), (Strategy.REST_FOR_ONE, [1, 2, 3])],
)
def test_strategies(strategy, expected):
    assert list(affected(strategy, index=1, count=4)) == expected


def test_more_than_intensity_restarts_within_the_period_are_refused():
    window = RestartWindow(intensity=2, period=10.0)
    window = window.admit(0.0)
    window = window.admit(5.0)
    assert window.admit(9.9) is None
    assert window.admit(10.0).times == (5.0, 10.0)


def test_no_restart_is_allowed_at_intensity_zero():
    assert RestartWindow(intensity=0, period=10.0).admit(0.0) is None


@given(
    gaps=st.lists(st.floats(min_value=0, max_value=20), max_size=40),
    intensity=st.integers(min_value=0, max_value=5),
)
def test_a_window_never_holds_more_than_intensity_restarts(gaps, intensity):
    window = RestartWindow(intensity=intensity, period=10.0)
    now, admitted = 0.0, []
    for gap in gaps:
        now += gap
        after = window.admit(now)
        if after is None:
            assert len([time for time in admitted if now - time < 10.0]) == intensity
        else:
            window = after
            admitted.append(now)
        assert len([time for time in admitted if now - time < 10.0]) <= intensity


def test_the_first_restart_is_immediate_and_later_ones_take_longer_up_to_a_cap():
    backoff = Backoff(base=1.0, cap=10.0)
    assert [backoff.next_delay(streak, 0.5) for streak in range(7)] == [0.0, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


@given(streak=st.integers(min_value=1, max_value=10_000), chance=st.floats(min_value=0, max_value=1, exclude_max=True))
def test_delays_stay_between_zero_and_the_cap(streak, chance):
    assert 0 <= Backoff(base=0.5, cap=60.0).next_delay(streak, chance) < 60.0


def test_a_child_that_was_well_for_long_enough_starts_over():
    backoff = Backoff(stable_after=60.0)
    assert backoff.streak_after(4, well_for=59.9) == 4
    assert backoff.streak_after(4, well_for=60.0) == 0


@pytest.mark.parametrize("wrong", [{"base": -1}, {"cap": float("nan")}, {"stable_after": -1}, {"base": float("inf")}])
def test_a_backoff_counts_finite_seconds(wrong):
    with pytest.raises(ValueError, match="a backoff counts seconds"):
        Backoff(**wrong)
