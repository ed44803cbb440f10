"""What is known in memory of the table: its channels, the newest messages of each, which message stands where."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from lancedb import AsyncTable

from persona.adapters.lance import table as shape
from persona.adapters.lance.addresses import COLUMNS, Addresses
from persona.adapters.lance.documents import Document, Statistics, Tokenizer, document_of
from persona.adapters.lance.newest import Newest, newest_ids
from persona.adapters.lance.tail import Tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]
    Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """A version of the table in which all is indexed (vectors, once they are many), and which message stands where."""

    table: AsyncTable
    addresses: Addresses
    vectors_indexed: bool


class Contents:
    """Follows what is written to the table. Not for use by several threads.

    `rows` and `channels` (messages by channel) may be off by what was deleted since the start. `newest_id` is the
    highest id there is, 0 in an empty table, None while a write is under way that may have failed half done.
    `snapshot` is the version of the table that is searched, in which all is indexed; `tail` holds what came after it.
    Without a snapshot the newest version is searched, which looks at what is not indexed row by row.
    """

    def __init__(self, read: pa.Table, sample: Sequence[str], tokens: Tokenizer, *, whole: bool) -> None:
        """Take in a table.

        `read` is all of it with row ids (the columns message_id and channel_id), `sample` what some of it says, `whole`
        whether all of it is indexed.
        """
        ids, channels = (read[column].to_numpy() for column in COLUMNS)
        present, counts = np.unique(channels, return_counts=True)
        self.rows = len(read)
        self.channels = Counter(dict(zip(present.tolist(), counts.tolist(), strict=True)))
        self.newest_id: int | None = int(ids.max()) if len(ids) else 0
        self.snapshot: Snapshot | None = None
        self.tokens = tokens
        self.statistics = Statistics(map(tokens, sample))
        self.newest = Newest(newest_ids(read), tokens)
        self.tail = Tail(whole=whole)

    def expect(self, rows: Iterable[shape.Row]) -> None:
        """Know of channels before their rows are there: a search that is told too much merely finds nothing."""
        for row in rows:
            self.channels[row.channel_id] += 1

    async def take_in(
        self, rows: Sequence[shape.Row], vectors: "Mapping[str, Vector]"
    ) -> Mapping[int, Document] | None:
        """Have rows found that are being written, new or changed, with the vectors that are known by text.

        Returns them as documents, for `wrote` when they are written; None where they are too many.
        """
        if not self.tail.room_for(len(rows)):
            return None
        documents = await asyncio.to_thread(self._documents, rows, vectors)
        self.tail.put(documents.values())
        return documents

    def wrote(self, rows: Sequence[shape.Row], documents: Mapping[int, Document] | None) -> None:
        """Know that rows have been added. The tail is told once more: what was indexed meanwhile was without them."""
        if documents is None:
            self.tail.lose()
        else:
            self.tail.put(documents.values())
        self.newest.put(rows, documents)
        self.rows += len(rows)

    def remove(self, ids: Sequence[int]) -> None:
        """Let go of rows that were deleted."""
        self.newest.remove(ids)
        self.tail.remove(ids)

    def _documents(self, rows: Sequence[shape.Row], vectors: "Mapping[str, Vector]") -> dict[int, Document]:
        made = {}
        for row in rows:
            tokens = self.tokens(row.text)
            self.statistics.add(tokens)
            made[row.message_id] = document_of(row, tokens, vectors.get(row.text))
        return made

    def unpin(self, failed: Snapshot | None) -> None:
        """Search the newest version from now on, where a snapshot's files are gone."""
        if self.snapshot is failed:
            self.snapshot = None


async def read_all(table: AsyncTable) -> pa.Table:
    """Read which message stands where, in the whole table.

    Raises:
        RuntimeError, ValueError, OSError: LanceDB failed.
    """
    read: pa.Table = await table.query().select(list(COLUMNS)).with_row_id().to_arrow()
    return read
