"""Jobs on the ledger of consent: adding entries, reading them, and what is kept of a person."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import timedelta

from persona.adapters.sqlite.channels import ids_json
from persona.adapters.sqlite.rows import (
    MESSAGE_COLUMNS,
    Row,
    clean_text,
    from_micros,
    load_message,
    people_in,
    to_micros,
)
from persona.domain.chat import Author, AuthorId, GuildId, Message
from persona.domain.consent import Choice, Entry, Scope, Source

_COLUMNS = "author_id, guild_id, scope, choice, at, source, recorded_by, note"
_INSERT = f"INSERT INTO consent ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)"  # noqa: S608 - fixed columns
_KNOWN = f"""SELECT EXISTS (SELECT 1 FROM consent WHERE ({_COLUMNS}) IS (?,?,?,?,?,?,?,?))"""  # noqa: S608
_NEWEST = "SELECT max(at) FROM consent WHERE author_id = ? AND guild_id = ? AND scope = ?"
# The same person's edits that wait for their message: with text that may not be kept any more.
_DROP_EARLY = """DELETE FROM edits WHERE (author_id = ?1 OR author_id IS NULL) AND (?2 = 0
    OR coalesce((SELECT guild_id FROM channels WHERE id = channel_id), 0) IN (0, ?2))"""
_SAID_BY = f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE author_id = ? AND id > ? ORDER BY id LIMIT ?"  # noqa: S608
_COUNTS = """SELECT coalesce(c.name, m.channel_id), count(*) FROM messages m LEFT JOIN channels c ON c.id = m.channel_id
    WHERE m.author_id = ? GROUP BY m.channel_id ORDER BY 1"""
_PEOPLE = """SELECT id, name, display_name, is_bot FROM authors WHERE id IN (SELECT value FROM json_each(?))"""
_NAMED = """SELECT id, name, display_name, is_bot FROM authors
    WHERE name = ?1 COLLATE NOCASE OR display_name = ?1 COLLATE NOCASE ORDER BY id"""
_MICROSECOND = timedelta(microseconds=1)


def record(entry: Entry, connection: sqlite3.Connection) -> None:
    """Add a choice that is made now. A clock that was set back cannot make an older choice win over it."""
    (newest,) = connection.execute(_NEWEST, (entry.author_id, entry.guild_id, entry.scope.value)).fetchone()
    _add(entry, max(to_micros(entry.at), newest or 0), connection)


def import_entries(entries: Sequence[Entry], connection: sqlite3.Connection) -> int:
    """Add entries with their own times, so that what was chosen since stays; known ones are left out. Count them."""
    added = 0
    for entry in entries:
        at = to_micros(entry.at)
        (known,) = connection.execute(_KNOWN, _row(entry, at)).fetchone()
        if not known:
            _add(entry, at, connection)
            added += 1
    return added


def load_entries(author_id: AuthorId | None, connection: sqlite3.Connection) -> list[Entry]:
    """Return the entries of one person, or all, oldest first."""
    sql = f"SELECT {_COLUMNS} FROM consent WHERE ?1 IS NULL OR author_id = ?1 ORDER BY at, sequence"  # noqa: S608
    return [
        Entry(
            author_id=AuthorId(who),
            guild_id=GuildId(guild_id),
            scope=Scope(scope),
            choice=Choice(choice),
            at=from_micros(at),
            source=Source(source),
            recorded_by=None if recorded_by is None else AuthorId(recorded_by),
            note=note,
        )
        for who, guild_id, scope, choice, at, source, recorded_by, note in connection.execute(sql, (author_id,))
    ]


def counts_of(author_id: AuthorId, connection: sqlite3.Connection) -> Mapping[str, int]:
    """Return how many messages of a person are stored, by channel name; channels of one name are added up."""
    counts: dict[str, int] = {}
    for name, number in connection.execute(_COUNTS, (author_id,)):
        counts[str(name)] = counts.get(str(name), 0) + number
    return counts


def messages_of(author_id: AuthorId, after: int, limit: int, connection: sqlite3.Connection) -> list[Message]:
    """Return up to `limit` messages of a person above an id, in order."""
    rows = [Row._make(row) for row in connection.execute(_SAID_BY, (author_id, after, limit))]
    people = _authors(connection.execute(_PEOPLE, (ids_json(people_in(rows)),)).fetchall())
    return [load_message(row, people) for row in rows]


def people_named(name: str, connection: sqlite3.Connection) -> list[Author]:
    """Return everybody who goes by a name."""
    return list(_authors(connection.execute(_NAMED, (name,)).fetchall()).values())


def _authors(rows: Sequence[tuple[int, str, str, int]]) -> dict[int, Author]:
    return {
        key: Author(id=AuthorId(key), name=name, display_name=display_name, is_bot=bool(is_bot))
        for key, name, display_name, is_bot in rows
    }


def _add(entry: Entry, at: int, connection: sqlite3.Connection) -> None:
    connection.execute(_INSERT, _row(entry, at))
    if entry.scope is Scope.STORE and entry.choice is Choice.NO:
        connection.execute(_DROP_EARLY, (entry.author_id, entry.guild_id))


def _row(entry: Entry, at: int) -> tuple[int, int, str, str, int, str, int | None, str]:
    return (
        entry.author_id,
        entry.guild_id,
        entry.scope.value,
        entry.choice.value,
        at,
        entry.source.value,
        entry.recorded_by,
        clean_text(entry.note),
    )
