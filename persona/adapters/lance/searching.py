"""A search in two stages: candidates by words and by meaning, then one ranking of both."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from lancedb import AsyncTable

from persona.adapters.lance import table as shape
from persona.adapters.lance.opening import LANCE_ERRORS, text_search, vector_search
from persona.adapters.lance.ranking import Candidate, Weighing, query_words, ranked
from persona.domain.chat import ChannelId
from persona.domain.recall import distinct_texts
from persona.ports import Match, MemoryQuery

_LEAST_CANDIDATES = 50
_MOST_CANDIDATES = 2_000
_CANDIDATES_PER_RESULT = 20
_LEAST_HYBRID = 30
_HYBRID_PER_RESULT = 6
_DEEPER = 4
_DETAILS = ["message_id", "channel_id", "author_id", "author_name", "text", "created_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What to search: a table, the channels it has messages of, and whether it has vectors."""

    table: AsyncTable
    channels: frozenset[int]
    has_vectors: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Candidates of both stages, with their details; `full` when there may be more."""

    candidates: Sequence[Candidate]
    details: Mapping[int, dict[str, Any]]
    full: bool


async def search(searched: Searched, query: MemoryQuery, *, weighing: Weighing, now: datetime) -> list[Match]:
    """Return the best matches, best first, no two of them near-identical.

    Raises:
        RuntimeError, ValueError, OSError: LanceDB failed, also after looking at the latest version.
    """
    sought = " ".join(query_words(query.text))
    by_vector = query.vector is not None and searched.has_vectors
    # Channels that the table has nothing of change nothing; where all it has may be read, no filter is needed.
    channels = query.channel_ids & searched.channels
    if not channels or query.limit < 1 or not (sought or by_vector):
        await asyncio.sleep(0)  # who searches in a loop must let those go on who add what is searched
        return []
    channel_ids = () if channels >= searched.channels else tuple(ChannelId(channel) for channel in channels)
    least, each = (_LEAST_HYBRID, _HYBRID_PER_RESULT) if by_vector else (_LEAST_CANDIDATES, _CANDIDATES_PER_RESULT)
    pool = min(max(least, query.limit * each) + len(query.exclude), _MOST_CANDIDATES)
    vector = query if by_vector else None
    found = await _find(searched.table, sought, vector, shape.where(channel_ids=channel_ids), pool)
    chosen = _chosen(found, query, weighing, now)
    if len(chosen) < query.limit and found.full:
        # Excluded and repeated ones fill the pool: dig deeper, with the exclusions (slower) in the search.
        narrow = shape.where(channel_ids=channel_ids, exclude=query.exclude, exclude_authors=query.exclude_authors)
        found = await _find(searched.table, sought, vector, narrow, pool * _DEEPER)
        chosen = _chosen(found, query, weighing, now)
    return chosen


async def _find(table: AsyncTable, sought: str, query: MemoryQuery | None, where: str, pool: int) -> _Found:
    """Search once; when files or rows of the version at hand are gone, look at the latest one and search again."""
    try:
        return await _find_once(table, sought, query, where, pool)
    except (*LANCE_ERRORS, LookupError):
        await table.checkout_latest()  # type: ignore[no-untyped-call]
        return await _find_once(table, sought, query, where, pool)


async def _find_once(table: AsyncTable, sought: str, query: MemoryQuery | None, where: str, pool: int) -> _Found:
    words, vectors = await asyncio.gather(_by_words(table, sought, where, pool), _by_vector(table, query, where, pool))
    rows = dict(zip(words["_rowid"] + vectors["_rowid"], words["message_id"] + vectors["message_id"], strict=True))
    details = await _details(table, rows)
    return _Found(
        candidates=_candidates(words, vectors, details),
        details=details,
        full=max(len(words["_rowid"]), len(vectors["_rowid"])) >= pool,
    )


async def _by_words(table: AsyncTable, sought: str, where: str, pool: int) -> dict[str, list[Any]]:
    """Return the ids and scores of the best matches of any word; only ids, for reading more columns costs time."""
    if not sought:
        return {"_rowid": [], "message_id": [], "_score": []}
    search_ = text_search(table, sought)
    search_ = search_.where(where) if where else search_
    hits: pa.Table = await search_.select(["message_id", "_score"]).with_row_id().limit(pool).to_arrow()
    return dict(hits.to_pydict())


async def _by_vector(table: AsyncTable, query: MemoryQuery | None, where: str, pool: int) -> dict[str, list[Any]]:
    if query is None or query.vector is None:
        return {"_rowid": [], "message_id": [], "_distance": []}
    search_ = vector_search(table, query.vector)
    search_ = search_.where(where) if where else search_
    hits: pa.Table = await search_.select(["message_id", "_distance"]).with_row_id().limit(pool).to_arrow()
    return dict(hits.to_pydict())


async def _details(table: AsyncTable, rows: Mapping[int, int]) -> dict[int, dict[str, Any]]:
    """Read what candidates say, by message id.

    Raises:
        LookupError: rows have moved since they were found: the table was compacted in between.
    """
    if not rows:
        return {}
    taken: pa.Table = await table.take_row_ids(list(rows)).select(_DETAILS).to_arrow()
    details = {row["message_id"]: row for row in taken.to_pylist()}
    if details.keys() != set(rows.values()):
        raise LookupError("rows have moved")
    return details


def _candidates(
    words: Mapping[str, list[Any]], vectors: Mapping[str, list[Any]], details: Mapping[int, dict[str, Any]]
) -> list[Candidate]:
    by_words = dict(zip(words["message_id"], enumerate(words["_score"], start=1), strict=True))
    by_vector = dict(zip(vectors["message_id"], enumerate(vectors["_distance"], start=1), strict=True))
    return [
        Candidate(
            message_id=message_id,
            created_at_ms=row["created_at"],
            word_rank=by_words[message_id][0] if message_id in by_words else None,
            word_score=by_words[message_id][1] if message_id in by_words else None,
            vector_rank=by_vector[message_id][0] if message_id in by_vector else None,
            similarity=1.0 - by_vector[message_id][1] if message_id in by_vector else None,
        )
        for message_id, row in details.items()
    ]


def _chosen(found: _Found, query: MemoryQuery, weighing: Weighing, now: datetime) -> list[Match]:
    """Rank candidates and pick the best that differ from one another."""
    eligible = [
        candidate
        for candidate in found.candidates
        if candidate.message_id not in query.exclude
        and found.details[candidate.message_id]["author_id"] not in query.exclude_authors
    ]
    order = ranked(eligible, weighing=weighing, now_ms=now.timestamp() * 1000, hybrid=query.vector is not None)
    texts = [found.details[one.candidate.message_id]["text"] for one in order]
    return [
        Match(
            recollection=shape.recollection_of(found.details[one.candidate.message_id], one.score),
            word_rank=one.candidate.word_rank,
            word_score=one.candidate.word_score,
            vector_rank=one.candidate.vector_rank,
            similarity=one.candidate.similarity,
            age_days=one.age_days,
            age_factor=one.age_factor,
        )
        for one in (order[position] for position in distinct_texts(texts, limit=query.limit))
    ]
