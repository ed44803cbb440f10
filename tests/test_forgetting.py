"""Forgetting, all the way down: no byte is left, whatever came before, whatever happens meanwhile."""

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persona.adapters.lance import LanceMemory
from persona.adapters.sqlite import SqliteStore
from persona.adapters.sqlite.ledger import SqliteLedger
from persona.config import Settings
from persona.config_tables import MemorySection, StorageSection
from persona.domain.chat import Author, AuthorId, Edit, Reaction
from persona.domain.lineage import LINEAGE_FILE, encode_lineage, lineage_of
from persona.errors import StoreError
from persona.forgetting import Forgetter
from persona.forgetting_setup import forgetter_for
from persona.ports import ForgettingStep, MemoryQuery
from persona.projection import open_memory, project
from persona.run_marks import read_mark
from tests.fakes.stores import query
from tests.fakes.talk import ANN, ATTIC, BEN, KITCHEN, NOON, allowed_channel, chatter, rows_of, said

REPOSITORY = Path(__file__).resolve().parents[1]
CANARY = "zanzibarcanary"
EVE = Author(id=AuthorId(5), name=f"{CANARY}eve", display_name=f"Eve {CANARY}")
LATER = NOON + timedelta(days=900)


def holds(folder, text):
    return [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and text.encode() in path.read_bytes()]


@contextlib.asynccontextmanager
async def home(folder, **options):
    """A store, its memory, its ledger and what forgets, as a process holds them."""
    store, memory = SqliteStore(folder / "store.db"), LanceMemory(folder / "memory")
    await store.open()
    ledger = SqliteLedger(store.database)
    forgetter = Forgetter(ledger, runs=folder / "runs", now=lambda: LATER, **options)
    try:
        await store.put_channels([allowed_channel(KITCHEN), allowed_channel(ATTIC)])
        await open_memory(store, memory)
        yield store, memory, ledger, forgetter
    finally:
        await forgetter.close()
        await memory.close()
        await store.close()


def canaries(count, *, first=0):
    """Messages of somebody who is going to be forgotten, each with a word that nobody else says."""
    return [
        said(
            number % 4096,
            f"{CANARY} says number {number}" + " and so on" * (number % 9),
            author=EVE,
            channel=KITCHEN if number % 2 else ATTIC,
            at=NOON + timedelta(minutes=number, seconds=30),
        )
        for number in range(first, first + count)
    ]


def mixed(seed, count):
    """Talk with canaries in between, in the order in which a backfill of several channels brings it: any."""
    messages = [*chatter(count, seed=seed), *canaries(count // 4)]
    random.Random(seed).shuffle(messages)
    return messages


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    batch=st.sampled_from([7, 60, 400]),
    edited=st.booleans(),
    lagging=st.booleans(),
    one_by_one=st.booleans(),
)
def test_after_forgetting_no_file_holds_a_trace(tmp_path_factory, seed, batch, *, edited, lagging, one_by_one):
    folder = tmp_path_factory.mktemp("home")
    messages = mixed(seed, 300)
    hers = [message for message in messages if message.author is EVE]

    async def run():
        async with home(folder) as (store, memory, _, forgetter):
            for start in range(0, len(messages), batch):
                part = messages[start : start + batch]
                await store.put_messages(
                    part, [Reaction(message_id=part[0].id, emoji=CANARY, count=1)][: part[0] in hers]
                )
                if not lagging:
                    await project(store, memory)
            if edited:
                await store.apply_edits(
                    [
                        Edit(message_id=m.id, channel_id=m.channel_id, content=f"short {CANARY}", edited_at=LATER)
                        for m in hers[::2]
                    ]
                )
            assert holds(folder, CANARY), "it is there before, else this test proves nothing"
            if one_by_one:
                for message in hers[:3]:
                    await forgetter.forget_messages([message.id])
            await forgetter.forget_author(EVE.id)
            await project(store, memory)
            await forgetter.finish()
            open_files = holds(folder, CANARY)
            due = await SqliteLedger(store.database).steps_due()
            refused = (await store.put_messages(messages)).refused
            count = await store.count()
        return open_files, due, refused, count

    open_files, due, refused, count = asyncio.run(run())
    assert open_files == [], "nor in the write-ahead log, while the process runs"
    assert due == {}
    assert refused == len(hers)
    assert count == len(messages) - len(hers)
    assert holds(folder, CANARY) == []
    assert len(asyncio.run(rows_of(folder / "memory"))) == count


def test_forgetting_while_the_memory_is_in_the_middle_of_following(tmp_path):
    """A batch that was read before and written after the removal must not stay."""
    many = mixed(3, 400)

    class Slow(LanceMemory):
        forget = None

        async def apply(self, changes, vectors=None):
            if self.forget is not None:
                forget, self.forget = self.forget, None
                await forget()
            await super().apply(changes, vectors)

    async def run():
        async with home(tmp_path) as (store, _, _, forgetter):
            memory = Slow(tmp_path / "memory")
            await memory.open()
            await store.put_messages(many)
            memory.forget = lambda: forgetter.forget_author(EVE.id)
            await project(store, memory, batch=100)
            asked = MemoryQuery(text=CANARY, channel_ids=frozenset({KITCHEN, ATTIC}))
            found = await memory.search(asked)
            due = await store.purge_due()
            await project(store, memory)
            await memory.close()
            await forgetter.finish()
            return found, due, await store.purge_due()

    found, due, after = asyncio.run(run())
    assert found == []
    assert due > 0, "the purge is for the next look, when every removal was applied before it"
    assert after == 0
    assert holds(tmp_path, CANARY) == []


def test_a_memory_that_fails_keeps_the_step_due(tmp_path):
    class Failing(LanceMemory):
        async def purge(self):
            raise StoreError("no room")

    async def run():
        async with home(tmp_path) as (store, memory, ledger, forgetter):
            await store.put_messages(canaries(5))
            await project(store, memory)
            await forgetter.forget_author(EVE.id)
            failing = Failing(tmp_path / "memory")
            await failing.open()
            with pytest.raises(StoreError, match="no room"):
                await project(store, failing)
            await failing.close()
            before = await ledger.steps_due()
            await forgetter.finish()
            after = await ledger.steps_due()
            return before, after

    before, after = asyncio.run(run())
    assert set(before) == set(ForgettingStep)
    assert set(after) == {ForgettingStep.MEMORY}


def test_runs_that_held_a_forgotten_message_or_person_are_marked(tmp_path):
    hers, his = canaries(6), chatter(6)

    async def run():
        async with home(tmp_path) as (store, _, ledger, forgetter):
            await store.put_messages([*hers, *his])
            key = await ledger.lineage_key()
            for name, messages, authors in (
                ("with-her", [*hers[:4], *his], [EVE, ANN]),
                ("without-her", his, [ANN, BEN]),
                ("long-deleted", [said(99, "she deleted this")], [EVE]),
            ):
                run_folder = tmp_path / "runs" / name
                run_folder.mkdir(parents=True)
                lineage = lineage_of(key, NOON, [m.id for m in messages], [a.id for a in authors])
                (run_folder / LINEAGE_FILE).write_bytes(encode_lineage(lineage))
            await forgetter.forget_author(EVE.id)
            return await forgetter.finish(), await forgetter.finish()

    marks, again = asyncio.run(run())
    assert {(mark.run, mark.messages, mark.authors) for mark in marks} == {("with-her", 4, 1), ("long-deleted", 0, 1)}
    assert again == ()
    assert read_mark(tmp_path / "runs" / "without-her") is None
    assert holds(tmp_path / "runs", str(hers[0].id)) == []


@pytest.mark.parametrize("enabled", [True, False])
def test_an_index_that_nobody_follows_is_deleted_and_one_in_use_is_not(tmp_path, enabled):
    async def run():
        async with home(tmp_path) as (store, memory, _, _):
            await store.put_messages(canaries(5))
            await project(store, memory)
        store = SqliteStore(tmp_path / "store.db")
        await store.open()
        given = Settings(memory=MemorySection(enabled=enabled), storage=StorageSection(runs=tmp_path / "runs"))
        forgetter = forgetter_for(given, tmp_path / "memory", store.ledger)
        await forgetter.forget_author(EVE.id)
        await forgetter.finish()
        due = await store.ledger.steps_due()
        elsewhere = forgetter_for(given, tmp_path / "no-memory", store.ledger)
        await elsewhere.finish()
        return due, await store.ledger.steps_due(), await store.close()

    due, after, _ = asyncio.run(run())
    assert set(due) == ({ForgettingStep.MEMORY} if enabled else set())
    assert after == {}
    assert (tmp_path / "memory" / "messages.lance").exists() == enabled
    assert bool(holds(tmp_path, CANARY)) == enabled


def test_runs_that_come_into_sight_later_are_marked_when_asked_to_look_again(tmp_path):
    async def run():
        async with home(tmp_path) as (store, _, ledger, forgetter):
            await store.put_messages(canaries(3))
            await forgetter.forget_author(EVE.id)
            before = await forgetter.finish()
            late = tmp_path / "runs" / "late"
            late.mkdir(parents=True)
            lineage = lineage_of(await ledger.lineage_key(), NOON, [canaries(1)[0].id], [])
            (late / LINEAGE_FILE).write_bytes(encode_lineage(lineage))
            return before, await forgetter.finish(), await forgetter.finish(again=True)

    before, nothing_due, again = asyncio.run(run())
    assert before == nothing_due == ()
    assert [(mark.run, mark.messages) for mark in again] == [("late", 1)]


async def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.02)


def test_in_the_background_it_sees_through_old_and_new_requests_and_survives_failures(tmp_path):
    async def run():
        async with home(tmp_path, settle=0.01, retry=0.02) as (store, memory, ledger, forgetter):
            await store.put_messages(canaries(8))
            await forgetter.forget_messages([canaries(1)[0].id])  # as if an earlier process had died here
            failures = ["full", "full"]
            scrub = ledger.scrub

            async def failing_scrub():
                if failures:
                    failures.pop()
                    raise StoreError("the disk is full")
                await scrub()

            ledger.scrub = failing_scrub
            forgetter.start()
            forgetter.start()

            async def settled():
                return set(await ledger.steps_due()) <= {ForgettingStep.MEMORY}

            await until(settled)
            await forgetter.forget_author(EVE.id)
            await until(settled)
            await project(store, memory)
            await forgetter.close()
            await forgetter.close()
            return failures, await ledger.steps_due()

    assert asyncio.run(run()) == ([], {})
    assert holds(tmp_path, CANARY) == []


@pytest.mark.parametrize("seed", range(2))
def test_killed_anywhere_in_the_middle_a_second_run_finishes_it(tmp_path, seed):
    rng = random.Random(seed)

    async def fill():
        async with home(tmp_path) as (store, memory, _, _):
            await store.put_messages(mixed(seed, 1200))
            await project(store, memory)

    asyncio.run(fill())
    program = [sys.executable, "-m", "tests.fakes.forget_program", str(tmp_path)]
    killed = 0
    # The earliest kill first: after one that comes too late there is nothing left to do.
    for seconds in sorted(rng.uniform(0, 0.15) * rng.random() for _ in range(4)):
        process = subprocess.Popen([*program, str(EVE.id)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        with process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(seconds)
            process.kill()
            killed += "done" not in process.stdout.read()
        _check_nothing_is_half_done(tmp_path)
    finished = subprocess.run([*program, str(EVE.id)], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == "done"
    assert holds(tmp_path, CANARY) == []
    assert query(tmp_path / "store.db", "SELECT count(*) FROM messages") == [(1200,)]
    assert len(asyncio.run(rows_of(tmp_path / "memory"))) == 1200
    assert killed, "no kill came in time: this run proves nothing"


def _check_nothing_is_half_done(folder):
    """Either everything is stored still, or all of it is buried and the rest is due or done."""
    (left,) = query(folder / "store.db", "SELECT count(*) FROM messages WHERE author_id = ?", EVE.id)[0]
    (buried,) = query(folder / "store.db", "SELECT count(*) FROM tombstones WHERE reason = 'forgotten'")[0]
    due = {step for (step,) in query(folder / "store.db", "SELECT step FROM forgetting")}
    assert (left, buried) in {(300, 0), (0, 300)}
    if buried and not due:
        assert holds(folder, CANARY) == []
