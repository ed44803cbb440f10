"""The newest messages of each channel, kept at hand: they are searched by themselves, which a table does slowly."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from lancedb import AsyncTable

from persona.adapters.lance import table as shape
from persona.adapters.lance.documents import Document, Tokenizer, documents_in
from persona.domain.recall import RECENT_MESSAGES

# Beyond those that the prompt holds, that the persona wrote itself, or that were removed since.
_KEPT = RECENT_MESSAGES + 200
_CHANNELS_WITH_VECTORS = 16
"""So many channels, those searched last, are held in memory with their vectors: most of a megabyte each."""


@dataclass(slots=True, kw_only=True)
class _Channel:
    """The newest messages of a channel: ids in order, and (once it was searched) what they say and their vectors."""

    ids: list[int] = field(default_factory=list)
    documents: dict[int, Document] = field(default_factory=dict)


class Newest:
    """Follows what is written to the table. Not for use by several threads."""

    def __init__(self, ids: Mapping[int, Sequence[int]], tokens: Tokenizer) -> None:
        self._tokens = tokens
        self._channels = {channel: _Channel(ids=list(some[-_KEPT:])) for channel, some in ids.items()}
        self._loaded: OrderedDict[int, None] = OrderedDict()
        self._changes = 0

    def put(self, rows: Iterable[shape.Row], documents: Mapping[int, Document] | None) -> None:
        """Take in rows that were written, and the same as documents; without those they are read when asked for."""
        self._changes += 1
        touched = set()
        for row in rows:
            channel = self._channels.setdefault(row.channel_id, _Channel())
            touched.add(row.channel_id)
            channel.ids.append(row.message_id)
            if row.channel_id in self._loaded and documents is not None:
                channel.documents[row.message_id] = documents[row.message_id]
        for channel_id in touched:
            if documents is None:
                self._let_go(channel_id)
            self._trim(self._channels[channel_id])

    def remove(self, ids: Iterable[int]) -> None:
        """Let go of messages."""
        self._changes += 1
        gone = set(ids)
        for channel in self._channels.values():
            if not gone.isdisjoint(channel.ids):
                channel.ids = [i for i in channel.ids if i not in gone]
                for i in gone:
                    channel.documents.pop(i, None)

    def since(self, channel_id: int, *, exclude: frozenset[int], exclude_authors: frozenset[int]) -> list[Document]:
        """Return the newest messages of a channel but for those excluded, oldest first; none if it was not loaded."""
        channel = self._channels.get(channel_id)
        if channel is None:
            return []
        known = (channel.documents[i] for i in channel.ids if i in channel.documents and i not in exclude)
        return [one for one in known if one.author_id not in exclude_authors][-RECENT_MESSAGES:]

    def by_authors(self, channel_id: int, authors: frozenset[int]) -> frozenset[int]:
        """Return which of the newest messages of a channel these people wrote."""
        channel = self._channels.get(channel_id)
        if channel is None or not authors:
            return frozenset()
        return frozenset(i for i, one in channel.documents.items() if one.author_id in authors)

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
        columns = [*shape.COLUMNS.names, *([shape.VECTOR] if vectors else [])]
        read: pa.Table = await table.query().where(shape.since(channel_id, channel.ids[0])).select(columns).to_arrow()
        documents = documents_in(read, self._tokens)
        if self._changes != before or channel_id not in self._channels:
            return  # something was written meanwhile: the next search reads again
        channel.documents = {one.message_id: one for one in documents}
        self._trim(channel)
        self._loaded[channel_id] = None
        while len(self._loaded) > _CHANNELS_WITH_VECTORS:
            self._let_go(next(iter(self._loaded)))

    def _let_go(self, channel_id: int) -> None:
        self._loaded.pop(channel_id, None)
        self._channels[channel_id].documents = {}

    @staticmethod
    def _trim(channel: _Channel) -> None:
        channel.ids = sorted(set(channel.ids))[-_KEPT:]
        kept = set(channel.ids)
        channel.documents = {i: one for i, one in channel.documents.items() if i in kept}


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
