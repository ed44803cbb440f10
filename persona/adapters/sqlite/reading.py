"""Read jobs: messages by id, the tail of a channel, an even sample, and what the memory has yet to follow."""

import math
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from persona.adapters.sqlite.channels import ids_json
from persona.adapters.sqlite.rows import MESSAGE_COLUMNS, Row, load_message, people_in
from persona.domain.chat import Author, AuthorId, ChannelId, Message, MessageId, Reaction
from persona.ports import MemoryChange, MemoryOp

_RUN_MESSAGES = 20
_LAST_ID = (1 << 63) - 1

# MESSAGE_COLUMNS is the only thing put into these texts; values are always bound.
_BY_ID = f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608
TAIL = f"""SELECT {MESSAGE_COLUMNS} FROM messages WHERE channel_id = ? AND id < ?
    ORDER BY id DESC LIMIT ?"""  # noqa: S608
_SAMPLE = f"""WITH ranked AS (
        SELECT id AS ranked_id, row_number() OVER (ORDER BY channel_id, id) - 1 AS place FROM messages
        WHERE channel_id IN (SELECT value FROM json_each(?)))
    SELECT {MESSAGE_COLUMNS} FROM ranked JOIN messages ON id = ranked_id
    WHERE place % ? < ? ORDER BY id"""  # noqa: S608
_CHANGES = """SELECT sequence, message_id, op FROM memory_outbox WHERE sequence > ?
    ORDER BY sequence LIMIT ?"""


def messages_by_id(ids: Collection[MessageId], connection: sqlite3.Connection) -> Mapping[MessageId, Message]:
    """Return the stored ones of the messages asked for."""
    rows = connection.execute(_BY_ID, (ids_json(ids),)).fetchall()
    return {message.id: message for message in _load(connection, rows)}


def tail(channel_id: ChannelId, limit: int, before: MessageId | None, connection: sqlite3.Connection) -> list[Message]:
    """Return the newest `limit` messages of a channel (before an id), oldest first."""
    asked = (channel_id, _LAST_ID if before is None else before, max(limit, 0))
    return _load(connection, connection.execute(TAIL, asked).fetchall()[::-1])


def sample(limit: int, channel_ids: Collection[ChannelId], connection: sqlite3.Connection) -> list[Message]:
    """Return up to `limit` messages, ordered by id: runs of neighbours at even distances over the channels' history."""
    channels = ids_json(channel_ids)
    sql = "SELECT count(*) FROM messages WHERE channel_id IN (SELECT value FROM json_each(?))"
    (total,) = connection.execute(sql, (channels,)).fetchone()
    if limit <= 0 or total == 0:
        return []
    run = min(limit, _RUN_MESSAGES)
    stride = max(math.ceil(total / (limit // run)), run) if total > limit else run
    return _load(connection, connection.execute(_SAMPLE, (channels, stride, run)).fetchall())


def count(connection: sqlite3.Connection) -> int:
    """Return how many messages are stored."""
    (number,) = connection.execute("SELECT count(*) FROM messages").fetchone()
    return int(number)


def reactions_to(ids: Collection[MessageId], connection: sqlite3.Connection) -> Mapping[MessageId, Sequence[Reaction]]:
    """Return the reactions to messages, by message, the most frequent first."""
    sql = """SELECT message_id, emoji, count FROM reactions WHERE message_id IN (SELECT value FROM json_each(?))
        ORDER BY count DESC, emoji"""
    found: dict[MessageId, list[Reaction]] = {}
    for message_id, emoji, number in connection.execute(sql, (ids_json(ids),)):
        found.setdefault(message_id, []).append(Reaction(message_id=message_id, emoji=emoji, count=number))
    return found


def memory_changes(limit: int, after: int, connection: sqlite3.Connection) -> list[MemoryChange]:
    """Return the oldest unconfirmed changes; what was removed since it was queued is a removal."""
    queued = connection.execute(_CHANGES, (after, max(limit, 0))).fetchall()
    put = MemoryOp.PUT.value
    wanted = {MessageId(message_id) for _, message_id, op in queued if op == put}
    messages = messages_by_id(wanted, connection) if wanted else {}
    changes = []
    for sequence, message_id, op in queued:
        message = messages.get(message_id) if op == put else None
        kind = MemoryOp.REMOVE if message is None else MemoryOp.PUT
        changes.append(MemoryChange(sequence=sequence, message_id=message_id, op=kind, message=message))
    return changes


def memory_changes_pending(connection: sqlite3.Connection) -> int:
    """Return how many changes are not confirmed."""
    (number,) = connection.execute("SELECT count(*) FROM memory_outbox").fetchone()
    return int(number)


def _load(connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> list[Message]:
    named = [Row._make(row) for row in rows]
    authors = _authors(connection, people_in(named)) if named else {}
    return [load_message(row, authors) for row in named]


def _authors(connection: sqlite3.Connection, ids: Iterable[int]) -> dict[int, Author]:
    sql = """SELECT id, name, display_name, is_bot FROM authors WHERE id IN (SELECT value FROM json_each(?))"""
    return {
        key: Author(id=AuthorId(key), name=name, display_name=display_name, is_bot=bool(is_bot))
        for key, name, display_name, is_bot in connection.execute(sql, (ids_json(list(ids)),))
    }
