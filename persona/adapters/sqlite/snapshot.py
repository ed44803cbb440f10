"""`Snapshot`: one state of the database, read from beginning to end while the persona goes on writing."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from persona.adapters.sqlite.channels import ids_json, load_channels
from persona.adapters.sqlite.consent import load_entries
from persona.adapters.sqlite.forgetting import lineage_key
from persona.adapters.sqlite.own_exports import own_exports
from persona.adapters.sqlite.rows import MESSAGE_COLUMNS, Row, load_message
from persona.domain.chat import Author, AuthorId, Channel, ChannelId, ChannelKind, GuildId, Message, MessageId
from persona.domain.consent import Entry
from persona.domain.lineage import LineageKey
from persona.errors import StoreError

_BATCH = 2000
_NO_SERVER = (ChannelKind.TERMINAL, ChannelKind.DIRECT)
_IN_CHANNEL = f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE channel_id = ? ORDER BY id"  # noqa: S608 - fixed columns
_ONE = f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE id = ?"  # noqa: S608
_TIMES = "SELECT created_at FROM messages WHERE channel_id = ? ORDER BY id"
_WRITTEN = "SELECT id, author_id FROM messages WHERE channel_id = ? ORDER BY id"
_REACTIONS = """SELECT message_id, emoji, count FROM reactions WHERE message_id IN (SELECT value FROM json_each(?))
    ORDER BY message_id, emoji"""
_OWN = "SELECT message_id FROM own_messages WHERE message_id IN (SELECT value FROM json_each(?))"
_SENT = "SELECT id, message_id FROM sent_messages WHERE id IN (SELECT value FROM json_each(?))"
_NOT_OWN = """SELECT c.guild_id, coalesce(g.name, ''), count(*) FROM messages m JOIN channels c ON c.id = m.channel_id
    LEFT JOIN guilds g ON g.id = c.guild_id LEFT JOIN authors a ON a.id = m.author_id
    WHERE c.allowed AND c.kind NOT IN ('terminal', 'direct') AND NOT coalesce(a.is_bot, 0)
    AND NOT EXISTS (SELECT 1 FROM own_messages o WHERE o.message_id = m.id)
    GROUP BY c.guild_id ORDER BY c.guild_id"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A message with what belongs to it.

    Attributes:
        message: as it stands now.
        reactions: emoji to count.
        own: whether its author exported it.
        answers: for a message that the persona sent, what it answered.
    """

    message: Message
    reactions: Mapping[str, int] = field(default_factory=dict)
    own: bool = False
    answers: MessageId | None = None


class Snapshot:
    """Opened read-only, inside one transaction; memory does not grow with what is read.

    Raises:
        StoreError: the file is not there, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise StoreError(f"there is no database {path}", cure="import a history first: python -m persona import")
        self._path = path
        try:
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
            self._connection.execute("PRAGMA query_only = ON")
            self._connection.execute("BEGIN")
            self._people = self._authors()
        except sqlite3.Error as error:
            raise StoreError(f"the database {path} cannot be read: {error}") from error

    def __enter__(self) -> Self:
        """Return the snapshot."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._connection.close()

    def channels(self) -> list[Channel]:
        """Return the channels of servers that are on the allow-list, by id."""
        found = load_channels(True, self._connection)
        return sorted((each for each in found if each.kind not in _NO_SERVER), key=lambda channel: channel.id)

    def entries(self) -> list[Entry]:
        """Return the ledger of consent, oldest first."""
        return load_entries(None, self._connection)

    def lineage_key(self) -> LineageKey:
        """Return the secret that message ids are hashed with."""
        return lineage_key(self._connection)

    def own_exports(self) -> Mapping[str, int]:
        """Return how many messages people exported themselves, by what was noted of the export."""
        return own_exports(self._connection)

    def through_api(self) -> list[tuple[GuildId, str, int]]:
        """Return how many messages of people in allowed channels came otherwise: (server id, its name, count)."""
        return [(GuildId(key), str(name), int(number)) for key, name, number in self._connection.execute(_NOT_OWN)]

    def written(self, channel_id: ChannelId) -> Iterator[tuple[MessageId, AuthorId]]:
        """Yield the ids of a channel's messages and of those who wrote them, by id."""
        with closing(self._connection.cursor()) as cursor:
            for message_id, author_id in cursor.execute(_WRITTEN, (channel_id,)):
                yield MessageId(message_id), AuthorId(author_id)

    def times(self, channel_id: ChannelId) -> Iterator[int]:
        """Yield when the messages of a channel were written (microseconds since 1970), by id."""
        with closing(self._connection.cursor()) as cursor:
            for (micros,) in cursor.execute(_TIMES, (channel_id,)):
                yield micros

    def messages(self, channel_id: ChannelId) -> Iterator[Stored]:
        """Yield the messages of a channel, by id."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(_IN_CHANNEL, (channel_id,))
            while rows := cursor.fetchmany(_BATCH):
                yield from self._with_rest([Row._make(row) for row in rows])

    def message(self, message_id: MessageId) -> Stored | None:
        """Return one message, None when it is not stored."""
        row = self._connection.execute(_ONE, (message_id,)).fetchone()
        return None if row is None else next(iter(self._with_rest([Row._make(row)])))

    def _with_rest(self, rows: Sequence[Row]) -> Iterator[Stored]:
        ids = ids_json([row.id for row in rows])
        reactions: dict[int, dict[str, int]] = {}
        for message_id, emoji, number in self._connection.execute(_REACTIONS, (ids,)):
            reactions.setdefault(message_id, {})[emoji] = number
        own = {message_id for (message_id,) in self._connection.execute(_OWN, (ids,))}
        sent = {key: MessageId(answered) for key, answered in self._connection.execute(_SENT, (ids,))}
        for row in rows:
            message = load_message(row, self._people)
            yield Stored(
                message=message,
                reactions=reactions.get(message.id, {}),
                own=message.id in own,
                answers=sent.get(message.id),
            )

    def _authors(self) -> dict[int, Author]:
        sql = "SELECT id, name, display_name, is_bot FROM authors"
        return {
            key: Author(id=AuthorId(key), name=name, display_name=display_name, is_bot=bool(is_bot))
            for key, name, display_name, is_bot in self._connection.execute(sql)
        }
