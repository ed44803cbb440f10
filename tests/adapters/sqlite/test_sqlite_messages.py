"""What the store keeps, merges, refuses and gives back."""

import asyncio
from dataclasses import replace
from datetime import UTC, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona.adapters.sqlite.rows import Row, from_micros, merged, to_micros
from persona.domain.chat import (
    Attachment,
    Author,
    AuthorId,
    Channel,
    ChannelId,
    ChannelKind,
    Edit,
    GuildId,
    MessageId,
    MessageKind,
    Reaction,
    Tombstone,
    TombstoneReason,
)
from persona.ports import StoreCounts
from tests.fakes.stores import query, with_store
from tests.fakes.talk import ANN, ATTIC, BEN, KITCHEN, NOON, allowed_channel, chatter, said

MINUTE = timedelta(minutes=1)


def edit(message, content, *, minutes):
    return Edit(
        message_id=message.id, channel_id=message.channel_id, content=content, edited_at=NOON + minutes * MINUTE
    )


def tombstone(message, reason=TombstoneReason.DELETED):
    return Tombstone(message_id=message.id, channel_id=message.channel_id, reason=reason, at=NOON)


async def text_of(store, message):
    found = await store.messages_by_id([message.id])
    return found[message.id].content if message.id in found else None


def test_a_message_comes_back_as_it_went_in(tmp_path):
    full = said(
        1,
        "so — 👋🏽 \u202e tabs\tand\nlines 'quoted' \"twice\" \\n",
        kind=MessageKind.REPLY,
        edited_at=NOON + timedelta(microseconds=123_457),
        reply_to=MessageId(77),
        mentions=(BEN, ANN),
        attachments=(
            Attachment(kind="image", name="küche.png", size_bytes=12, description="a kitchen"),
            Attachment(kind="sticker", name="wave"),
        ),
        pinned=True,
    )
    plain = said(2, "", author=BEN, kind=MessageKind.SYSTEM)

    async def scenario(store):
        counts = await store.put_messages([full, plain])
        return counts, await store.messages_by_id([full.id, plain.id, MessageId(9)]), await store.count()

    counts, found, count = with_store(tmp_path / "a.db", scenario)
    assert counts == StoreCounts(added=2)
    assert found == {full.id: full, plain.id: plain}
    assert count == 2


def test_text_that_sqlite_cannot_hold_does_not_cost_the_batch(tmp_path):
    broken, sound = said(1, "half a \ud83d pair"), said(2, "fine")

    async def scenario(store):
        await store.put_messages([broken, sound])
        return await text_of(store, broken), await text_of(store, sound)

    assert with_store(tmp_path / "a.db", scenario) == ("half a \ufffd pair", "fine")


@given(st.datetimes(timezones=st.timezones()))
def test_times_survive_to_the_microsecond(moment):
    # Compared in one zone: two zones never agree on a moment that a clock change makes ambiguous.
    assert from_micros(to_micros(moment)) == moment.astimezone(UTC)


def test_the_same_batch_twice_changes_nothing(tmp_path):
    messages = chatter(2500)

    async def scenario(store):
        first = await store.put_messages(messages, [Reaction(message_id=messages[0].id, emoji="👍", count=2)])
        second = await store.put_messages(messages, [Reaction(message_id=messages[0].id, emoji="👍", count=2)])
        return first, second, await store.count()

    assert with_store(tmp_path / "a.db", scenario) == (StoreCounts(added=2500), StoreCounts(unchanged=2500), 2500)


def test_a_message_twice_in_one_batch_is_added_once_with_its_newest_text(tmp_path):
    old = said(1, "tpyo")
    new = replace(old, content="typo", edited_at=NOON + MINUTE)

    async def scenario(store):
        return await store.put_messages([old, new, old]), await text_of(store, old)

    assert with_store(tmp_path / "a.db", scenario) == (StoreCounts(added=1, unchanged=2), "typo")


def test_newer_edits_win_in_any_order(tmp_path):
    message = said(1, "first")
    edits = [edit(message, "second", minutes=1), edit(message, "third", minutes=2)]

    async def scenario(store):
        await store.put_messages([message])
        backwards = [await store.apply_edits([one]) for one in reversed(edits)]
        stale = await store.put_messages([replace(message, content="second", edited_at=NOON + MINUTE)])
        return backwards, stale, await text_of(store, message)

    assert with_store(tmp_path / "a.db", scenario) == ([1, 0], StoreCounts(unchanged=1), "third")


FILE, EMBED = Attachment(kind="file", name="plan.pdf"), Attachment(kind="embed", name="a site", description="words")
DAN = Author(id=AuthorId(44), name="dan", display_name="Dan")


def test_an_edit_takes_away_attachments_and_mentions_and_brings_new_ones(tmp_path):
    message = said(1, "@Ben see the plan", mentions=(BEN,), attachments=(FILE,))
    bare = replace(edit(message, "never mind", minutes=1), mentions=(), attachments=())
    textual = edit(message, "@Dan never mind", minutes=2)
    full = replace(edit(message, "@Dan look", minutes=3), mentions=(DAN,), attachments=())
    preview = replace(full, attachments=(EMBED,))

    async def scenario(store):
        await store.put_messages([message])
        seen = []
        for one in (bare, textual, full, preview, full):
            changed = await store.apply_edits([one])
            now = (await store.messages_by_id([message.id]))[message.id]
            seen.append((changed, now.content, now.mentions, now.attachments))
        return seen

    assert with_store(tmp_path / "a.db", scenario) == [
        (1, "never mind", (), ()),
        (1, "@Dan never mind", (), ()),
        (1, "@Dan look", (DAN,), ()),
        (1, "@Dan look", (DAN,), (EMBED,)),  # what a link leads to becomes known later, for the same version
        (0, "@Dan look", (DAN,), (EMBED,)),
    ]


@pytest.mark.parametrize("says", [True, False])
def test_an_edit_before_its_message_says_what_it_has_left(tmp_path, says):
    message = said(1, "see the plan", mentions=(BEN,), attachments=(FILE,))
    early = edit(message, "gone", minutes=1)
    if says:
        early = replace(early, mentions=(), attachments=())

    async def scenario(store):
        await store.put_channels([allowed_channel(KITCHEN)])
        await store.apply_edits([early])
        await store.put_messages([message])
        return (await store.messages_by_id([message.id]))[message.id]

    now = with_store(tmp_path / "a.db", scenario)
    assert (now.content, now.mentions, now.attachments) == ("gone", *(((), ()) if says else ((BEN,), (FILE,))))


def test_an_edit_before_its_message_waits_for_it_in_an_allowed_channel_only(tmp_path):
    path = tmp_path / "a.db"
    here, there = said(1, "old"), said(2, "old", channel=ATTIC)

    async def scenario(store):
        await store.put_channels([allowed_channel(KITCHEN)])
        applied = await store.apply_edits([edit(here, "new", minutes=1), edit(there, "new", minutes=1)])
        waiting = [row[0] for row in query(path, "SELECT message_id FROM edits")]
        await store.put_messages([here, there])
        return applied, waiting, await text_of(store, here), await text_of(store, there)

    assert with_store(path, scenario) == (0, [here.id], "new", "old")
    assert query(path, "SELECT * FROM edits") == []


def test_edits_that_wait_in_vain_are_forgotten_after_a_week(tmp_path):
    path = tmp_path / "a.db"
    lost, later = said(1, "old"), said(2, "old")

    async def scenario(store):
        await store.put_channels([allowed_channel(KITCHEN)])
        await store.apply_edits([edit(lost, "new", minutes=1)])
        await store.apply_edits([edit(later, "new", minutes=60 * 24 * 8)])

    with_store(path, scenario)
    assert query(path, "SELECT message_id FROM edits") == [(later.id,)]


def test_what_is_buried_never_comes_back(tmp_path):
    path = tmp_path / "a.db"
    message, other = said(1, "secret words"), said(2, "stays")

    async def scenario(store):
        await store.put_channels([allowed_channel(KITCHEN)])
        await store.put_messages([message, other], [Reaction(message_id=message.id, emoji="👍", count=1)])
        buried = await store.bury([tombstone(message), tombstone(said(3, "never stored"))])
        page = await store.put_messages([message, other], [Reaction(message_id=message.id, emoji="👍", count=1)])
        edited = await store.apply_edits([edit(message, "secret again", minutes=5)])
        again = await store.bury([tombstone(message, TombstoneReason.FORGOTTEN)])
        await store.bury([tombstone(message, TombstoneReason.DELETED)])
        return buried, page, edited, again, await text_of(store, message), await store.reactions_to([message.id])

    assert with_store(path, scenario) == (1, StoreCounts(unchanged=1, refused=1), 0, 0, None, {})
    assert query(path, "SELECT reason FROM tombstones WHERE message_id = ?", message.id) == [("forgotten",)]
    assert query(path, "SELECT * FROM edits") == []


def test_buried_words_are_gone_from_the_file(tmp_path):
    path = tmp_path / "a.db"
    message = said(1, "xyzzy-plugh " * 40)

    async def scenario(store):
        await store.put_messages([message])
        await store.bury([tombstone(message)])

    with_store(path, scenario)
    assert b"xyzzy-plugh" not in path.read_bytes()


def test_a_tombstone_before_its_message_holds(tmp_path):
    message = said(1, "stale page")

    async def scenario(store):
        return await store.bury([tombstone(message)]), await store.put_messages([message])

    assert with_store(tmp_path / "a.db", scenario) == (0, StoreCounts(refused=1))


def test_reactions_are_set_changed_and_removed(tmp_path):
    message, stranger = said(1, "hi"), said(2, "unknown")

    def reaction(emoji, count, to=message):
        return Reaction(message_id=to.id, emoji=emoji, count=count)

    async def scenario(store):
        await store.put_messages([message], [reaction("👍", 2), reaction(":kek:", 1)])
        await store.put_reactions([reaction("👍", 5), reaction(":kek:", 0), reaction("🎉", 1, stranger)])
        return await store.reactions_to([message.id, stranger.id])

    assert with_store(tmp_path / "a.db", scenario) == {message.id: [reaction("👍", 5)]}


def test_a_poorer_copy_fills_nothing_away_and_a_richer_one_fills_in(tmp_path):
    rich = said(
        1,
        "hi @Ben",
        kind=MessageKind.REPLY,
        reply_to=MessageId(5),
        mentions=(BEN,),
        attachments=(Attachment(kind="file", name="a.txt"),),
    )
    poor = said(1, "hi @Ben", author=replace(ANN, display_name="ann"))

    async def scenario(store):
        await store.put_messages([poor])
        counts = await store.put_messages([rich]), await store.put_messages([poor]), await store.put_messages([rich])
        return counts, (await store.messages_by_id([rich.id]))[rich.id]

    counts, found = with_store(tmp_path / "a.db", scenario)
    assert counts == (StoreCounts(updated=1), StoreCounts(unchanged=1), StoreCounts(unchanged=1))
    assert found == rich


def test_a_text_edited_away_is_not_filled_in_by_a_stale_page(tmp_path):
    message = said(1, "with words", attachments=(Attachment(kind="file", name="a.txt"),))

    async def scenario(store):
        await store.put_messages([message])
        await store.apply_edits([edit(message, "", minutes=1)])
        return await store.put_messages([message]), await text_of(store, message)

    assert with_store(tmp_path / "a.db", scenario) == (StoreCounts(unchanged=1), "")


def test_people_go_by_their_newest_names(tmp_path):
    def ann(name):
        return Author(id=ANN.id, name="ann", display_name=name)

    early, late = said(1, "x", author=ann("Annie")), said(9, "y", author=ann("Queen Ann"))

    async def scenario(store):
        await store.put_messages([late])
        await store.put_messages([early])
        await store.put_messages([said(5, "z", author=BEN, mentions=(ann("Anna"),))])
        return (await store.messages_by_id([early.id]))[early.id].author

    assert with_store(tmp_path / "a.db", scenario) == ann("Queen Ann")


row_texts = st.sampled_from(["", "a", "b"])
rows = st.builds(
    Row,
    st.just(1),
    st.just(2),
    st.just(3),
    st.sampled_from(["default", "reply", "system"]),
    row_texts,
    st.just(0),
    st.sampled_from([None, 5, 9]),
    st.sampled_from([None, 4]),
    row_texts,
    row_texts,
    st.integers(0, 1),
)


@given(rows, rows)
def test_merging_settles_and_never_goes_back_to_an_older_version(stored, new):
    result = merged(stored, new) or stored
    assert merged(result, new) is None
    assert (result.edited_at or 0) == max(stored.edited_at or 0, new.edited_at or 0)
    if (new.edited_at or 0) < (stored.edited_at or 0):
        assert result.content == stored.content


def test_tail_and_before_walk_a_channel_backwards(tmp_path):
    messages = chatter(120)
    here = [message for message in messages if message.channel_id == KITCHEN]

    async def scenario(store):
        await store.put_messages(messages)
        newest = await store.tail(KITCHEN, 10)
        older = await store.tail(KITCHEN, 10, before=newest[0].id)
        return newest, older, await store.tail(KITCHEN, 1000), await store.tail(ChannelId(999), 5)

    newest, older, everything, nothing = with_store(tmp_path / "a.db", scenario)
    assert list(newest) == here[-10:]
    assert list(older) == here[-20:-10]
    assert list(everything) == here
    assert list(nothing) == []


def test_tail_reads_the_index_and_sorts_nothing(tmp_path):
    path = tmp_path / "a.db"
    with_store(path, lambda store: store.put_messages(chatter(10)))
    from persona.adapters.sqlite.reading import TAIL

    plan = " ".join(row[3] for row in query(path, "EXPLAIN QUERY PLAN " + TAIL, KITCHEN, 1 << 62, 20))
    assert "USING INDEX messages_by_channel (channel_id=? AND id<?)" in plan
    assert "B-TREE" not in plan


def test_a_sample_takes_even_runs_of_neighbours(tmp_path):
    messages = [*chatter(5000, channels=(KITCHEN,)), said(7, "other channel", channel=ATTIC)]
    places = {message.id: place for place, message in enumerate(messages)}

    async def scenario(store):
        await store.put_messages(messages)
        return await store.sample(100, channel_ids=[KITCHEN]), await store.sample(9000, channel_ids=[KITCHEN])

    picked, everything = with_store(tmp_path / "a.db", scenario)
    found = [places[message.id] for message in picked]
    assert found == [start + step for start in range(0, 5000, 1000) for step in range(20)]
    assert len(everything) == 5000


@settings(max_examples=30)
@given(total=st.integers(0, 90), limit=st.integers(0, 100))
def test_a_sample_is_never_larger_than_asked_nor_empty_without_need(total, limit, tmp_path_factory):
    path = tmp_path_factory.mktemp("sample") / "a.db"

    async def scenario(store):
        await store.put_messages(chatter(total, channels=(KITCHEN,), words_each=1))
        return await store.sample(limit, channel_ids=[KITCHEN])

    picked = with_store(path, scenario)
    ids = [message.id for message in picked]
    assert ids == sorted(set(ids))
    assert len(ids) <= limit
    assert len(ids) >= min(total, limit) / 2


def test_channels_come_by_name_and_keep_their_place_on_the_list(tmp_path):
    thread = Channel(
        id=ChannelId(3), guild_id=GuildId(1), guild_name="Home", name="b", kind=ChannelKind.THREAD, parent_id=KITCHEN
    )

    async def scenario(store):
        await store.put_channels([thread, Channel(id=ChannelId(4), guild_id=GuildId(0), name="a", allowed=True)])
        await store.set_allowed([thread.id], allowed=True)
        await store.set_allowed([ChannelId(4)], allowed=False)
        await store.put_channels([thread, Channel(id=ChannelId(4), guild_id=GuildId(0), name="a", allowed=True)])
        return await store.channels(), await store.channels(allowed_only=True)

    every, allowed = with_store(tmp_path / "a.db", scenario)
    assert [(channel.name, channel.allowed) for channel in every] == [("a", False), ("b", True)]
    assert list(allowed) == [replace(thread, allowed=True)]


def test_an_import_without_a_guild_does_not_rename_a_known_channel(tmp_path):
    known = Channel(id=KITCHEN, guild_id=GuildId(1), guild_name="Home", name="kitchen", topic="food")

    async def scenario(store):
        await store.put_channels([known])
        await store.put_channels([Channel(id=KITCHEN, guild_id=GuildId(0), name="irc.kitchen")])
        return await store.channels()

    assert list(with_store(tmp_path / "a.db", scenario)) == [known]


def test_allowing_a_channel_nobody_knows_yet_is_kept(tmp_path):
    async def scenario(store):
        await store.set_allowed([KITCHEN], allowed=True)
        await store.put_channels([Channel(id=KITCHEN, guild_id=GuildId(1), name="kitchen")])
        return await store.channels(allowed_only=True)

    (channel,) = with_store(tmp_path / "a.db", scenario)
    assert (channel.name, channel.allowed) == ("kitchen", True)


def test_reads_go_on_while_a_write_runs(tmp_path):
    messages = chatter(30_000, words_each=1)

    async def scenario(store):
        await store.put_messages(messages[:10])
        writing = asyncio.create_task(store.put_messages(messages[10:]))
        await asyncio.sleep(0)
        seen = await store.count()
        busy = not writing.done()
        await writing
        return seen, busy, await store.count()

    assert with_store(tmp_path / "a.db", scenario) == (10, True, 30_000)


def test_ids_are_typed_as_they_were(tmp_path):
    biggest = MessageId((1 << 63) - 1)
    message = replace(said(1, "x", author=replace(ANN, id=AuthorId((1 << 63) - 1))), id=biggest)

    async def scenario(store):
        await store.put_messages([message])
        return await store.messages_by_id([biggest])

    assert with_store(tmp_path / "a.db", scenario) == {biggest: message}
