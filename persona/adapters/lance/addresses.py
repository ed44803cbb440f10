"""Which message stands at which row of the table: a search names rows, and to read their ids would cost it more."""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

COLUMNS = ("message_id", "channel_id")
UNKNOWN = -1
_FRAGMENT_SHIFT = 32
_OFFSET_MASK = (1 << _FRAGMENT_SHIFT) - 1


@dataclass(slots=True, kw_only=True, eq=False)
class _Fragment:
    """The messages of a fragment and their channels, by offset."""

    ids: "Numbers"
    channels: "Numbers"

    def grow(self, rows: int) -> None:
        missing = rows - len(self.ids)
        if missing > 0:
            more = np.full(missing, UNKNOWN, dtype=np.int64)
            self.ids, self.channels = np.concatenate([self.ids, more]), np.concatenate([self.channels, more])


class Addresses:
    """Messages and channels by row id, 16 bytes a row.

    A row id is an address, the fragment's number and the offset in it. LanceDB gives no number twice, so what was
    learnt stays true: a row that was moved or deleted is one that no search names any more.
    """

    def __init__(self, read: pa.Table) -> None:
        self._fragments: dict[int, _Fragment] = {}
        self.learn(read)

    def learn(self, read: pa.Table) -> None:
        """Take in rows, read with their ids: the columns message_id, channel_id and _rowid."""
        rows = read["_rowid"].to_numpy().astype(np.int64)
        order = np.argsort(rows)
        rows = rows[order]
        ids, channels = (read[column].to_numpy()[order] for column in COLUMNS)
        numbers = rows >> _FRAGMENT_SHIFT
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(rows)]
        nothing = np.empty(0, dtype=np.int64)
        for start, end in pairwise(cuts if len(rows) else ()):
            offsets = rows[start:end] & _OFFSET_MASK
            fragment = self._fragments.setdefault(int(numbers[start]), _Fragment(ids=nothing, channels=nothing))
            fragment.grow(int(offsets[-1]) + 1)
            fragment.ids[offsets], fragment.channels[offsets] = ids[start:end], channels[start:end]

    def messages(self, rows: "Numbers") -> "tuple[Numbers, Numbers]":
        """Return the messages at rows, and their channels; UNKNOWN where the row was not learnt yet."""
        ids, channels = (np.full(len(rows), UNKNOWN, dtype=np.int64) for _ in COLUMNS)
        numbers, offsets = rows >> _FRAGMENT_SHIFT, rows & _OFFSET_MASK
        for number in set(numbers.tolist()):
            fragment = self._fragments.get(number)
            if fragment is not None:
                here = np.flatnonzero((numbers == number) & (offsets < len(fragment.ids)))
                ids[here], channels[here] = fragment.ids[offsets[here]], fragment.channels[offsets[here]]
        return ids, channels
