"""Jobs that forget people and messages, and the notes on what has to follow; each runs inside one transaction."""

import sqlite3
from collections.abc import Collection, Mapping
from datetime import datetime

from persona.adapters.sqlite.channels import ids_json
from persona.adapters.sqlite.embeddings import sweep
from persona.adapters.sqlite.rows import from_micros, to_micros
from persona.adapters.sqlite.writing import batches, bury, require_forgetting
from persona.domain.chat import AuthorId, ChannelId, MessageId, Tombstone, TombstoneReason
from persona.domain.lineage import LineageKey
from persona.ports import ForgettingStep, Forgotten

_FORGET_AUTHOR = """INSERT INTO forgotten_authors (author_id, at) VALUES (?,?)
    ON CONFLICT (author_id) DO UPDATE SET at = excluded.at WHERE excluded.at > at"""
_WHERE = "SELECT id, channel_id FROM messages WHERE id IN (SELECT value FROM json_each(?))"
_FORGOTTEN_IDS = "SELECT message_id FROM tombstones WHERE reason = ? AND message_id > ? ORDER BY message_id LIMIT ?"


def forget_author(author_id: AuthorId, at: datetime, connection: sqlite3.Connection) -> Forgotten:
    """Remove what a person said, their names, edits that wait for a message, drafted answers and quiz answers.

    Of somebody of whom nothing was here no file holds anything, so none is written anew; runs are looked at always.

    What they said up to `at` and is not known yet, in history that was not read or on its way here, is refused from
    now on. The ledger stays: it says what they agreed to, and holds no word of theirs.
    """
    connection.execute(_FORGET_AUTHOR, (author_id, to_micros(at)))
    rows = connection.execute("SELECT id, channel_id FROM messages WHERE author_id = ? ORDER BY id", (author_id,))
    buried = _bury(dict(rows.fetchall()), at, connection)
    gone = [
        connection.execute("DELETE FROM edits WHERE author_id = ? OR author_id IS NULL", (author_id,)),
        connection.execute("DELETE FROM authors WHERE id = ?", (author_id,)),
        connection.execute("DELETE FROM quiz_answers WHERE author_id = ?", (author_id,)),
        # Whose message an answer is for is known for stored ones only; of the others none may keep their words.
        connection.execute("DELETE FROM pending_replies WHERE message_id NOT IN (SELECT id FROM messages)"),
    ]
    if buried.messages:
        # An answer to anybody may be made of what they said. It is written anew, or was sent and is known to be.
        gone.append(connection.execute("DELETE FROM pending_replies WHERE texts != ''"))
    # Whoever was ever stored has a name here until they are forgotten, also when their messages are deleted.
    require_forgetting(connection, files=any(each.rowcount for each in gone))
    return buried


def forget_messages(message_ids: Collection[MessageId], at: datetime, connection: sqlite3.Connection) -> Forgotten:
    """Remove single messages in the same way; ids that are not known are buried, too."""
    known: dict[int, int] = dict.fromkeys(sorted(message_ids), 0)
    for batch in batches(sorted(message_ids)):
        known.update(connection.execute(_WHERE, (ids_json(batch),)).fetchall())
    return _bury(known, at, connection)


def steps_due(connection: sqlite3.Connection) -> Mapping[ForgettingStep, int]:
    """Return the steps that are due, each with the number of its newest reason."""
    rows = connection.execute("SELECT step, max(sequence) FROM forgetting GROUP BY step")
    return {ForgettingStep(step): sequence for step, sequence in rows}


def step_done(step: ForgettingStep, through: int, connection: sqlite3.Connection) -> None:
    """Cross out a step for everything up to a number; with the memory goes what is known of forgotten texts."""
    if step is ForgettingStep.MEMORY:
        sweep(connection)
    connection.execute("DELETE FROM forgetting WHERE step = ? AND sequence <= ?", (step.value, through))


def forgotten_ids(after: int, limit: int, connection: sqlite3.Connection) -> list[MessageId]:
    """Return up to `limit` ids of forgotten messages above one, in order."""
    rows = connection.execute(_FORGOTTEN_IDS, (TombstoneReason.FORGOTTEN.value, after, limit))
    return [MessageId(message_id) for (message_id,) in rows]


def forgotten_authors(connection: sqlite3.Connection) -> Mapping[AuthorId, datetime]:
    """Return everybody who was ever forgotten, with the last time."""
    rows = connection.execute("SELECT author_id, at FROM forgotten_authors ORDER BY author_id")
    return {AuthorId(author_id): from_micros(at) for author_id, at in rows}


def lineage_key(connection: sqlite3.Connection) -> LineageKey:
    """Return the secret of this database."""
    (secret,) = connection.execute("SELECT secret FROM lineage_key").fetchone()
    return LineageKey(secret=bytes(secret))


def _bury(known: Mapping[int, int], at: datetime, connection: sqlite3.Connection) -> Forgotten:
    tombstones = [
        Tombstone(
            message_id=MessageId(message_id),
            channel_id=ChannelId(channel_id),
            reason=TombstoneReason.FORGOTTEN,
            at=at,
        )
        for message_id, channel_id in known.items()
    ]
    removed = bury(tombstones, connection)
    return Forgotten(messages=removed, message_ids=tuple(MessageId(key) for key in known))
