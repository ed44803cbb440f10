"""Turns token bytes into text that can be shown: whole characters only, and never any part of a stop string."""

import codecs
from collections.abc import Sequence


class TextAssembler:
    """Takes bytes as they come and gives out text that later bytes cannot change any more.

    Bytes that are no UTF-8 become U+FFFD. Text is held back while it might be the beginning of a stop string; at the
    end an unfinished character is dropped and held back text is released.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = tuple(word for word in stop if word)
        self._held = ""
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether a stop string came up; from then on nothing is given out."""
        return self._stopped

    def feed(self, piece: bytes) -> str:
        """Take more bytes; return the text that is now certain (often "")."""
        if self._stopped:
            return ""
        self._held += self._decoder.decode(piece)
        at = first_stop(self._held, self._stop)
        if at is not None:
            self._stopped = True
            text, self._held = self._held[:at], ""
            return text
        keep = pending_length(self._held, self._stop)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    def finish(self) -> str:
        """Return what was held back: nothing more will come."""
        text, self._held = self._held, ""
        return text


def first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Return where the stop string begins that is complete first (of equals the longest); None when there is none.

    Going by the end makes the answer the same however the text was cut into pieces.
    """
    found = [(at + len(word), at) for word in stop if (at := text.find(word)) >= 0]
    return min(found)[1] if found else None


def pending_length(text: str, stop: Sequence[str]) -> int:
    """Return how many characters at the end of a text could be the beginning of a stop string."""
    longest = max(map(len, stop), default=0)
    for length in range(min(longest - 1, len(text)), 0, -1):
        tail = text[-length:]
        if any(len(word) > length and word.startswith(tail) for word in stop):
            return length
    return 0
