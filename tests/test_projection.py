"""Store to memory, with real SQLite and real LanceDB: in step, resumable, and never in doubt."""

import asyncio
import os
import random
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from persona.adapters.lance import LanceMemory
from persona.adapters.sqlite import SqliteStore
from persona.domain.chat import Edit, Tombstone, TombstoneReason
from persona.errors import MemoryIndexError
from persona.ports import MemoryQuery
from persona.projection import open_memory, project
from tests.fakes.talk import ATTIC, KITCHEN, NOON, allowed_channel, chatter, put, rows_of, said

REPOSITORY = Path(__file__).resolve().parents[1]


class MisfiringMemory(LanceMemory):
    """A real memory whose writes fail at chosen calls, some before and some after they took effect."""

    def __init__(self, folder, *, before=(), after=()):
        super().__init__(folder)
        self._calls = 0
        self._before = before
        self._after = after

    async def apply(self, changes, vectors=None):
        self._calls += 1
        if self._calls in self._before:
            raise MemoryIndexError("misfired before")
        await super().apply(changes, vectors)
        if self._calls in self._after:
            raise MemoryIndexError("misfired after")


@asynccontextmanager
async def both(folder, memory=None):
    store, memory = SqliteStore(folder / "store.db"), memory or LanceMemory(folder / "memory")
    await store.open()
    await store.put_channels([allowed_channel(KITCHEN), allowed_channel(ATTIC)])
    try:
        await open_memory(store, memory)
        yield store, memory
    finally:
        await memory.close()
        await store.close()


async def clean_build(folder, messages):
    memory = LanceMemory(folder / "clean")
    await memory.open()
    await memory.apply(put(*messages))
    await memory.close()
    return await rows_of(folder / "clean")


def test_everything_in_the_outbox_reaches_the_memory_and_is_confirmed(tmp_path):
    async def scenario():
        messages = chatter(500)
        async with both(tmp_path) as (store, memory):
            await store.put_messages(messages)
            steps = []
            done = await project(store, memory, batch=120, on_progress=lambda *step: steps.append(step))
            pending = await store.memory_changes_pending()
            again = await project(store, memory)
        return done, steps, pending, again, await rows_of(tmp_path / "memory") == await clean_build(tmp_path, messages)

    done, steps, pending, again, same = asyncio.run(scenario())
    assert done == 500
    assert steps == [(120, 500), (240, 500), (360, 500), (480, 500), (500, 500)]
    assert pending == again == 0
    assert same


def test_edits_removals_and_closed_channels_follow(tmp_path):
    async def scenario():
        kept, edited, buried, elsewhere = (
            said(1, "kept as it was"),
            said(2, "before the edit"),
            said(3, "soon to be gone"),
            said(4, "in the other room", channel=ATTIC),
        )
        async with both(tmp_path) as (store, memory):
            await store.put_messages([kept, edited, buried, elsewhere])
            await project(store, memory)
            later = NOON + timedelta(minutes=5)
            await store.apply_edits(
                [Edit(message_id=edited.id, channel_id=KITCHEN, content="after the edit", edited_at=later)]
            )
            reason = TombstoneReason.FORGOTTEN
            await store.bury([Tombstone(message_id=buried.id, channel_id=KITCHEN, reason=reason, at=later)])
            await store.set_allowed([ATTIC], allowed=False)
            await project(store, memory)
        return [row[-1] for row in await rows_of(tmp_path / "memory")]

    assert asyncio.run(scenario()) == ["kept as it was", "after the edit"]


def test_a_lost_memory_is_filled_again_from_the_store(tmp_path):
    async def scenario():
        messages = chatter(300)
        async with both(tmp_path) as (store, memory):
            await store.put_messages(messages)
            await project(store, memory)
        (tmp_path / "memory").rename(tmp_path / "lost")
        async with both(tmp_path) as (store, memory):
            done = await project(store, memory)
        return done, await rows_of(tmp_path / "memory") == await rows_of(tmp_path / "lost")

    assert asyncio.run(scenario()) == (300, True)


def test_failures_before_and_after_a_write_are_made_good_by_the_next_run(tmp_path):
    async def scenario():
        messages = chatter(400)
        memory = MisfiringMemory(tmp_path / "memory", before={2}, after={4})
        failures = 0
        async with both(tmp_path, memory) as (store, _):
            await store.put_messages(messages)
            while await store.memory_changes_pending():
                try:
                    await project(store, memory, batch=100)
                except MemoryIndexError:
                    failures += 1
        return failures, await rows_of(tmp_path / "memory") == await clean_build(tmp_path, messages)

    assert asyncio.run(scenario()) == (2, True)


def test_cancelled_anywhere_it_can_go_on(tmp_path):
    async def scenario():
        messages, rng = chatter(600), random.Random(5)
        async with both(tmp_path) as (store, memory):
            await store.put_messages(messages)
            for _ in range(12):
                run = asyncio.create_task(project(store, memory, batch=25))
                await asyncio.sleep(rng.uniform(0, 0.03))
                run.cancel()
                await asyncio.wait({run})
            await project(store, memory)
        return await rows_of(tmp_path / "memory") == await clean_build(tmp_path, messages)

    assert asyncio.run(scenario())


def test_a_batch_of_nothing_is_refused(tmp_path):
    async def scenario():
        async with both(tmp_path) as (store, memory):
            await project(store, memory, batch=0)

    with pytest.raises(ValueError, match="batch is 0"):
        asyncio.run(scenario())


def _run_until(progress, *arguments):
    """Run the program and kill it, as `kill -9` does, once it has said `progress` numbers; whether it was killed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "tests.fakes.project_program", *map(str, arguments)]
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE) as program:
        for _ in range(progress):
            if not program.stdout.readline():
                return False
        program.kill()
        return program.wait() != 0


def test_killed_in_the_middle_it_catches_up_to_what_a_clean_build_gives(tmp_path):
    messages = chatter(4_000)

    async def prepare():
        async with both(tmp_path) as (store, _):
            await store.put_messages(messages)

    async def finish():
        async with both(tmp_path) as (store, memory):
            left = await project(store, memory)
            probe = messages[77]
            found = await memory.search(
                MemoryQuery(text=probe.content, channel_ids=frozenset({probe.channel_id}), limit=200)
            )
        return left, [one.message_id for one in found]

    asyncio.run(prepare())
    rng = random.Random(11)
    kills = sum(_run_until(rng.randint(1, 12), tmp_path / "store.db", tmp_path / "memory") for _ in range(4))
    left, found = asyncio.run(finish())
    rows, clean = asyncio.run(rows_of(tmp_path / "memory")), asyncio.run(clean_build(tmp_path, messages))
    assert kills == 4
    assert 0 < left < 4_000
    assert rows == clean
    assert messages[77].id in found
