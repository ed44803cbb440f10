"""The ledger and what it enforces: whoever may not be kept is refused inside the write itself."""

import asyncio
import contextlib
import json
import random
import sqlite3
from datetime import timedelta

import pytest

from persona.adapters.sqlite import SqliteStore
from persona.adapters.sqlite.ledger import SqliteLedger
from persona.adapters.sqlite.progress import SqliteProgress
from persona.domain.chat import Author, AuthorId, Edit, GuildId, MessageId, Reaction, Tombstone, TombstoneReason
from persona.domain.consent import EVERYWHERE, Choice, Entry, Scope, Source, Standing
from persona.errors import StoreError
from persona.ports import ForgettingStep, MemoryOp, StoreCounts
from tests.fakes.stores import execute, query, with_store
from tests.fakes.talk import ANN, ATTIC, BEN, KITCHEN, NOON, allowed_channel, said

HOME = GuildId(1)
EVE = Author(id=AuthorId(5), name="eve", display_name="Eve")
SOON = NOON + timedelta(minutes=5)
LATER = NOON + timedelta(hours=1)
TABLES_WITH_WORDS = ("messages", "edits", "reactions", "authors", "pending_replies")


def choice(scope="store", answer="no", *, author=ANN, guild=HOME, at=NOON, note=""):
    return Entry(
        author_id=author.id,
        scope=Scope(scope),
        choice=Choice(answer),
        at=at,
        source=Source.COMMAND,
        guild_id=guild,
        note=note,
    )


def edit(message, text, *, at=LATER, author=None):
    return Edit(
        message_id=message.id,
        channel_id=message.channel_id,
        content=text,
        edited_at=at,
        author_id=author.id if author else None,
    )


def scene(path, scenario):
    """Run `await scenario(store, ledger)` over a store with two allowed channels."""

    async def run(store):
        await store.put_channels([allowed_channel(KITCHEN), allowed_channel(ATTIC)])
        return await scenario(store, SqliteLedger(store.database))

    return with_store(path, run)


def contents(path):
    return [text for (text,) in query(path, "SELECT content FROM messages ORDER BY id")]


def test_entries_come_back_and_the_newest_holds(tmp_path):
    first, second = choice(at=NOON, note="said so"), choice(answer="yes", at=LATER)

    async def scenario(_, ledger):
        await ledger.record(first)
        before = await ledger.standing(ANN.id, HOME)
        await ledger.record(second)
        await ledger.record(choice("train", "yes", author=BEN, guild=EVERYWHERE))
        return (
            before,
            await ledger.standing(ANN.id, HOME),
            await ledger.entries(ANN.id),
            len(await ledger.entries()),
            await ledger.choices(HOME),
        )

    before, after, entries, total, choices = scene(tmp_path / "store.db", scenario)
    assert (before, after) == (Standing(store=False), Standing(store=True))
    assert list(entries) == [first, second]
    assert total == 3
    assert choices == {ANN.id: {Scope.STORE: Choice.YES}, BEN.id: {Scope.TRAIN: Choice.YES}}


def test_a_clock_that_was_set_back_does_not_undo_a_choice(tmp_path):
    async def scenario(_, ledger):
        await ledger.record(choice(answer="yes", at=LATER))
        await ledger.record(choice(answer="no", at=NOON))
        return await ledger.standing(ANN.id, HOME)

    path = tmp_path / "store.db"
    assert scene(path, scenario) == Standing(store=False)
    assert query(path, "SELECT choice FROM consent_now") == [("no",)]


def test_an_imported_ledger_does_not_undo_what_was_chosen_since_and_comes_in_once(tmp_path):
    old = [choice(answer="yes", at=NOON), choice("train", "yes", at=NOON)]

    async def scenario(_, ledger):
        await ledger.record(choice(answer="no", at=LATER))
        counts = await ledger.import_entries(old), await ledger.import_entries(old)
        return counts, await ledger.standing(ANN.id, HOME)

    path = tmp_path / "store.db"
    assert scene(path, scenario) == ((2, 0), Standing(store=False, train=False))
    assert ("store", "no") in query(path, "SELECT scope, choice FROM consent_now")


def test_who_opted_out_is_refused_in_the_same_batch_with_names_and_reactions(tmp_path):
    hers = said(1, "canary of ann")
    his = said(2, "hello ann", author=BEN, mentions=(ANN, EVE))
    away = said(3, "elsewhere", channel=ATTIC)

    async def scenario(store, ledger):
        await ledger.record(choice())
        counts = await store.put_messages([hers, his, away], [Reaction(message_id=hers.id, emoji="x", count=2)])
        return counts, await store.memory_changes(10)

    path = tmp_path / "store.db"
    counts, changes = scene(path, scenario)
    assert counts == StoreCounts(added=1, refused=2)
    assert contents(path) == ["hello ann"]
    assert query(path, "SELECT name FROM authors ORDER BY name") == [("ben",), ("eve",)]
    assert query(path, "SELECT * FROM reactions") == []
    assert [change.message_id for change in changes] == [his.id]


def test_opting_out_on_one_server_leaves_the_others_alone_and_unknown_servers_not(tmp_path):
    path = tmp_path / "store.db"

    async def scenario(store, ledger):
        await ledger.record(choice(guild=GuildId(77)))
        at_home = await store.put_messages([said(1, "at home")])
        execute(path, "UPDATE channels SET guild_id = 0 WHERE id = 200")
        unknown = await store.put_messages([said(2, "who knows where", channel=ATTIC)])
        execute(path, "UPDATE channels SET guild_id = 77 WHERE id = 100")
        there = await store.put_messages([said(3, "over there")])
        return at_home.added, unknown.refused, there.refused

    assert scene(path, scenario) == (1, 1, 1)


def test_history_pages_and_live_batches_are_held_to_it_too(tmp_path):
    async def scenario(store, ledger):
        await ledger.record(choice())
        progress = SqliteProgress(store.database)
        page = await progress.put_page(KITCHEN, [said(1, "page")], [], through=said(1, "").id, at=NOON)
        live = await progress.put_live([said(2, "live"), said(3, "mine", author=BEN)], {})
        return page, live

    path = tmp_path / "store.db"
    page, live = scene(path, scenario)
    assert page == StoreCounts(refused=1)
    assert live == StoreCounts(added=1, refused=1)
    assert contents(path) == ["mine"]


def test_what_was_stored_before_opting_out_stays_until_it_is_edited(tmp_path):
    stays, by_event, by_page = said(1, "stays"), said(2, "first words"), said(3, "other words")
    again = said(3, "canary in a page", edited_at=LATER)

    async def scenario(store, ledger):
        await store.put_messages([stays, by_event, by_page])
        await ledger.record(choice())
        same = await store.put_messages([stays])
        changed = await store.apply_edits([edit(by_event, "canary one"), edit(by_event, "canary two", at=LATER)])
        page = await store.put_messages([again])
        await store.confirm_memory(3)
        return same, changed, page, [(c.op, c.message_id) for c in await store.memory_changes(10)]

    path = tmp_path / "store.db"
    same, changed, page, changes = scene(path, scenario)
    assert same == page == StoreCounts(refused=1)
    assert changed == 1
    assert contents(path) == ["stays"]
    assert set(changes) == {(MemoryOp.REMOVE, by_event.id), (MemoryOp.REMOVE, by_page.id)}
    assert query(path, "SELECT * FROM tombstones") == [], "opting in again, history may bring it back"


def test_an_edit_without_its_message_does_not_wait_for_who_opted_out(tmp_path):
    hers, his, nobodys = said(1, "a"), said(2, "b", author=BEN), said(3, "c", author=EVE)

    async def scenario(store, ledger):
        await store.apply_edits([edit(nobodys, "waits while nobody objects")])
        assert query(path, "SELECT author_id FROM edits") == [(None,)]
        await store.apply_edits([edit(hers, "canary early", author=ANN), edit(his, "his", author=BEN)])
        await ledger.record(choice())
        left = query(path, "SELECT content FROM edits")
        late = [
            edit(said(4, ""), "canary late", author=ANN),
            edit(said(5, ""), "canary unknown"),
            edit(said(6, ""), "bens", author=BEN),
        ]
        await store.apply_edits(late)
        return left

    path = tmp_path / "store.db"
    assert scene(path, scenario) == [("his",)]
    assert query(path, "SELECT content FROM edits ORDER BY message_id") == [("his",), ("bens",)]


def test_an_early_edit_goes_with_its_refused_message(tmp_path):
    hers = said(1, "old words")

    async def scenario(store, ledger):
        await store.apply_edits([edit(hers, "canary", author=ANN)])
        execute(
            path, "INSERT INTO consent (author_id, scope, choice, at, source) VALUES (2, 'store', 'no', 0, 'owner')"
        )
        return await store.put_messages([hers])

    path = tmp_path / "store.db"
    assert scene(path, scenario) == StoreCounts(refused=1)
    assert query(path, "SELECT * FROM edits") == []


def journal_draft(path, message, text):
    execute(
        path,
        f"""INSERT INTO pending_replies (message_id, channel_id, decided_at, reason, detail, addressed, texts)
            VALUES ({message.id}, {message.channel_id}, 0, 'mentioned', '', 1, '{text and f'["{text}"]'}')""",  # noqa: S608 - a test's own text
    )


def test_a_person_is_forgotten_with_everything_that_hangs_on_them(tmp_path):
    path = tmp_path / "store.db"
    hers, second = said(1, "canary one"), said(2, "canary two", channel=ATTIC)
    his = said(3, "hi ann", author=BEN, mentions=(ANN,), reply_to=hers.id)
    undrafted = said(4, "and you?", author=BEN)

    async def scenario(store, ledger):
        await store.put_messages(
            [hers, second, his, undrafted], [Reaction(message_id=hers.id, emoji="canary", count=1)]
        )
        await store.apply_edits([edit(said(9, ""), "canary early", author=ANN)])
        journal_draft(path, hers, "what about that canary")
        journal_draft(path, his, "ann once had a canary")
        journal_draft(path, undrafted, "")
        counts = await ledger.counts_of(ANN.id)
        mine = [message.content async for message in ledger.messages_of(ANN.id)]
        forgotten = await ledger.forget_author(ANN.id, LATER)
        again = await ledger.forget_author(ANN.id, LATER)
        return counts, mine, forgotten, again, await ledger.steps_due(), await ledger.counts_of(ANN.id)

    counts, mine, forgotten, again, due, left = scene(path, scenario)
    assert counts == {f"channel-{KITCHEN}": 1, f"channel-{ATTIC}": 1}
    assert mine == ["canary one", "canary two"]
    assert (forgotten.messages, set(forgotten.message_ids)) == (2, {hers.id, second.id})
    assert (again.messages, again.message_ids) == (0, ())
    assert left == {}
    assert set(due) == set(ForgettingStep)
    for table in TABLES_WITH_WORDS:
        assert "canary" not in json.dumps(query(path, f"SELECT * FROM {table}"))  # noqa: S608 - fixed names
    assert query(path, "SELECT name FROM authors") == [("ben",)]
    assert query(path, "SELECT message_id FROM pending_replies") == [(undrafted.id,)]
    assert query(path, "SELECT DISTINCT reason FROM tombstones") == [("forgotten",)]


def test_nothing_brings_back_what_was_forgotten(tmp_path):
    """Neither a page of history nor an import, an edit, a mention, nor a message that was not known yet."""
    path = tmp_path / "store.db"
    known, unknown, waiting = said(1, "canary known"), said(2, "canary unknown"), said(3, "canary on its way")
    his = said(4, "hello", author=BEN, mentions=(ANN,))
    newer = said(1, "canary edited", edited_at=LATER + timedelta(days=1))
    after = said(5, "a new start", at=LATER + timedelta(minutes=1))

    async def scenario(store, ledger):
        await store.put_messages([known])
        await ledger.forget_author(ANN.id, LATER)
        progress = SqliteProgress(store.database)
        page = await progress.put_page(KITCHEN, [known, unknown, his], [], through=his.id, at=NOON)
        live = await progress.put_live([waiting], {})
        imported = await store.put_messages([newer, unknown])
        edited = await store.apply_edits([edit(known, "canary"), edit(unknown, "canary", author=ANN)])
        names = query(path, "SELECT name FROM authors")
        fresh = await store.put_messages([after])
        return page, live, imported, edited, names, fresh

    page, live, imported, edited, names, fresh = scene(path, scenario)
    assert page == StoreCounts(added=1, refused=2)
    assert live == StoreCounts(refused=1)
    assert imported == StoreCounts(refused=2)
    assert edited == 0
    assert names == [("ben",)]
    assert fresh == StoreCounts(added=1)
    assert contents(path) == ["hello", "a new start"]
    assert query(path, "SELECT * FROM edits") == []


def test_single_messages_are_forgotten_known_or_not(tmp_path):
    path = tmp_path / "store.db"
    known, unknown, deleted = said(1, "canary"), said(2, "canary too"), said(3, "gone already")

    async def scenario(store, ledger):
        await store.put_messages([known, deleted])
        await store.bury(
            [Tombstone(message_id=deleted.id, channel_id=KITCHEN, reason=TombstoneReason.DELETED, at=NOON)]
        )
        assert await ledger.steps_due() == {}
        forgotten = await ledger.forget_messages([known.id, unknown.id, deleted.id], LATER)
        refused = await store.put_messages([known, unknown, deleted])
        return forgotten, refused, [each async for each in ledger.forgotten_ids()]

    forgotten, refused, ids = scene(path, scenario)
    assert forgotten.messages == 1
    assert set(forgotten.message_ids) == set(ids) == {known.id, unknown.id, deleted.id}
    assert refused == StoreCounts(refused=3)
    assert contents(path) == []


def test_thousands_of_messages_are_listed_and_forgotten_in_order(tmp_path):
    many = [said(number, f"words {number}") for number in range(2500)]

    async def scenario(store, ledger):
        await store.put_messages(many)
        listed = [message.id async for message in ledger.messages_of(ANN.id)]
        forgotten = await ledger.forget_author(ANN.id, LATER)
        return listed, forgotten, [each async for each in ledger.forgotten_ids()]

    listed, forgotten, buried = scene(tmp_path / "store.db", scenario)
    assert listed == list(forgotten.message_ids) == buried == [message.id for message in many]


def test_a_step_that_became_due_again_meanwhile_stays_due(tmp_path):
    async def scenario(_, ledger):
        await ledger.forget_messages([MessageId(1)], NOON)
        due = (await ledger.steps_due())[ForgettingStep.RUNS]
        await ledger.forget_messages([MessageId(2)], NOON)
        await ledger.step_done(ForgettingStep.RUNS, due)
        between = ForgettingStep.RUNS in await ledger.steps_due()
        await ledger.step_done(ForgettingStep.RUNS, (await ledger.steps_due())[ForgettingStep.RUNS])
        return between, set(await ledger.steps_due())

    between, due = scene(tmp_path / "store.db", scenario)
    assert between
    assert due == set()


def test_where_nothing_was_kept_no_file_is_written_anew(tmp_path):
    """The runs are looked at always: who is in them does not depend on what is stored now."""
    everything = set(ForgettingStep)

    async def scenario(store, ledger):
        seen = {}

        async def due(name):
            steps = await ledger.steps_due()
            seen[name] = set(steps)
            for step, through in steps.items():
                await ledger.step_done(step, through)

        message, deleted = said(1, "one", author=ANN), said(2, "two", author=BEN)
        await store.put_messages([message, deleted])
        await store.bury(
            [Tombstone(message_id=deleted.id, channel_id=KITCHEN, reason=TombstoneReason.DELETED, at=NOON)]
        )
        await ledger.forget_author(AuthorId(999), LATER)
        await due("a stranger")
        await ledger.forget_messages([MessageId(77)], LATER)
        await due("an unknown message")
        await ledger.forget_messages([message.id], LATER)
        await due("a message")
        await ledger.forget_messages([message.id], LATER)
        await due("the same message")
        await ledger.forget_messages([deleted.id], LATER)
        await due("a deleted message, whose words files may still hold")
        await ledger.forget_author(BEN.id, LATER)
        await due("somebody whose messages are deleted")
        await ledger.forget_author(BEN.id, LATER)
        await due("the same person")
        await store.apply_edits([edit(said(3, ""), "waits", author=EVE)])
        await ledger.forget_author(EVE.id, LATER)
        await due("an edit that waits")
        return seen

    assert scene(tmp_path / "store.db", scenario) == {
        "a stranger": {ForgettingStep.RUNS},
        "an unknown message": {ForgettingStep.RUNS},
        "a message": everything,
        "the same message": {ForgettingStep.RUNS},
        "a deleted message, whose words files may still hold": everything,
        "somebody whose messages are deleted": everything,
        "the same person": {ForgettingStep.RUNS},
        "an edit that waits": everything,
    }


def test_everybody_of_a_name_is_found(tmp_path):
    twin = Author(id=AuthorId(9), name="other", display_name="ANN")

    async def scenario(store, ledger):
        await store.put_messages([said(1, "a"), said(2, "b", author=twin), said(3, "c", author=BEN)])
        return [person.id for person in await ledger.people_named("Ann")], await ledger.people_named("nobody")

    assert scene(tmp_path / "store.db", scenario) == ([ANN.id, twin.id], [])


def test_each_database_has_a_secret_of_its_own_that_lasts(tmp_path):
    async def scenario(_, ledger):
        return await ledger.lineage_key()

    first = scene(tmp_path / "one.db", scenario)
    assert scene(tmp_path / "one.db", scenario) == first
    assert scene(tmp_path / "two.db", scenario) != first


def test_scrubbing_removes_what_secure_deletion_leaves_behind(tmp_path):
    """SQLite overwrites deleted rows, but not every copy it left when it moved rows from page to page."""

    def remnants(path):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes().count(b"zanzibarcanary")

    def story(seed):
        path = tmp_path / f"{seed}.db"

        async def scenario(store, ledger):
            rng = random.Random(seed)
            hers = [said(number, f"zanzibarcanary {number:06d}", author=EVE) for number in range(0, 2000, 10)]
            others = [said(number, "w" * rng.randrange(200)) for number in range(2000) if number % 10]
            everything = rng.sample([*hers, *others], 2000)
            for start in range(0, 2000, 50):
                await store.put_messages(everything[start : start + 50])
            await ledger.forget_author(EVE.id, LATER)
            left = remnants(path)
            await ledger.scrub()
            return left, remnants(path)

        return scene(path, scenario)

    stories = [story(seed) for seed in range(10)]
    assert [after for _, after in stories] == [0] * 10
    if not any(before for before, _ in stories):
        pytest.skip("this SQLite leaves nothing behind in ten tries: scrubbing cannot be shown to matter")


def test_scrubbing_waits_for_nobody_who_reads_for_too_long_but_says_so(tmp_path):
    path = tmp_path / "store.db"

    async def scenario(store, ledger):
        await store.put_messages([said(1, "one")])
        reader = sqlite3.connect(path)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages").fetchone()
        await store.put_messages([said(2, "two")])
        with pytest.raises(StoreError, match="reading an old state"):
            await ledger.scrub()
        reader.close()
        await ledger.scrub()
        return await store.count()

    assert scene(path, scenario) == 2


def test_the_people_of_a_channel_are_not_read_twice_by_a_concurrent_opt_out(tmp_path):
    """Whatever the order in which the two writes run, nothing of hers is stored after her choice is recorded."""

    async def run():
        store = SqliteStore(tmp_path / "store.db")
        await store.open()
        await store.put_channels([allowed_channel(KITCHEN)])
        ledger = SqliteLedger(store.database)
        writes = [store.put_messages([said(number, "words")]) for number in range(20)]
        await asyncio.gather(*writes[:10], ledger.record(choice()), *writes[10:])
        before = await store.count()
        await store.put_messages([said(50, "more words")])
        after = await store.count()
        await store.close()
        return before, after

    before, after = asyncio.run(run())
    assert before == after == 10
