"""The stages of a search: what words find, what vectors find, in everything and once more in the newest messages."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from lancedb import AsyncTable

from persona.adapters.lance import table as shape
from persona.adapters.lance.newest import Newest
from persona.adapters.lance.opening import text_search, vector_search
from persona.adapters.lance.ranking import merged

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DETAILS = ["message_id", "channel_id", "author_id", "author_name", "text", "created_at"]
Hits = dict[str, list[Any]]
_MOST = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What to search: a table of about so many rows, whether it has vectors, its channels and the newest of each."""

    table: AsyncTable
    rows: int
    channels: frozenset[int]
    has_vectors: bool
    newest: Newest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sought:
    """What to look for: `words` is empty and `vector` None where that stage has nothing to look for.

    `where` narrows the search of everything. In `channel_id` (unless None) the newest messages are searched once more,
    but for those of `exclude` and `exclude_authors`.
    """

    words: str
    vector: "NDArray[np.float32] | None"
    where: str
    pool: int
    channel_id: int | None
    exclude: frozenset[int]
    exclude_authors: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the stages found: scores by message id, best first, nothing excluded; `full` when there may be more.

    What a message says is in `read`, or at a row of the table in `rows`.
    """

    words: Mapping[int, float]
    similar: Mapping[int, float]
    rows: Mapping[int, int]
    read: Mapping[int, shape.Row]
    full: bool


async def look(searched: Searched, sought: Sought) -> Found:
    """Search by words and by vectors, each best first in one ranking of everything and the newest.

    Raises:
        RuntimeError, ValueError, OSError: LanceDB failed.
    """
    read: Mapping[int, shape.Row] = {}
    recent: Sequence[int] = ()
    if sought.channel_id is not None:
        await searched.newest.load(searched.table, sought.channel_id, vectors=searched.has_vectors)
        read = searched.newest.rows(sought.channel_id)
        recent = searched.newest.since(
            sought.channel_id, exclude=sought.exclude, exclude_authors=sought.exclude_authors
        )
    newer = shape.since(sought.channel_id or 0, recent[0]) if recent else ""
    # What is excluded, the prompt of some twenty messages, is cheaper to leave out afterwards than to filter.
    asked = min(sought.pool + len(sought.exclude), _MOST)
    words, newer_words, vectors = await asyncio.gather(
        _by_words(searched.table, sought.words, sought.where, asked),
        _by_words(searched.table, sought.words if newer else "", newer, asked),
        _by_vector(searched, sought, asked),
    )
    nearest: Mapping[int, float] = {}
    if sought.vector is not None and sought.channel_id is not None:
        nearest = searched.newest.nearest(sought.channel_id, recent, sought.vector, sought.pool)
    hidden = sought.exclude | {i for i, row in read.items() if row.author_id in sought.exclude_authors}
    allowed = frozenset(recent)
    by_words, similar = _scores(words, "_score"), _scores(vectors, "_distance")
    newer_scores = {i: score for i, score in _scores(newer_words, "_score").items() if i in allowed}
    return Found(
        words=merged(_top(sought, hidden, by_words), _top(sought, hidden, newer_scores)),
        similar=merged(_top(sought, hidden, {i: 1.0 - distance for i, distance in similar.items()}), nearest),
        rows={i: at for hits in (newer_words, vectors, words) for i, at in _scores(hits, "_rowid").items()},
        read=read,
        full=max(len(by_words), len(similar)) >= asked,
    )


async def details(table: AsyncTable, found: Found, ids: Sequence[int]) -> dict[int, shape.Row]:
    """Read what candidates say, by message id.

    Raises:
        LookupError: rows have moved since they were found: the table was compacted in between.
        RuntimeError, ValueError, OSError: LanceDB failed.
    """
    known = {i: found.read[i] for i in ids if i in found.read}
    missing = [i for i in ids if i not in known]
    if not missing:
        return known
    taken: pa.Table = await table.take_row_ids([found.rows[i] for i in missing]).select(_DETAILS).to_arrow()
    rows = {row["message_id"]: shape.Row(**row) for row in taken.to_pylist()}
    if rows.keys() != set(missing):
        raise LookupError("rows have moved")
    return known | rows


async def _by_words(table: AsyncTable, words: str, where: str, pool: int) -> Hits:
    """Return the ids and scores of the best matches of any word; only ids, for reading more columns costs time."""
    if not words:
        return {"_rowid": [], "message_id": [], "_score": []}
    query = text_search(table, words)
    query = query.where(where) if where else query
    hits: pa.Table = await query.select(["message_id", "_score"]).with_row_id().limit(pool).to_arrow()
    return dict(hits.to_pydict())


async def _by_vector(searched: Searched, sought: Sought, pool: int) -> Hits:
    if sought.vector is None:
        return {"_rowid": [], "message_id": [], "_distance": []}
    query = vector_search(searched.table, sought.vector, rows=searched.rows, where=sought.where)
    hits: pa.Table = await query.select(["message_id", "_distance"]).with_row_id().limit(pool).to_arrow()
    return dict(hits.to_pydict())


def _scores(hits: Hits, column: str) -> dict[int, Any]:
    return dict(zip(hits["message_id"], hits[column], strict=True))


def _top(sought: Sought, hidden: frozenset[int], scores: Mapping[int, float]) -> dict[int, float]:
    open_ = ((i, score) for i, score in scores.items() if i not in hidden)
    return dict(islice(open_, sought.pool))
