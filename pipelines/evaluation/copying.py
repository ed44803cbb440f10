"""What replies copy: the longest runs of words that stand in a stored message, and which message that is."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from persona.domain.chat import MessageId
from persona.domain.verbatim import SHORT_PHRASE_WORDS
from pipelines.evaluation.samples import words

_SEED_WORDS = SHORT_PHRASE_WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A run of words that a reply shares with a message."""

    message_id: MessageId
    words: int
    text: str


class CopyIndex:
    """Finds runs of at least eight words among any number of messages: one look-up for each word of a reply.

    Every run of eight words of every message is remembered by its hash, with the message and the place; a hit is
    compared word by word, so that a clash of hashes finds nothing that is not there. Takes about 100 bytes a word.
    """

    def __init__(self, messages: Iterable[tuple[MessageId, str]]) -> None:
        self._texts: dict[MessageId, list[str]] = {}
        self._places: dict[int, list[tuple[MessageId, int]]] = {}
        for message_id, text in messages:
            said = words(text)
            if len(said) < _SEED_WORDS:
                continue
            self._texts[message_id] = said
            for place in range(len(said) - _SEED_WORDS + 1):
                key = hash(tuple(said[place : place + _SEED_WORDS]))
                self._places.setdefault(key, []).append((message_id, place))

    def longest(self, reply: str) -> Copy | None:
        """Return the longest run of at least eight words that a reply shares with a message; the oldest message's."""
        said = words(reply)
        best: Copy | None = None
        for start in range(len(said) - _SEED_WORDS + 1):
            key = hash(tuple(said[start : start + _SEED_WORDS]))
            for message_id, place in self._places.get(key, ()):
                length = _shared(said, start, self._texts[message_id], place)
                if length >= _SEED_WORDS and (best is None or length > best.words):
                    best = Copy(message_id=message_id, words=length, text=" ".join(said[start : start + length]))
        return best


def exposure(rank: int, candidates: int) -> float:
    """Return how strongly a model knows a planted text, in bits: 0 as well as any other, log2(candidates) by heart.

    `rank` (from 1) is the place of the planted text among equally made ones, by likelihood. Source: Carlini et al.,
    The Secret Sharer (2019).

    Raises:
        ValueError: the rank is not among the candidates.
    """
    if not 1 <= rank <= candidates:
        raise ValueError(f"rank {rank} is not among {candidates} candidates")
    return math.log2(candidates) - math.log2(rank)


def _shared(reply: Sequence[str], start: int, message: Sequence[str], place: int) -> int:
    length = 0
    while (
        start + length < len(reply)
        and place + length < len(message)
        and reply[start + length] == message[place + length]
    ):
        length += 1
    return length
