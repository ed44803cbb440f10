"""The desk: settings, mutes, notes, the audit trail and the decisions outlive the process."""

from datetime import UTC, datetime, timedelta

from persona.adapters.sqlite.desk import SqliteDesk
from persona.domain.chat import AuthorId, ChannelId, MessageId
from persona.ports import AuditEntry, Health, ReplyRecord
from tests.fakes.stores import execute, query, with_store

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ME = AuthorId(7)
KITCHEN, GARDEN = ChannelId(1), ChannelId(2)


def with_desk(tmp_path, scenario):
    async def run(store):
        return await scenario(store, SqliteDesk(store.database))

    return with_store(tmp_path / "persona.db", run)


def reply(number, *, channel=KITCHEN, at=NOON, spoke=True, outcome="sent"):
    return ReplyRecord(
        message_id=MessageId(number),
        channel_id=channel,
        decided_at=at,
        spoke=spoke,
        reason="mentioned",
        outcome=outcome,
        model="m",
        prompt_tokens=10,
        completion_tokens=5,
        retries=1,
        recollections=2,
        stage_ms={"recall": 3.5},
    )


def test_overrides_are_kept_with_their_types_and_taken_back(tmp_path):
    async def scenario(_store, desk):
        for key, value in {"a.rate": 0.5, "a.on": True, "a.n": 3, "a.words": ["x", "ü"]}.items():
            await desk.override(key, value, by=ME, at=NOON)
        await desk.override("a.n", 4, by=ME, at=NOON)
        await desk.override("a.rate", None, by=ME, at=NOON)
        await desk.override("a.never", None, by=ME, at=NOON)

    async def again(_store, desk):
        found = await desk.overrides()
        assert found == {"a.n": 4, "a.on": True, "a.words": ["x", "ü"]}
        assert found["a.on"] is True

    with_desk(tmp_path, scenario)
    with_desk(tmp_path, again)


def test_notes_are_no_settings(tmp_path):
    async def scenario(_store, desk):
        assert await desk.note("x") is None
        await desk.keep_note("x", "one")
        await desk.keep_note("x", "two \ud800")
        assert await desk.note("x") == "two \ufffd"
        assert await desk.overrides() == {}

    with_desk(tmp_path, scenario)


def test_mutes_end_by_themselves(tmp_path):
    async def scenario(_store, desk):
        until = NOON + timedelta(minutes=5, microseconds=1)
        await desk.mute(KITCHEN, until - timedelta(minutes=2))
        await desk.mute(KITCHEN, until)
        await desk.mute(GARDEN, until)
        await desk.mute(GARDEN, None)
        assert await desk.mutes(NOON) == {KITCHEN: until}
        assert await desk.mutes(until) == {}

    with_desk(tmp_path, scenario)


def test_the_trail_gives_the_newest_first_and_keeps_so_many(tmp_path):
    def entry(number):
        at = NOON + timedelta(seconds=number)
        return AuditEntry(at=at, author_id=ME, command="mute", detail=f"d{number}", outcome="done")

    async def scenario(_store, desk):
        for number in range(3):
            await desk.audit(entry(number))
        assert await desk.audit_trail(2) == [entry(2), entry(1)]
        assert await desk.audit_trail(-1) == []
        execute(tmp_path / "persona.db", "UPDATE audit SET id = 20000 WHERE id = 3")
        await desk.audit(entry(9))
        assert await desk.audit_trail(10) == [entry(9), entry(2)]

    with_desk(tmp_path, scenario)


def test_decisions_of_a_channel_and_the_one_behind_a_message(tmp_path):
    async def scenario(store, desk):
        records = [reply(1), reply(2, spoke=False, outcome="silent"), reply(3, channel=GARDEN), reply(4)]
        for record in records:
            await store.put_replies([record])
        assert await desk.decisions(KITCHEN, 2) == [records[3], records[1]]
        assert await desk.decisions(ChannelId(9), 2) == []
        execute(tmp_path / "persona.db", "INSERT INTO sent_messages (id, message_id, number) VALUES (99, 3, 0)")
        assert await desk.reply_to(MessageId(99)) == records[2]
        assert await desk.reply_to(MessageId(98)) is None

    with_desk(tmp_path, scenario)


def test_activity_counts_what_was_sent_and_shows_the_newest_health(tmp_path):
    def health(minutes):
        at = NOON + timedelta(minutes=minutes)
        return Health(
            at=at,
            healthy=minutes > 1,
            loop_lag_ms=1.5,
            inference_stalled_s=0,
            rss_mb=9,
            actors={"gateway": "connected"},
        )

    async def scenario(store, desk):
        assert (await desk.activity(NOON)).health is None
        for record in (
            reply(1, at=NOON - timedelta(days=1)),
            reply(2),
            reply(3, spoke=False, outcome="silent"),
            reply(4, outcome="the channel is gone"),
        ):
            await store.put_replies([record])
        await store.put_restart("gateway", "x", NOON)
        await store.put_restart("gateway", "x", NOON - timedelta(days=1))
        for minutes in (1, 2):
            await store.put_health(health(minutes))
        found = await desk.activity(NOON)
        assert (found.replies, found.restarts, found.health) == (1, 1, health(2))
        assert (await desk.activity(NOON - timedelta(days=2))).replies == 2

    with_desk(tmp_path, scenario)
    assert query(tmp_path / "persona.db", "SELECT count(*) FROM replies") == [(4,)]
