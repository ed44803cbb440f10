"""A search: candidates by words and by meaning, one ranking of both, and of those the best that differ."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from persona.adapters.lance import table as shape
from persona.adapters.lance.at_hand import Sought
from persona.adapters.lance.looking import Found, Searched, look
from persona.adapters.lance.opening import LANCE_ERRORS
from persona.adapters.lance.ranking import Ranked, query_words, ranked
from persona.domain.chat import ChannelId
from persona.domain.recall import diverse_texts
from persona.ports import Match, MemoryQuery

_LEAST_CANDIDATES = 30
_CANDIDATES_PER_RESULT = 6
_MOST_CANDIDATES = 2_000
_DEEPER = 4
_ROOM = 6
"""So many times the wanted number of messages are read and compared, for some say the same as others."""

Reader = Callable[[Sequence[int]], Awaitable[Mapping[int, shape.Row]]]
"""Tells what messages say, by id; what it leaves out is not there any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """One question: what is searched, who tells what was said, who asks, and when."""

    searched: Searched
    read: Reader
    query: MemoryQuery
    now: datetime


async def search(searched: Searched, query: MemoryQuery, *, read: Reader, now: datetime) -> list[Match]:
    """Return the best matches, best first, no two of them near-identical.

    Raises:
        RuntimeError, ValueError, OSError: LanceDB failed, also after looking at the latest version.
    """
    words = " ".join(query_words(query.text))
    vector = query.vector if searched.has_vectors else None
    # Channels that the table has nothing of change nothing; where all it has may be read, no filter is needed.
    known = searched.contents.channels.keys()
    channels = query.channel_ids & known
    if not channels or query.limit < 1 or not (words or vector is not None):
        await asyncio.sleep(0)  # who searches in a loop must let those go on who add what is searched
        return []
    channel_ids = () if channels >= known else tuple(ChannelId(channel) for channel in channels)
    pool = max(_LEAST_CANDIDATES, query.limit * _CANDIDATES_PER_RESULT)
    sought = Sought(
        words=words,
        vector=vector,
        where=shape.where(channel_ids=channel_ids),
        channels=frozenset(channels),
        pool=min(pool, _MOST_CANDIDATES),
        channel_id=query.channel_id if query.channel_id in channels else None,
        exclude=query.exclude,
        exclude_authors=query.exclude_authors,
    )
    asked = _Search(searched=searched, read=read, query=query, now=now)
    chosen, full = await _search(asked, sought)
    if len(chosen) < query.limit and full:
        # Excluded and repeated ones fill the pool: dig deeper, with the exclusions (slower) in the search.
        where = shape.where(channel_ids=channel_ids, exclude=query.exclude, exclude_authors=query.exclude_authors)
        pool = min(sought.pool * _DEEPER, _MOST_CANDIDATES)
        chosen, _ = await _search(asked, replace(sought, where=where, narrow=True, pool=pool))
    return chosen


async def _search(asked: _Search, sought: Sought) -> tuple[list[Match], bool]:
    """Search once; when files or rows of the version at hand are gone, look at the latest one and search again."""
    contents = asked.searched.contents
    snapshot = contents.snapshot
    try:
        return await _search_once(asked, sought)
    except (*LANCE_ERRORS, LookupError):
        contents.unpin(snapshot)
        await asked.searched.table.checkout_latest()  # type: ignore[no-untyped-call]
        return await _search_once(asked, sought)


async def _search_once(asked: _Search, sought: Sought) -> tuple[list[Match], bool]:
    found = await look(asked.searched, sought)
    order = ranked(found.words, found.similar, now_ms=asked.now.timestamp() * 1000)
    wanted = asked.query.limit * _ROOM
    # Who wrote a message is known once it was read: where some may not be heard, more are read at once.
    at_once = wanted * 2 if sought.exclude_authors else wanted
    read: dict[int, shape.Row] = {}
    top: list[Ranked] = []
    while len(top) < wanted and (part := list(islice(order, at_once))):
        read |= await asked.read([one.message_id for one in part])
        top += [one for one in part if _may_be_told(read.get(one.message_id), asked.query)]
    top = top[:wanted]
    texts = [read[one.message_id].text for one in top]
    kept = diverse_texts([one.score for one in top], texts, limit=asked.query.limit)
    return [_match(top[at], read[top[at].message_id], found) for at in kept], found.full


def _may_be_told(row: shape.Row | None, query: MemoryQuery) -> bool:
    return row is not None and row.author_id not in query.exclude_authors and row.channel_id in query.channel_ids


def _match(one: Ranked, row: shape.Row, found: Found) -> Match:
    return Match(
        recollection=shape.recollection_of(row, one.score),
        word_rank=one.word_rank,
        word_score=found.words.get(one.message_id),
        vector_rank=one.vector_rank,
        similarity=found.similar.get(one.message_id),
        recency_rank=one.recency_rank,
        age_days=one.age_days,
        age_factor=one.age_factor,
    )
