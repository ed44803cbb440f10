"""The memory: a search index over the store, by words and by meaning."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from persona.domain.chat import AuthorId, ChannelId, MessageId, Recollection
from persona.ports.store import MemoryChange

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSpace:
    """Which model made the vectors, and how long they are: vectors of two spaces say nothing about each other."""

    model_id: str
    dimensions: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryQuery:
    """What to look for, and where: only `channel_ids` are searched, filtered before ranking.

    `vector` (unit length, of the memory's space) finds what means the same in other words; without it words alone
    count. `channel_id` is where the talk takes place, if that is known.
    """

    text: str
    channel_ids: frozenset[ChannelId]
    exclude: frozenset[MessageId] = frozenset()
    exclude_authors: frozenset[AuthorId] = frozenset()
    limit: int = 5
    vector: "Vector | None" = None
    channel_id: ChannelId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A recollection with what each stage of the search thought of it.

    Ranks begin at 1 and are None where a stage did not find it. `word_score` is BM25, `similarity` the cosine (-1..1),
    `recency_rank` its place among all candidates, the newest first, `age_factor` (0..1) what its age leaves of the
    score. The recollection's score is what decides.
    """

    recollection: Recollection
    word_rank: int | None = None
    word_score: float | None = None
    vector_rank: int | None = None
    similarity: float | None = None
    recency_rank: int | None = None
    age_days: float = 0.0
    age_factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A message of the memory that waits for its vector."""

    message_id: MessageId
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedded:
    """The vector of a message, for the words it was made from."""

    message_id: MessageId
    text: str
    vector: "Vector"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStats:
    """What the memory holds. `waiting` messages have no vector yet, `unindexed` ones are searched one by one.

    `index` names how vectors are searched; `bytes` (of the table) and `files` are None on object storage.
    """

    table: str
    space: VectorSpace | None
    messages: int
    waiting: int
    unindexed: int
    fragments: int
    versions: int
    index: str
    bytes: int | None = None
    files: int | None = None


class Memory(Protocol):
    """A search index over the store; derived, can be rebuilt from it at any time."""

    @property
    def space(self) -> VectorSpace | None:
        """The space of its vectors; None while it is closed, or keeps words only."""
        ...

    async def open(self, space: VectorSpace | None = None) -> bool:
        """Open the index for vectors of a space, checking it with real searches; False when it was started anew.

        Without a space the index at hand is used as it is, with its vectors, or one of words alone is made.
        """
        ...

    async def close(self) -> None:
        """Let go of the index."""
        ...

    async def apply(self, changes: Sequence[MemoryChange], vectors: "Mapping[str, Vector] | None" = None) -> None:
        """Bring the index up to date; doing the same changes twice does no harm.

        `vectors` are known ones, by the exact text of a message. A message without one is found by its words.
        """
        ...

    async def waiting(self, limit: int) -> Sequence[Waiting]:
        """Return messages that wait for their vector, the newest `limit` of them."""
        ...

    async def waiting_count(self) -> int:
        """Return how many messages wait for their vector."""
        ...

    async def embed(self, embedded: Sequence[Embedded]) -> int:
        """Give messages their vectors, where they still say what the vector was made from; return how many."""
        ...

    async def refresh(self, *, indexing: bool = True) -> None:
        """Make what was applied searchable at full speed and tidy up (after a batch, or now and then).

        Without `indexing` nothing is begun that is worth it only when the most has come in.
        """
        ...

    async def settle(self) -> None:
        """Wait for what is done in the background."""
        ...

    async def clear(self) -> None:
        """Start the index anew, empty."""
        ...

    async def purge(self) -> None:
        """Make what was removed unrecoverable: no trace of it is left in any file of the index."""
        ...

    async def search(self, query: MemoryQuery) -> Sequence[Recollection]:
        """Return the best matches, best first, in the words in which they are stored now."""
        ...

    async def explain(self, query: MemoryQuery) -> Sequence[Match]:
        """Search, and tell why each match was found."""
        ...

    async def stats(self) -> MemoryStats:
        """Return what the index holds."""
        ...


class EmbeddingCache(Protocol):
    """Vectors by model and text, so that no text is embedded twice; it belongs to the store."""

    async def known(self, space: VectorSpace, texts: Sequence[str]) -> "Mapping[str, Vector]":
        """Return the vectors that are known, unit length (half precision), by text."""
        ...

    async def keep(self, space: VectorSpace, vectors: "Mapping[str, Vector]", said_in: Collection[MessageId]) -> None:
        """Keep vectors of texts that one of the stored messages `said_in` still has; the rest is left out."""
        ...

    async def spaces(self) -> Mapping[VectorSpace, int]:
        """Return how many vectors are kept of each space, the space used last first."""
        ...
