"""The stages of a search: what words find, what vectors find, in everything and once more in the newest messages."""

import asyncio
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
from lancedb import AsyncTable
from lancedb.query import AsyncFTSQuery, AsyncVectorQuery

from persona.adapters.lance.addresses import COLUMNS
from persona.adapters.lance.at_hand import Sought, in_memory
from persona.adapters.lance.contents import Contents, Snapshot
from persona.adapters.lance.documents import Document
from persona.adapters.lance.opening import text_search, vector_search
from persona.adapters.lance.ranking import merged

Query = AsyncFTSQuery | AsyncVectorQuery
_MOST = 2_000

# Where most of the table may be read, it is cheaper to ask for some more and to leave out what may not be read than to
# have every row checked on the way.
_WIDE_SHARE = 0.5
_SPARE = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What to search: a table, what is known of it, and whether it has vectors."""

    table: AsyncTable
    contents: Contents
    has_vectors: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the stages found: scores by message id, best first, nothing excluded; `full` when there may be more."""

    words: Mapping[int, float]
    similar: Mapping[int, float]
    full: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hits:
    scores: Mapping[int, float]
    full: bool


_NOTHING = _Hits(scores={}, full=False)


async def look(searched: Searched, sought: Sought) -> Found:
    """Search by words and by vectors, each best first in one ranking of everything and the newest.

    Raises:
        LookupError: rows have moved since they were found: the table was compacted in between.
        RuntimeError, ValueError, OSError: LanceDB failed.
    """
    contents = searched.contents
    recent: Sequence[Document] = ()
    hidden = sought.exclude
    if sought.channel_id is not None:
        await contents.newest.load(searched.table, sought.channel_id, vectors=searched.has_vectors)
        recent = contents.newest.since(
            sought.channel_id, exclude=sought.exclude, exclude_authors=sought.exclude_authors
        )
        hidden |= contents.newest.by_authors(sought.channel_id, sought.exclude_authors)
    # Both sides at one moment: what leaves the tail meanwhile is indexed in the next version, not in this one.
    version = _version(searched)
    newer = in_memory(contents, sought, recent, tail=version.snapshot is not None)
    vectors, words = await asyncio.gather(_by_vector(version, sought), _by_words(version, sought))
    similar = {i: 1.0 - distance for i, distance in vectors.scores.items()}
    return Found(
        words=merged(*(_top(sought, hidden, scores) for scores in (*newer.words, words.scores))),
        similar=merged(*(_top(sought, hidden, scores) for scores in (*newer.similar, similar))),
        full=words.full or vectors.full or newer.full,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """What is searched: a snapshot, in which what is not indexed is the tail's, or the newest version.

    What the snapshot holds still, but was `deleted` since, does not count.
    """

    table: AsyncTable
    contents: Contents
    snapshot: Snapshot | None
    deleted: Collection[int]


def _version(searched: Searched) -> _Version:
    contents = searched.contents
    if contents.snapshot is None or not contents.tail.whole:
        return _Version(table=searched.table, contents=contents, snapshot=None, deleted=())
    deleted = contents.tail.deleted()
    return _Version(table=contents.snapshot.table, contents=contents, snapshot=contents.snapshot, deleted=deleted)


async def _by_words(version: _Version, sought: Sought) -> _Hits:
    if not sought.words:
        return _NOTHING

    def query(where: str) -> Query:
        found = text_search(version.table, sought.words)
        found = found.where(where) if where else found
        return found.fast_search() if version.snapshot is not None else found

    return await _visible(version, sought, query, "_score")


async def _by_vector(version: _Version, sought: Sought) -> _Hits:
    vector, contents = sought.vector, version.contents
    if vector is None:
        return _NOTHING

    def query(where: str) -> Query:
        found = vector_search(version.table, vector, rows=contents.rows, where=where)
        return found.fast_search() if version.snapshot is not None and version.snapshot.vectors_indexed else found

    return await _visible(version, sought, query, "_distance")


async def _visible(version: _Version, sought: Sought, query: Callable[[str], Query], column: str) -> _Hits:
    """Return the best of what may be read: filtered by the library, or out of so many that enough is left."""
    asked = _asked(sought)
    counts = version.contents.channels
    share = sum(counts[channel] for channel in sought.channels) / max(counts.total(), 1)
    if sought.where and not sought.narrow and share >= _WIDE_SHARE:
        found = await _hits(version, query(""), column, math.ceil(asked / share * _SPARE), within=sought.channels)
        if len(found.scores) >= asked or not found.full:
            return found
    return await _hits(version, query(sought.where), column, asked)


async def _hits(
    version: _Version, query: Query, column: str, asked: int, *, within: frozenset[int] | None = None
) -> _Hits:
    """Run a search; of its hits keep those in the channels `within`."""
    snapshot = version.snapshot
    columns = [column] if snapshot is not None else [column, *COLUMNS]
    read: pa.Table = await query.select(columns).with_row_id().limit(asked).to_arrow()
    if snapshot is not None:
        ids, channels = snapshot.addresses.messages(read["_rowid"].to_numpy().astype(np.int64))
    else:
        ids, channels = (read[name].to_numpy() for name in COLUMNS)
    found = zip(ids.tolist(), channels.tolist(), read[column].to_pylist(), strict=True)
    scores = {
        i: score for i, channel, score in found if (within is None or channel in within) and i not in version.deleted
    }
    return _Hits(scores=scores, full=len(read) >= asked)


def _asked(sought: Sought) -> int:
    """What is excluded, the prompt of some twenty messages, is cheaper to leave out afterwards than to filter."""
    return min(sought.pool + len(sought.exclude), _MOST)


def _top(sought: Sought, hidden: frozenset[int], scores: Mapping[int, float]) -> dict[int, float]:
    open_ = ((i, score) for i, score in scores.items() if i not in hidden)
    return dict(islice(open_, sought.pool))
