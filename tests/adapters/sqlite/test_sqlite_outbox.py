"""The outbox: what the memory is told, and when."""

from dataclasses import replace
from datetime import timedelta

from persona.domain.chat import Edit, MessageKind, Tombstone, TombstoneReason
from persona.ports import MemoryOp
from tests.fakes.stores import with_store
from tests.fakes.talk import ANN, ATTIC, KITCHEN, NOON, allowed_channel, chatter, said

LATER = NOON + timedelta(minutes=1)


async def told(store):
    return [(change.op.value, change.message_id) for change in await store.memory_changes(1000)]


def test_only_talk_with_text_in_allowed_channels_is_queued(tmp_path):
    wanted = said(1, "yes")
    others = [
        said(2, "   \n"),
        said(3, "Joined the server.", kind=MessageKind.SYSTEM),
        said(4, "/roll", kind=MessageKind.COMMAND),
        said(5, "elsewhere", channel=ATTIC),
    ]

    async def scenario(store):
        await store.put_channels([allowed_channel(KITCHEN)])
        await store.put_messages([wanted, *others])
        (change,) = await store.memory_changes(10)
        return change.message, change.op, await store.memory_changes_pending()

    assert with_store(tmp_path / "a.db", scenario) == (wanted, MemoryOp.PUT, 1)


def test_edits_and_removals_follow_in_order_and_unchanged_messages_are_quiet(tmp_path):
    first, second = said(1, "one"), said(2, "two")

    async def scenario(store):
        await store.put_channels([allowed_channel(KITCHEN)])
        await store.put_messages([first, second])
        await store.confirm_memory((await store.memory_changes(10))[-1].sequence)
        await store.put_messages([first, second])
        quiet = await told(store)
        await store.apply_edits([Edit(message_id=first.id, channel_id=KITCHEN, content="uno", edited_at=LATER)])
        await store.put_messages([replace(second, content="", edited_at=LATER)])
        await store.bury([Tombstone(message_id=first.id, channel_id=KITCHEN, reason=TombstoneReason.DELETED, at=LATER)])
        return quiet, await told(store)

    quiet, changes = with_store(tmp_path / "a.db", scenario)
    assert quiet == []
    assert changes == [("remove", second.id), ("remove", first.id)]


def test_confirming_forgets_a_part_and_numbers_are_never_used_again(tmp_path):
    path = tmp_path / "a.db"
    messages = chatter(10, channels=(KITCHEN,))

    async def first(store):
        await store.put_channels([allowed_channel(KITCHEN)])
        await store.put_messages(messages[:6])
        changes = await store.memory_changes(4)
        await store.confirm_memory(changes[-1].sequence)
        rest = await store.memory_changes(100)
        await store.confirm_memory(rest[-1].sequence)
        return [change.message for change in changes], len(rest), rest[-1].sequence

    async def second(store):
        await store.put_messages(messages[6:])
        return [change.sequence for change in await store.memory_changes(100)]

    taken, left, last = with_store(path, first)
    assert taken == messages[:4]
    assert left == 2
    assert min(with_store(path, second)) > last


def test_the_allow_list_moves_a_channel_into_the_memory_and_out_of_it(tmp_path):
    messages = [said(1, "here", channel=ATTIC), said(2, "", channel=ATTIC), said(3, "there", channel=ATTIC)]
    ids = [messages[0].id, messages[2].id]

    async def scenario(store):
        await store.put_messages(messages)
        before = await told(store)
        await store.set_allowed([ATTIC], allowed=True)
        await store.set_allowed([ATTIC], allowed=True)
        on = await told(store)
        await store.set_allowed([ATTIC], allowed=False)
        return before, on, await told(store)

    before, on, off = with_store(tmp_path / "a.db", scenario)
    assert before == []
    assert on == [("put", key) for key in ids]
    assert off == [("remove", key) for key in ids]


def test_a_new_allowed_channel_brings_messages_that_were_there_first(tmp_path):
    message = said(1, "early", channel=ATTIC)

    async def scenario(store):
        await store.put_messages([message])
        await store.put_channels([allowed_channel(ATTIC)])
        return await told(store)

    assert with_store(tmp_path / "a.db", scenario) == [("put", message.id)]


def test_a_rebuild_queues_everything_once_and_keeps_removals(tmp_path):
    messages = chatter(1200)
    here = [message for message in messages if message.channel_id == KITCHEN]
    gone = said(9, "gone", author=ANN)

    async def scenario(store):
        await store.put_channels([allowed_channel(KITCHEN)])
        await store.put_messages([*messages, gone])
        await store.bury([Tombstone(message_id=gone.id, channel_id=KITCHEN, reason=TombstoneReason.FORGOTTEN, at=NOON)])
        number = await store.requeue_memory()
        return number, await told(store)

    number, changes = with_store(tmp_path / "a.db", scenario)
    assert number == len(here)
    assert changes == [("remove", gone.id), *(("put", message.id) for message in here)]
