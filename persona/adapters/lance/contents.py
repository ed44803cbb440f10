"""What is known in memory of the table: its channels, the newest messages of each, which message stands where."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from lancedb import AsyncTable

from persona.adapters.lance import table as shape
from persona.adapters.lance.addresses import COLUMNS, UNKNOWN, Addresses
from persona.adapters.lance.newest import Newest, newest_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]
    Vector = NDArray[np.float32]

# More come from imports and rebuilds; tidying up, which follows those, looks for all rows anyway.
_MOST_LOCATED = 2_000


class Contents:
    """Follows what is written to the table. Not for use by several threads.

    `rows` and `channels` (messages by channel) may be off by what was deleted since the start. `newest_id` is the
    highest id there is, 0 in an empty table, None while a write is under way that may have failed half done.
    """

    def __init__(self, read: pa.Table) -> None:
        """Take in a whole table, read with row ids: the columns message_id and channel_id."""
        ids, channels = (read[column].to_numpy() for column in COLUMNS)
        self.rows = len(read)
        present, counts = np.unique(channels, return_counts=True)
        self.channels = Counter(dict(zip(present.tolist(), counts.tolist(), strict=True)))
        self.newest_id: int | None = int(ids.max()) if len(ids) else 0
        self.newest = Newest(newest_ids(read))
        self._addresses = Addresses(read)

    def expect(self, rows: Iterable[shape.Row]) -> None:
        """Know of channels before their rows are there: a search that is told too much merely finds nothing."""
        for row in rows:
            self.channels[row.channel_id] += 1

    def put(self, rows: Sequence[shape.Row], vectors: "Mapping[str, Vector]") -> None:
        """Take in rows that were written (and expected before), with the vectors that are known by text."""
        self.rows += len(rows)
        self.newest.put(rows, vectors)

    async def locate(self, table: AsyncTable, ids: Sequence[int]) -> None:
        """Learn where messages stand that were written a moment ago, so that no search has to read it.

        Raises:
            RuntimeError, ValueError, OSError: LanceDB failed.
        """
        if 0 < len(ids) <= _MOST_LOCATED:
            where = f"message_id IN ({shape.id_list(ids)})"
            self._addresses.learn(await table.query().where(where).select(list(COLUMNS)).with_row_id().to_arrow())

    async def locate_all(self, table: AsyncTable) -> None:
        """Learn anew where everything stands, after rows were moved.

        Raises:
            RuntimeError, ValueError, OSError: LanceDB failed.
        """
        self._addresses = await asyncio.to_thread(Addresses, await read_all(table))

    async def messages(self, table: AsyncTable, rows: "Numbers") -> "tuple[Numbers, Numbers]":
        """Return the messages at rows, and their channels.

        Raises:
            LookupError: rows are gone since they were found: the table was compacted in between.
            RuntimeError, ValueError, OSError: LanceDB failed.
        """
        ids, channels = self._addresses.messages(rows)
        unknown = rows[ids == UNKNOWN].tolist()
        if not unknown:
            return ids, channels
        self._addresses.learn(await table.take_row_ids(unknown).select(list(COLUMNS)).with_row_id().to_arrow())
        ids, channels = self._addresses.messages(rows)
        if (ids == UNKNOWN).any():
            raise LookupError("rows have moved")
        return ids, channels


async def read_all(table: AsyncTable) -> pa.Table:
    """Read which message stands where, in the whole table.

    Raises:
        RuntimeError, ValueError, OSError: LanceDB failed.
    """
    read: pa.Table = await table.query().select(list(COLUMNS)).with_row_id().to_arrow()
    return read
