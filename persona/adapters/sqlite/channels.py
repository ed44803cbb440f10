"""Channels and the allow-list, and what a change to it means for the memory."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence

from persona.adapters.sqlite.rows import clean_text
from persona.domain.chat import Channel, ChannelId, ChannelKind, GuildId, MessageKind

# An import that does not know the guild (id 0) only fills in what is missing.
_PUT = """INSERT INTO channels (id, guild_id, name, kind, parent_id, topic, allowed) VALUES (?,?,?,?,?,?,?)
    ON CONFLICT (id) DO UPDATE SET
        guild_id = excluded.guild_id, name = excluded.name, kind = excluded.kind,
        parent_id = coalesce(excluded.parent_id, parent_id), topic = excluded.topic
    WHERE excluded.guild_id <> 0 OR guild_id = 0"""
_PLACEHOLDER = """INSERT INTO channels (id, guild_id, name, kind, topic, allowed) VALUES (?1, 0, ?1, 'other', '', 0)
    ON CONFLICT (id) DO NOTHING"""
_PUT_GUILD = """INSERT INTO guilds (id, name) VALUES (?,?)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE excluded.name NOT IN ('', name)"""
_TALK = f"'{MessageKind.DEFAULT}', '{MessageKind.REPLY}', '{MessageKind.FORWARD}'"
_SEARCHABLE = f"kind IN ({_TALK}) AND trim(content, char(9, 10, 13, 32)) <> ''"
_QUEUE_CHANNEL = f"""INSERT INTO memory_outbox (message_id, op) SELECT id, ? FROM messages
    WHERE channel_id = ? AND {_SEARCHABLE} ORDER BY id"""  # noqa: S608 - fixed text
_UNQUEUE_CHANNEL = """DELETE FROM memory_outbox WHERE op = 'put'
    AND message_id IN (SELECT id FROM messages WHERE channel_id = ?)"""
_QUEUE_ALL = f"""INSERT INTO memory_outbox (message_id, op) SELECT id, 'put' FROM messages
    WHERE channel_id IN (SELECT id FROM channels WHERE allowed) AND {_SEARCHABLE} ORDER BY id"""  # noqa: S608


def allowed_channels(connection: sqlite3.Connection) -> frozenset[int]:
    """Return the ids on the allow-list."""
    return frozenset(row[0] for row in connection.execute("SELECT id FROM channels WHERE allowed"))


def put_channels(channels: Iterable[Channel], connection: sqlite3.Connection) -> None:
    """Add or update channels; a known one keeps its place on the allow-list, or off it."""
    for channel in channels:
        known = connection.execute("SELECT 1 FROM channels WHERE id = ?", (channel.id,)).fetchone()
        if channel.guild_id:
            connection.execute(_PUT_GUILD, (channel.guild_id, clean_text(channel.guild_name)))
        connection.execute(
            _PUT,
            (
                channel.id,
                channel.guild_id,
                clean_text(channel.name),
                channel.kind.value,
                channel.parent_id,
                clean_text(channel.topic),
                0,
            ),
        )
        if channel.allowed and not known:
            set_allowed((channel.id,), True, connection)


def set_allowed(channel_ids: Collection[ChannelId], allowed: bool, connection: sqlite3.Connection) -> None:
    """Change the allow-list; where that changes something, the memory gets or loses the channel's messages."""
    op = "put" if allowed else "remove"
    for channel_id in channel_ids:
        connection.execute(_PLACEHOLDER, (channel_id,))
        sql = "UPDATE channels SET allowed = ?1 WHERE id = ?2 AND allowed <> ?1"
        if connection.execute(sql, (int(allowed), channel_id)).rowcount:
            connection.execute(_UNQUEUE_CHANNEL, (channel_id,))
            connection.execute(_QUEUE_CHANNEL, (op, channel_id))


def load_channels(allowed_only: bool, connection: sqlite3.Connection) -> Sequence[Channel]:
    """Return channels by name."""
    sql = """SELECT c.id, c.guild_id, c.name, c.kind, coalesce(g.name, ''), c.parent_id, c.topic, c.allowed
        FROM channels c LEFT JOIN guilds g ON g.id = c.guild_id WHERE c.allowed OR NOT ? ORDER BY c.name, c.id"""
    return [
        Channel(
            id=ChannelId(key),
            guild_id=GuildId(guild_id),
            name=name,
            kind=ChannelKind(kind),
            guild_name=guild_name,
            parent_id=None if parent_id is None else ChannelId(parent_id),
            topic=topic,
            allowed=bool(allowed),
        )
        for key, guild_id, name, kind, guild_name, parent_id, topic, allowed in connection.execute(sql, (allowed_only,))
    ]


def requeue_memory(connection: sqlite3.Connection) -> int:
    """Queue every searchable message of the allowed channels; removals that are not confirmed yet stay queued."""
    connection.execute("DELETE FROM memory_outbox WHERE op = 'put'")
    return connection.execute(_QUEUE_ALL).rowcount


def ids_json(ids: Collection[int]) -> str:
    """Return ids as a JSON list for `json_each`."""
    return json.dumps(list(ids))
