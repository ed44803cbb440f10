"""`SqliteDesk`: the `Desk` port, what the owner changed at run time and who changed what."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from persona.adapters.sqlite.database import Database
from persona.adapters.sqlite.rows import clean_text, from_micros, to_micros
from persona.domain.chat import AuthorId, ChannelId, MessageId
from persona.ports import Activity, AuditEntry, Health, ReplyRecord

_AUDIT_KEPT = 10_000
_NOTE = "note:"
_OVERRIDE = """INSERT INTO settings (key, value, changed_at, changed_by) VALUES (?,?,?,?)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at,
        changed_by = excluded.changed_by"""
_MUTE = """INSERT INTO mutes (channel_id, until) VALUES (?,?)
    ON CONFLICT (channel_id) DO UPDATE SET until = excluded.until"""
_REPLY = """message_id, channel_id, decided_at, spoke, reason, outcome, model, prompt_tokens, completion_tokens,
    retries, recollections, stage_ms"""
_DECISIONS = f"SELECT {_REPLY} FROM replies WHERE channel_id = ? ORDER BY id DESC LIMIT ?"  # noqa: S608 - fixed text
_REPLY_TO = f"""SELECT {_REPLY} FROM replies WHERE message_id =
    (SELECT message_id FROM sent_messages WHERE id = ?) ORDER BY spoke DESC, id DESC LIMIT 1"""  # noqa: S608 - fixed
_HEALTH = """SELECT at, healthy, loop_lag_ms, inference_stalled_s, rss_mb, actors FROM health
    WHERE at >= ? ORDER BY at DESC LIMIT 1"""


class SqliteDesk:
    """Settings, mutes, notes and the audit trail in the store's file. Every method may raise `StoreError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def overrides(self) -> Mapping[str, object]:
        """Return the settings changed at run time by dotted key, such as `sampling.temperature`."""
        return await self._database.read(_overrides)

    async def override(self, key: str, value: object | None, *, by: AuthorId, at: datetime) -> None:
        """Keep a setting over config.toml; None goes back to the file."""
        await self._database.write(partial(_override, key, value, by, at))

    async def mutes(self, now: datetime) -> Mapping[ChannelId, datetime]:
        """Return the channels that are muted now, and until when."""
        return await self._database.read(partial(_mutes, now))

    async def mute(self, channel_id: ChannelId, until: datetime | None) -> None:
        """Mute a channel until a time; None lets it speak again."""
        await self._database.write(partial(_mute, channel_id, until))

    async def audit(self, entry: AuditEntry) -> None:
        """Write down who did what; of the entries the newest 10,000 are kept."""
        await self._database.write(partial(_audit, entry))

    async def audit_trail(self, limit: int) -> Sequence[AuditEntry]:
        """Return the newest entries, newest first."""
        return await self._database.read(partial(_audit_trail, limit))

    async def decisions(self, channel_id: ChannelId, limit: int) -> Sequence[ReplyRecord]:
        """Return the last decisions in a channel, newest first."""
        asked = (channel_id, max(limit, 0))
        return await self._database.read(lambda db: [_reply(row) for row in db.execute(_DECISIONS, asked)])

    async def reply_to(self, sent_id: MessageId) -> ReplyRecord | None:
        """Return the decision behind one of the persona's own messages, if it is known."""
        rows = await self._database.read(lambda db: db.execute(_REPLY_TO, (sent_id,)).fetchall())
        return _reply(rows[0]) if rows else None

    async def activity(self, since: datetime) -> Activity:
        """Return how many replies were sent and actors restarted since a moment, and the newest look at the process."""
        return await self._database.read(partial(_activity, since))

    async def note(self, name: str) -> str | None:
        """Return a small text that the program keeps for itself, None when there is none of that name."""
        return await self._database.read(partial(_note, name))

    async def keep_note(self, name: str, text: str) -> None:
        """Keep a small text under a name, in the place of what was kept there."""
        values = (_NOTE + name, json.dumps(clean_text(text)), to_micros(datetime.now(UTC)), None)
        await self._database.write(lambda db: db.execute(_OVERRIDE, values).rowcount)


def _overrides(connection: sqlite3.Connection) -> Mapping[str, object]:
    rows = connection.execute("SELECT key, value FROM settings ORDER BY key")
    return {key: json.loads(value) for key, value in rows if not key.startswith(_NOTE)}


def _override(key: str, value: object | None, by: AuthorId, at: datetime, connection: sqlite3.Connection) -> None:
    if value is None:
        connection.execute("DELETE FROM settings WHERE key = ?", (key,))
    else:
        connection.execute(_OVERRIDE, (key, json.dumps(value), to_micros(at), by))


def _mutes(now: datetime, connection: sqlite3.Connection) -> Mapping[ChannelId, datetime]:
    rows = connection.execute("SELECT channel_id, until FROM mutes WHERE until > ?", (to_micros(now),))
    return {ChannelId(channel_id): from_micros(until) for channel_id, until in rows}


def _mute(channel_id: ChannelId, until: datetime | None, connection: sqlite3.Connection) -> None:
    if until is None:
        connection.execute("DELETE FROM mutes WHERE channel_id = ?", (channel_id,))
    else:
        connection.execute(_MUTE, (channel_id, to_micros(until)))


def _audit(entry: AuditEntry, connection: sqlite3.Connection) -> None:
    cursor = connection.execute(
        "INSERT INTO audit (at, author_id, command, detail, outcome) VALUES (?,?,?,?,?)",
        (
            to_micros(entry.at),
            entry.author_id,
            clean_text(entry.command),
            clean_text(entry.detail),
            clean_text(entry.outcome),
        ),
    )
    connection.execute("DELETE FROM audit WHERE id <= ?", ((cursor.lastrowid or 0) - _AUDIT_KEPT,))


def _audit_trail(limit: int, connection: sqlite3.Connection) -> Sequence[AuditEntry]:
    sql = "SELECT at, author_id, command, detail, outcome FROM audit ORDER BY id DESC LIMIT ?"
    return [
        AuditEntry(at=from_micros(at), author_id=AuthorId(author), command=command, detail=detail, outcome=outcome)
        for at, author, command, detail, outcome in connection.execute(sql, (max(limit, 0),))
    ]


def _activity(since: datetime, connection: sqlite3.Connection) -> Activity:
    micros = to_micros(since)
    sql = "SELECT count(*) FROM replies WHERE decided_at >= ? AND spoke AND outcome = 'sent'"
    (replies,) = connection.execute(sql, (micros,)).fetchone()
    (restarts,) = connection.execute("SELECT count(*) FROM restarts WHERE at >= ?", (micros,)).fetchone()
    row = connection.execute(_HEALTH, (micros,)).fetchone()
    return Activity(replies=replies, restarts=restarts, health=_health(row) if row else None)


def _health(row: tuple[int, int, float, float, float, str]) -> Health:
    at, healthy, lag_ms, stalled_s, rss_mb, actors = row
    return Health(
        at=from_micros(at),
        healthy=bool(healthy),
        loop_lag_ms=lag_ms,
        inference_stalled_s=stalled_s,
        rss_mb=rss_mb,
        actors=json.loads(actors),
    )


def _note(name: str, connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT value FROM settings WHERE key = ?", (_NOTE + name,)).fetchone()
    return None if row is None else str(json.loads(row[0]))


def _reply(row: tuple[int, int, int, int, str, str, str, int, int, int, int, str]) -> ReplyRecord:
    message_id, channel_id, decided_at, spoke, reason, outcome, model, prompt, completion, retries, found, stages = row
    return ReplyRecord(
        message_id=MessageId(message_id),
        channel_id=ChannelId(channel_id),
        decided_at=from_micros(decided_at),
        spoke=bool(spoke),
        reason=reason,
        outcome=outcome,
        model=model,
        prompt_tokens=prompt,
        completion_tokens=completion,
        retries=retries,
        recollections=found,
        stage_ms=json.loads(stages),
    )
