"""A helper is at the ready when a new table is full, is used, and never outlives what it was started for."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from persona.adapters.lance import LanceMemory, helper
from persona.adapters.lance.chores import Chore, Task
from persona.errors import MemoryIndexError
from tests.fakes.embedding import WordEmbedder, vector_of
from tests.fakes.talk import NOON, chatter, put

SPACE = WordEmbedder().space
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def started(monkeypatch):
    """Every process that was started."""
    processes = []
    start = helper._started

    def noted(*arguments):
        processes.append(start(*arguments))
        return processes[-1]

    monkeypatch.setattr(helper, "_started", noted)
    return processes


def ended(process):
    """Whether it is over and waited for: no zombie, no open pipe."""
    return process.returncode is not None and process.stdin.closed and process.stdout.closed


async def filled(folder, count=300, *, space=SPACE, helper_rows=100):
    memory = LanceMemory(folder, now=lambda: NOON + timedelta(days=9), helper_rows=helper_rows)
    await memory.open(space)
    messages = chatter(count)
    for start in range(0, count, 60):
        part = messages[start : start + 60]
        await memory.apply(put(*part), {m.content: vector_of(m.content) for m in part} if space else {})
    return memory


async def refreshed(memory):
    memory._litter = memory._litter.after(rows=10**6)
    await memory.refresh()
    return await memory.stats()


def test_a_process_is_started_while_a_new_table_is_filled_and_does_the_indexing(tmp_path, started):
    async def scenario():
        memory = await filled(tmp_path)
        waiting = [process.poll() for process in started]
        stats = await refreshed(memory)
        await memory.close()
        return waiting, stats

    waiting, stats = asyncio.run(scenario())
    assert waiting == [None]
    assert (stats.messages, stats.unindexed) == (300, 0)
    assert len(started) == 1
    assert ended(started[0])
    assert started[0].returncode == 0


@pytest.mark.parametrize(
    "other", [{"space": None}, {"helper_rows": 10**6}], ids=["words are indexed at once", "a small table"]
)
def test_none_is_started_where_none_will_be_needed(tmp_path, started, other):
    async def scenario():
        memory = await filled(tmp_path, **other)
        await memory.close()

    asyncio.run(scenario())
    assert started == []


def test_none_is_started_for_what_is_added_later(tmp_path, started):
    async def scenario():
        memory = await filled(tmp_path)
        await refreshed(memory)
        late = chatter(400)[300:]
        await memory.apply(put(*late), {m.content: vector_of(m.content) for m in late})
        await memory.close()

    asyncio.run(scenario())
    assert len(started) == 1


def test_a_process_whose_task_does_not_come_ends_when_the_memory_is_closed(tmp_path, started):
    async def scenario():
        memory = await filled(tmp_path)
        await memory.close()

    asyncio.run(scenario())
    assert len(started) == 1
    assert ended(started[0])


def test_another_takes_the_place_of_a_process_that_was_killed_while_it_waited(tmp_path, started):
    async def scenario():
        memory = await filled(tmp_path)
        os.kill(started[0].pid, signal.SIGKILL)
        await asyncio.to_thread(os.waitid, os.P_PID, started[0].pid, os.WEXITED | os.WNOWAIT)
        stats = await refreshed(memory)
        await memory.close()
        return stats

    stats = asyncio.run(scenario())
    assert (stats.messages, stats.unindexed) == (300, 0)
    assert [process.returncode for process in started] == [-signal.SIGKILL, 0]
    assert all(map(ended, started))


def test_closed_while_it_starts_a_process_does_not_stay(tmp_path, started, monkeypatch):
    place = LanceMemory(tmp_path)._place
    one = helper.Helper(place)
    start = helper._started

    def slow():
        process = start()
        one.stop()
        return process

    monkeypatch.setattr(helper, "_started", slow)
    asyncio.run(one.start_ahead())
    assert len(started) == 1
    assert ended(started[0])


def test_a_task_that_fails_says_why(tmp_path, started):
    one = helper.Helper(LanceMemory(tmp_path)._place)
    with pytest.raises(MemoryIndexError, match="messages_nowhere"):
        asyncio.run(one.run(Task(chore=Chore.PURGE, table="messages_nowhere")))
    assert ended(started[0])


def test_without_a_task_it_ends_by_itself_and_prints_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "persona.adapters.lance.chores"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert (done.returncode, done.stdout) == (0, b"")


def script(*words):
    """A process that does something else than a chore."""

    def start(_defaults=None):
        return subprocess.Popen(
            [sys.executable, "-c", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip

    return start


def test_what_ends_before_it_hears_its_task_is_a_failed_task_and_not_a_machine_without_room(tmp_path, monkeypatch):
    def over(_defaults=None):
        process = script("import sys; sys.exit(3)")()
        process.wait()
        return process

    monkeypatch.setattr(helper, "_started", over)
    one = helper.Helper(LanceMemory(tmp_path)._place)
    with pytest.raises(MemoryIndexError, match="ended with code 3"):
        asyncio.run(one.run(Task(chore=Chore.PURGE, table="messages")))


def test_stopped_it_begins_nothing_until_that_is_allowed(tmp_path, started):
    async def scenario():
        memory = await filled(tmp_path)
        await memory.close()
        with pytest.raises(MemoryIndexError, match="closed"):
            await memory._keeper._tidier.run(Task(chore=Chore.TIDY, table="messages"))
        await memory._keeper._tidier.start_ahead()
        before = len(started)
        await memory.open(SPACE)
        stats = await refreshed(memory)
        await memory.close()
        return before, stats

    before, stats = asyncio.run(scenario())
    assert before == 1
    assert stats.unindexed == 0


@pytest.mark.parametrize("work", ["refresh", "purge"])
def test_cancelled_it_does_not_wait_for_a_long_chore(tmp_path, monkeypatch, work):
    processes = []

    def long(_defaults=None):
        processes.append(script("import time; time.sleep(600)")())
        return processes[-1]

    async def scenario():
        memory = await filled(tmp_path)
        memory._keeper.stop()
        memory._keeper.allow()
        monkeypatch.setattr(helper, "_started", long)
        memory._litter = memory._litter.after(rows=10**6)
        task = asyncio.create_task(getattr(memory, work)())
        while not processes or memory._keeper._tidier._process is None:
            await asyncio.sleep(0.01)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=30)
        await memory.close()
        return bool(done) and task.cancelled()

    assert asyncio.run(scenario())
    assert all(map(ended, processes))
