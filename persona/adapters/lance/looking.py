"""The stages of a search: what words find, what vectors find, in everything and once more in the newest messages."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from lancedb import AsyncTable
from lancedb.query import AsyncFTSQuery, AsyncVectorQuery

from persona.adapters.lance import table as shape
from persona.adapters.lance.contents import Contents
from persona.adapters.lance.opening import text_search, vector_search
from persona.adapters.lance.ranking import merged

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sought:
    """What to look for: `words` is empty and `vector` None where that stage has nothing to look for.

    `where` narrows the search of everything; all it says is that only `channels` may be read, unless it is `narrow`.
    In `channel_id` (unless None) the newest messages are searched once more, but for those of `exclude` and
    `exclude_authors`.
    """

    words: str
    vector: "NDArray[np.float32] | None"
    where: str
    channels: frozenset[int]
    narrow: bool = False
    pool: int
    channel_id: int | None
    exclude: frozenset[int]
    exclude_authors: frozenset[int]


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
    newest = searched.contents.newest
    authors: Mapping[int, int] = {}
    recent: Sequence[int] = ()
    if sought.channel_id is not None:
        await newest.load(searched.table, sought.channel_id, vectors=searched.has_vectors)
        authors = newest.authors(sought.channel_id)
        recent = newest.since(sought.channel_id, exclude=sought.exclude, exclude_authors=sought.exclude_authors)
    # What takes longest begins first.
    vectors, words, newer_words = await asyncio.gather(
        _by_vector(searched, sought), _by_words(searched, sought), _newer_by_words(searched, sought, recent)
    )
    nearest: Mapping[int, float] = {}
    if sought.vector is not None and sought.channel_id is not None:
        nearest = newest.nearest(sought.channel_id, recent, sought.vector, sought.pool)
    hidden = sought.exclude | {i for i, author in authors.items() if author in sought.exclude_authors}
    allowed = frozenset(recent)
    newer_scores = {i: score for i, score in newer_words.scores.items() if i in allowed}
    similar = {i: 1.0 - distance for i, distance in vectors.scores.items()}
    return Found(
        words=merged(_top(sought, hidden, words.scores), _top(sought, hidden, newer_scores)),
        similar=merged(_top(sought, hidden, similar), nearest),
        full=words.full or vectors.full,
    )


async def _by_words(searched: Searched, sought: Sought) -> _Hits:
    if not sought.words:
        return _NOTHING

    def query(where: str) -> Query:
        found = text_search(searched.table, sought.words)
        return found.where(where) if where else found

    return await _visible(searched, sought, query, "_score")


async def _newer_by_words(searched: Searched, sought: Sought, recent: Sequence[int]) -> _Hits:
    if not sought.words or not recent:
        return _NOTHING
    since = shape.since(sought.channel_id or 0, recent[0])
    return await _hits(searched, text_search(searched.table, sought.words).where(since), "_score", _asked(sought))


async def _by_vector(searched: Searched, sought: Sought) -> _Hits:
    vector = sought.vector
    if vector is None:
        return _NOTHING
    return await _visible(
        searched,
        sought,
        lambda where: vector_search(searched.table, vector, rows=searched.contents.rows, where=where),
        "_distance",
    )


async def _visible(searched: Searched, sought: Sought, query: Callable[[str], Query], column: str) -> _Hits:
    """Return the best of what may be read: filtered by the library, or out of so many that enough is left."""
    asked = _asked(sought)
    counts = searched.contents.channels
    share = sum(counts[channel] for channel in sought.channels) / max(counts.total(), 1)
    if sought.where and not sought.narrow and share >= _WIDE_SHARE:
        found = await _hits(searched, query(""), column, math.ceil(asked / share * _SPARE), within=sought.channels)
        if len(found.scores) >= asked or not found.full:
            return found
    return await _hits(searched, query(sought.where), column, asked)


async def _hits(
    searched: Searched, query: Query, column: str, asked: int, *, within: frozenset[int] | None = None
) -> _Hits:
    """Run a search; of its hits keep those in the channels `within`."""
    read: pa.Table = await query.select([column]).with_row_id().limit(asked).to_arrow()
    rows = read["_rowid"].to_numpy().astype(np.int64)
    ids, channels = await searched.contents.messages(searched.table, rows)
    found = zip(ids.tolist(), channels.tolist(), read[column].to_pylist(), strict=True)
    scores = {i: score for i, channel, score in found if within is None or channel in within}
    return _Hits(scores=scores, full=len(rows) >= asked)


def _asked(sought: Sought) -> int:
    """What is excluded, the prompt of some twenty messages, is cheaper to leave out afterwards than to filter."""
    return min(sought.pool + len(sought.exclude), _MOST)


def _top(sought: Sought, hidden: frozenset[int], scores: Mapping[int, float]) -> dict[int, float]:
    open_ = ((i, score) for i, score in scores.items() if i not in hidden)
    return dict(islice(open_, sought.pool))
