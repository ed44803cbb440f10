"""Finds what a draft copies word for word from stored messages."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

SHORT_PHRASE_WORDS = 8
"""As many consecutive words may be shared by chance or as a saying; more are a copy."""

# Scripts without spaces between words (Thai, Japanese, Chinese): every character counts as a word there.
_WORD = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u0e00-\u0e7f\u3040-\u9fff]+")
_APOSTROPHES = re.compile(r"(?<=\w)['\u2019](?=\w)")
_LETTER_APOSTROPHE = "\u02bc"
_ID_DIGITS = 15


class _Word(NamedTuple):
    key: str
    start: int
    end: int


def copied(draft: str, sources: Iterable[str], *, max_words: int = SHORT_PHRASE_WORDS) -> str | None:
    """Return the longest run of more than `max_words` words that the draft shares with one source, else None.

    Words are compared without case, punctuation and apostrophes; Discord's ids are not words. The run is returned as
    the draft has it. Longest common substring over words by dynamic programming: draft words x source words at worst,
    in practice one look-up a source word.
    """
    written = _words(draft)
    places: defaultdict[str, list[int]] = defaultdict(list)
    for position, word in enumerate(written):
        places[word.key].append(position)
    longest, end = max_words, -1
    if len(written) <= max_words:
        return None
    for source in sources:
        runs: dict[int, int] = {}
        for word in _words(source):
            runs = {position: runs.get(position - 1, 0) + 1 for position in places.get(word.key, ())}
            for position, length in runs.items():
                if length > longest:
                    longest, end = length, position
    return None if end < 0 else draft[written[end - longest + 1].start : written[end].end]


def _words(text: str) -> list[_Word]:
    """Return the words of a text with their places in it."""
    # Apostrophes become letters of the word for the search, and leave its key: "don't" is "dont".
    joined = _APOSTROPHES.sub(_LETTER_APOSTROPHE, text)
    words = []
    for found in _WORD.finditer(joined):
        key = unicodedata.normalize("NFKC", found[0]).casefold().replace(_LETTER_APOSTROPHE, "")
        if not (key.isdecimal() and len(key) >= _ID_DIGITS):
            words.append(_Word(key, found.start(), found.end()))
    return words
