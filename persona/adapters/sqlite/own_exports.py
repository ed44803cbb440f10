"""Jobs on the list of messages that people exported themselves."""

import sqlite3
from collections.abc import Collection, Mapping
from datetime import datetime

from persona.adapters.sqlite.channels import ids_json
from persona.adapters.sqlite.rows import clean_text, to_micros
from persona.domain.chat import MessageId

_EXPORT = "INSERT INTO own_exports (at, note) VALUES (?,?) ON CONFLICT (note) DO NOTHING"
# What is stored only: a forgotten message does not come back as an id either.
_OWN = """INSERT INTO own_messages (message_id, export)
    SELECT m.id, e.id FROM messages m, own_exports e
    WHERE m.id IN (SELECT value FROM json_each(?)) AND e.note = ? ON CONFLICT (message_id) DO NOTHING"""


def note_own(message_ids: Collection[MessageId], note: str, at: datetime, connection: sqlite3.Connection) -> int:
    """Write down that stored messages were exported by those who wrote them; return how many that is new of."""
    note = clean_text(note)
    connection.execute(_EXPORT, (to_micros(at), note))
    return connection.execute(_OWN, (ids_json(message_ids), note)).rowcount


def own_exports(connection: sqlite3.Connection) -> Mapping[str, int]:
    """Return how many messages came with each export, by what was noted of it."""
    sql = """SELECT e.note, count(o.message_id) FROM own_exports e LEFT JOIN own_messages o ON o.export = e.id
        GROUP BY e.id ORDER BY e.note"""
    return {str(note): int(number) for note, number in connection.execute(sql)}
