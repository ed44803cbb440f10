"""A search: candidates by words and by meaning, one ranking of both, and of those the best that differ."""

import asyncio
from dataclasses import replace
from datetime import datetime

from persona.adapters.lance import table as shape
from persona.adapters.lance.looking import Found, Searched, Sought, details, look
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


async def search(searched: Searched, query: MemoryQuery, *, now: datetime) -> list[Match]:
    """Return the best matches, best first, no two of them near-identical.

    Raises:
        RuntimeError, ValueError, OSError: LanceDB failed, also after looking at the latest version.
    """
    words = " ".join(query_words(query.text))
    vector = query.vector if searched.has_vectors else None
    # Channels that the table has nothing of change nothing; where all it has may be read, no filter is needed.
    channels = query.channel_ids & searched.channels
    if not channels or query.limit < 1 or not (words or vector is not None):
        await asyncio.sleep(0)  # who searches in a loop must let those go on who add what is searched
        return []
    channel_ids = () if channels >= searched.channels else tuple(ChannelId(channel) for channel in channels)
    pool = max(_LEAST_CANDIDATES, query.limit * _CANDIDATES_PER_RESULT)
    sought = Sought(
        words=words,
        vector=vector,
        where=shape.where(channel_ids=channel_ids),
        pool=min(pool, _MOST_CANDIDATES),
        channel_id=query.channel_id if query.channel_id in channels else None,
        exclude=query.exclude,
        exclude_authors=query.exclude_authors,
    )
    chosen, full = await _search(searched, sought, query.limit, now)
    if len(chosen) < query.limit and full:
        # Excluded and repeated ones fill the pool: dig deeper, with the exclusions (slower) in the search.
        narrow = shape.where(channel_ids=channel_ids, exclude=query.exclude, exclude_authors=query.exclude_authors)
        deeper = replace(sought, where=narrow, pool=min(sought.pool * _DEEPER, _MOST_CANDIDATES))
        chosen, _ = await _search(searched, deeper, query.limit, now)
    return chosen


async def _search(searched: Searched, sought: Sought, limit: int, now: datetime) -> tuple[list[Match], bool]:
    """Search once; when files or rows of the version at hand are gone, look at the latest one and search again."""
    try:
        return await _search_once(searched, sought, limit, now)
    except (*LANCE_ERRORS, LookupError):
        await searched.table.checkout_latest()  # type: ignore[no-untyped-call]
        return await _search_once(searched, sought, limit, now)


async def _search_once(searched: Searched, sought: Sought, limit: int, now: datetime) -> tuple[list[Match], bool]:
    found = await look(searched, sought)
    order = ranked(found.words, found.similar, now_ms=now.timestamp() * 1000)
    wanted = limit * _ROOM
    # Who wrote a message is known once it was read: where some may not be heard, more are read at once.
    at_once = wanted * 2 if sought.exclude_authors else wanted
    read: dict[int, shape.Row] = {}
    top: list[Ranked] = []
    while order and len(top) < wanted:
        part, order = order[:at_once], order[at_once:]
        read |= await details(searched.table, found, [one.message_id for one in part])
        top += [one for one in part if read[one.message_id].author_id not in sought.exclude_authors]
    top = top[:wanted]
    texts = [read[one.message_id].text for one in top]
    kept = diverse_texts([one.score for one in top], texts, limit=limit)
    return [_match(top[at], read[top[at].message_id], found) for at in kept], found.full


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
