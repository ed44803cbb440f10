"""How words are used here, learned from the training part."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from persona.domain.words import ABBREVIATIONS, COMMON_WORDS
from pipelines.evaluation.distributions import FUNCTION_WORDS
from pipelines.evaluation.samples import words

_SERVER_WORD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What is typical here, learned from training replies: small words, words not used everywhere, pairs of words."""

    function_words: frozenset[str]
    server_words: frozenset[str]
    pairs: frozenset[str]


def vocabulary(replies: Iterable[str]) -> Vocabulary:
    """Learn it; a server word occurs five times or more and is no common English word or shorthand."""
    counts: Counter[str] = Counter()
    pairs: set[str] = set()
    for reply in replies:
        said = words(reply)
        counts.update(said)
        pairs.update(f"{one} {other}" for one, other in pairwise(said))
    small = frozenset(word for word, _ in counts.most_common(FUNCTION_WORDS))
    dull = COMMON_WORDS | ABBREVIATIONS
    own = {w for w, n in counts.items() if n >= _SERVER_WORD and w not in dull and not w.isdigit() and len(w) > 2}  # noqa: PLR2004
    return Vocabulary(function_words=small, server_words=frozenset(own - small), pairs=frozenset(pairs))
