"""The messages that the table's indices do not know yet, searched in memory: the table would look row by row."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from persona.adapters.lance.documents import Document, Fits, Stacked, Statistics, by_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

_MOST = 4_000


class Tail:
    """What was written, and what was deleted, since everything was indexed last; unless it is too much to be `whole`.

    Of an import, or where rows were left unindexed by an earlier run, nobody holds them all: then the table has to look
    for itself, until all is indexed again. Not for use by several threads.
    """

    def __init__(self, *, whole: bool) -> None:
        self._clock = 0
        self._lost_at = -1 if whole else 0
        self._written: dict[int, tuple[int, Document]] = {}
        self._deleted: dict[int, int] = {}
        self._having: dict[str, set[int]] = {}
        self._stacked: Stacked | None = None

    @property
    def whole(self) -> bool:
        """Whether every row that is not indexed is here."""
        return self._lost_at < 0

    def room_for(self, count: int) -> bool:
        """Whether so many more can be taken in; if not, all are let go until everything is indexed again."""
        if self.whole and len(self._written) + count <= _MOST:
            return True
        self.lose()
        return False

    def lose(self) -> None:
        """Let go of all until everything is indexed again: there are rows that were not taken in."""
        self._clock += 1
        self._lost_at = self._clock
        self._keep({})

    def put(self, documents: Iterable[Document]) -> None:
        """Take in rows that are being written, for which there was room."""
        if not self.whole:
            return
        self._clock += 1
        for document in documents:
            self._written[document.message_id] = (self._clock, document)
            for word in document.words:
                self._having.setdefault(word, set()).add(document.message_id)
        self._stacked = None

    def remove(self, ids: Iterable[int]) -> None:
        """Take in that rows were deleted."""
        self._clock += 1
        for message_id in ids:
            self._deleted[message_id] = self._clock
            self._written.pop(message_id, None)
        self._stacked = None

    def mark(self) -> int:
        """Return where it is now, for `indexed`."""
        return self._clock

    def indexed(self, mark: int) -> None:
        """Let go of what was there at a mark: the indices know it."""
        self._deleted = {i: at for i, at in self._deleted.items() if at > mark}
        self._keep({i: held for i, held in self._written.items() if held[0] > mark})
        if self._lost_at <= mark:
            self._lost_at = -1

    def deleted(self) -> frozenset[int]:
        """Return the messages that the indices know, and that were deleted since or say something else now."""
        return frozenset(self._deleted)

    def words(self, tokens: Sequence[str], statistics: Statistics, *, fits: Fits, limit: int) -> dict[int, float]:
        """Return the scores of what words find among the fitting, best first."""
        ids = set[int]().union(*(self._having.get(token, ()) for token in tokens))
        found = (self._written[i][1] for i in ids if i in self._written)
        return by_words((one for one in found if fits(one)), tokens, statistics, limit)

    def similar(self, vector: "Vector", *, fits: Fits, limit: int) -> dict[int, float]:
        """Return the cosines of what a vector finds among the fitting, the nearest first."""
        if self._stacked is None:
            self._stacked = Stacked(document for _, document in self._written.values())
        return self._stacked.by_vector(vector, limit, fits=fits)

    def _keep(self, written: dict[int, tuple[int, Document]]) -> None:
        self._written = written
        self._having = {}
        for message_id, (_, document) in written.items():
            for word in document.words:
                self._having.setdefault(word, set()).add(message_id)
        self._stacked = None
