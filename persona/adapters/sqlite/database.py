"""Opens the database file safely and runs jobs on it: one writer, one reader, each job one transaction."""

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

from persona.adapters.sqlite.migrations import APPLICATION_ID, Migration, load_migrations, migrate
from persona.errors import StoreError, StoreMismatchError

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

_BUSY_SECONDS = 5.0
_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_APPLICATION_ID_AT = slice(68, 72)  # https://www.sqlite.org/fileformat.html#the_database_header
_RESTORE = "put a backup in its place, or move it away to start with an empty one"


class Database:
    """One database file. Writes queue behind each other; reads see what is committed and never wait for a write.

    A job is a function of the raw connection that runs as a whole on the connection's thread, between BEGIN and
    COMMIT. A cancelled caller only stops waiting: the job still ends in COMMIT or ROLLBACK, never in between.
    """

    def __init__(self, path: Path, *, migrations: Sequence[Migration] | None = None) -> None:
        self._path = path
        self._migrations = load_migrations() if migrations is None else tuple(migrations)
        self._writer: _Connection | None = None
        self._reader: _Connection | None = None

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    async def open(self) -> None:
        """Create, check and migrate the file, then open both connections.

        Raises:
            StoreMismatchError: the file is something else, or a newer program wrote it.
            StoreError: it cannot be opened, or is damaged.
        """
        if self._writer is not None:
            return
        try:
            await asyncio.to_thread(self._prepare)
            self._writer = await _Connection.open(partial(_connect, self._path))
            self._reader = await _Connection.open(partial(_connect, self._path, read_only=True))
        except (sqlite3.Error, OSError) as error:
            raise self._explain(error) from error
        finally:
            if self._reader is None:
                await self.close()

    async def close(self) -> None:
        """Finish the jobs that are queued, then close; safe to call twice."""
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        try:
            if reader is not None:
                await reader.close()
        finally:
            if writer is not None:  # last, so that it folds the write-ahead log back into the file
                await writer.close()

    async def write(self, job: Job[T]) -> T:
        """Run a job in one IMMEDIATE transaction on the writer.

        Raises:
            StoreError: the disk is full, another process holds the lock for too long, the file is damaged.
        """
        return await self._run(self._writer, partial(_in_transaction, "BEGIN IMMEDIATE", job))

    async def read(self, job: Job[T]) -> T:
        """Run a job that only reads, on one snapshot of the database.

        Raises:
            StoreError: as for `write`.
        """
        return await self._run(self._reader, partial(_in_transaction, "BEGIN", job))

    async def scrub(self) -> None:
        """Build the file anew without anything that was ever removed, and empty the write-ahead log.

        `secure_delete` alone leaves copies behind where SQLite moved rows between pages. Writes wait meanwhile (about
        a second for every 100 MB), and the disk needs room for twice the file. Killed in between, nothing is damaged.

        Raises:
            StoreError: no room, or another process holds on to the file; it may be tried again.
        """
        await self._run(self._writer, _scrub)

    async def _run(self, connection: "_Connection | None", job: Job[T]) -> T:
        if connection is None:
            raise StoreError(f"the database {self._path} is not open")
        try:
            return await connection.run(job)
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _prepare(self) -> None:
        """Make sure that the file exists, is ours and is up to date."""
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            needed = ".".join(map(str, _OLDEST_SQLITE))
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old", cure=f"use {needed} or newer")
        if not self._path.exists():
            self._check_leftovers()
            _create(self._path, self._migrations)
        self._check_file()
        connection = _connect(self._path)
        try:
            self._check_version(connection)
            migrate(connection, self._migrations)
        finally:
            connection.close()

    def _check_leftovers(self) -> None:
        """Refuse to make a new file beside the write-ahead log of a lost one: SQLite would mix them up."""
        log = self._path.with_name(self._path.name + "-wal")
        if log.exists() and log.stat().st_size and not self._path.exists():
            cure = f"put the database back in its place, or move {log.name} away to start with an empty one"
            raise StoreMismatchError(f"{self._path} is gone but its journal {log.name} is there", cure=cure)

    def _check_file(self) -> None:
        """Look at the header before SQLite may touch the file: a foreign one stays as it is."""
        if not self._path.is_file():
            raise StoreMismatchError(f"{self._path} is not a file", cure="name a file for the database")
        with self._path.open("rb") as stream:
            head = stream.read(_HEADER_BYTES)
        if not head:
            raise StoreMismatchError(f"the database {self._path} is an empty file", cure=_RESTORE)
        if len(head) < _HEADER_BYTES or not head.startswith(_MAGIC):
            raise StoreMismatchError(f"{self._path} is not an SQLite database", cure=_RESTORE)
        if int.from_bytes(head[_APPLICATION_ID_AT], "big") != APPLICATION_ID:
            problem = f"{self._path} is a database of another program"
            raise StoreMismatchError(problem, cure="name another file for the database")

    def _check_version(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(self._migrations):
            problem = f"{self._path} has version {version}; this program knows versions up to {len(self._migrations)}"
            raise StoreMismatchError(problem, cure="update Persona, or put an older backup in its place")

    def _explain(self, error: Exception) -> StoreError:
        """Turn what SQLite or the system says into one line with a cure."""
        place = f"the database {self._path}"
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                cure = "wait until the other program is done, or stop it"
                return StoreError(f"{place} is held by another program for over {_BUSY_SECONDS:.0f} seconds", cure=cure)
            case sqlite3.SQLITE_FULL:
                return StoreError(f"no room left on the disk of {place}", cure="free some space; nothing is damaged")
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return StoreError(f"{place} is damaged: {error}", cure=_RESTORE)
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
                cure = "check that this user may write the file and its folder"
                return StoreError(f"{place} cannot be written: {error}", cure=cure)
        if isinstance(error, OSError):
            cure = "check that this user may write the file and its folder"
            return StoreError(f"{place} cannot be opened: {error.strerror or error}", cure=cure)
        return StoreError(f"{place}: {error}")


class _Connection(aiosqlite.Connection):
    """An aiosqlite connection that runs whole functions on its thread.

    One hop for a whole transaction, where cancelling between two statements would leave it open.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self._thread.daemon = True  # a store that nobody closed must not keep the process from ending

    @classmethod
    async def open(cls, connector: Callable[[], sqlite3.Connection]) -> "_Connection":
        """Start the thread and connect."""
        connection = cls(connector)
        await connection
        return connection

    async def run(self, job: Job[T]) -> T:
        """Run `job(raw connection)` on the thread; it runs to its end even when the caller is cancelled."""

        def whole_job() -> T:  # aiosqlite logs what it runs: a partial would show the messages in it
            return job(self._conn)

        result: T = await self._execute(whole_job)  # type: ignore[no-untyped-call]
        return result


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # costs nothing in batches, and a power cut loses nothing
        connection.execute("PRAGMA secure_delete = ON")  # what was removed for good is overwritten, too
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -16000")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _in_transaction(begin: str, job: Job[T], connection: sqlite3.Connection) -> T:
    connection.execute(begin)
    try:
        result = job(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite has already rolled back by itself when the disk is full
            connection.execute("ROLLBACK")
        raise
    return result


def _scrub(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA temp_store = FILE")  # the new file is built in a temporary one: not in main memory
    try:
        connection.execute("VACUUM")
    finally:
        connection.execute("PRAGMA temp_store = MEMORY")
    (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("somebody is reading an old state of it")


def _create(path: Path, migrations: Sequence[Migration]) -> None:
    """Make a new database appear under its name all at once, readable by this user only.

    It is built beside and then linked, so a process killed in the middle leaves no half-made file behind, and of two
    processes that start together one wins and the other uses what it made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    os.close(handle)
    draft = Path(name)
    try:
        connection = sqlite3.connect(draft, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            migrate(connection, migrations)
        finally:
            connection.close()
        _publish(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _publish(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:
        draft.rename(path)  # a file system without hard links
