"""`SqliteStore`: the `MessageStore` port over one SQLite file."""

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from persona.adapters.sqlite import channels as channel_jobs
from persona.adapters.sqlite import forgetting, operations, reading, writing
from persona.adapters.sqlite.database import Database
from persona.adapters.sqlite.desk import SqliteDesk
from persona.adapters.sqlite.embeddings import SqliteEmbeddings
from persona.adapters.sqlite.journal import SqliteJournal
from persona.adapters.sqlite.ledger import SqliteLedger
from persona.adapters.sqlite.own_exports import note_own
from persona.adapters.sqlite.progress import SqliteProgress
from persona.adapters.sqlite.quizzes import SqliteQuizBook
from persona.domain.chat import Channel, ChannelId, Edit, Message, MessageId, Reaction, Tombstone
from persona.ports import ForgettingStep, Health, MemoryChange, ReplyRecord, StoreCounts


class SqliteStore:
    """The truth in one file. Writes queue behind each other, reads never wait for them.

    The smaller stores in the same file: `ledger` (consent), `progress` (how far history was read), `desk`
    (what admins changed), `journal` (replies on their way), `embeddings` (vectors that are known already), `quizzes`
    (blind tests that were asked, and who was right).

    Every method may raise `StoreError` with one line and a cure: the disk is full, the file damaged or held by
    another program. A cancelled write is either done as a whole or not at all.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self.ledger = SqliteLedger(self._database)
        self.progress = SqliteProgress(self._database)
        self.desk = SqliteDesk(self._database)
        self.journal = SqliteJournal(self._database)
        self.embeddings = SqliteEmbeddings(self._database)
        self.quizzes = SqliteQuizBook(self._database)

    @property
    def path(self) -> Path:
        """The database file."""
        return self._database.path

    @property
    def database(self) -> Database:
        """The file itself, for the smaller stores that live in it (ledger, progress, journal, desk)."""
        return self._database

    async def open(self) -> None:
        """Open or create the database and migrate it.

        Raises:
            StoreMismatchError: the file is something else, or a newer program wrote it.
            StoreError: it cannot be opened.
        """
        await self._database.open()

    async def close(self) -> None:
        """Finish what is running and close; safe to call twice."""
        await self._database.close()

    async def check(self) -> Sequence[str]:
        """Look through the whole file for damage (about a second for a million messages); empty when sound."""

        def quick_check(connection: sqlite3.Connection) -> list[str]:
            return [str(line) for (line,) in connection.execute("PRAGMA quick_check(20)") if line != "ok"]

        return await self._database.read(quick_check)

    async def put_channels(self, channels: Iterable[Channel]) -> None:
        """Add or update channels; the stored allow-list flag is kept for a channel that is already known."""
        await self._database.write(partial(channel_jobs.put_channels, tuple(channels)))

    async def set_allowed(self, channel_ids: Collection[ChannelId], *, allowed: bool) -> None:
        """Put channels on the allow-list or take them off; the memory follows. Unknown ones get a placeholder."""
        await self._database.write(partial(channel_jobs.set_allowed, tuple(channel_ids), allowed))

    async def channels(self, *, allowed_only: bool = False) -> Sequence[Channel]:
        """Return the known channels, by name."""
        return await self._database.read(partial(channel_jobs.load_channels, allowed_only))

    async def put_messages(self, messages: Sequence[Message], reactions: Sequence[Reaction] = ()) -> StoreCounts:
        """Add messages (any number) in one transaction; newer edits win, tombstoned ones are refused."""
        return await self._database.write(partial(writing.put_messages, messages, reactions))

    async def note_own(self, message_ids: Collection[MessageId], note: str, at: datetime) -> int:
        """Write down that stored messages were exported by those who wrote them; return of how many that is new."""
        return await self._database.write(partial(note_own, message_ids, note, at))

    async def apply_edits(self, edits: Sequence[Edit]) -> int:
        """Apply edits that are newer than what is stored; return how many changed something.

        An edit in an allowed channel that comes before its message waits for it, for a week at most.
        """
        return await self._database.write(partial(writing.apply_edits, edits))

    async def bury(self, tombstones: Sequence[Tombstone]) -> int:
        """Remove messages for good, text, edits and reactions; return how many were stored until now."""
        return await self._database.write(partial(writing.bury, tombstones))

    async def put_reactions(self, reactions: Sequence[Reaction]) -> None:
        """Set the counts of reactions (0 removes one); those to messages that are not stored are left out."""
        await self._database.write(partial(writing.put_reactions, reactions))

    async def reactions_to(self, ids: Collection[MessageId]) -> Mapping[MessageId, Sequence[Reaction]]:
        """Return the reactions to messages, by message, the most frequent first."""
        return await self._database.read(partial(reading.reactions_to, ids))

    async def messages_by_id(self, ids: Collection[MessageId]) -> Mapping[MessageId, Message]:
        """Return the stored ones of the messages asked for."""
        return await self._database.read(partial(reading.messages_by_id, ids))

    async def tail(self, channel_id: ChannelId, limit: int, *, before: MessageId | None = None) -> Sequence[Message]:
        """Return the newest `limit` messages of a channel (before an id), oldest first."""
        return await self._database.read(partial(reading.tail, channel_id, limit, before))

    async def sample(self, limit: int, *, channel_ids: Collection[ChannelId]) -> Sequence[Message]:
        """Return up to `limit` messages spread evenly over the channels' history in runs of neighbours, by id."""
        return await self._database.read(partial(reading.sample, limit, channel_ids))

    async def count(self) -> int:
        """Return how many messages are stored."""
        return await self._database.read(reading.count)

    async def put_replies(self, records: Sequence[ReplyRecord]) -> None:
        """Write down decisions and what became of them, in one transaction."""
        await self._database.write(partial(operations.put_replies, records))

    async def put_health(self, health: Health) -> None:
        """Write down what the heartbeat saw; old rows are thinned out."""
        await self._database.write(partial(operations.put_health, health))

    async def put_restart(self, actor: str, error: str, at: datetime) -> None:
        """Write down that an actor was restarted."""
        await self._database.write(partial(operations.put_restart, actor, error, at))

    async def memory_changes(self, limit: int, *, after: int = 0) -> Sequence[MemoryChange]:
        """Return the oldest changes (after a sequence number) that the memory has not confirmed, oldest first."""
        return await self._database.read(partial(reading.memory_changes, limit, after))

    async def memory_changes_pending(self) -> int:
        """Return how many changes wait for the memory."""
        return await self._database.read(reading.memory_changes_pending)

    async def confirm_memory(self, through: int) -> None:
        """Forget the outbox up to and including a sequence number."""
        await self._database.write(partial(writing.confirm_memory, through))

    async def requeue_memory(self) -> int:
        """Put every message of an allowed channel into the outbox again (a rebuild); return how many."""
        return await self._database.write(channel_jobs.requeue_memory)

    async def purge_due(self) -> int:
        """Return a number above 0 when the memory must be purged of forgotten messages, to give to `purge_done`."""
        due = await self._database.read(forgetting.steps_due)
        return due.get(ForgettingStep.MEMORY, 0)

    async def purge_done(self, through: int) -> None:
        """Note that the memory was purged after everything was applied that was pending at `purge_due`."""
        await self._database.write(partial(forgetting.step_done, ForgettingStep.MEMORY, through))
