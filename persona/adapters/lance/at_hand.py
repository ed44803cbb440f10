"""The stages of a search that are done in memory: the newest messages of a channel, and what no index knows yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from persona.adapters.lance.contents import Contents
from persona.adapters.lance.documents import Document, Stacked, by_words

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sought:
    """What to look for: `words` is empty and `vector` None where that stage has nothing to look for.

    `where` narrows the search of everything; all it says is that only `channels` may be read, unless it is `narrow`.
    In `channel_id` (unless None) the newest messages are searched once more, but for those of `exclude` and
    `exclude_authors`.
    """

    words: str
    vector: "NDArray[np.float32] | None"
    where: str
    channels: frozenset[int]
    narrow: bool = False
    pool: int
    channel_id: int | None
    exclude: frozenset[int]
    exclude_authors: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class InMemory:
    """Lists of scores by message id, by words and by vectors, best first; `full` when the tail may hold more."""

    words: Sequence[Mapping[int, float]]
    similar: Sequence[Mapping[int, float]]
    full: bool


def in_memory(contents: Contents, sought: Sought, recent: Sequence[Document], *, tail: bool) -> InMemory:
    """Search `recent` messages, and the tail unless the table looks for those itself; nothing excluded is found."""
    words: list[Mapping[int, float]] = []
    similar: list[Mapping[int, float]] = []
    limit, full = sought.pool, False

    def fits(one: Document) -> bool:
        return (
            one.channel_id in sought.channels
            and one.message_id not in sought.exclude
            and one.author_id not in sought.exclude_authors
        )

    if sought.words:
        tokens = contents.tokens(sought.words)
        words.append(by_words(recent, tokens, contents.statistics, limit))
        if tail:
            words.append(contents.tail.words(tokens, contents.statistics, fits=fits, limit=limit))
            full = len(words[-1]) >= limit
    if sought.vector is not None:
        similar.append(Stacked(recent).by_vector(sought.vector, limit))
        if tail:
            similar.append(contents.tail.similar(sought.vector, fits=fits, limit=limit))
            full |= len(similar[-1]) >= limit
    return InMemory(words=words, similar=similar, full=full)
