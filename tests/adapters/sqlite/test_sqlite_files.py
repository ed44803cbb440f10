"""The file itself: creation, migrations, files that are not ours, damage, kills, and company."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import pytest

from persona.adapters.sqlite import SqliteStore
from persona.adapters.sqlite.database import Database
from persona.adapters.sqlite.migrations import APPLICATION_ID, Migration, load_migrations, migrate, split_statements
from persona.errors import EXIT_CONFIG, StoreError, StoreMismatchError
from persona.ports import StoreCounts
from tests.fakes.stores import execute, open_store, query, with_store
from tests.fakes.talk import KITCHEN, NOON, allowed_channel, chatter, said

ROOT = Path(__file__).parents[3]
LATEST = len(load_migrations())

# Inserts batches of 1,000 for ever and says after each how many are committed.
WRITER = textwrap.dedent("""
    import asyncio, sys
    from datetime import UTC, datetime
    from pathlib import Path
    from persona.domain.chat import Author, Message
    from tests.fakes.stores import open_store

    NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
    ANN = Author(id=2, name="ann", display_name="Ann")

    async def main(path, base, batches):
        async with open_store(Path(path)) as store:
            for number in range(batches):
                ids = range(base + number * 1000, base + number * 1000 + 1000)
                await store.put_messages(
                    [Message(id=i, channel_id=100, author=ANN, content=f"word {i}", created_at=NOON) for i in ids]
                )
                print((number + 1) * 1000, flush=True)

    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
""")


def start_writer(path, base, batches):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(base), str(batches)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def opening_error(path):
    with pytest.raises(StoreError) as caught:
        with_store(path, lambda store: store.count())
    return caught.value


def schema(path):
    return query(path, "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name")


def test_a_new_file_is_ours_and_private(tmp_path):
    path = tmp_path / "deep" / "er" / "persona.db"
    with_store(path, lambda store: store.count())
    assert query(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert query(path, "PRAGMA user_version") == [(LATEST,)]
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    assert path.stat().st_mode & 0o077 == 0
    assert [entry.name for entry in path.parent.iterdir()] == ["persona.db"]


def test_opening_and_closing_twice_does_no_harm(tmp_path):
    async def scenario():
        store = SqliteStore(tmp_path / "a.db")
        await store.open()
        await store.open()
        await store.close()
        await store.close()
        with pytest.raises(StoreError, match="not open"):
            await store.count()
        await store.open()
        count = await store.count()
        await store.close()
        return count

    assert asyncio.run(scenario()) == 0


@pytest.mark.parametrize("version", range(1, LATEST))
def test_every_earlier_version_is_migrated_with_what_is_in_it(version, tmp_path):
    path, fresh = tmp_path / "old.db", tmp_path / "new.db"
    with sqlite3.connect(path, isolation_level=None) as connection:
        migrate(connection, load_migrations()[:version])
        connection.execute(
            "INSERT INTO channels (id, guild_id, name, kind, topic, allowed) VALUES (7,1,'k','text','',1)"
        )
        connection.execute("INSERT INTO messages VALUES (1,7,2,'default','hello',0,NULL,NULL,'','',0)")
    connection.close()

    async def scenario(store):
        return await store.count(), await store.requeue_memory(), [c.name for c in await store.channels()]

    assert with_store(path, scenario) == (1, 1, ["k"])
    with_store(fresh, lambda store: store.count())
    assert query(path, "PRAGMA user_version") == [(LATEST,)]
    assert schema(path) == schema(fresh)


def step(number, *statements):
    return Migration(number=number, name=f"{number:04}_test", statements=statements)


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path):
    path = tmp_path / "a.db"
    good = (step(1, "CREATE TABLE a (x INTEGER)"),)
    bad = (*good, step(2, "CREATE TABLE b (x INTEGER)", "INSERT INTO nowhere VALUES (1)"))

    async def opened(migrations):
        database = Database(path, migrations=migrations)
        try:
            await database.open()
        finally:
            await database.close()

    asyncio.run(opened(good))
    with pytest.raises(StoreError, match="nowhere"):
        asyncio.run(opened(bad))
    assert query(path, "PRAGMA user_version") == [(1,)]
    assert [name for _, name, _ in schema(path)] == ["a"]
    asyncio.run(opened((*good, step(2, "ALTER TABLE a ADD COLUMN y TEXT DEFAULT 'z'"))))
    assert query(path, "PRAGMA user_version") == [(2,)]


def test_statements_are_split_where_they_end():
    script = "-- a; comment\nCREATE TABLE a (x);\n\nCREATE TRIGGER t BEFORE UPDATE ON a\nBEGIN\n  SELECT 1;\nEND;\n"
    assert [text.split("\n")[0] for text in split_statements(script)] == [
        "CREATE TABLE a (x);",
        "CREATE TRIGGER t BEFORE UPDATE ON a",
    ]
    with pytest.raises(ValueError, match="unfinished"):
        split_statements("CREATE TABLE a (x)")


def test_foreign_and_broken_files_are_refused_untouched(tmp_path):
    foreign = tmp_path / "foreign.db"
    execute(foreign, "CREATE TABLE notes (text)")
    empty, text, folder = tmp_path / "empty.db", tmp_path / "text.db", tmp_path / "folder.db"
    empty.touch()
    text.write_text("dear diary, " * 100)
    folder.mkdir()
    before = {path: path.read_bytes() for path in (foreign, empty, text)}
    for path, words in (
        (foreign, "another program"),
        (empty, "empty"),
        (text, "not an SQLite"),
        (folder, "not a file"),
    ):
        error = opening_error(path)
        assert isinstance(error, StoreMismatchError)
        assert error.exit_code == EXIT_CONFIG
        assert words in str(error)
        assert str(path) in str(error)
        assert error.cure
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["empty.db", "folder.db", "foreign.db", "text.db"]


def test_a_newer_version_is_refused_with_both_numbers(tmp_path):
    path = tmp_path / "a.db"
    with_store(path, lambda store: store.count())
    execute(path, f"PRAGMA user_version = {LATEST + 5}")
    error = opening_error(path)
    assert isinstance(error, StoreMismatchError)
    assert f"version {LATEST + 5}" in str(error)
    assert "update Persona" in error.cure
    assert query(path, "PRAGMA user_version") == [(LATEST + 5,)]


def test_a_lost_file_beside_its_journal_is_not_started_anew(tmp_path):
    path = tmp_path / "a.db"
    path.with_name("a.db-wal").write_bytes(b"x" * 100)
    error = opening_error(path)
    assert isinstance(error, StoreMismatchError)
    assert "a.db-wal" in str(error)
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_one_clear_line(tmp_path):
    tmp_path.chmod(0o500)
    try:
        assert "may write" in opening_error(tmp_path / "a.db").cure
    finally:
        tmp_path.chmod(0o700)


def test_damage_is_found_and_named(tmp_path):
    path = tmp_path / "a.db"
    with_store(path, lambda store: store.put_messages(chatter(3000)))
    with path.open("r+b") as stream:
        stream.seek(20 * 4096)
        stream.write(os.urandom(30 * 4096))

    async def scenario():
        store = SqliteStore(path)
        try:
            await store.open()
            assert await store.check()
            await store.tail(KITCHEN, 3000)
        finally:
            await store.close()

    with pytest.raises(StoreError, match="damaged") as caught:
        asyncio.run(scenario())
    assert str(path) in str(caught.value)
    assert "backup" in caught.value.cure


def test_a_sound_file_passes_the_check(tmp_path):
    async def scenario(store):
        await store.put_messages(chatter(3000))
        return await store.check()

    assert list(with_store(tmp_path / "a.db", scenario)) == []


def test_killed_in_mid_import_there_are_whole_batches_only(tmp_path):
    path = tmp_path / "a.db"
    for round_ in range(3):
        writer = start_writer(path, 1 + round_ * 10**6, 10**6)
        acknowledged = int(writer.stdout.readline())
        time.sleep(0.05 * round_)
        writer.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
        writer.stdout.close()
        writer.wait()

        async def scenario(store):
            return await store.check()

        assert list(with_store(path, scenario)) == []
        ((stored,),) = query(
            path, "SELECT count(*) FROM messages WHERE id BETWEEN ? AND ?", 1 + round_ * 10**6, (round_ + 1) * 10**6
        )
        assert stored % 1000 == 0
        assert acknowledged <= stored <= acknowledged + 1000


def test_two_processes_write_side_by_side(tmp_path):
    path = tmp_path / "a.db"
    with_store(path, lambda store: store.put_channels([allowed_channel(KITCHEN)]))
    writers = [start_writer(path, 1 + n * 10**6, 8) for n in range(2)]
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert query(path, "SELECT count(*) FROM messages") == [(16_000,)]
    assert query(path, "SELECT count(*) FROM memory_outbox") == [(16_000,)]


def test_two_processes_may_create_the_file_together(tmp_path):
    path = tmp_path / "a.db"
    writers = [start_writer(path, 1 + n * 10**6, 1) for n in range(3)]
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert query(path, "SELECT count(*) FROM messages") == [(3000,)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.db"]


@pytest.mark.timeout(30)
def test_a_lock_that_is_never_given_back_is_one_clear_line(tmp_path):
    path = tmp_path / "a.db"

    async def scenario(store):
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(StoreError, match="held by another program"):
                await store.put_messages([said(1, "x")])
        finally:
            other.execute("ROLLBACK")
            other.close()
        return await store.put_messages([said(1, "x")])

    assert with_store(path, scenario) == StoreCounts(added=1)


def test_a_cancelled_write_is_whole_or_not_there_and_leaves_no_transaction_open(tmp_path):
    path = tmp_path / "a.db"
    batches = [chatter(4000, seed=seed, words_each=2, start=NOON + seed * timedelta(days=30)) for seed in range(6)]

    async def scenario():
        async with open_store(path) as store:
            for number, batch in enumerate(batches):
                task = asyncio.create_task(store.put_messages(batch))
                await asyncio.sleep(0.002 * number)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                stored = await store.messages_by_id([message.id for message in batch])
                assert len(stored) in {0, len(batch)}
            await store.put_messages([said(1, "after")])
            return await store.count()

    count = asyncio.run(scenario())
    assert count % 4000 == 1
    # Closing waited for every queued write: what a second look finds is what the first one saw, or more, in wholes.
    assert with_store(path, lambda store: store.count()) >= count


def test_a_job_that_fails_leaves_nothing_and_the_next_one_works(tmp_path):
    path = tmp_path / "a.db"

    async def scenario():
        database = Database(path)
        await database.open()
        try:

            def half(connection):
                connection.execute("INSERT INTO guilds VALUES (1, 'half')")
                raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await database.write(half)
            await database.write(lambda connection: connection.execute("INSERT INTO guilds VALUES (2, 'whole')"))
            with pytest.raises(StoreError, match="readonly"):
                await database.read(lambda connection: connection.execute("DELETE FROM guilds"))
        finally:
            await database.close()

    asyncio.run(scenario())
    assert query(path, "SELECT name FROM guilds") == [("whole",)]


def test_a_full_disk_is_one_clear_line_and_no_damage(tmp_path):
    path = tmp_path / "a.db"

    async def scenario():
        database = Database(path)
        await database.open()
        try:

            def fill_rows(connection):
                (pages,) = connection.execute("PRAGMA page_count").fetchone()
                connection.execute(f"PRAGMA max_page_count = {pages + 3}")
                connection.executemany("INSERT INTO guilds VALUES (?, ?)", [(n, "x" * 9000) for n in range(9)])

            with pytest.raises(StoreError, match="no room left"):
                await database.write(fill_rows)
            await database.write(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
            await database.write(lambda connection: connection.execute("INSERT INTO guilds VALUES (1, 'room')"))
        finally:
            await database.close()

    asyncio.run(scenario())
    assert query(path, "SELECT name FROM guilds") == [("room",)]


def test_a_store_nobody_closed_does_not_keep_the_process(tmp_path):
    program = f"""
import asyncio
from pathlib import Path
from persona.adapters.sqlite import SqliteStore
async def main():
    store = SqliteStore(Path({str(tmp_path / "a.db")!r}))
    await store.open()
    return store
store = asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, timeout=20, check=False)
    assert done.returncode == 0


def test_the_log_of_the_driver_never_shows_what_people_say(tmp_path, caplog):
    caplog.set_level("DEBUG")
    with_store(tmp_path / "a.db", lambda store: store.put_messages([said(1, "canary words")]))
    assert "canary" not in caplog.text
