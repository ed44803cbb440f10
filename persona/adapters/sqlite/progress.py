"""`SqliteProgress`: the `IngestProgress` port, watermarks in the same transaction as the messages below them."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from persona.adapters.sqlite import writing
from persona.adapters.sqlite.channels import allowed_channels, ids_json, put_channels, set_allowed
from persona.adapters.sqlite.database import Database
from persona.adapters.sqlite.rows import clean_text, from_micros, to_micros
from persona.domain.chat import Channel, ChannelId, Message, MessageId, Reaction
from persona.errors import AccessError
from persona.ports import ChannelProgress, StoreCounts

_ADVANCE = "UPDATE channels SET watermark = ?2 WHERE id = ?1 AND coalesce(watermark, -1) < ?2"
_FETCHED = "UPDATE channels SET fetched_at = ?2 WHERE id = ?1"
_AMONG = "IN (SELECT value FROM json_each(?))"
_ADD = """INSERT INTO reactions (message_id, emoji, count) SELECT ?1, ?2, ?3
    WHERE EXISTS (SELECT 1 FROM messages WHERE id = ?1)
    ON CONFLICT (message_id, emoji) DO UPDATE SET count = count + excluded.count"""
_TAKE = "UPDATE reactions SET count = count - ?3 WHERE message_id = ?1 AND emoji = ?2 AND count > ?3"
_TAKE_LAST = "DELETE FROM reactions WHERE message_id = ?1 AND emoji = ?2 AND count <= ?3"
_STANDING = """SELECT c.id, c.watermark, c.fetched_at,
    (SELECT count(*) FROM messages m WHERE m.channel_id = c.id) FROM channels c"""


class SqliteProgress:
    """How far each channel's history is stored without a gap. Every method may raise `StoreError`.

    What is not on the allow-list when the transaction runs is not stored, whatever was true when it was asked for.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def watermarks(self) -> Mapping[ChannelId, MessageId]:
        """Return the watermark of every channel that has one."""
        return await self._database.read(_watermarks)

    async def progress(self, channel_ids: Collection[ChannelId] | None = None) -> Sequence[ChannelProgress]:
        """Return where every known channel stands (or only some), by channel id."""
        return await self._database.read(partial(_progress, channel_ids))

    async def adopt(self, channels: Sequence[Channel]) -> None:
        """Add or update channels that are about to be read; a known thread follows its channel onto the allow-list.

        Looked up and done in one transaction: what is taken off the list meanwhile stays off.
        """
        await self._database.write(partial(_adopt, tuple(channels)))

    async def put_page(
        self,
        channel_id: ChannelId,
        messages: Sequence[Message],
        reactions: Sequence[Reaction],
        *,
        through: MessageId,
        at: datetime,
    ) -> StoreCounts:
        """Store a page of history and move the watermark up to `through` (never down), in one transaction.

        The reactions are the whole truth about the messages: stored ones that are not among them are removed.

        Raises:
            AccessError: the channel is not on the allow-list (any more); nothing is stored.
        """
        return await self._database.write(partial(_put_page, channel_id, messages, reactions, through=through, at=at))

    async def put_live(self, messages: Sequence[Message], advance: Mapping[ChannelId, MessageId]) -> StoreCounts:
        """Store live messages; move the watermarks in `advance` (channels that have caught up), in one transaction.

        Messages of channels that are not on the allow-list are refused.
        """
        return await self._database.write(partial(_put_live, messages, dict(advance)))

    async def stored_ids(self, channel_id: ChannelId, *, after: MessageId, through: MessageId) -> frozenset[MessageId]:
        """Return which ids are stored in a channel above `after` up to and including `through`."""
        return await self._database.read(partial(_stored_ids, channel_id, after, through))

    async def react(self, message_id: MessageId, emoji: str, change: int) -> None:
        """Count one reaction more or less to a stored message."""
        await self._database.write(partial(_react, message_id, emoji, change))

    async def clear_reactions(self, message_id: MessageId, emoji: str | None) -> None:
        """Remove all reactions to a message, or those with one emoji."""
        await self._database.write(partial(_clear_reactions, message_id, emoji))

    async def reset(self, channel_ids: Collection[ChannelId]) -> None:
        """Forget the watermarks: the channels are read from their beginning again."""
        sql = f"UPDATE channels SET watermark = NULL, fetched_at = NULL WHERE id {_AMONG}"  # noqa: S608 - fixed text
        ids = ids_json(channel_ids)
        await self._database.write(lambda connection: connection.execute(sql, (ids,)).rowcount)


def _watermarks(connection: sqlite3.Connection) -> Mapping[ChannelId, MessageId]:
    rows = connection.execute("SELECT id, watermark FROM channels WHERE watermark IS NOT NULL")
    return {ChannelId(channel_id): MessageId(mark) for channel_id, mark in rows}


def _progress(channel_ids: Collection[ChannelId] | None, connection: sqlite3.Connection) -> Sequence[ChannelProgress]:
    if channel_ids is None:
        rows = connection.execute(f"{_STANDING} ORDER BY c.id")
    else:
        rows = connection.execute(f"{_STANDING} WHERE c.id {_AMONG} ORDER BY c.id", (ids_json(channel_ids),))
    return [
        ChannelProgress(
            channel_id=ChannelId(channel_id),
            watermark=None if mark is None else MessageId(mark),
            messages=messages,
            fetched_at=None if fetched_at is None else from_micros(fetched_at),
        )
        for channel_id, mark, fetched_at, messages in rows
    ]


def _adopt(channels: Sequence[Channel], connection: sqlite3.Connection) -> None:
    put_channels(channels, connection)
    listed = allowed_channels(connection)
    threads = [channel.id for channel in channels if channel.parent_id in listed and channel.id not in listed]
    set_allowed(threads, True, connection)


def _put_page(
    channel_id: ChannelId,
    messages: Sequence[Message],
    reactions: Sequence[Reaction],
    connection: sqlite3.Connection,
    *,
    through: MessageId,
    at: datetime,
) -> StoreCounts:
    if not connection.execute("SELECT 1 FROM channels WHERE id = ? AND allowed", (channel_id,)).fetchone():
        raise AccessError(f"channel {channel_id} is not on the list of allowed channels")
    counts = writing.put_messages(messages, (), connection, whole=True)
    ids = ids_json([message.id for message in messages])
    connection.execute(f"DELETE FROM reactions WHERE message_id {_AMONG}", (ids,))  # noqa: S608 - fixed text
    writing.put_reactions(reactions, connection)
    connection.execute(_ADVANCE, (channel_id, through))
    connection.execute(_FETCHED, (channel_id, to_micros(at)))
    return counts


def _put_live(
    messages: Sequence[Message], advance: Mapping[ChannelId, MessageId], connection: sqlite3.Connection
) -> StoreCounts:
    allowed = allowed_channels(connection)
    kept = [message for message in messages if message.channel_id in allowed]
    counts = writing.put_messages(kept, (), connection)
    connection.executemany(_ADVANCE, [(channel, mark) for channel, mark in advance.items() if channel in allowed])
    return replace(counts, refused=counts.refused + len(messages) - len(kept))


def _stored_ids(
    channel_id: ChannelId, after: MessageId, through: MessageId, connection: sqlite3.Connection
) -> frozenset[MessageId]:
    sql = "SELECT id FROM messages WHERE channel_id = ? AND id > ? AND id <= ?"
    return frozenset(MessageId(row[0]) for row in connection.execute(sql, (channel_id, after, through)))


def _react(message_id: MessageId, emoji: str, change: int, connection: sqlite3.Connection) -> None:
    values = (message_id, clean_text(emoji), abs(change))
    if change > 0:
        connection.execute(_ADD, values)
    elif change < 0 and not connection.execute(_TAKE, values).rowcount:
        connection.execute(_TAKE_LAST, values)


def _clear_reactions(message_id: MessageId, emoji: str | None, connection: sqlite3.Connection) -> None:
    sql = "DELETE FROM reactions WHERE message_id = ?1 AND (?2 IS NULL OR emoji = ?2)"
    connection.execute(sql, (message_id, None if emoji is None else clean_text(emoji)))
