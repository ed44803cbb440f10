"""Watermarks move with the messages below them, and only then; reactions are counted and set."""

import asyncio
from datetime import timedelta

import pytest

from persona.adapters.sqlite.progress import SqliteProgress
from persona.domain.chat import Attachment, ChannelId, MessageId, Reaction, Tombstone, TombstoneReason
from persona.errors import AccessError, StoreError
from persona.ports import StoreCounts
from tests.fakes.stores import execute, open_store, query, with_store
from tests.fakes.talk import ATTIC, BEN, KITCHEN, NOON, allowed_channel, said

FIRST, SECOND, THIRD = (said(number, f"line {number}") for number in (1, 2, 3))


def with_progress(tmp_path, scenario):
    async def run(store):
        await store.put_channels([allowed_channel(KITCHEN), allowed_channel(ATTIC)])
        return await scenario(store, SqliteProgress(store.database))

    return with_store(tmp_path / "persona.db", run)


def put(progress, *messages, reactions=(), through=None, channel=KITCHEN, at=NOON):
    through = messages[-1].id if through is None else through
    return progress.put_page(channel, messages, reactions, through=through, at=at)


def test_a_page_shows_all_that_a_message_has_and_an_export_need_not(tmp_path):
    """A version that lost its file without being told so, as one stored by an edit of the text alone."""
    file = Attachment(kind="file", name="plan.pdf")
    stale = said(1, "never mind", edited_at=NOON, attachments=(file,), mentions=(BEN,), pinned=True)
    now = said(1, "never mind", edited_at=NOON)

    async def scenario(store, progress):
        await store.put_messages([stale])
        seen = []
        for bring in (store.put_messages([now]), put(progress, now), put(progress, now)):
            counts = await bring
            held = (await store.messages_by_id([stale.id]))[stale.id]
            seen.append((counts.updated, held.attachments, held.mentions, held.pinned))
        assert seen == [(0, (file,), (BEN,), True), (1, (), (), False), (0, (), (), False)]

    with_progress(tmp_path, scenario)


def test_a_page_moves_the_watermark_up_and_never_down(tmp_path):
    async def scenario(store, progress):
        assert await progress.watermarks() == {}
        assert await put(progress, FIRST, SECOND) == StoreCounts(added=2)
        assert await progress.watermarks() == {KITCHEN: SECOND.id}
        await put(progress, FIRST, at=NOON + timedelta(hours=1))
        assert await progress.watermarks() == {KITCHEN: SECOND.id}
        kitchen, attic = await progress.progress()
        assert (kitchen.channel_id, kitchen.watermark, kitchen.messages) == (KITCHEN, SECOND.id, 2)
        assert kitchen.fetched_at == NOON + timedelta(hours=1)
        assert (attic.watermark, attic.messages, attic.fetched_at) == (None, 0, None)
        assert await progress.progress([ATTIC]) == [attic]

    with_progress(tmp_path, scenario)


def test_an_empty_channel_is_known_to_be_empty(tmp_path):
    async def scenario(store, progress):
        await progress.put_page(KITCHEN, (), (), through=MessageId(0), at=NOON)
        assert await progress.watermarks() == {KITCHEN: 0}

    with_progress(tmp_path, scenario)


def test_a_page_is_stored_with_its_watermark_or_not_at_all(tmp_path):
    async def scenario(store, progress):
        execute(
            tmp_path / "persona.db",
            "CREATE TRIGGER no BEFORE UPDATE OF watermark ON channels BEGIN SELECT RAISE(ABORT, 'not now'); END",
        )
        with pytest.raises(StoreError):
            await put(progress, FIRST)
        assert await store.count() == 0
        execute(tmp_path / "persona.db", "DROP TRIGGER no")
        await put(progress, FIRST)
        assert await store.count() == 1

    with_progress(tmp_path, scenario)


def test_a_page_of_a_channel_that_left_the_allow_list_is_not_stored(tmp_path):
    async def scenario(store, progress):
        await store.set_allowed([KITCHEN], allowed=False)
        with pytest.raises(AccessError, match="not on the list"):
            await put(progress, FIRST)
        with pytest.raises(AccessError):
            await put(progress, said(1, "x", channel=ChannelId(999)), channel=ChannelId(999))
        assert await store.count() == 0
        assert await progress.watermarks() == {}

    with_progress(tmp_path, scenario)


def test_live_messages_move_only_the_watermarks_that_may_move(tmp_path):
    async def scenario(store, progress):
        upstairs = said(4, "upstairs", channel=ATTIC)
        counts = await progress.put_live([SECOND, FIRST, upstairs], {KITCHEN: SECOND.id})
        assert counts == StoreCounts(added=3)
        assert await progress.watermarks() == {KITCHEN: SECOND.id}
        await progress.put_live([THIRD], {KITCHEN: FIRST.id})
        assert await progress.watermarks() == {KITCHEN: SECOND.id}

    with_progress(tmp_path, scenario)


def test_live_messages_of_a_channel_that_left_the_allow_list_are_refused(tmp_path):
    async def scenario(store, progress):
        await store.set_allowed([ATTIC], allowed=False)
        upstairs = said(4, "upstairs", channel=ATTIC)
        counts = await progress.put_live([FIRST, upstairs], {KITCHEN: FIRST.id, ATTIC: upstairs.id})
        assert counts == StoreCounts(added=1, refused=1)
        assert await progress.watermarks() == {KITCHEN: FIRST.id}

    with_progress(tmp_path, scenario)


def test_buried_messages_are_refused_by_pages_and_live(tmp_path):
    async def scenario(store, progress):
        await store.bury(
            [Tombstone(message_id=FIRST.id, channel_id=KITCHEN, reason=TombstoneReason.FORGOTTEN, at=NOON)]
        )
        assert await put(progress, FIRST, SECOND) == StoreCounts(added=1, refused=1)
        assert await progress.put_live([FIRST], {}) == StoreCounts(refused=1)
        assert await progress.watermarks() == {KITCHEN: SECOND.id}

    with_progress(tmp_path, scenario)


def test_stored_ids_lie_above_and_up_to(tmp_path):
    async def scenario(store, progress):
        await put(progress, FIRST, SECOND, THIRD)
        assert await progress.stored_ids(KITCHEN, after=FIRST.id, through=THIRD.id) == {SECOND.id, THIRD.id}
        assert await progress.stored_ids(KITCHEN, after=MessageId(0), through=FIRST.id) == {FIRST.id}
        assert await progress.stored_ids(ATTIC, after=MessageId(0), through=THIRD.id) == frozenset()

    with_progress(tmp_path, scenario)


def counts_of(tmp_path):
    return query(tmp_path / "persona.db", "SELECT message_id, emoji, count FROM reactions ORDER BY message_id, emoji")


def test_reactions_are_counted_one_by_one(tmp_path):
    async def scenario(store, progress):
        await put(progress, FIRST)
        for emoji, change in (("👍", 1), ("👍", 1), (":wave:", 1), ("👍", -1), (":wave:", -1), (":wave:", -1)):
            await progress.react(FIRST.id, emoji, change)
        await progress.react(SECOND.id, "👍", 1)  # not stored
        await progress.react(SECOND.id, "👍", -1)
        assert counts_of(tmp_path) == [(FIRST.id, "👍", 1)]

    with_progress(tmp_path, scenario)


def test_a_page_says_the_whole_truth_about_reactions(tmp_path):
    async def scenario(store, progress):
        await put(progress, FIRST, SECOND)
        for message in (FIRST, SECOND):
            await progress.react(message.id, "👍", 1)
            await progress.react(message.id, "🎉", 1)
        await put(progress, FIRST, reactions=[Reaction(message_id=FIRST.id, emoji="👍", count=5)])
        assert counts_of(tmp_path) == [(FIRST.id, "👍", 5), (SECOND.id, "🎉", 1), (SECOND.id, "👍", 1)]

    with_progress(tmp_path, scenario)


def test_reactions_are_cleared_by_emoji_or_all(tmp_path):
    async def scenario(store, progress):
        await put(progress, FIRST)
        for emoji in ("👍", "🎉", "🦆"):
            await progress.react(FIRST.id, emoji, 1)
        await progress.clear_reactions(FIRST.id, "🎉")
        assert [emoji for _, emoji, _ in counts_of(tmp_path)] == ["👍", "🦆"]
        await progress.clear_reactions(FIRST.id, None)
        assert counts_of(tmp_path) == []

    with_progress(tmp_path, scenario)


def test_reset_forgets_how_far_a_channel_is_and_nothing_else(tmp_path):
    async def scenario(store, progress):
        await put(progress, FIRST)
        await put(progress, said(4, "upstairs", channel=ATTIC), channel=ATTIC)
        await progress.reset([KITCHEN])
        assert list(await progress.watermarks()) == [ATTIC]
        assert await store.count() == 2
        assert (await progress.progress([KITCHEN]))[0].fetched_at is None

    with_progress(tmp_path, scenario)


def test_it_survives_closing(tmp_path):
    async def run():
        async with open_store(tmp_path / "persona.db") as store:
            await store.put_channels([allowed_channel(KITCHEN)])
            await put(SqliteProgress(store.database), FIRST)
        async with open_store(tmp_path / "persona.db") as store:
            assert await SqliteProgress(store.database).watermarks() == {KITCHEN: FIRST.id}

    asyncio.run(run())
