"""The `Memory` port over one LanceDB table: one owner process writes, and the work is done off the event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lancedb import AsyncTable

from persona.adapters.lance import searching, writing
from persona.adapters.lance import table as shape
from persona.adapters.lance.keeping import Keeper
from persona.adapters.lance.looking import Searched
from persona.adapters.lance.opening import Opened, let_go, named_errors, open_place, place_of
from persona.adapters.lance.pinning import pin
from persona.adapters.lance.statistics import statistics_of
from persona.adapters.lance.tidying import Litter, give_memory_back, return_large_blocks
from persona.domain.chat import Message, MessageId, Recollection
from persona.errors import MemoryIndexError
from persona.ports import Embedded, Match, MemoryChange, MemoryQuery, MemoryStats, VectorSpace, Waiting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Messages = Callable[[Collection[MessageId]], Awaitable[Mapping[MessageId, Message]]]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class LanceMemory:
    """Search by words (BM25) and by meaning (vectors) over what was said, fused and weighed by age.

    Nothing is written outside the folder at `uri` (or the prefix on object storage, "s3://bucket/prefix" with its
    `storage_options`). How messages are ranked is told in `persona.domain.recall`. `messages` tells what they say now
    (without it, what they said when they were written to the index); those it does not know are not found.

    `language` chooses the stemmer. `now` dates messages, the monotonic `clock` paces tidying up. A table with vectors
    of `helper_rows` or more is tidied and indexed by a process of its own.
    """

    def __init__(
        self,
        uri: str | Path,
        *,
        messages: Messages | None = None,
        language: str = "English",
        storage_options: Mapping[str, str] | None = None,
        helper_rows: int = 20_000,
        now: Callable[[], datetime] = _utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place_of(uri, storage_options=storage_options, language=language)
        self._messages = messages
        self._now = now
        self._clock = clock
        # Whoever adds rows holds `_writing`. Compacting moves rows, so it may not run beside changes to old rows; both
        # hold `_moving`. New rows can be added meanwhile.
        self._writing = asyncio.Lock()
        self._moving = asyncio.Lock()
        self._still = asyncio.Event()
        self._still.set()
        self._keeper = Keeper(self._place, helper_rows=helper_rows, clock=clock)
        self._opened: Opened | None = None
        self._litter = Litter(at=clock())

    @property
    def space(self) -> VectorSpace | None:
        """The space of its vectors; None while it is closed, or keeps words only."""
        return self._opened.space if self._opened is not None else None

    async def open(self, space: VectorSpace | None = None) -> bool:
        """Open the index for vectors of a space, checking it with real reads and searches.

        Without a space the index at hand is used as it is, with its vectors; where there is none, one of words alone
        is made. Returns False when it holds nothing, because it is new, was damaged, or belonged to something else:
        put every message into the outbox again then. A table that cannot be used is moved aside within the folder. An
        empty table counts as new, so that a start that was killed before it asked for everything asks again.

        Raises:
            MemoryIndexError: not even a new table can be made.
        """
        return_large_blocks()
        async with self._writing, self._moving:
            await self._let_go()
            opened = await open_place(self._place, space, now=self._now())
            with named_errors("opening"):
                if not opened.unindexed:
                    await pin(opened)
            self._opened = opened
            self._keeper.allow()
            self._litter = Litter.found(commits=opened.fragments - 1, unindexed=opened.unindexed, at=self._clock())
            return opened.contents.rows > 0

    async def close(self) -> None:
        """Let go of the index; safe to call twice. Tidying and indexing are broken off."""
        self._keeper.stop()
        async with self._writing, self._moving:
            await self._let_go()

    async def apply(
        self, changes: Sequence[MemoryChange], vectors: "Mapping[str, NDArray[np.float32]] | None" = None
    ) -> None:
        """Bring the index up to date; what is there already is left alone, so a replay costs no write.

        `vectors` are known ones, by the exact text of a message. A message without one is found by its words.

        Raises:
            MemoryIndexError: LanceDB failed; the same changes can be applied again.
        """
        plan = await asyncio.to_thread(shape.plan_of, changes)
        async with self._writing:
            opened = self._at_hand()
            with named_errors("writing"):
                await writing.unbroken(self._write(opened, plan, vectors or {}))

    async def waiting(self, limit: int) -> Sequence[Waiting]:
        """Return messages that wait for their vector, the newest `limit` of them.

        Raises:
            MemoryIndexError: LanceDB failed.
        """
        opened = self._at_hand()
        if opened.space is None or limit < 1:
            return ()
        with named_errors("searching"):
            return await writing.waiting(opened.table, limit)

    async def waiting_count(self) -> int:
        """Return how many messages wait for their vector.

        Raises:
            MemoryIndexError: LanceDB failed.
        """
        opened = self._at_hand()
        if opened.space is None:
            return 0
        with named_errors("searching"):
            return await opened.table.count_rows(f"{shape.EMBEDDED} = false")

    async def embed(self, embedded: Sequence[Embedded]) -> int:
        """Give messages their vectors, where they still say what the vector was made from; return how many.

        Raises:
            MemoryIndexError: LanceDB failed, or the index keeps no vectors.
        """
        async with self._writing, self._moving:
            opened = self._at_hand()
            if opened.space is None:
                raise MemoryIndexError("the memory index keeps words only", cure="open it with a vector space")
            with named_errors("writing"):
                done = await writing.unbroken(writing.embed(opened.table, opened.space, embedded))
            if done:
                vectors = {one.text: one.vector for one in embedded}
                opened.contents.newest.put(done, await opened.contents.take_in(done, vectors))
                self._litter = self._litter.after(rows=len(done))
            return len(done)

    async def refresh(self, *, indexing: bool = True) -> None:
        """Index, compact and delete old versions, once enough has piled up to pay for it; cheap otherwise.

        A vector index that is due is made in the background, beside the one at hand; not without `indexing`.

        Raises:
            MemoryIndexError: LanceDB failed.
        """
        self._at_hand()
        if not self._tidying_pays():
            if self._litter.scattered:
                await self._gather()
            return
        with named_errors("tidying up"):
            async with self._moving:
                opened = self._at_hand()
                if not self._tidying_pays():  # it was done while this waited
                    return
                before, mark = self._litter, opened.contents.tail.mark()
                self._still.clear()
                try:
                    tidying = self._keeper.tidy(opened, indexing=indexing)
                    await writing.unbroken(tidying, hurry=self._keeper.break_off)
                    await pin(opened)
                finally:
                    self._still.set()
                opened.contents.tail.indexed(mark)
                self._litter = self._litter.since(before, self._clock())
                if indexing:
                    await self._keeper.index_if_due(opened)
        if opened.outgrown and opened is self._opened and not self._keeper.indexing:
            await self._reopen(opened.space)
        await asyncio.to_thread(give_memory_back)

    def _tidying_pays(self) -> bool:
        return not self._keeper.indexing and self._litter.due(self._clock())

    async def _reopen(self, space: VectorSpace | None) -> None:
        if not await self.open(space):
            # It is found empty once more when it is opened the next time, and then somebody fills it.
            await self.close()
            raise MemoryIndexError("the memory index could not be read when it was opened again")

    async def _gather(self) -> None:
        async with self._writing, self._moving:
            opened = self._at_hand()
            if self._keeper.indexing:
                return  # what is gathered is in no index; searches move to this version when the new one is made
            with named_errors("tidying up"):
                await writing.unbroken(writing.gather(opened.table))
            self._litter = self._litter.gathered()
        await asyncio.to_thread(give_memory_back)

    async def settle(self) -> None:
        """Wait until no index is being made in the background."""
        await self._keeper.settle()

    async def clear(self) -> None:
        """Start the index anew, empty, for the same space.

        Raises:
            MemoryIndexError: LanceDB failed.
        """
        await self._keeper.settle()
        async with self._writing, self._moving:
            await self._keeper.settle()
            opened = self._at_hand()
            with named_errors("clearing"):
                await opened.connection.drop_table(opened.name)
        await self.open(opened.space)

    async def purge(self) -> None:
        """Write the table and its indices anew and delete every other file: what was removed is in none that is left.

        Compaction would not do: it keeps removed rows in files where they are few, and their words in the index.
        Takes about a second for 300,000 rows without vectors; searches go on, and one that loses its files looks again.

        Raises:
            MemoryIndexError: LanceDB failed, or old files could not be deleted; it may be tried again.
        """
        await self._keeper.settle()
        async with self._writing, self._moving:
            await self._keeper.settle()  # one may have begun before it was this one's turn
            opened = self._at_hand()
            with named_errors("purging"):
                opened.contents.unpin(opened.contents.snapshot)
                await writing.unbroken(self._keeper.purge(opened), hurry=self._keeper.break_off)
                await pin(opened)
                opened.contents.tail.indexed(opened.contents.tail.mark())
            self._litter = Litter(at=self._clock())
        await asyncio.to_thread(give_memory_back)

    async def search(self, query: MemoryQuery) -> Sequence[Recollection]:
        """Return the best matches, best first, no two of them near-identical; nothing for a query without words.

        Raises:
            MemoryIndexError: LanceDB failed.
        """
        return [match.recollection for match in await self.explain(query)]

    async def explain(self, query: MemoryQuery) -> Sequence[Match]:
        """Search, and tell why each match was found.

        Raises:
            MemoryIndexError: LanceDB failed, or the query's vector is of another length.
        """
        opened = self._at_hand()
        searched = Searched(table=opened.table, contents=opened.contents, has_vectors=opened.space is not None)
        if query.vector is not None and opened.space and query.vector.shape != (opened.space.dimensions,):
            raise MemoryIndexError(
                f"a vector of shape {query.vector.shape}, the memory index has {opened.space.dimensions} dimensions"
            )
        with named_errors("searching"):
            return await searching.search(searched, query, read=partial(self._read, opened), now=self._now())

    async def stats(self) -> MemoryStats:
        """Return what the index holds.

        Raises:
            MemoryIndexError: LanceDB failed.
        """
        opened = self._at_hand()
        with named_errors("counting"):
            return await statistics_of(opened, self._place)

    async def _read(self, opened: Opened, ids: Sequence[int]) -> Mapping[int, shape.Row]:
        if self._messages is None:
            return await writing.stored(opened.table, ids)
        found = await self._messages([MessageId(i) for i in ids])
        return {int(i): shape.row_of(message) for i, message in found.items()}

    def _at_hand(self) -> Opened:
        if self._opened is None:
            raise MemoryIndexError("the memory index is not open")
        return self._opened

    async def _let_go(self) -> None:
        opened, self._opened = self._opened, None
        self._keeper.stop()
        await self._keeper.settle()
        if opened is not None:
            # Its tables go with the last search that looks into them: LanceDB panics when one is closed under it.
            let_go(opened.connection)

    async def _write(self, opened: Opened, plan: shape.Plan, vectors: "Mapping[str, NDArray[np.float32]]") -> None:
        """Delete what is gone or different, then add. Cut off between the two, a replay adds what is missing."""
        contents = opened.contents
        # Ids grow with time: most of what comes is known to be new without looking. None: in doubt until all is done.
        newest, contents.newest_id = contents.newest_id, None
        old = plan.ids if newest is None else [i for i in plan.ids if i <= newest]
        stored = await writing.stored(opened.table, old)
        rows = [row for i, row in plan.rows.items() if stored.get(i) != row]
        doomed = [i for i in stored if i in plan.gone or stored[i] != plan.rows[i]]
        if doomed:
            await self._remove(opened.table, doomed)
            contents.remove(doomed)
        if rows:
            contents.expect(rows)
            documents = await contents.take_in(rows, vectors if opened.space is not None else {})
            batch = await asyncio.to_thread(shape.batch_of, rows, opened.space, vectors)
            # What is added while it is tidied is in no index of the version that is searched afterwards.
            await writing.patiently(self._still)
            await opened.table.add(batch)
            contents.wrote(rows, documents)
            self._litter = self._litter.after(rows=len(rows))
            await self._keeper.expect_filling(opened)
        if doomed or rows:
            await writing.sync(self._place)
        contents.newest_id = None if newest is None else max(newest, max(plan.rows, default=0))

    async def _remove(self, table: AsyncTable, ids: Sequence[int]) -> None:
        async with self._moving:
            for part in writing.slices(ids):
                await table.delete(f"message_id IN ({shape.id_list(part)})")
                self._litter = self._litter.after(rows=0)
