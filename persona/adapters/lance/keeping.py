"""Keeps a table in shape: does what is due, small tables at once, large ones through a helper process."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from lancedb import AsyncTable

from persona.adapters.lance import table as shape
from persona.adapters.lance.chores import Chore, Task, perform
from persona.adapters.lance.helper import Helper
from persona.adapters.lance.indexing import vector_index, wanted_index
from persona.adapters.lance.opening import LANCE_ERRORS, Opened, Place, first_line
from persona.adapters.lance.pinning import pin
from persona.errors import MemoryIndexError

log = structlog.get_logger(__name__)

_PAUSE_AFTER_FAILURE_SECONDS = 600.0
_FEW_FRAGMENTS = 64


class Keeper:
    """Tidies, indexes and purges one table. An index is made in the background and swapped in when it is whole."""

    def __init__(self, place: Place, *, helper_rows: int, clock: Callable[[], float]) -> None:
        self._place = place
        self._helper_rows = helper_rows
        self._clock = clock
        self._tidier = Helper(place)
        self._indexer = Helper(place)
        self._indexing: asyncio.Task[None] | None = None
        self._not_before = clock()

    @property
    def indexing(self) -> bool:
        """Whether an index is being made."""
        return self._indexing is not None and not self._indexing.done()

    async def expect_filling(self, opened: Opened) -> None:
        """Have a helper at the ready where a new table is being filled: it will be indexed as soon as it is full."""
        searched = opened.contents.snapshot
        new = searched is not None and not searched.addresses.rows
        if new and opened.space is not None and opened.contents.rows >= self._helper_rows:
            await self._tidier.start_ahead()

    async def tidy(self, opened: Opened, *, indexing: bool) -> None:
        """Compact, index what is new, delete old versions.

        What was filled in large batches is left as it is and indexed; its vectors at once, if they may be (`indexing`).
        """
        task = Task(chore=Chore.TIDY, table=opened.name)
        if await _filled(opened.table):
            index = await self._due(opened) if indexing else None
            task = Task(chore=Chore.FIRST, table=opened.name, index=index or "")
        await self._do(self._tidier, task, opened)

    async def purge(self, opened: Opened) -> None:
        """Take what was removed out of every file."""
        await self._do(self._tidier, Task(chore=Chore.PURGE, table=opened.name), opened)

    async def index_if_due(self, opened: Opened) -> None:
        """Begin to make a vector index where the policy wants one."""
        if self.indexing or self._clock() < self._not_before:
            return
        name = await self._due(opened)
        if name is not None:
            task = Task(chore=Chore.INDEX, table=opened.name, index=name)
            self._indexing = asyncio.get_running_loop().create_task(self._index(task, opened), name="index vectors")

    async def _due(self, opened: Opened) -> str | None:
        """Return the name of the vector index that is to be made now."""
        if opened.space is None:
            return None
        vectors = await opened.table.count_rows(f"{shape.EMBEDDED} = true")
        present = vector_index({entry.name: entry.columns[0] for entry in await opened.table.list_indices()})
        statistics = await opened.table.index_stats(present.name) if present is not None else None
        parts = (statistics.num_indices or 1) if statistics is not None else 1
        return wanted_index(vectors, present, parts=parts)

    async def settle(self) -> None:
        """Wait until no index is being made."""
        if self._indexing is not None:
            await asyncio.wait({self._indexing})

    def allow(self) -> None:
        """Have helpers do their work, if they were stopped before."""
        self._tidier.allow()
        self._indexer.allow()

    def stop(self) -> None:
        """Break off what helpers are doing, and have them begin nothing until that is allowed."""
        self._tidier.stop()
        self._indexer.stop()

    def break_off(self) -> None:
        """Break off tidying or purging; the next time begins anew."""
        self._tidier.break_off()

    async def _index(self, task: Task, opened: Opened) -> None:
        """Make an index; a failure means slower searches, and another attempt later."""
        began = self._clock()
        try:
            await self._do(self._indexer, task, opened)
            if opened.contents.snapshot is not None:
                await pin(opened)
        except (MemoryIndexError, *LANCE_ERRORS) as error:
            self._not_before = self._clock() + _PAUSE_AFTER_FAILURE_SECONDS
            log.warning("memory_indexing_failed", index=task.index, reason=first_line(error))
            return
        log.info("memory_indexed", index=task.index, seconds=round(self._clock() - began, 1))

    async def _do(self, helper: Helper, task: Task, opened: Opened) -> None:
        if opened.space is None or await opened.table.count_rows() < self._helper_rows:
            await perform(task, opened.table, self._place)
            return
        try:
            await helper.run(task)
        except OSError as error:
            # No room for another process: the work is done all the same, at the price of memory.
            log.warning("memory_helper_missing", reason=first_line(error))
            await perform(task, opened.table, self._place)
            return
        await opened.table.checkout_latest()  # type: ignore[no-untyped-call]


async def _filled(table: AsyncTable) -> bool:
    """Whether nothing is indexed yet and rows are in so few fragments that they need no compacting."""
    indexed = await table.index_stats("text_idx")
    statistics: Any = await table.stats()  # a dict, whatever its annotation says
    few = statistics["fragment_stats"]["num_fragments"] <= _FEW_FRAGMENTS
    return indexed is not None and indexed.num_indexed_rows == 0 and few
