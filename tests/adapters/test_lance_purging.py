"""Purging: what was removed is in no file of the index, and the index goes on working."""

import asyncio
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from persona.adapters.lance import LanceMemory
from persona.adapters.lance.folder import remove_all, table_path
from persona.errors import MemoryIndexError
from persona.ports import MemoryQuery
from tests.fakes.talk import ATTIC, KITCHEN, chatter, put, remove, rows_of, said

CANARY = "zanzibarcanary"


def holds(folder, text):
    """The files anywhere in a folder whose raw bytes contain a text."""
    return [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and text.encode() in path.read_bytes()]


def data_files(folder):
    return sorted(path.name for path in (folder / "messages.lance" / "data").iterdir())


def test_a_removed_text_is_in_no_file_left(tmp_path):
    secret = said(1, f"the {CANARY} sings")
    others = chatter(30)

    async def run():
        memory = LanceMemory(tmp_path)
        await memory.open()
        await memory.apply(put(secret, *others))
        await memory.refresh()
        await memory.apply(remove(secret))
        await memory.refresh()
        before = holds(tmp_path, CANARY)
        await memory.purge()
        after = holds(tmp_path, CANARY)
        query = MemoryQuery(text=others[7].content, channel_ids=frozenset({KITCHEN, ATTIC}), limit=30)
        found = await memory.search(query)
        await memory.close()
        return before, after, found

    before, after, found = asyncio.run(run())
    assert before, "without purging the text lies around; else this test proves nothing"
    assert after == []
    assert chatter(30)[7].content in [one.text for one in found]
    assert len(asyncio.run(rows_of(tmp_path))) == 30


def test_in_a_large_table_no_old_row_version_or_deletion_list_is_left(tmp_path):
    """Texts of a large table are compressed, so that bytes prove nothing: the files themselves must be new."""
    many = chatter(6000)
    gone = many[::500]

    async def run():
        memory = LanceMemory(tmp_path)
        await memory.open()
        for start in range(0, 6000, 1500):
            await memory.apply(put(*many[start : start + 1500]))
        await memory.refresh()
        await memory.apply(remove(*gone))
        await memory.refresh()
        old = data_files(tmp_path)
        assert (tmp_path / "messages.lance" / "_deletions").is_dir()
        await memory.purge()
        new = data_files(tmp_path)
        await memory.apply(put(said(1, "after the purge comes a new message", at=datetime(2027, 1, 1, tzinfo=UTC))))
        query = MemoryQuery(text="purge comes", channel_ids=frozenset({KITCHEN}), limit=1)
        found = await memory.search(query)
        await memory.close()
        return old, new, found

    old, new, found = asyncio.run(run())
    assert not set(old) & set(new)
    assert not list((tmp_path / "messages.lance").glob("_deletions/*"))
    assert found[0].text == "after the purge comes a new message"
    kept = {message.id for message in many} - {message.id for message in gone}
    assert {row[0] for row in asyncio.run(rows_of(tmp_path))} > kept
    assert len(asyncio.run(rows_of(tmp_path))) == len(kept) + 1


def test_the_whole_memory_may_be_forgotten(tmp_path):
    only = said(1, f"the {CANARY} sings")

    async def run():
        memory = LanceMemory(tmp_path)
        await memory.open()
        await memory.apply(put(only))
        await memory.apply(remove(only))
        await memory.purge()
        await memory.purge()
        left = holds(tmp_path, CANARY)
        await memory.apply(put(said(2, "a new beginning")))
        await memory.close()
        return left

    assert asyncio.run(run()) == []
    assert [row[4] for row in asyncio.run(rows_of(tmp_path))] == ["a new beginning"]


def test_tables_moved_aside_and_half_written_files_go_too_but_nothing_foreign(tmp_path):
    async def run():
        memory = LanceMemory(tmp_path)
        await memory.open()
        await memory.apply(put(said(1, f"the {CANARY} sings"), said(2, "something else")))
        shutil.copytree(table_path(tmp_path), tmp_path / "copy")
        (tmp_path / "copy").rename(tmp_path / "messages.unusable-20260501T120000000000Z")
        foreign = tmp_path / "messages.foreign-20260501T120000000000Z"
        foreign.mkdir()
        (foreign / "theirs").write_text("not ours", encoding="utf-8")
        (table_path(tmp_path) / "data" / "half-written.lance").write_text(CANARY, encoding="utf-8")
        await memory.apply(remove(said(1, "")))
        await memory.purge()
        await memory.close()
        return foreign.exists()

    assert asyncio.run(run())
    assert holds(tmp_path, CANARY) == []
    assert not list(tmp_path.glob("messages.unusable-*"))


def test_searches_go_on_while_it_purges(tmp_path):
    many = chatter(3000)

    async def run():
        memory = LanceMemory(tmp_path)
        await memory.open()
        await memory.apply(put(*many))
        await memory.refresh()
        await memory.apply(remove(*many[:10]))
        purging = asyncio.create_task(memory.purge())
        query = MemoryQuery(text=many[500].content, channel_ids=frozenset({KITCHEN, ATTIC}), limit=30)
        found = []
        while not purging.done():
            found.append(await memory.search(query))
        await purging
        found.append(await memory.search(query))
        await memory.close()
        return found

    found = asyncio.run(run())
    assert found
    assert all(many[500].content in [one.text for one in result] for result in found)


def test_old_versions_that_cannot_be_told_are_a_failure_not_a_success(tmp_path, monkeypatch):
    """A clock that was set back makes old versions look new: then it must be tried again."""
    from persona.adapters.lance import purging

    monkeypatch.setattr(purging, "_CLEANUP_AGE", timedelta(days=1))

    async def run():
        memory = LanceMemory(tmp_path)
        await memory.open()
        await memory.apply(put(said(1, "one and only")))
        try:
            with pytest.raises(MemoryIndexError, match="old versions"):
                await memory.purge()
        finally:
            await memory.close()

    asyncio.run(run())


def test_removing_all_touches_only_our_tables(tmp_path):
    async def run():
        memory = LanceMemory(tmp_path)
        await memory.open()
        await memory.apply(put(said(1, f"the {CANARY} sings")))
        await memory.close()

    asyncio.run(run())
    (tmp_path / "note.txt").write_text("mine", encoding="utf-8")
    remove_all(tmp_path)
    remove_all(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
