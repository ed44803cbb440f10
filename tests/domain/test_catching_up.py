"""What is read again after an outage, in which order, and how long it takes."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.domain.catching_up import (
    Plan,
    Reading,
    Rules,
    Standing,
    Sweep,
    backoff,
    id_at,
    may_hold_changes,
    order,
    plan,
    seconds_left,
    vanished,
    window_start,
)
from persona.domain.chat import MessageId

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
RULES = Rules(hours=48, messages=1000)


def at(minutes):
    return id_at(NOON + timedelta(minutes=minutes))


def standing(minutes, *, fetched=0.0):
    fetched_at = None if fetched is None else NOON + timedelta(minutes=fetched)
    return Standing(watermark=at(minutes), fetched_at=fetched_at)


def test_a_channel_nobody_has_read_is_read_from_its_beginning():
    assert plan(Standing(), at(0), (), RULES) == Plan(fresh=Sweep(after=MessageId(0)))


def test_nothing_new_and_nothing_in_the_window_needs_no_request():
    assert plan(standing(-5000, fetched=0), at(-5000), (), RULES) == Plan()


def test_what_is_new_is_read_from_a_minute_below_the_watermark():
    assert plan(standing(-10), at(-1), (), RULES) == Plan(fresh=Sweep(after=at(-11)))


def test_the_last_minute_before_the_last_read_is_not_trusted():
    """A live message may have moved the watermark while an older one was still on its way."""
    assert plan(standing(-10, fetched=-9.5), at(-10), (), RULES) == Plan(fresh=Sweep(after=at(-11)))
    assert plan(standing(-10, fetched=-9), at(-10), (), RULES) == Plan()
    assert plan(standing(-10, fetched=None), at(-10), (), RULES) == Plan(fresh=Sweep(after=at(-11)))


def test_a_small_window_is_read_together_with_what_is_new():
    known = [at(-60), at(-40), at(-10)]
    assert plan(standing(-10), at(-1), known, RULES) == Plan(fresh=Sweep(after=MessageId(at(-60) - 1)))


def test_a_large_window_waits_until_what_is_new_is_there():
    known = [at(-10 - number) for number in range(500)]
    assert plan(standing(-10), at(-1), known, RULES) == Plan(
        fresh=Sweep(after=at(-11)), again=Sweep(after=MessageId(at(-509) - 1), until=at(-11))
    )


def test_a_window_without_anything_new_is_read_to_the_end():
    assert plan(standing(-10), at(-10), [at(-30), at(-10)], RULES) == Plan(again=Sweep(after=MessageId(at(-30) - 1)))


def test_the_window_is_no_longer_than_so_many_messages():
    known = [at(-10 - number) for number in range(500)]
    only = plan(standing(-10), at(-10), known, Rules(hours=48, messages=100))
    assert only == Plan(again=Sweep(after=MessageId(at(-109) - 1)))
    assert plan(standing(-10), at(-10), known, Rules(hours=48, messages=0)) == Plan()


def test_the_window_reaches_back_from_when_the_channel_was_last_read():
    week = standing(-10_080, fetched=-10_000)
    assert window_start(week, RULES, now=NOON) == id_at(NOON - timedelta(minutes=10_000, hours=48))
    assert window_start(standing(-1, fetched=None), RULES, now=NOON) == id_at(NOON - timedelta(hours=48))
    assert may_hold_changes(week, RULES, now=NOON)
    assert not may_hold_changes(standing(-3000, fetched=0), RULES, now=NOON)
    assert not may_hold_changes(Standing(), RULES, now=NOON)


def test_before_discord_began_there_is_no_id_below_zero():
    assert id_at(datetime(2014, 1, 1, tzinfo=UTC)) == 0


def test_small_backlogs_first_then_the_livelier_channel_unknown_ones_last():
    small, large, lively, unknown = (
        order(standing(-20), at(-10)),
        order(standing(-500), at(-10)),
        order(standing(-2), at(-2)),
        order(Standing(), at(-1)),
    )
    assert sorted([unknown, large, small, lively]) == [lively, small, large, unknown]


def test_what_was_heard_after_the_question_has_not_vanished():
    assert vanished({MessageId(1), MessageId(2), MessageId(3)}, [MessageId(1)], {MessageId(3)}) == {MessageId(2)}


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses_stay_within_their_bounds(attempt, chance):
    pause = backoff(attempt, first=1, longest=30, chance=chance)
    assert 0.5 <= pause <= 30
    assert pause >= min(30, 2**attempt) / 2


def reading(*, share, messages, seconds=10.0, done=False):
    return Reading(
        start=MessageId(1000), at=MessageId(1000 + int(1000 * share)), end=MessageId(2000),
        messages=messages, seconds=seconds, done=done,
    )  # fmt: skip


def test_time_left_follows_from_how_densely_a_channel_was_so_far():
    assert seconds_left([reading(share=0.25, messages=100)], waiting=0, messages_per_second=10) == pytest.approx(30)


def test_the_slowest_channel_ends_last():
    several = [reading(share=0.1, messages=100, seconds=100), *[reading(share=1, messages=900, done=True)] * 3]
    assert seconds_left(several, waiting=0, messages_per_second=1000) == pytest.approx(900)


def test_channels_that_wait_are_taken_to_be_like_the_others():
    done = reading(share=1, messages=500, done=True)
    assert seconds_left([done], waiting=4, messages_per_second=100) == pytest.approx(20)


def test_nobody_can_say_before_anything_was_read():
    assert seconds_left([], waiting=3, messages_per_second=0) is None
    assert seconds_left([reading(share=0, messages=0)], waiting=1, messages_per_second=5) is None
    assert seconds_left([reading(share=1, messages=10, done=True)], waiting=0, messages_per_second=5) == 0
