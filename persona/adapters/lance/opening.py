"""Opens the table, proves with real reads and searches that it works, or moves it aside and starts anew."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import lancedb
import pyarrow.compute as pc
import structlog
from lancedb import AsyncConnection, AsyncTable
from lancedb.index import FTS, Bitmap, BTree
from lancedb.query import AsyncFTSQuery, MatchQuery

from persona.adapters.lance import table as shape
from persona.adapters.lance.ranking import query_words
from persona.errors import MemoryIndexError

log = structlog.get_logger(__name__)

# The defaults (6 GiB and 1 GiB) let the process grow with the table; these hold the index of a million messages.
_INDEX_CACHE_BYTES = 128 << 20
_METADATA_CACHE_BYTES = 64 << 20
_ERROR_CHARACTERS = 200
_SOURCE_LINE = re.compile(r", \S+\.rs:\d+(?::\d+)?")

LANCE_ERRORS = (RuntimeError, ValueError, OSError)
"""What LanceDB and Arrow raise: damaged files, full disks, lost objects, bad arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the table lives: `folder` is None on object storage."""

    uri: str
    folder: Path | None
    storage_options: Mapping[str, str] | None
    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A table that works. `newest_id` is 0 when it is empty; `unindexed` rows are searched, but slowly."""

    connection: AsyncConnection
    table: AsyncTable
    rows: int
    newest_id: int
    fragments: int
    unindexed: int


def place_of(uri: str | Path, *, storage_options: Mapping[str, str] | None, language: str) -> Place:
    """Tell folders from object storage ("s3://bucket/prefix")."""
    remote = isinstance(uri, str) and "://" in uri
    return Place(uri=str(uri), folder=None if remote else Path(uri), storage_options=storage_options, language=language)


@contextmanager
def named_errors(doing: str) -> Iterator[None]:
    """Turn what LanceDB raises into one line of ours."""
    try:
        yield
    except LANCE_ERRORS as error:
        raise MemoryIndexError(f"the memory index failed while {doing}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the start of an error's text; LanceDB appends source lines and chains of causes."""
    lines = _SOURCE_LINE.sub("", str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:_ERROR_CHARACTERS]}" if lines else type(error).__name__


def text_search(table: AsyncTable, sought: str) -> AsyncFTSQuery:
    """Return a search for any of the words in `sought`, as plain words: no query syntax is read into them."""
    return table.query().nearest_to_text(MatchQuery(sought, "text"))  # type: ignore[call-arg]  # it has defaults


def let_go(*handles: AsyncTable | AsyncConnection | None) -> None:
    """Close tables and connections."""
    for handle in handles:
        if handle is not None:
            handle.close()  # type: ignore[no-untyped-call]


async def open_place(place: Place, *, now: datetime) -> Opened:
    """Open what is there, or start anew after moving aside what cannot be used.

    Raises:
        MemoryIndexError: not even a new table can be made.
    """
    with named_errors("opening"):
        await asyncio.to_thread(_prepare_folder, place, now)
        connection = await _connect(place)
        if await _exists(connection, place):
            try:
                return await _open_existing(connection, place.language)
            except shape.ForeignTableError as error:
                await _set_aside(connection, place, error, now=now)
            except (shape.UnusableTableError, *LANCE_ERRORS) as error:
                await _set_aside(connection, place, error, now=now)
            # A new session: the old one may have cached parts of what was just moved away.
            let_go(connection)
            connection = await _connect(place)
        table = await connection.create_table(shape.TABLE, schema=shape.COLUMNS)
        return await _proved(connection, table, place.language)


async def _connect(place: Place) -> AsyncConnection:
    session = lancedb.Session(
        index_cache_size_bytes=_INDEX_CACHE_BYTES, metadata_cache_size_bytes=_METADATA_CACHE_BYTES
    )
    options = dict(place.storage_options) if place.storage_options else None
    return await lancedb.connect_async(place.uri, storage_options=options, session=session)


def _prepare_folder(place: Place, now: datetime) -> None:
    if place.folder is None:
        return
    if place.folder.exists() and not place.folder.is_dir():
        raise MemoryIndexError(f"{place.folder} is a file, the memory index needs a folder", cure="move the file away")
    place.folder.mkdir(parents=True, exist_ok=True)
    shape.sweep_aside(place.folder, now=now)


async def _exists(connection: AsyncConnection, place: Place) -> bool:
    """Whether something has the table's name; in a folder also what LanceDB would not take for a table."""
    if place.folder is not None:
        return await asyncio.to_thread(shape.table_path(place.folder).exists)
    return shape.TABLE in (await connection.list_tables()).tables


async def _open_existing(connection: AsyncConnection, language: str) -> Opened:
    table = await connection.open_table(shape.TABLE)
    shape.check_schema(await table.schema())
    return await _proved(connection, table, language)


async def _proved(connection: AsyncConnection, table: AsyncTable, language: str) -> Opened:
    """Read a column of every data file, make missing indices, search for what is there.

    Opening and counting succeed on a table whose files are gone: only reading tells.
    """
    ids = (await table.query().select(["message_id"]).to_arrow())["message_id"]
    await _make_missing_indices(table, language)
    rows = len(ids)
    if rows:
        await _search_for_samples(table, rows)
    statistics: Any = await table.stats()  # a dict, whatever its annotation says
    indexed = await table.index_stats("text_idx")
    return Opened(
        connection=connection,
        table=table,
        rows=rows,
        newest_id=pc.max(ids).as_py() or 0,
        fragments=statistics["fragment_stats"]["num_fragments"],
        unindexed=indexed.num_unindexed_rows if indexed else rows,
    )


async def _make_missing_indices(table: AsyncTable, language: str) -> None:
    present = {column for index in await table.list_indices() for column in index.columns}
    for column, config in indices(language).items():
        if column not in present:
            await table.create_index(column, config=config)


def indices(language: str) -> Mapping[str, FTS | Bitmap | BTree]:
    """Return the index of each column that has one."""
    # ICU finds words in scripts without spaces; stop words stay, or "who are you" would find nothing, silently.
    text_index = FTS(base_tokenizer="icu/split", language=language, stem=True, remove_stop_words=False)
    return {"text": text_index, "channel_id": Bitmap(), "message_id": BTree()}


async def _search_for_samples(table: AsyncTable, rows: int) -> None:
    samples = await table.take_offsets(sorted({0, rows // 2, rows - 1})).select(["text", "channel_id"]).to_list()
    for sample in samples:
        if sought := query_words(sample["text"]):
            query = text_search(table, " ".join(sought)).where(f"channel_id = {sample['channel_id']}")
            await query.select(["message_id", "text", "_score"]).limit(1).to_list()


async def _set_aside(connection: AsyncConnection, place: Place, reason: Exception, *, now: datetime) -> None:
    """Make room for a new table; a folder is renamed, on object storage the table is dropped (it can be rebuilt)."""
    if place.folder is None:
        await connection.drop_table(shape.TABLE)
        log.warning("memory_dropped", uri=place.uri, reason=first_line(reason))
        return
    foreign = isinstance(reason, shape.ForeignTableError)
    moved = await asyncio.to_thread(shape.move_aside, place.folder, foreign=foreign, now=now)
    log.warning("memory_moved_aside", to=str(moved), reason=first_line(reason))
