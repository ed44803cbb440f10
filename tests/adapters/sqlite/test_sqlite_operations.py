"""Decisions, restarts, health, and the consent ledger's own rules."""

import json
import sqlite3
from datetime import timedelta

import pytest

from persona.domain.chat import MessageId
from persona.ports import Health, ReplyRecord
from tests.fakes.stores import execute, query, with_store
from tests.fakes.talk import KITCHEN, NOON


def health(at, **more):
    return Health(
        at=at, healthy=True, loop_lag_ms=1.5, inference_stalled_s=0.0, rss_mb=300.0, actors={"gateway": "ready"}, **more
    )


def test_a_decision_is_one_row_with_its_timings(tmp_path):
    path = tmp_path / "a.db"
    record = ReplyRecord(
        message_id=MessageId(5),
        channel_id=KITCHEN,
        decided_at=NOON,
        spoke=True,
        reason="mentioned",
        outcome="sent",
        model="toy",
        prompt_tokens=10,
        completion_tokens=3,
        retries=1,
        recollections=2,
        stage_ms={"retrieve": 1.5, "generate": 900.0},
    )

    async def scenario(store):
        await store.put_replies([record])
        await store.put_replies([record])

    with_store(path, scenario)
    rows = query(path, "SELECT message_id, spoke, reason, outcome, model, retries, stage_ms FROM replies")
    assert [row[:-1] for row in rows] == [(5, 1, "mentioned", "sent", "toy", 1)] * 2
    assert json.loads(rows[0][-1]) == {"retrieve": 1.5, "generate": 900.0}


def test_a_restart_keeps_the_beginning_of_a_long_error(tmp_path):
    path = tmp_path / "a.db"
    with_store(path, lambda store: store.put_restart("inference", "boom " * 1000, NOON))
    ((actor, error, at),) = query(path, "SELECT actor, error, at FROM restarts")
    assert (actor, len(error)) == ("inference", 2000)
    assert error.startswith("boom boom")
    assert at == int(NOON.timestamp()) * 1_000_000


def test_health_is_thinned_out_to_one_an_hour_and_then_to_nothing(tmp_path):
    path = tmp_path / "a.db"

    async def scenario(store):
        for quarter in range(4 * 24 * 3):
            await store.put_health(health(NOON + timedelta(minutes=15 * quarter)))
        recent = query(path, "SELECT count(*) FROM health")
        await store.put_health(health(NOON + timedelta(days=40)))
        return recent

    ((recent,),) = with_store(path, scenario)
    # Thinned out last at hour 71: one row for each hour before 47, all four for each hour since.
    assert recent == 47 + 25 * 4
    assert query(path, "SELECT count(*) FROM health") == [(1,)]


def test_two_looks_at_the_same_moment_are_one_row(tmp_path):
    path = tmp_path / "a.db"

    async def scenario(store):
        await store.put_health(health(NOON))
        await store.put_health(health(NOON))

    with_store(path, scenario)
    assert query(path, "SELECT at, actors FROM health") == [(int(NOON.timestamp()) * 10**6, '{"gateway": "ready"}')]


def test_the_consent_ledger_only_grows_and_the_newest_word_holds(tmp_path):
    path = tmp_path / "a.db"
    with_store(path, lambda store: store.count())
    insert = "INSERT INTO consent (author_id, scope, choice, at, source) VALUES ({}, '{}', '{}', {}, 'command')"
    execute(
        path,
        insert.format(1, "train", "yes", 10),
        insert.format(1, "store", "yes", 11),
        insert.format(1, "train", "no", 12),
    )
    assert query(path, "SELECT scope, choice FROM consent_now ORDER BY scope") == [("store", "yes"), ("train", "no")]
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        execute(path, "UPDATE consent SET choice = 'yes'")
    with pytest.raises(sqlite3.IntegrityError):
        execute(path, insert.format(1, "sell", "yes", 13))
