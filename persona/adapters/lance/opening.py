"""Opens the table, proves with real reads and searches that it works, or moves it aside and starts anew."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lancedb
import numpy as np
import structlog
from lancedb import AsyncConnection, AsyncTable
from lancedb.query import AsyncFTSQuery, AsyncVectorQuery, MatchQuery

from persona.adapters.lance import table as shape
from persona.adapters.lance.contents import Contents, read_all
from persona.adapters.lance.documents import Tokenizer
from persona.adapters.lance.folder import move_aside, sweep_aside, table_names
from persona.adapters.lance.indexing import REFINE, column_indices, probes_for
from persona.adapters.lance.ranking import query_words
from persona.errors import MemoryIndexError
from persona.ports import VectorSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = structlog.get_logger(__name__)

# By default (6 GiB and 1 GiB) the process would keep every version that was ever searched. But an index that does not
# fit is read from the disk by every search, ten times as slow: half a byte a number, and the index of words.
_LEAST_INDEX_CACHE_BYTES = 128 << 20
_METADATA_CACHE_BYTES = 64 << 20
_BYTES_A_MESSAGE, _BYTES_A_NUMBER = 128, 0.5
_ROOM_TO_GROW = 1.5
_ERROR_CHARACTERS = 200
# Enough to tell common words from rare ones.
_SAMPLED = 4_000
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
    """A table that works, and what is known of it; `unindexed` rows are searched, but slowly.

    `handles` are two further ones, for the version that is searched and for the next.
    """

    connection: AsyncConnection
    table: AsyncTable
    handles: tuple[AsyncTable, AsyncTable]
    name: str
    space: VectorSpace | None
    contents: Contents
    fragments: int
    unindexed: int
    cache_bytes: int

    @property
    def outgrown(self) -> bool:
        """Whether its indices have no room in the cache any more: it is to be opened anew."""
        return _index_bytes(self.contents.rows, self.space) > self.cache_bytes


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


def vector_search(table: AsyncTable, vector: "NDArray[np.float32]", *, rows: int, where: str = "") -> AsyncVectorQuery:
    """Return a search for the nearest vectors by cosine, in a table of about `rows`; rows without one do not count."""
    query = table.query().nearest_to(vector).column(shape.VECTOR).distance_type("cosine")
    query = query.nprobes(probes_for(rows, filtered=bool(where))).refine_factor(REFINE)
    return query.where(where) if where else query


async def open_place(place: Place, space: VectorSpace | None, *, now: datetime) -> Opened:
    """Open the table of a space, or start anew after moving aside what cannot be used.

    Without a space the table that was written last is opened, whatever its space. With one, tables of ours for other
    spaces are deleted: they can be rebuilt, and what is forgotten must not live on in them.

    Raises:
        MemoryIndexError: not even a new table can be made.
    """
    with named_errors("opening"):
        await asyncio.to_thread(_prepare_folder, place, now)
        connection = await connect(place)
        names = await _names(connection, place)
        name = shape.name_of(space) if space is not None else next(iter(names), shape.TABLE)
        opened = None
        if name in names:
            try:
                opened = await _open_existing(place, connection, name, space)
            except (shape.ForeignTableError, shape.UnusableTableError, *LANCE_ERRORS) as error:
                # A new session: the old one may have cached parts of what is moved away.
                let_go(connection)
                connection = await connect(place)
                await _set_aside(connection, place, name, error, now=now)
                name = shape.name_of(space)
        if opened is None:
            table = await connection.create_table(name, schema=shape.schema_of(space))
            opened = await _proved(connection, table, name, place.language, cache_bytes=_LEAST_INDEX_CACHE_BYTES)
        if space is not None:
            await _drop_others(opened.connection, name, names)
        return opened


async def _drop_others(connection: AsyncConnection, name: str, names: Sequence[str]) -> None:
    for other in names:
        if other == name:
            continue
        try:
            table = await connection.open_table(other)
            ours = shape.FORMAT_KEY in ((await table.schema()).metadata or {})
            let_go(table)
            if ours:
                await connection.drop_table(other)
                log.info("memory_dropped", table=other, reason="another embedding model is configured")
        except LANCE_ERRORS as error:
            log.warning("memory_left", table=other, reason=first_line(error))


def _index_bytes(rows: int, space: VectorSpace | None) -> int:
    """Return how much of the cache the indices of a table need."""
    return int(rows * (_BYTES_A_MESSAGE + _BYTES_A_NUMBER * (space.dimensions if space is not None else 0)))


async def connect(place: Place, *, cache_bytes: int = _LEAST_INDEX_CACHE_BYTES) -> AsyncConnection:
    """Connect, with a cache of so many bytes for indices."""
    session = lancedb.Session(index_cache_size_bytes=cache_bytes, metadata_cache_size_bytes=_METADATA_CACHE_BYTES)
    options = dict(place.storage_options) if place.storage_options else None
    return await lancedb.connect_async(place.uri, storage_options=options, session=session)


def _prepare_folder(place: Place, now: datetime) -> None:
    if place.folder is None:
        return
    if place.folder.exists() and not place.folder.is_dir():
        raise MemoryIndexError(f"{place.folder} is a file, the memory index needs a folder", cure="move the file away")
    place.folder.mkdir(parents=True, exist_ok=True)
    sweep_aside(place.folder, now=now)


async def _names(connection: AsyncConnection, place: Place) -> list[str]:
    """Return the tables with names of ours; in a folder also what LanceDB would not take for a table."""
    if place.folder is not None:
        return await asyncio.to_thread(table_names, place.folder)
    return [name for name in (await connection.list_tables()).tables if shape.is_ours(name)]


async def _open_existing(place: Place, connection: AsyncConnection, name: str, space: VectorSpace | None) -> Opened:
    table = await connection.open_table(name)
    shape.check_schema(await table.schema(), space)
    cache_bytes = _LEAST_INDEX_CACHE_BYTES
    needed = _index_bytes(await table.count_rows(), shape.space_of(await table.schema()))
    if needed > cache_bytes:
        cache_bytes = int(needed * _ROOM_TO_GROW)
        let_go(table, connection)
        connection = await connect(place, cache_bytes=cache_bytes)
        table = await connection.open_table(name)
    return await _proved(connection, table, name, place.language, cache_bytes=cache_bytes)


async def _proved(
    connection: AsyncConnection, table: AsyncTable, name: str, language: str, *, cache_bytes: int
) -> Opened:
    """Read a column of every data file, make missing indices, search for what is there.

    Opening and counting succeed on a table whose files are gone: only reading tells.
    """
    space = shape.space_of(await table.schema())
    read = await read_all(table)
    await _make_missing_indices(table, language)
    rows = len(read)
    if rows:
        await _search_for_samples(table, rows, space)
    statistics: Any = await table.stats()  # a dict, whatever its annotation says
    unindexed = await _unindexed(table)
    offsets = sorted({rows * part // _SAMPLED for part in range(_SAMPLED)}) if rows else []
    sample = (await table.take_offsets(offsets).select(["text"]).to_arrow())["text"].to_pylist() if rows else []
    contents = await asyncio.to_thread(Contents, read, sample, Tokenizer(language), whole=not unindexed)
    return Opened(
        connection=connection,
        table=table,
        name=name,
        space=space,
        handles=(await connection.open_table(name), await connection.open_table(name)),
        contents=contents,
        fragments=statistics["fragment_stats"]["num_fragments"],
        unindexed=unindexed,
        cache_bytes=cache_bytes,
    )


async def _unindexed(table: AsyncTable) -> int:
    """Return how many rows an index does not know, of words or of vectors."""
    names = [one.name for one in await table.list_indices() if {"text", shape.VECTOR} & set(one.columns)]
    found = [await table.index_stats(name) for name in names]
    return max((one.num_unindexed_rows for one in found if one is not None), default=0)


async def _make_missing_indices(table: AsyncTable, language: str) -> None:
    present = {column for index in await table.list_indices() for column in index.columns}
    for column, config in column_indices(language).items():
        if column not in present:
            await table.create_index(column, config=config)


async def _search_for_samples(table: AsyncTable, rows: int, space: VectorSpace | None) -> None:
    columns = ["text", "channel_id", *([shape.VECTOR] if space else [])]
    samples = await table.take_offsets(sorted({0, rows // 2, rows - 1})).select(columns).to_list()
    for sample in samples:
        where = f"channel_id = {sample['channel_id']}"
        if sought := query_words(sample["text"]):
            query = text_search(table, " ".join(sought)).where(where)
            await query.select(["message_id", "text", "_score"]).limit(1).to_list()
        if space is not None:
            given = sample[shape.VECTOR]
            vector = np.ones(space.dimensions) if given is None else np.asarray(given)
            nearest = vector_search(table, vector.astype(np.float32), rows=rows, where=where)
            await nearest.select(["message_id", "_distance"]).limit(1).to_list()


async def _set_aside(connection: AsyncConnection, place: Place, name: str, reason: Exception, *, now: datetime) -> None:
    """Make room for a new table; a folder is renamed, on object storage the table is dropped (it can be rebuilt)."""
    if place.folder is None:
        await connection.drop_table(name)
        log.warning("memory_dropped", uri=place.uri, reason=first_line(reason))
        return
    foreign = isinstance(reason, shape.ForeignTableError)
    moved = await asyncio.to_thread(move_aside, place.folder, name, foreign=foreign, now=now)
    log.warning("memory_moved_aside", to=str(moved), reason=first_line(reason))
