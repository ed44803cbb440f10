"""The allowance of sessions: free at first, then evenly spread, never overdrawn, remembered across processes."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from persona.adapters.discord.identify_budget import DAY_SECONDS, IdentifyBudget, seconds_to_wait


def test_the_first_half_is_free_and_the_rest_is_spread_over_the_day():
    assert seconds_to_wait([], 1000.0, per_day=10) == 0
    assert seconds_to_wait([1000.0] * 4, 1000.0, per_day=10) == 0
    assert seconds_to_wait([1000.0] * 5, 1000.0, per_day=10) == DAY_SECONDS / 5
    assert seconds_to_wait([1000.0] * 5, 1000.0 + DAY_SECONDS, per_day=10) == 0


@given(st.integers(2, 40), st.lists(st.floats(0, 5000), max_size=200))
def test_no_day_ever_sees_more_sessions_than_allowed(per_day, pauses):
    now, past = 0.0, []
    for pause in pauses:
        now += pause
        now += seconds_to_wait(past, now, per_day=per_day)
        past.append(now)
        assert len([moment for moment in past if now - DAY_SECONDS < moment]) <= per_day


def test_a_new_process_remembers_and_a_broken_file_is_no_obstacle(tmp_path):
    file = tmp_path / "sessions.json"
    clock = [1000.0]
    for _ in range(3):
        asyncio.run(IdentifyBudget(file, per_day=6, now=lambda: clock[0]).spend())
    assert seconds_to_wait(IdentifyBudget(file, now=lambda: clock[0])._past, clock[0], per_day=6) > 0

    for rubbish in ("{", "7", "null", '["x"]'):
        file.write_text(rubbish)
        assert IdentifyBudget(file)._past == []


def test_a_folder_that_cannot_be_written_costs_only_the_memory(tmp_path):
    asyncio.run(IdentifyBudget(tmp_path / "missing" / "sessions.json").spend())
