"""Replies on their way, in the store's file."""

import asyncio
from datetime import UTC, datetime

from persona.adapters.sqlite import SqliteStore
from persona.domain.chat import ChannelId, MessageId, Tombstone, TombstoneReason
from persona.domain.speaking import Decision, Reason
from persona.ports import PendingReply, ReplyRecord

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def reply(number, **changes):
    decision = Decision(speak=True, reason=Reason.MENTIONED, detail="Ann mentioned it")
    wanted = {"message_id": MessageId(number), "channel_id": ChannelId(5), "decided_at": NOW, "decision": decision}
    return PendingReply(**{**wanted, **changes})


def record(number):
    return ReplyRecord(
        message_id=MessageId(number), channel_id=ChannelId(5), decided_at=NOW, spoke=True, reason="x", outcome="sent"
    )


def with_store(tmp_path, scenario):
    async def main():
        store = SqliteStore(tmp_path / "persona.db")
        await store.open()
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(main())


def test_a_reply_is_there_from_the_decision_to_the_end(tmp_path):
    async def first_life(store):
        journal = store.journal
        assert not await journal.seen(MessageId(1))
        assert await journal.begin(reply(1, addressed=True))
        assert await journal.seen(MessageId(1))
        assert not await journal.begin(reply(1))
        await journal.drafted(MessageId(1), ["a\ud800", "b\n\U0001f600"])
        await journal.part_sent(MessageId(1), 0, MessageId(100))

    async def second_life(store):
        (held,) = await store.journal.pending()
        assert held == reply(1, addressed=True, texts=("a\ufffd", "b\n\U0001f600"), sent=1)
        await store.put_replies([record(1)])
        await store.journal.finish(MessageId(1))
        assert await store.journal.pending() == []
        assert await store.journal.seen(MessageId(1))
        assert not await store.journal.begin(reply(1))

    with_store(tmp_path, first_life)
    with_store(tmp_path, second_life)


def test_what_has_its_outcome_is_not_taken_up_again(tmp_path):
    async def scenario(store):
        await store.journal.begin(reply(1))
        await store.put_replies([record(1)])  # and then the process was killed
        assert await store.journal.pending() == []

    with_store(tmp_path, scenario)


def test_a_part_that_is_out_makes_a_message_one_that_was_dealt_with(tmp_path):
    async def scenario(store):
        await store.journal.part_sent(MessageId(1), 0, MessageId(100))
        await store.journal.part_sent(MessageId(1), 0, MessageId(100))
        assert await store.journal.seen(MessageId(1))
        assert not await store.journal.begin(reply(1))

    with_store(tmp_path, scenario)


def test_a_deleted_message_is_not_taken_on_and_a_draft_needs_its_row(tmp_path):
    async def scenario(store):
        gone = Tombstone(message_id=MessageId(1), channel_id=ChannelId(5), reason=TombstoneReason.DELETED, at=NOW)
        await store.bury([gone])
        assert not await store.journal.begin(reply(1))
        await store.journal.drafted(MessageId(2), ["text"])
        assert await store.journal.pending() == []

    with_store(tmp_path, scenario)


def test_pending_replies_come_oldest_first(tmp_path):
    async def scenario(store):
        for number in (3, 1, 2):
            await store.journal.begin(reply(number))
        assert [held.message_id for held in await store.journal.pending()] == [1, 2, 3]

    with_store(tmp_path, scenario)
