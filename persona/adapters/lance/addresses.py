"""Which message stands at which row of the table: a search names rows, and to read their ids would cost it more."""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

COLUMNS = ("message_id", "channel_id")
_UNKNOWN = -1
_FRAGMENT_SHIFT = 32
_OFFSET_MASK = (1 << _FRAGMENT_SHIFT) - 1


class Addresses:
    """Messages and channels by row id, 16 bytes a row, of one version of the table.

    A row id is an address, the fragment's number and the offset in it. `rows` is how many there are.
    """

    def __init__(self, read: pa.Table) -> None:
        """Take in a whole table, read with row ids: the columns message_id, channel_id and _rowid."""
        self.rows = len(read)
        rows = read["_rowid"].to_numpy().astype(np.int64)
        order = np.argsort(rows)
        rows = rows[order]
        ids, channels = (read[column].to_numpy()[order] for column in COLUMNS)
        numbers = rows >> _FRAGMENT_SHIFT
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(rows)]
        self._fragments: dict[int, tuple[Numbers, Numbers]] = {}
        for start, end in pairwise(cuts if len(rows) else ()):
            offsets = rows[start:end] & _OFFSET_MASK
            held = np.full((2, int(offsets[-1]) + 1), _UNKNOWN, dtype=np.int64)
            held[0, offsets], held[1, offsets] = ids[start:end], channels[start:end]
            self._fragments[int(numbers[start])] = held[0], held[1]

    def messages(self, rows: "Numbers") -> "tuple[Numbers, Numbers]":
        """Return the messages at rows, and their channels.

        Raises:
            LookupError: there is no such row.
        """
        ids, channels = (np.full(len(rows), _UNKNOWN, dtype=np.int64) for _ in COLUMNS)
        numbers, offsets = rows >> _FRAGMENT_SHIFT, rows & _OFFSET_MASK
        for number in set(numbers.tolist()) & self._fragments.keys():
            of_fragment = self._fragments[number]
            here = np.flatnonzero((numbers == number) & (offsets < len(of_fragment[0])))
            ids[here], channels[here] = (held[offsets[here]] for held in of_fragment)
        if (ids == _UNKNOWN).any():
            raise LookupError("rows have moved")
        return ids, channels
