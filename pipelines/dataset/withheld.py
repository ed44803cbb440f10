"""The words of people who did not agree: whoever quotes them line by line must not carry them into a data set."""

import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from hashlib import blake2b

import numpy as np

LEAST_CHARACTERS = 20
"""Lines with fewer letters and digits are nobody's own: everybody says them."""


class Withheld:
    """Remembers lines as hashes: eight bytes each, and nothing that could be read.

    First `add` everything, then `seal`, then ask `carried`.
    """

    def __init__(self) -> None:
        self._keys = array("Q")

    def add(self, text: str) -> None:
        """Remember the lines of a message."""
        self._keys.extend(_keys(text))

    def seal(self) -> None:
        """Sort what was added, once, so that it can be asked for."""
        # tobytes: an array made of a buffer would keep the unsorted one alive, too.
        self._keys = array("Q", np.unique(np.frombuffer(self._keys, dtype=np.uint64)).tobytes())

    def carried(self, text: str) -> bool:
        """Whether a text holds one of the lines: case, spaces, and marks such as `>` in front do not count."""
        return bool(self._keys) and any(map(self._holds, _keys(text)))

    def _holds(self, key: int) -> bool:
        place = bisect_left(self._keys, key)
        return place < len(self._keys) and self._keys[place] == key


def _keys(text: str) -> Iterator[int]:
    for line in text.splitlines():
        bare = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", line).casefold()))
        if len(bare) >= LEAST_CHARACTERS and not _is_link(line):
            yield int.from_bytes(blake2b(bare.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _is_link(line: str) -> bool:
    return line.strip(" \t<>").startswith(("http://", "https://")) and len(line.split()) == 1
