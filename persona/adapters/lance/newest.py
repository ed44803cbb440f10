"""The newest messages of each channel, kept at hand: they are searched by themselves, which a table does slowly."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from lancedb import AsyncTable

from persona.adapters.lance import table as shape
from persona.domain.recall import RECENT_MESSAGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

# Beyond those that the prompt holds, that the persona wrote itself, or that were removed since.
_KEPT = RECENT_MESSAGES + 200
_CHANNELS_WITH_VECTORS = 16
"""So many channels, those searched last, are held in memory with their vectors: most of a megabyte each."""


@dataclass(slots=True, kw_only=True)
class _Channel:
    """The newest messages of a channel: ids in order, and (once it was searched) their authors and their vectors."""

    ids: list[int] = field(default_factory=list)
    authors: dict[int, int] = field(default_factory=dict)
    vectors: "dict[int, Vector]" = field(default_factory=dict)


class Newest:
    """Follows what is written to the table. Not for use by several threads."""

    def __init__(self, ids: Mapping[int, Sequence[int]]) -> None:
        self._channels = {channel: _Channel(ids=list(some[-_KEPT:])) for channel, some in ids.items()}
        self._loaded: OrderedDict[int, None] = OrderedDict()
        self._changes = 0

    def put(self, rows: Iterable[shape.Row], vectors: "Mapping[str, Vector]") -> None:
        """Take in rows that were written, with the vectors that are known by text."""
        self._changes += 1
        touched = set()
        for row in rows:
            channel = self._channels.setdefault(row.channel_id, _Channel())
            touched.add(row.channel_id)
            channel.ids.append(row.message_id)
            if row.channel_id in self._loaded:
                channel.authors[row.message_id] = row.author_id
                channel.vectors.pop(row.message_id, None)
                if row.text in vectors:
                    channel.vectors[row.message_id] = np.asarray(vectors[row.text], dtype=np.float32)
        for channel_id in touched:
            self._trim(self._channels[channel_id])

    def embedded(self, row: shape.Row, vector: "Vector") -> None:
        """Take in the vector of a row that has been there."""
        self._changes += 1
        channel = self._channels.get(row.channel_id)
        if channel is not None and row.message_id in channel.authors:
            channel.vectors[row.message_id] = np.asarray(vector, dtype=np.float32)

    def remove(self, ids: Iterable[int]) -> None:
        """Let go of messages."""
        self._changes += 1
        gone = set(ids)
        for channel in self._channels.values():
            if not gone.isdisjoint(channel.ids):
                channel.ids = [i for i in channel.ids if i not in gone]
                for i in gone:
                    channel.authors.pop(i, None)
                    channel.vectors.pop(i, None)

    def since(self, channel_id: int, *, exclude: frozenset[int], exclude_authors: frozenset[int]) -> list[int]:
        """Return the newest messages of a channel but for those excluded, oldest first."""
        channel = self._channels.get(channel_id)
        if channel is None:
            return []
        authors = channel.authors
        left = [i for i in channel.ids if i in authors and i not in exclude and authors[i] not in exclude_authors]
        return left[-RECENT_MESSAGES:]

    def authors(self, channel_id: int) -> dict[int, int]:
        """Return who wrote the newest messages of a channel, by id; nothing for one that was not loaded."""
        channel = self._channels.get(channel_id)
        return dict(channel.authors) if channel is not None else {}

    def nearest(self, channel_id: int, ids: Sequence[int], vector: "Vector", limit: int) -> dict[int, float]:
        """Return the cosines of the nearest of some messages of a channel, by id, the nearest first."""
        known = self._channels[channel_id].vectors if channel_id in self._channels else {}
        having = [i for i in ids if i in known]
        if not having:
            return {}
        rows = np.stack([known[i] for i in having])
        lengths = np.linalg.norm(rows, axis=1) * float(np.linalg.norm(vector))
        cosines = (rows @ vector) / np.maximum(lengths, np.finfo(np.float32).tiny)
        order = np.lexsort((-np.asarray(having), -cosines))[:limit]
        return {having[at]: float(cosines[at]) for at in order}

    async def load(self, table: AsyncTable, channel_id: int, *, vectors: bool) -> None:
        """Read a channel's newest messages and their vectors, unless they are at hand.

        Raises:
            RuntimeError, ValueError, OSError: LanceDB failed.
        """
        channel = self._channels.get(channel_id)
        if channel is None or not channel.ids:
            return
        if channel_id in self._loaded:
            self._loaded.move_to_end(channel_id)
            return
        before = self._changes
        columns = ["message_id", "author_id", *([shape.VECTOR] if vectors else [])]
        read: pa.Table = await table.query().where(shape.since(channel_id, channel.ids[0])).select(columns).to_arrow()
        if self._changes != before or channel_id not in self._channels:
            return  # something was written meanwhile: the next search reads again
        channel.authors = dict(zip(read["message_id"].to_pylist(), read["author_id"].to_pylist(), strict=True))
        channel.vectors = _vectors_of(read) if vectors else {}
        self._trim(channel)
        self._loaded[channel_id] = None
        while len(self._loaded) > _CHANNELS_WITH_VECTORS:
            other, _ = self._loaded.popitem(last=False)
            self._channels[other].authors, self._channels[other].vectors = {}, {}

    @staticmethod
    def _trim(channel: _Channel) -> None:
        channel.ids = sorted(set(channel.ids))[-_KEPT:]
        kept = set(channel.ids)
        channel.authors = {i: author for i, author in channel.authors.items() if i in kept}
        channel.vectors = {i: vector for i, vector in channel.vectors.items() if i in kept}


def newest_ids(read: pa.Table) -> dict[int, list[int]]:
    """Return the ids of the newest messages of every channel, oldest first, from the columns of a table."""
    if not len(read):
        return {}
    ids, channels = read["message_id"].to_numpy(), read["channel_id"].to_numpy()
    order = np.lexsort((ids, channels))
    ids, channels = ids[order], channels[order]
    starts = np.flatnonzero(np.r_[True, channels[1:] != channels[:-1]])
    ends = np.r_[starts[1:], len(ids)]
    return {
        int(channels[start]): ids[max(int(start), int(end) - _KEPT) : int(end)].tolist()
        for start, end in zip(starts, ends, strict=True)
    }


def _vectors_of(read: pa.Table) -> "dict[int, Vector]":
    column = read[shape.VECTOR].combine_chunks()
    present = np.flatnonzero(np.asarray(column.is_valid()))
    if not len(present):
        return {}
    held = column.take(pa.array(present))
    numbers = held.flatten().to_numpy().reshape(len(present), -1)
    ids = read["message_id"].to_numpy()[present]
    return {int(i): np.array(row) for i, row in zip(ids, numbers, strict=True)}
