"""The memory with vectors: what words alone would miss, which index it gets, what it survives."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from persona.adapters.lance import LanceMemory, indexing
from persona.adapters.lance import table as shape
from persona.adapters.lance.opening import vector_search
from persona.errors import MemoryIndexError
from persona.ports import Embedded, MemoryQuery, VectorSpace
from tests.fakes.embedding import WordEmbedder, vector_of
from tests.fakes.talk import ATTIC, BEN, KITCHEN, NOON, chatter, put, remove, said

REPOSITORY = Path(__file__).resolve().parents[2]
SPACE = WordEmbedder().space
BOTH = frozenset({KITCHEN, ATTIC})


def memory_at(folder, **more):
    return LanceMemory(folder, now=lambda: NOON + timedelta(days=1), **more)


def vectors_of(messages):
    return {message.content: vector_of(message.content) for message in messages}


def asked(text, *, channels=BOTH, **more):
    return MemoryQuery(text=text, vector=vector_of(text), channel_ids=channels, **more)


async def texts(memory, query):
    return [one.text for one in await memory.search(query)]


async def best_by_meaning(memory, text):
    """What its vector puts first, wherever newness and age put it afterwards."""
    table = memory._opened.table
    query = vector_search(table, vector_of(text), rows=await table.count_rows())
    return [row["text"] for row in await query.select(["text", "_distance"]).limit(1).to_list()]


async def opened(folder, *messages, space=SPACE, **more):
    memory = memory_at(folder, **more)
    await memory.open(space)
    await memory.apply(put(*messages), vectors_of(messages))
    return memory


def test_finds_what_means_the_same_in_other_words(tmp_path):
    async def scenario():
        memory = await opened(tmp_path, said(2, "my car broke down"), said(1, "soup for lunch again"))
        by_words = await texts(memory, MemoryQuery(text="automobile repairs", channel_ids=BOTH))
        (best, *_) = await memory.explain(asked("automobile", limit=1))
        await memory.close()
        return by_words, best

    by_words, best = asyncio.run(scenario())
    assert by_words == []
    assert best.recollection.text == "my car broke down"
    assert best.word_rank is None
    assert best.vector_rank == 1
    assert best.similarity > 0.3


def test_both_stages_agreeing_beats_either_alone_and_each_says_why(tmp_path):
    async def scenario():
        same = NOON
        memory = await opened(
            tmp_path,
            said(3, "the feline sleeps", at=same),
            said(2, "cat sleeps on roof", at=same),
            said(1, "unrelated words entirely here", at=same),
        )
        matches = await memory.explain(asked("cat sleeps", limit=3))
        await memory.close()
        return matches

    first, second, *_ = asyncio.run(scenario())
    assert {first.word_rank, second.word_rank} == {1, 2}
    assert {first.vector_rank, second.vector_rank} == {1, 2}
    assert first.recollection.score > second.recollection.score


def test_nothing_of_other_channels_or_excluded_people_comes_up_however_near(tmp_path):
    async def scenario():
        noise = [said(n, f"lighthouse keeper {n}", channel=ATTIC) for n in range(200)]
        mine = [said(300, "a lighthouse far away"), said(301, "lighthouse keeper", author=BEN)]
        memory = await opened(tmp_path, *noise, *mine)
        kitchen = frozenset({KITCHEN})
        found = await texts(memory, asked("lighthouse keeper", channels=kitchen, exclude_authors=frozenset({BEN.id})))
        excluded = await texts(memory, asked("lighthouse", channels=kitchen, exclude=frozenset({mine[0].id})))
        none = await texts(memory, asked("lighthouse keeper", channels=frozenset()))
        await memory.close()
        return found, excluded, none

    found, excluded, none = asyncio.run(scenario())
    assert found == ["a lighthouse far away"]
    assert excluded == ["lighthouse keeper"]
    assert none == []


def test_words_first_the_vector_later_and_only_for_the_same_words(tmp_path):
    async def scenario():
        first, second = said(1, "my car broke down"), said(2, "the old words")
        memory = memory_at(tmp_path)
        await memory.open(SPACE)
        await memory.apply(put(first, second))
        before = await texts(memory, MemoryQuery(text="car", channel_ids=BOTH)), await memory.waiting_count()
        order = [one.text for one in await memory.waiting(10)]
        waiting = await memory.waiting(1)
        await memory.apply(put(said(2, "the new words")))
        embedded = [Embedded(message_id=m.id, text=m.content, vector=vector_of(m.content)) for m in (first, second)]
        done = await memory.embed(embedded)
        again = await memory.embed(embedded[1:])
        after = await texts(memory, asked("automobile", limit=1)), [one.text for one in await memory.waiting(10)]
        await memory.close()
        return before, order, len(waiting), done, again, after

    before, order, newest, done, again, after = asyncio.run(scenario())
    assert before == (["my car broke down"], 2)
    assert order == ["the old words", "my car broke down"]
    assert newest == 1
    assert (done, again) == (1, 0)
    assert after == (["my car broke down"], ["the new words"])


def test_an_edit_without_a_vector_waits_and_a_removal_is_gone_from_both(tmp_path):
    async def scenario():
        memory = await opened(tmp_path, said(1, "my car broke down"), said(2, "the cat sleeps"))
        await memory.apply(put(said(1, "my boat broke down")))
        await memory.apply(remove(said(2, "the cat sleeps")))
        found = await texts(memory, asked("feline sleeps")), await texts(memory, asked("automobile"))
        count = await memory.waiting_count()
        await memory.close()
        return found, count

    (cat, car), count = asyncio.run(scenario())
    assert "the cat sleeps" not in cat
    assert car == []
    assert count == 1


def test_a_replay_keeps_the_vector_that_is_there(tmp_path):
    async def scenario():
        message = said(1, "my car broke down")
        memory = await opened(tmp_path, message)
        await memory.apply(put(message))
        count = await memory.waiting_count()
        await memory.close()
        return count

    assert asyncio.run(scenario()) == 0


def test_the_table_carries_the_model_and_its_dimensions_and_another_model_starts_anew(tmp_path):
    async def scenario():
        memory = await opened(tmp_path, said(1, "my car broke down"))
        names = [(await memory.stats()).table]
        await memory.close()
        without_a_model = await memory.open(), memory.space
        held = await memory.open(VectorSpace(model_id="another/model-v2", dimensions=64))
        names.append((await memory.stats()).table)
        await memory.close()
        return names, without_a_model, held, sorted(path.name for path in tmp_path.glob("*.lance"))

    names, without_a_model, held, left = asyncio.run(scenario())
    assert names == ["messages_words-test_64", "messages_another-model-v2_64"]
    assert without_a_model == (True, SPACE)
    assert held is False
    assert left == ["messages_another-model-v2_64.lance"]


def test_a_query_of_another_length_is_refused_in_one_line(tmp_path):
    async def scenario():
        memory = await opened(tmp_path, said(1, "my car broke down"))
        with pytest.raises(MemoryIndexError, match="64 dimensions"):
            await memory.search(MemoryQuery(text="car", vector=np.ones(3, dtype=np.float32), channel_ids=BOTH))
        await memory.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("vectors", "present", "wanted"),
    [
        (9_999, None, None),
        (10_000, None, "vector_10000_idx"),
        (39_999, 10_000, None),
        (40_000, 10_000, "vector_40000_idx"),
        (365_000, 160_000, None),
    ],
)
def test_an_index_from_ten_thousand_on_and_anew_at_four_times_the_size(vectors, present, wanted):
    index = None if present is None else indexing.VectorIndex(name=f"vector_{present}_idx", made_for=present)
    assert indexing.wanted_index(vectors, index) == wanted
    assert indexing.made_for("vector_365000_idx") == 365_000
    assert indexing.made_for("text_idx") == 0


def test_an_index_in_many_parts_is_made_anew():
    index = indexing.VectorIndex(name="vector_20000_idx", made_for=20_000)
    assert indexing.wanted_index(21_000, index, parts=6) is None
    assert indexing.wanted_index(21_000, index, parts=7) == "vector_21000_idx"


@pytest.mark.parametrize(
    ("rows", "filtered", "probes"),
    [(20_000, True, 16), (20_000, False, 40), (365_000, True, 34), (365_000, False, 40), (1_000_000, True, 92)],
)
def test_a_search_looks_into_three_quarters_of_the_partitions_or_nearly_all(rows, filtered, probes):
    assert indexing.probes_for(rows, filtered=filtered) == probes


@pytest.mark.parametrize("helper_rows", [100, 10**9], ids=["by a helper process", "in this process"])
def test_an_index_is_made_in_the_background_swapped_and_searched(tmp_path, monkeypatch, helper_rows):
    monkeypatch.setattr(indexing, "LEAST_VECTORS", 1_000)

    async def scenario():
        messages = chatter(4_400)
        memory = await opened(tmp_path, *messages[:1_000], helper_rows=helper_rows)
        memory._litter = memory._litter.after(rows=10_000)
        await memory.refresh()
        await memory.settle()
        first = (await memory.stats()).index
        await memory.apply(put(*messages[1_000:]), vectors_of(messages[1_000:]))
        memory._litter = memory._litter.after(rows=10_000)
        await memory.refresh()
        during = await best_by_meaning(memory, messages[4_000].content)
        late = said(1, "a late zebra crosses", at=NOON + timedelta(days=9))
        await memory.apply(put(late), vectors_of([late]))
        await memory.settle()
        await memory.refresh()
        found = [m.content in await best_by_meaning(memory, m.content) for m in messages[::200]]
        zebra = await texts(memory, asked("late zebra crosses", limit=1))
        stats = await memory.stats()
        await memory.purge()
        purged = await memory.stats()
        await memory.close()
        return first, during, messages[4_000].content, found, zebra, stats, purged

    first, during, wanted, found, zebra, stats, purged = asyncio.run(scenario())
    assert first == "RaBitQ, made for 1,000 vectors"
    assert wanted in during
    assert all(found)
    assert zebra == ["a late zebra crosses"]
    assert stats.index == "RaBitQ, made for 4,400 vectors"
    assert (purged.messages, purged.index, purged.unindexed) == (4_401, stats.index, 0)


def test_a_removed_message_leaves_neither_words_nor_numbers_in_any_file(tmp_path):
    secret = said(1, "the zanzibarcanary sings")
    numbers = vector_of(secret.content).tobytes()

    def holding(needle):
        return [path.name for path in tmp_path.rglob("*") if path.is_file() and needle in path.read_bytes()]

    async def scenario():
        memory = await opened(tmp_path, secret, *chatter(30))
        before = holding(numbers), holding(b"zanzibarcanary")
        await memory.apply(remove(secret))
        await memory.purge()
        after = holding(numbers), holding(b"zanzibarcanary")
        found = await texts(memory, asked("zanzibarcanary sings"))
        await memory.close()
        return before, after, found

    before, after, found = asyncio.run(scenario())
    assert all(before), "else this test proves nothing"
    assert after == ([], [])
    assert secret.content not in found


KILLED_WRITER = """
import asyncio, sys
from persona.adapters.lance import LanceMemory
from persona.ports import Embedded, MemoryQuery
from tests.fakes.embedding import WordEmbedder, vector_of
from tests.fakes.talk import chatter, put

async def main():
    memory = LanceMemory(sys.argv[1], helper_rows=100)
    await memory.open(WordEmbedder().space)
    messages = chatter(100_000, seed=3)
    for start in range(0, len(messages), 50):
        part = messages[start : start + 50]
        await memory.apply(put(*part))
        print(start + 50, flush=True)
        await memory.embed([Embedded(message_id=m.id, text=m.content, vector=vector_of(m.content)) for m in part[:40]])
        memory._litter = memory._litter.after(rows=400)
        await memory.refresh()

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 12, 25])
def test_killed_at_any_point_nothing_acknowledged_is_lost(tmp_path, lines):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        acknowledged = [int(process.stdout.readline()) for _ in range(lines)][-1]
        time.sleep(0.013 * lines)
        process.send_signal(signal.SIGKILL)
        process.wait()

    async def scenario():
        messages = chatter(100_000, seed=3)[:acknowledged]
        memory = memory_at(tmp_path, helper_rows=100)
        held = await memory.open(SPACE)
        await memory.apply(put(*messages))
        stats = await memory.stats()
        rows = await memory._opened.table.query().select(["message_id"]).to_arrow()
        ids = rows["message_id"].to_pylist()
        await memory.close()
        return held, stats, ids, {m.id for m in messages}

    held, stats, ids, wanted = asyncio.run(scenario())
    assert held
    assert len(ids) == len(set(ids))
    assert wanted <= set(ids)
    assert stats.messages == len(ids)


@pytest.mark.parametrize("damage", ["truncate", "zero", "remove"])
@pytest.mark.parametrize("part", ["data", "_versions", "_indices"])
def test_a_damaged_table_is_replaced_and_filled_again(tmp_path, part, damage):
    async def fill():
        memory = await opened(tmp_path, *chatter(300))
        memory._litter = memory._litter.after(rows=10_000)
        await memory.refresh()
        await memory.close()

    async def recover():
        messages = chatter(300)
        memory = memory_at(tmp_path)
        held = await memory.open(SPACE)
        if not held:
            await memory.apply(put(*messages), vectors_of(messages))
        found = await best_by_meaning(memory, messages[7].content)
        rows = (await memory.stats()).messages
        await memory.close()
        return held, messages[7].content in found, rows

    asyncio.run(fill())
    files = [path for path in (tmp_path / f"{shape.name_of(SPACE)}.lance" / part).rglob("*") if path.is_file()]
    assert files
    for path in files:
        if damage == "remove":
            path.unlink()
        else:
            path.write_bytes(b"\0" * path.stat().st_size if damage == "zero" else path.read_bytes()[:10])
    held, found, rows = asyncio.run(recover())
    assert found
    assert rows == 300
    assert not held


def test_gathering_small_fragments_keeps_every_row_and_vector_and_what_waits(tmp_path):
    async def scenario():
        messages = chatter(100, words_each=5)
        memory = memory_at(tmp_path)
        await memory.open(SPACE)
        await memory.apply(put(*messages[:20]), vectors_of(messages[:20]))
        for message in messages[20:]:
            known = vectors_of([message]) if message.id % 2 else {}
            await memory.apply(put(message), known)
        before = await memory.stats(), await memory.waiting_count()
        await memory.refresh()
        after = await memory.stats(), await memory.waiting_count()
        waiting = {one.message_id for one in await memory.waiting(100)}
        rows = await memory._opened.table.query().to_list()
        found = [await best_by_meaning(memory, m.content) for m in messages if m.id not in waiting]
        await memory.close()
        return messages, before, after, waiting, rows, found

    messages, before, after, waiting, rows, found = asyncio.run(scenario())
    assert (before[0].fragments, after[0].fragments) == (81, 1)
    assert before[1] == after[1] == len(waiting) > 0
    assert sorted(row["message_id"] for row in rows) == sorted(m.id for m in messages)
    for row in rows:
        assert (row["vector"] is None) == (row["message_id"] in waiting)
        if row["vector"] is not None:
            assert np.allclose(row["vector"], vector_of(row["text"]), atol=1e-6)
    assert found == [[m.content] for m in messages if m.id not in waiting]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a tiny disk, which takes root")
def test_a_full_disk_is_one_line_and_once_there_is_room_nothing_is_missing(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    messages = chatter(6_000, words_each=9)
    parts = [messages[start : start + 200] for start in range(0, len(messages), 200)]

    async def scenario():
        memory = await opened(disk / "m", *parts[0])
        failed = ""
        for part in parts[1:]:
            try:
                await memory.apply(put(*part), vectors_of(part))
            except MemoryIndexError as error:
                failed = error.problem
                break
        still = await best_by_meaning(memory, messages[3].content)
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,size=64m", str(disk)], check=True)
        held = await memory.open(SPACE)
        await memory.apply(put(*messages), vectors_of(messages))
        rows = await memory._opened.table.query().select(["message_id"]).to_list()
        await memory.close()
        return failed, still, held, [row["message_id"] for row in rows]

    try:
        failed, still, held, ids = asyncio.run(scenario())
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    assert "No space left" in failed
    assert "\n" not in failed
    assert still == [messages[3].content]
    assert held
    assert sorted(ids) == sorted(m.id for m in messages)
