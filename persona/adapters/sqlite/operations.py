"""Write jobs for how the persona fares: decisions, restarts, health."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta

from persona.adapters.sqlite.rows import clean_text, to_micros
from persona.ports import Health, ReplyRecord

_MICROSECOND = timedelta(microseconds=1)
_HOUR = timedelta(hours=1) // _MICROSECOND
_EVERY_ROW_FOR = timedelta(days=1) // _MICROSECOND
_HOURLY_ROWS_FOR = timedelta(days=30) // _MICROSECOND
_ERROR_CHARACTERS = 2000

_THIN_OUT = """DELETE FROM health WHERE at < ?1 - ?3 OR (at < ?1 - ?2
    AND at NOT IN (SELECT min(at) FROM health WHERE at < ?1 - ?2 GROUP BY at / ?4))"""


def put_replies(records: Sequence[ReplyRecord], connection: sqlite3.Connection) -> None:
    """Write down decisions and what became of them."""
    connection.executemany(
        """INSERT INTO replies (message_id, channel_id, decided_at, spoke, reason, outcome, model, prompt_tokens,
            completion_tokens, retries, recollections, stage_ms) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)""",
        map(_reply_row, records),
    )


def _reply_row(record: ReplyRecord) -> tuple[object, ...]:
    return (
        record.message_id,
        record.channel_id,
        to_micros(record.decided_at),
        int(record.spoke),
        clean_text(record.reason),
        clean_text(record.outcome),
        clean_text(record.model),
        record.prompt_tokens,
        record.completion_tokens,
        record.retries,
        record.recollections,
        json.dumps(dict(record.stage_ms)),
    )


def put_restart(actor: str, error: str, at: datetime, connection: sqlite3.Connection) -> None:
    """Write down a restart; a very long error keeps its beginning."""
    connection.execute(
        "INSERT INTO restarts (actor, error, at) VALUES (?,?,?)",
        (clean_text(actor), clean_text(error[:_ERROR_CHARACTERS]), to_micros(at)),
    )


def put_health(health: Health, connection: sqlite3.Connection) -> None:
    """Write down one look; once an hour thin out: all of the last day, one an hour for 30 days, nothing older."""
    at = to_micros(health.at)
    (last,) = connection.execute("SELECT max(at) FROM health").fetchone()
    connection.execute(
        """INSERT INTO health (at, healthy, loop_lag_ms, inference_stalled_s, rss_mb, actors) VALUES (?,?,?,?,?,?)
        ON CONFLICT (at) DO UPDATE SET healthy = excluded.healthy, loop_lag_ms = excluded.loop_lag_ms,
            inference_stalled_s = excluded.inference_stalled_s, rss_mb = excluded.rss_mb, actors = excluded.actors""",
        (
            at,
            int(health.healthy),
            health.loop_lag_ms,
            health.inference_stalled_s,
            health.rss_mb,
            json.dumps(dict(health.actors)),
        ),
    )
    if last is None or last // _HOUR != at // _HOUR:
        connection.execute(_THIN_OUT, (at, _EVERY_ROW_FOR, _HOURLY_ROWS_FOR, _HOUR))
