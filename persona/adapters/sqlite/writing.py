"""Write jobs for what was said: messages, edits, tombstones and reactions, each run inside one transaction."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from persona.adapters.sqlite.channels import allowed_channels
from persona.adapters.sqlite.keeping import Keeping, keeping, people_of
from persona.adapters.sqlite.rows import (
    MESSAGE_COLUMNS,
    EditRow,
    Row,
    clean_text,
    edit_row,
    merged,
    message_row,
    to_micros,
)
from persona.domain.chat import (
    Author,
    Edit,
    Message,
    Reaction,
    Tombstone,
    TombstoneReason,
)
from persona.ports import MemoryOp, StoreCounts

T = TypeVar("T")

_BATCH_ROWS = 1000
_EARLY_EDITS_KEPT = timedelta(days=7) // timedelta(microseconds=1)

_INSERT = f"INSERT INTO messages ({MESSAGE_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608 - fixed columns
_UPDATE = """UPDATE messages SET kind = ?, content = ?, edited_at = ?, reply_to = ?, mentions = ?, attachments = ?,
    pinned = ? WHERE id = ?"""
_KNOWN = f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608
_NAME_AUTHOR = """INSERT INTO authors (id, name, display_name, is_bot, named_at) VALUES (?,?,?,?,?)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, display_name = excluded.display_name,
        is_bot = max(is_bot, excluded.is_bot), named_at = excluded.named_at
    WHERE excluded.named_at > named_at OR (excluded.named_at = named_at
        AND display_name = name AND excluded.display_name <> excluded.name)"""
_REACT = """INSERT INTO reactions (message_id, emoji, count) SELECT ?1, ?2, ?3
    WHERE EXISTS (SELECT 1 FROM messages WHERE id = ?1)
    ON CONFLICT (message_id, emoji) DO UPDATE SET count = excluded.count WHERE count <> excluded.count"""
_BURY = """INSERT INTO tombstones (message_id, channel_id, reason, at) VALUES (?,?,?,?)
    ON CONFLICT (message_id) DO UPDATE SET reason = excluded.reason WHERE excluded.reason = ?"""
_LEFT = """SELECT count(*) FROM json_each(?1) WHERE EXISTS (SELECT 1 FROM messages WHERE id = value)
    OR EXISTS (SELECT 1 FROM edits WHERE message_id = value)
    OR EXISTS (SELECT 1 FROM pending_replies WHERE message_id = value)
    OR EXISTS (SELECT 1 FROM tombstones WHERE message_id = value AND reason <> ?2)"""
_QUEUE = "INSERT INTO memory_outbox (message_id, op) VALUES (?,?)"
_FORGET_IN_RUNS = "INSERT INTO forgetting (step) VALUES ('runs')"
_FORGET_IN_FILES = "INSERT INTO forgetting (step) VALUES ('memory'), ('database')"


def put_messages(
    messages: Sequence[Message],
    reactions: Sequence[Reaction],
    connection: sqlite3.Connection,
    *,
    whole: bool = False,
) -> StoreCounts:
    """Add or merge messages, then set their reactions; what may not be kept is refused here, whoever brings it.

    `whole`: they come with everything that they have now, so what is missing in them is gone.
    """
    allowed = allowed_channels(connection)
    total = StoreCounts()
    for batch in batches(messages):
        counts = _put_batch(connection, batch, allowed, whole=whole)
        total = StoreCounts(
            added=total.added + counts.added,
            updated=total.updated + counts.updated,
            unchanged=total.unchanged + counts.unchanged,
            refused=total.refused + counts.refused,
        )
    put_reactions(reactions, connection)
    return total


def apply_edits(edits: Sequence[Edit], connection: sqlite3.Connection) -> int:
    """Apply edits that are newer than what is stored; keep those of allowed channels that came before their message."""
    allowed = allowed_channels(connection)
    changed = 0
    for batch in batches(edits):
        stored, buried = _known_rows(connection, [edit.message_id for edit in batch])
        kept = keeping(connection, {row.author_id for row in stored.values()} | _people_of(batch))
        updates: dict[int, Row] = {}
        outdated: set[int] = set()
        names: Names = {}
        for edit in batch:
            change, old = edit_row(edit), stored.get(edit.message_id)
            if old is None:
                if edit.message_id not in buried and edit.channel_id in allowed and not kept.refuses_early(edit):
                    _keep_early_edit(connection, edit, change)
                continue
            new = change.on(old)
            if new == old:
                continue
            if not kept.opted_out(old.author_id, old.channel_id):
                stored[edit.message_id] = updates[edit.message_id] = new
                changed += 1
                _note_names(names, kept, new, edit.mentions or ())
            elif new.edited_at != old.edited_at:
                # The new text may not be kept, and the old one is no longer what they say.
                changed += edit.message_id not in outdated
                outdated.add(edit.message_id)
        _write_names(connection, names)
        _write_updates(connection, updates, allowed)
        drop_messages(connection, outdated)
    if edits:
        newest = max(to_micros(edit.edited_at) for edit in edits)
        connection.execute("DELETE FROM edits WHERE edited_at < ?", (newest - _EARLY_EDITS_KEPT,))
    return changed


def bury(tombstones: Sequence[Tombstone], connection: sqlite3.Connection) -> int:
    """Remove messages with everything that hangs on them, and remember their ids for good.

    Where any of them is forgotten, the rest of forgetting is due from now on (see `forgetting`); files need not be
    written anew for ids that were never heard of, or are forgotten already.
    """
    removed = heard_of = 0
    forgotten = TombstoneReason.FORGOTTEN.value
    for batch in batches(tombstones):
        heard_of += _left_in_files(connection, [t.message_id for t in batch if t.reason is TombstoneReason.FORGOTTEN])
        connection.executemany(
            _BURY, [(t.message_id, t.channel_id, t.reason.value, to_micros(t.at), forgotten) for t in batch]
        )
        removed += drop_messages(connection, [tombstone.message_id for tombstone in batch])
        answered = [(t.message_id,) for t in batch if t.reason is TombstoneReason.FORGOTTEN]
        connection.executemany("DELETE FROM pending_replies WHERE message_id = ?", answered)
    if any(tombstone.reason is TombstoneReason.FORGOTTEN for tombstone in tombstones):
        require_forgetting(connection, files=heard_of > 0)
    return removed


def _left_in_files(connection: sqlite3.Connection, message_ids: Collection[int]) -> int:
    """Count those of these messages whose words files may hold: they are stored, wait, or were deleted and no more."""
    asked = (json.dumps(list(message_ids)), TombstoneReason.FORGOTTEN.value)
    (count,) = connection.execute(_LEFT, asked).fetchone()
    return int(count)


def drop_messages(connection: sqlite3.Connection, message_ids: Collection[int]) -> int:
    """Remove messages, their edits and reactions here and in the memory; return how many were stored."""
    if not message_ids:
        return 0
    ids = (json.dumps(list(message_ids)),)
    among = "IN (SELECT value FROM json_each(?))"
    for table in ("reactions", "edits", "memory_outbox"):
        connection.execute(f"DELETE FROM {table} WHERE message_id {among}", ids)  # noqa: S608 - fixed names
    # Even what is not stored may still be in the memory: a removal too many does no harm.
    connection.executemany(_QUEUE, [(message_id, MemoryOp.REMOVE.value) for message_id in message_ids])
    return connection.execute(f"DELETE FROM messages WHERE id {among}", ids).rowcount  # noqa: S608 - fixed text


def require_forgetting(connection: sqlite3.Connection, *, files: bool = True) -> None:
    """Note that the runs, and with `files` the memory and this file, have yet to follow what is forgotten now."""
    connection.execute(_FORGET_IN_RUNS)
    if files:
        connection.execute(_FORGET_IN_FILES)


def put_reactions(reactions: Sequence[Reaction], connection: sqlite3.Connection) -> None:
    """Set the counts of reactions to stored messages; 0 or less removes one."""
    for batch in batches(reactions):
        gone = [(r.message_id, clean_text(r.emoji)) for r in batch if r.count <= 0]
        kept = [(r.message_id, clean_text(r.emoji), r.count) for r in batch if r.count > 0]
        connection.executemany(_REACT, kept)
        connection.executemany("DELETE FROM reactions WHERE message_id = ? AND emoji = ?", gone)


def confirm_memory(through: int, connection: sqlite3.Connection) -> None:
    """Forget the outbox up to and including a sequence number."""
    connection.execute("DELETE FROM memory_outbox WHERE sequence <= ?", (through,))


def batches(items: Iterable[T], size: int = _BATCH_ROWS) -> Iterator[list[T]]:
    """Cut items into lists of up to `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _put_batch(
    connection: sqlite3.Connection, batch: Sequence[Message], allowed: frozenset[int], *, whole: bool
) -> StoreCounts:
    stored, buried = _known_rows(connection, [message.id for message in batch])
    early = _early_edits(connection, [message.id for message in batch])
    kept = keeping(connection, people_of(batch))
    inserts: dict[int, Row] = {}
    updates: dict[int, Row] = {}
    outdated: set[int] = set()
    names: Names = {}
    unchanged = refused = 0
    for message in batch:
        if message.id in buried:
            refused += 1
            continue
        row = message_row(message)
        old = stored.get(message.id)
        if kept.refuses(message):
            refused += 1
            if old is not None and (row.edited_at or 0) > (old.edited_at or 0):
                outdated.add(message.id)  # the new text may not be kept, and the old one is no longer what they say
            continue
        _note_names(names, kept, row, (message.author, *message.mentions))
        new = _with_edit(row, early.get(message.id)) if old is None else merged(old, row, whole=whole)
        if new is None:
            unchanged += 1
            continue
        target = inserts if old is None or message.id in inserts else updates
        unchanged += message.id in target  # twice in one batch: counted once as added or updated
        stored[message.id] = target[message.id] = new
    connection.executemany(_INSERT, inserts.values())
    _write_updates(connection, updates, allowed)
    _queue_for_memory(connection, inserts.values(), allowed)
    _write_names(connection, names)
    connection.executemany("DELETE FROM edits WHERE message_id = ?", [(message_id,) for message_id in early])
    drop_messages(connection, outdated)
    return StoreCounts(added=len(inserts), updated=len(updates), unchanged=unchanged, refused=refused)


def _people_of(edits: Iterable[Edit]) -> set[int]:
    """Return who wrote edits or is mentioned in them, as far as they say so."""
    mentioned = {person.id for edit in edits for person in edit.mentions or ()}
    return mentioned | {edit.author_id for edit in edits if edit.author_id is not None}


def _known_rows(connection: sqlite3.Connection, ids: Sequence[int]) -> tuple[dict[int, Row], set[int]]:
    """Return which of the ids are stored, with their rows, and which must never come back."""
    asked = (json.dumps(ids),)
    rows = {row[0]: Row._make(row) for row in connection.execute(_KNOWN, asked)}
    sql = "SELECT message_id FROM tombstones WHERE message_id IN (SELECT value FROM json_each(?))"
    return rows, {message_id for (message_id,) in connection.execute(sql, asked)}


def _early_edits(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, EditRow]:
    sql = """SELECT message_id, content, edited_at, mentions, attachments FROM edits
        WHERE message_id IN (SELECT value FROM json_each(?))"""
    return {key: EditRow._make(row) for key, *row in connection.execute(sql, (json.dumps(ids),))}


def _keep_early_edit(connection: sqlite3.Connection, edit: Edit, row: EditRow) -> None:
    connection.execute(
        """INSERT INTO edits (message_id, channel_id, author_id, content, edited_at, mentions, attachments)
        VALUES (?,?,?,?,?,?,?)
        ON CONFLICT (message_id) DO UPDATE SET content = excluded.content, edited_at = excluded.edited_at,
            mentions = excluded.mentions, attachments = excluded.attachments,
            author_id = coalesce(excluded.author_id, author_id)
        WHERE excluded.edited_at > edited_at""",
        (edit.message_id, edit.channel_id, edit.author_id, *row),
    )


def _with_edit(row: Row, edit: EditRow | None) -> Row:
    return row if edit is None else edit.on(row)


Names = dict[int, tuple[int, Author]]
"""The newest names in a batch: by person, with the message they are from."""


def _note_names(names: Names, kept: Keeping, row: Row, people: Iterable[Author]) -> None:
    """Remember the names of those who wrote a message or are mentioned in it, where they may be kept."""
    for author in people:
        if kept.refuses_name(author, row.channel_id, row.created_at):
            continue
        known = names.get(author.id)
        if known is None or row.id >= known[0]:
            names[author.id] = (row.id, author)


def _write_names(connection: sqlite3.Connection, names: Names) -> None:
    connection.executemany(
        _NAME_AUTHOR,
        [(a.id, clean_text(a.name), clean_text(a.display_name), int(a.is_bot), at) for at, a in names.values()],
    )


def _write_updates(connection: sqlite3.Connection, updates: Mapping[int, Row], allowed: frozenset[int]) -> None:
    rows = updates.values()
    connection.executemany(
        _UPDATE,
        [(r.kind, r.content, r.edited_at, r.reply_to, r.mentions, r.attachments, r.pinned, r.id) for r in rows],
    )
    emptied = [(r.id, MemoryOp.REMOVE.value) for r in rows if r.channel_id in allowed and not r.is_searchable]
    connection.executemany(_QUEUE, emptied)
    _queue_for_memory(connection, rows, allowed)


def _queue_for_memory(connection: sqlite3.Connection, rows: Iterable[Row], allowed: frozenset[int]) -> None:
    wanted = [(r.id, MemoryOp.PUT.value) for r in rows if r.channel_id in allowed and r.is_searchable]
    connection.executemany(_QUEUE, wanted)
