"""The `Memory` port over one LanceDB table: one owner process writes, and the work is done off the event loop."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lancedb import AsyncConnection, AsyncTable

from persona.adapters.lance import table as shape
from persona.adapters.lance.opening import LANCE_ERRORS, let_go, named_errors, open_place, place_of, text_search
from persona.adapters.lance.purging import purge_table
from persona.adapters.lance.ranking import decayed, distinct_texts, query_words
from persona.adapters.lance.tidying import Litter, give_memory_back
from persona.domain.chat import Recollection
from persona.errors import MemoryIndexError
from persona.ports import MemoryChange, MemoryQuery

# Versions younger than this may be in use by a search that is under way.
_CLEANUP_AGE = timedelta(minutes=10)
_IDS_PER_FILTER = 2_000
_LEAST_CANDIDATES = 50
_MOST_CANDIDATES = 2_000
_CANDIDATES_PER_RESULT = 20
_DEEPER = 4
_RESULT_COLUMNS = ["message_id", "channel_id", "author_id", "author_name", "text", "created_at", "_score"]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class LanceMemory:
    """Full-text search (BM25) over what was said, weighed by age; vectors can be added to the same table later.

    Nothing is written outside the folder at `uri` (or the prefix on object storage, "s3://bucket/prefix" with its
    `storage_options`). A message's weight falls with its age by `half_life_days` towards `age_floor` (0..1) of it.
    `language` chooses the stemmer. `now` dates messages, the monotonic `clock` paces tidying up.
    """

    def __init__(
        self,
        uri: str | Path,
        *,
        half_life_days: float = 14.0,
        age_floor: float = 0.5,
        language: str = "English",
        storage_options: Mapping[str, str] | None = None,
        now: Callable[[], datetime] = _utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place_of(uri, storage_options=storage_options, language=language)
        self._half_life_days = half_life_days
        self._age_floor = age_floor
        self._now = now
        self._clock = clock
        self._writing = asyncio.Lock()
        self._connection: AsyncConnection | None = None
        self._table: AsyncTable | None = None
        self._newest_id: int | None = None
        self._litter = Litter(at=clock())

    async def open(self) -> bool:
        """Open the index, checking it with real reads and searches.

        Returns False when it holds nothing, because it is new, was damaged, or belonged to something else: put every
        message into the outbox again then. A table that cannot be used is moved aside within the folder. An empty
        table counts as new, so that a start that was killed before it asked for everything asks again.

        Raises:
            MemoryIndexError: not even a new table can be made.
        """
        async with self._writing:
            self._let_go()
            opened = await open_place(self._place, now=self._now())
            self._connection, self._table = opened.connection, opened.table
            self._newest_id = opened.newest_id
            self._litter = Litter(commits=opened.fragments - 1, rows=opened.unindexed, at=self._clock())
            return opened.rows > 0

    async def close(self) -> None:
        """Let go of the index; safe to call twice."""
        async with self._writing:
            self._let_go()

    async def apply(self, changes: Sequence[MemoryChange]) -> None:
        """Bring the index up to date; what is there already is left alone, so a replay costs no write.

        Raises:
            MemoryIndexError: LanceDB failed; the same changes can be applied again.
        """
        plan = await asyncio.to_thread(shape.plan_of, changes)
        async with self._writing:
            table = self._opened()
            with named_errors("writing"):
                await _unbroken(self._write(table, plan))

    async def refresh(self) -> None:
        """Index, compact and delete old versions, once enough has piled up to pay for it; cheap otherwise.

        Raises:
            MemoryIndexError: LanceDB failed.
        """
        async with self._writing:
            table = self._opened()
            if not self._litter.due(self._clock()):
                return
            with named_errors("tidying up"):
                await table.optimize(cleanup_older_than=_CLEANUP_AGE)
            self._litter = self._litter.tidied(self._clock())
        await asyncio.to_thread(give_memory_back)

    async def purge(self) -> None:
        """Write the table and its indices anew and delete every other file: what was removed is in none that is left.

        Compaction would not do: it keeps removed rows in files where they are few, and their words in the index.
        Takes about a second for 300,000 rows; searches go on, and one that loses its files looks again.

        Raises:
            MemoryIndexError: LanceDB failed, or old files could not be deleted; it may be tried again.
        """
        async with self._writing:
            table = self._opened()
            with named_errors("purging"):
                await _unbroken(purge_table(table, self._place))
            self._litter = Litter(at=self._clock())
        await asyncio.to_thread(give_memory_back)

    async def search(self, query: MemoryQuery) -> Sequence[Recollection]:
        """Return the best matches, best first, no two of them near-identical; nothing for a query without words.

        Raises:
            MemoryIndexError: LanceDB failed.
        """
        sought = " ".join(query_words(query.text))
        if not sought or not query.channel_ids or query.limit < 1:
            return ()
        table = self._opened()
        pool = max(_LEAST_CANDIDATES, query.limit * _CANDIDATES_PER_RESULT) + len(query.exclude)
        pool = min(pool, _MOST_CANDIDATES)
        with named_errors("searching"):
            found = await _find(table, sought, shape.where(channel_ids=query.channel_ids), pool)
            chosen = self._chosen(found, query)
            if len(chosen) < query.limit and len(found) == pool:
                # Excluded and repeated ones fill the pool: dig deeper, with the exclusions (slower) in the search.
                narrow = shape.where(
                    channel_ids=query.channel_ids, exclude=query.exclude, exclude_authors=query.exclude_authors
                )
                chosen = self._chosen(await _find(table, sought, narrow, pool * _DEEPER), query)
        return chosen

    def _opened(self) -> AsyncTable:
        if self._table is None:
            raise MemoryIndexError("the memory index is not open")
        return self._table

    def _let_go(self) -> None:
        let_go(self._table, self._connection)
        self._table = self._connection = self._newest_id = None

    async def _write(self, table: AsyncTable, plan: shape.Plan) -> None:
        """Delete what is gone or different, then add. Cut off between the two, a replay adds what is missing."""
        # Ids grow with time: most of what comes is known to be new without looking. None: in doubt until all is done.
        newest, self._newest_id = self._newest_id, None
        old = plan.ids if newest is None else [i for i in plan.ids if i <= newest]
        stored = await _stored(table, old)
        rows = [row for i, row in plan.rows.items() if stored.get(i) != row]
        doomed = [i for i in stored if i in plan.gone or stored[i] != plan.rows[i]]
        for ids in _slices(doomed):
            await table.delete(f"message_id IN ({shape.id_list(ids)})")
            self._litter = self._litter.after(rows=0)
        if rows:
            await table.add(await asyncio.to_thread(shape.batch_of, rows))
            self._litter = self._litter.after(rows=len(rows))
        self._newest_id = None if newest is None else max(newest, max(plan.rows, default=0))

    def _chosen(self, found: Sequence[dict[str, Any]], query: MemoryQuery) -> list[Recollection]:
        """Rank candidates by match and age and pick the best that differ from one another."""
        now_ms = self._now().timestamp() * 1000
        ranked = [
            (self._weight(row, now_ms), row["message_id"], row)
            for row in found
            if row["message_id"] not in query.exclude and row["author_id"] not in query.exclude_authors
        ]
        ranked.sort(key=lambda item: item[:2], reverse=True)
        chosen = distinct_texts([row["text"] for _, _, row in ranked], limit=query.limit)
        return [shape.recollection_of(ranked[i][2], ranked[i][0]) for i in chosen]

    def _weight(self, row: dict[str, Any], now_ms: float) -> float:
        age = now_ms - row["created_at"]
        return decayed(row["_score"], age, half_life_days=self._half_life_days, floor=self._age_floor)


async def _find(table: AsyncTable, sought: str, where: str, limit: int) -> list[dict[str, Any]]:
    """Search once; when the files of the version at hand are gone, look at the latest version and search again."""
    try:
        return await _find_once(table, sought, where, limit)
    except LANCE_ERRORS:
        await table.checkout_latest()  # type: ignore[no-untyped-call]
        return await _find_once(table, sought, where, limit)


async def _find_once(table: AsyncTable, sought: str, where: str, limit: int) -> list[dict[str, Any]]:
    return await text_search(table, sought).where(where).select(_RESULT_COLUMNS).limit(limit).to_list()


async def _stored(table: AsyncTable, ids: Sequence[int]) -> dict[int, shape.Row]:
    found: dict[int, shape.Row] = {}
    columns = shape.COLUMNS.names
    for part in _slices(ids):
        rows = await table.query().where(f"message_id IN ({shape.id_list(part)})").select(columns).to_list()
        found.update((row["message_id"], shape.Row(**row)) for row in rows)
    return found


def _slices(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + _IDS_PER_FILTER] for start in range(0, len(ids), _IDS_PER_FILTER)]


async def _unbroken(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end even when cancelled: LanceDB would go on writing while the next writer looks at the table."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
