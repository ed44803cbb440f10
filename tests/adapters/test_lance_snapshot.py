"""Searches stay with a version in which all is indexed; what came since is found all the same, and what went is not."""

import asyncio
import shutil
from dataclasses import replace
from datetime import timedelta

import pytest

from persona.adapters.lance import LanceMemory, indexing, keeping, searching, writing
from persona.adapters.lance import table as shape
from persona.adapters.lance.addresses import Addresses
from persona.adapters.lance.chores import Chore
from persona.adapters.lance.contents import read_all
from persona.adapters.lance.tidying import Litter
from persona.errors import MemoryIndexError
from persona.ports import MemoryQuery
from tests.fakes.embedding import WordEmbedder, vector_of
from tests.fakes.talk import ATTIC, KITCHEN, NOON, chatter, put, remove, said

SPACE = WordEmbedder().space
BOTH = frozenset({KITCHEN, ATTIC})


def vectors_of(messages):
    return {message.content: vector_of(message.content) for message in messages}


async def write(memory, *messages):
    await memory.apply(put(*messages), vectors_of(messages))


async def tidied(memory):
    memory._litter = memory._litter.after(rows=10**6)
    await memory.refresh()


async def pinned(folder, messages, **more):
    memory = LanceMemory(folder, now=lambda: NOON + timedelta(days=2), **more)
    await memory.open(SPACE)
    await write(memory, *messages)
    await tidied(memory)
    assert in_use(memory)
    return memory


def in_use(memory):
    """Whether searches go to the version that was pinned."""
    return memory._opened.contents.snapshot is not None and memory._opened.contents.tail.whole


def asked(text, **more):
    return MemoryQuery(text=text, vector=vector_of(text), channel_ids=BOTH, **more)


async def said_about(memory, text, **more):
    return {match.recollection.text for match in await memory.explain(asked(text, limit=20, **more))}


def test_with_a_quarter_of_it_in_the_tail_the_stages_find_what_they_find_in_the_indices(tmp_path, monkeypatch):
    messages = chatter(1_200, words_each=5, seed=4)
    old, new = messages[:900], messages[900:]
    gone, edited = old[10], said(11, "zebra crossing ahead", at=old[11].created_at, channel=old[11].channel_id)
    questions = [asked(m.content, channel_id=m.channel_id, limit=10) for m in messages[5::60]]
    seen, look = [], searching.look

    async def recorded(*arguments):
        seen.append(await look(*arguments))
        return seen[-1]

    async def scenario():
        memory = await pinned(tmp_path, old)
        await write(memory, *new)
        await memory.apply(remove(gone))
        await write(memory, edited)
        assert len(memory._opened.contents.tail._written) == 301
        monkeypatch.setattr(searching, "look", recorded)
        for question in questions:
            await memory.search(question)
        await tidied(memory)
        assert not memory._opened.contents.tail._written
        for question in questions:
            await memory.search(question)
        await memory.close()

    asyncio.run(scenario())
    with_tail, indexed = seen[: len(questions)], seen[len(questions) :]
    assert len(with_tail) == len(indexed) == len(questions)
    for before, after in zip(with_tail, indexed, strict=True):
        assert list(before.similar)[:30] == list(after.similar)[:30]
        assert list(before.words)[:1] == list(after.words)[:1]
        assert min(before.words.values()) >= 0.9 * min(after.words.values())
        both = before.words.keys() & after.words.keys()
        assert [before.words[i] for i in both] == pytest.approx([after.words[i] for i in both], rel=0.15)
        assert int(gone.id) not in {*before.words, *before.similar, *after.words, *after.similar}


def test_what_was_edited_or_removed_since_is_not_found_by_what_it_said(tmp_path):
    async def scenario():
        first, second = said(1, "a purple elephant sleeps"), said(2, "a purple giraffe eats")
        memory = await pinned(tmp_path, [first, second, *chatter(50)])
        await write(memory, said(1, "the door stays closed"))
        await memory.apply(remove(second))
        assert in_use(memory)
        found = await said_about(memory, "purple elephant giraffe"), await said_about(memory, "door closed")
        await memory.close()
        return found

    old_words, new_words = asyncio.run(scenario())
    assert not {"a purple elephant sleeps", "a purple giraffe eats"} & old_words
    assert "the door stays closed" in new_words


def test_more_than_memory_should_hold_is_searched_in_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr("persona.adapters.lance.tail._MOST", 100)
    messages = chatter(400, words_each=5, seed=2)

    async def scenario():
        memory = await pinned(tmp_path, messages[:200])
        await write(memory, *messages[200:])
        states = [in_use(memory)]
        found = [m.content in await said_about(memory, m.content) for m in messages[::20]]
        await tidied(memory)
        states.append(in_use(memory))
        found += [m.content in await said_about(memory, m.content) for m in messages[::20]]
        await memory.close()
        return states, found

    states, found = asyncio.run(scenario())
    assert states == [False, True]
    assert all(found)


@pytest.mark.parametrize("fault", ["rows have moved", "files are gone"])
def test_when_its_version_is_of_no_use_any_more_a_search_goes_to_the_newest(tmp_path, fault):
    messages = chatter(300, words_each=5)

    async def scenario():
        memory = await pinned(tmp_path, messages)
        contents = memory._opened.contents
        if fault == "rows have moved":
            elsewhere = Addresses((await read_all(contents.snapshot.table)).slice(0, 10))
            contents.snapshot = replace(contents.snapshot, addresses=elsewhere)
        else:
            rows = shape.batch_of([shape.row_of(messages[0])], SPACE, vectors_of(messages[:1]))
            nowhere = await memory._opened.connection.create_table("gone", rows)
            shutil.rmtree(tmp_path / "gone.lance")
            contents.snapshot = replace(contents.snapshot, table=nowhere)
        found = [m.content in await said_about(memory, m.content) for m in messages[::30]]
        state = in_use(memory)
        await tidied(memory)
        found += [m.content in await said_about(memory, m.content) for m in messages[::30]]
        again = in_use(memory)
        await memory.close()
        return found, state, again

    found, state, again = asyncio.run(scenario())
    assert all(found)
    assert (state, again) == (False, True)


def test_what_is_written_while_it_is_tidied_waits_a_little_and_is_found_before_and_after(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_PATIENCE_SECONDS", 0.05)
    at_work, go_on = asyncio.Event(), asyncio.Event()
    tidy = keeping.Keeper.tidy

    async def slow(self, opened, *, indexing):
        at_work.set()
        await go_on.wait()
        await tidy(self, opened, indexing=indexing)

    async def scenario():
        memory = await pinned(tmp_path, chatter(200))
        monkeypatch.setattr(keeping.Keeper, "tidy", slow)
        await write(memory, said(1, "said before it was tidied"))
        tidying = asyncio.create_task(tidied(memory))
        await at_work.wait()
        await write(memory, said(2, "said while it was tidied"))
        during = await said_about(memory, "said tidied")
        go_on.set()
        await tidying
        after = await said_about(memory, "said tidied")
        state = in_use(memory)
        await memory.close()
        return during, after, state

    during, after, state = asyncio.run(scenario())
    both = {"said before it was tidied", "said while it was tidied"}
    assert both <= during
    assert both <= after
    assert state


def test_what_an_earlier_run_left_unindexed_is_searched_at_once_and_due(tmp_path):
    async def scenario():
        memory = await pinned(tmp_path, chatter(200))
        await write(memory, said(1, "left over from yesterday"))
        await memory.close()
        memory = LanceMemory(tmp_path)
        await memory.open(SPACE)
        states, found = [in_use(memory)], [await said_about(memory, "yesterday left")]
        await memory.refresh()
        states.append(in_use(memory))
        found.append(await said_about(memory, "yesterday left"))
        await memory.close()
        return states, found

    states, found = asyncio.run(scenario())
    assert states == [False, True]
    assert all("left over from yesterday" in one for one in found)
    assert not Litter.found(commits=3, unindexed=0, at=0.0).due(1.0)
    assert Litter.found(commits=3, unindexed=1, at=0.0).due(1.0)


def test_a_table_that_has_outgrown_the_cache_is_opened_anew_with_a_larger_one(tmp_path, monkeypatch):
    monkeypatch.setattr("persona.adapters.lance.opening._LEAST_INDEX_CACHE_BYTES", 10_000)
    messages = chatter(300)

    async def scenario():
        memory = LanceMemory(tmp_path)
        await memory.open(SPACE)
        sizes = [memory._opened.cache_bytes]
        await write(memory, *messages)
        assert memory._opened.outgrown
        await tidied(memory)
        sizes.append(memory._opened.cache_bytes)
        assert not memory._opened.outgrown
        found = [m.content in await said_about(memory, m.content) for m in messages[::30]]
        await memory.close()
        await memory.open(SPACE)
        sizes.append(memory._opened.cache_bytes)
        await memory.close()
        return sizes, found

    (first, grown, reopened), found = asyncio.run(scenario())
    assert first == 10_000
    assert grown == reopened == 300 * (128 + 64 // 2) * 1.5
    assert all(found)


def test_closing_it_under_a_search_lets_the_search_end(tmp_path, monkeypatch):
    looked, go_on = asyncio.Event(), asyncio.Event()
    look = searching.look

    async def slow(*arguments):
        found = await look(*arguments)
        looked.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(searching, "look", slow)

    async def scenario():
        memory = await pinned(tmp_path, [said(1, "the kettle is on")])
        search = asyncio.create_task(memory.search(asked("kettle")))
        await looked.wait()
        await memory.close()
        go_on.set()
        found = [one.text for one in await search]
        with pytest.raises(MemoryIndexError, match="not open"):
            await memory.search(asked("kettle"))
        return found

    assert asyncio.run(scenario()) == ["the kettle is on"]


@pytest.mark.parametrize("most", [4_000, 0], ids=["taken in", "too much to be taken in"])
def test_what_is_added_behind_the_back_of_an_indexing_is_found(tmp_path, monkeypatch, most):
    async def scenario():
        memory = await pinned(tmp_path, chatter(50))

        async def overtaken(_still):
            tail = memory._opened.contents.tail
            tail.indexed(tail.mark())  # as after a tidying that began when the tail knew of it and the table did not

        monkeypatch.setattr("persona.adapters.lance.tail._MOST", most)
        monkeypatch.setattr(writing, "patiently", overtaken)
        await write(memory, said(1, "a purple elephant sleeps"))
        found = await said_about(memory, "purple elephant")
        await memory.close()
        return found

    assert "a purple elephant sleeps" in asyncio.run(scenario())


@pytest.fixture
def chores_done(monkeypatch):
    """What was done to tables, one after the other; no two at a time."""
    done, running = [], set()
    perform = keeping.perform

    async def alone(task, *arguments):
        assert not running, f"{task.chore} beside {running}"
        running.add(task.chore)
        await asyncio.sleep(0.3)
        await perform(task, *arguments)
        running.remove(task.chore)
        done.append(task.chore)

    monkeypatch.setattr(keeping, "perform", alone)
    return done


async def with_an_index_due(folder):
    messages = chatter(4_400)
    memory = await pinned(folder, messages[:1_000])
    await write(memory, *messages[1_000:])
    memory._litter = memory._litter.after(rows=10**6)
    return memory


def test_a_purge_waits_for_the_index_that_a_refresh_before_it_began(tmp_path, monkeypatch, chores_done):
    monkeypatch.setattr(indexing, "LEAST_VECTORS", 1_000)

    async def scenario():
        memory = await with_an_index_due(tmp_path)
        chores_done.clear()
        refreshing = asyncio.create_task(memory.refresh())
        await asyncio.sleep(0.1)
        await memory.purge()
        await refreshing
        await memory.settle()
        stats = await memory.stats()
        await memory.close()
        return stats

    stats = asyncio.run(scenario())
    assert chores_done == [Chore.TIDY, Chore.INDEX, Chore.PURGE]
    assert (stats.messages, stats.unindexed) == (4_400, 0)


def test_two_refreshes_at_a_time_do_the_work_once(tmp_path, monkeypatch, chores_done):
    monkeypatch.setattr(indexing, "LEAST_VECTORS", 1_000)

    async def scenario():
        memory = await with_an_index_due(tmp_path)
        chores_done.clear()
        await asyncio.gather(memory.refresh(), memory.refresh())
        memory._litter = replace(memory._litter, commits=1_000)
        await memory.refresh()  # the index is still being made: nothing is moved under it
        fragments = (await memory.stats()).fragments
        await memory.settle()
        await memory.close()
        return fragments

    assert asyncio.run(scenario()) == 2
    assert chores_done == [Chore.TIDY, Chore.INDEX]


def test_what_is_found_damaged_when_it_is_opened_with_a_larger_cache_is_said_to_be(tmp_path, monkeypatch):
    async def scenario():
        memory = await pinned(tmp_path, chatter(50))
        monkeypatch.setattr(type(memory._opened), "outgrown", True)
        monkeypatch.setattr(memory, "open", no)
        with pytest.raises(MemoryIndexError, match="could not be read"):
            await tidied(memory)
        assert memory.space is None

    async def no(_space):
        return False

    asyncio.run(scenario())
