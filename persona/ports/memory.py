"""The memory: a search index over the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from persona.domain.chat import AuthorId, ChannelId, MessageId, Recollection
from persona.ports.store import MemoryChange


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryQuery:
    """What to look for, and where: only `channel_ids` are searched, filtered before ranking."""

    text: str
    channel_ids: frozenset[ChannelId]
    exclude: frozenset[MessageId] = frozenset()
    exclude_authors: frozenset[AuthorId] = frozenset()
    limit: int = 5


class Memory(Protocol):
    """A search index over the store; derived, can be rebuilt from it at any time."""

    async def open(self) -> bool:
        """Open the index, checking it with a real search; False when it had to be started anew."""
        ...

    async def close(self) -> None:
        """Let go of the index."""
        ...

    async def apply(self, changes: Sequence[MemoryChange]) -> None:
        """Bring the index up to date; doing the same changes twice does no harm."""
        ...

    async def refresh(self) -> None:
        """Make what was applied searchable at full speed and tidy up (after a batch, or now and then)."""
        ...

    async def purge(self) -> None:
        """Make what was removed unrecoverable: no trace of it is left in any file of the index."""
        ...

    async def search(self, query: MemoryQuery) -> Sequence[Recollection]:
        """Return the best matches, best first."""
        ...
