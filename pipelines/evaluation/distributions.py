"""How far two sets of texts are apart in what can be counted: lengths, words, letters, habits, repetition."""

import re
import statistics
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, pairwise
from math import log2, nan, sqrt

from pipelines.evaluation.samples import Sample, words

FUNCTION_WORDS = 100
_LETTERS = 3
_EMOJI = re.compile("[\u2190-\u2bff\u3030\u303d\U0001f000-\U0001faff]|<a?:\\w+:\\d+>|:\\w{2,32}:")
_LINK = re.compile(r"https?://\S+")

HABITS: Mapping[str, Callable[[str], bool]] = {
    "begins in lower case": lambda text: text[:1].islower(),
    "ends with a full stop": lambda text: text.rstrip().endswith(".") and not text.rstrip().endswith(".."),
    "no punctuation at the end": lambda text: text.rstrip()[-1:].isalnum(),
    "asks": lambda text: "?" in text,
    "exclaims": lambda text: "!" in text,
    "trails off": lambda text: "..." in text or "\u2026" in text,
    "has a comma": lambda text: "," in text,
    "emoji": lambda text: _EMOJI.search(text) is not None,
    "link": lambda text: _LINK.search(text) is not None,
    "shouts": lambda text: any(len(word) > 3 and word.isupper() for word in text.split()),  # noqa: PLR2004
    "apostrophe": lambda text: "'" in text or "\u2019" in text,
}
"""What a message may do, by the name shown in the report."""


def wasserstein(ours: Iterable[float], theirs: Iterable[float]) -> float:
    """Return the earth mover's distance between two samples on a line, in their own unit; nan when one is empty.

    The area between the two distribution functions (Vallender 1974).
    """
    a, b = sorted(ours), sorted(theirs)
    if not a or not b:
        return nan
    places = sorted({*a, *b})
    return sum(
        abs(bisect_right(a, here) / len(a) - bisect_right(b, here) / len(b)) * (after - here)
        for here, after in pairwise(places)
    )


def jensen_shannon(ours: Mapping[str, int], theirs: Mapping[str, int]) -> float:
    """Return the Jensen-Shannon distance of two counts: 0 for the same shares, 1 for nothing in common, nan if empty.

    The square root of the divergence in bits (Lin 1991; Endres and Schindelin 2003).
    """
    total, other = sum(ours.values()), sum(theirs.values())
    if not total or not other:
        return nan
    divergence = 0.0
    for key in ours.keys() | theirs.keys():
        p, q = ours.get(key, 0) / total, theirs.get(key, 0) / other
        middle = (p + q) / 2
        divergence += sum(share * log2(share / middle) for share in (p, q) if share) / 2
    return sqrt(max(divergence, 0.0))


def message_words(samples: Iterable[Sample]) -> list[int]:
    """Return the length of every message in words."""
    return [len(message.split()) for sample in samples for message in sample.messages]


def burst_sizes(samples: Iterable[Sample]) -> list[int]:
    """Return how many messages each reply has."""
    return [len(sample.messages) for sample in samples]


def word_counts(samples: Iterable[Sample]) -> Counter[str]:
    """Count words."""
    return Counter(chain.from_iterable(words(sample.text) for sample in samples))


def letter_counts(samples: Iterable[Sample]) -> Counter[str]:
    """Count runs of three characters as they are written, with the edges of messages: spelling, case, punctuation."""
    counts: Counter[str] = Counter()
    for sample in samples:
        for message in sample.messages:
            edged = f"\n{' '.join(message.split())}\n"
            counts.update(edged[at : at + _LETTERS] for at in range(len(edged) - _LETTERS + 1))
    return counts


def function_words(reference: Iterable[Sample]) -> frozenset[str]:
    """Return the most frequent words of a reference: the small words that betray a writer, in any language.

    Source: Mosteller and Wallace (1964), with the server's own list instead of an English one.
    """
    return frozenset(word for word, _ in word_counts(reference).most_common(FUNCTION_WORDS))


def habit_shares(samples: Iterable[Sample]) -> dict[str, float]:
    """Return for each habit the share of messages (0..1) that have it; nan when there are no messages."""
    messages = [message for sample in samples for message in sample.messages if message.strip()]
    if not messages:
        return dict.fromkeys(HABITS, nan)
    return {name: sum(map(has, messages)) / len(messages) for name, has in HABITS.items()}


def habit_distance(ours: Iterable[Sample], theirs: Iterable[Sample]) -> float:
    """Return the mean absolute difference of the habits' shares (0..1)."""
    mine, other = habit_shares(ours), habit_shares(theirs)
    return statistics.fmean(abs(mine[name] - other[name]) for name in HABITS)


def distinct(samples: Sequence[Sample], n: int) -> float:
    """Return the share of different runs of n words among all (distinct-n, Li et al. 2016); nan without any.

    It falls with the amount of text: compare only equally many replies.
    """
    runs: Counter[tuple[str, ...]] = Counter()
    for sample in samples:
        said = words(sample.text)
        runs.update(tuple(said[at : at + n]) for at in range(len(said) - n + 1))
    total = runs.total()
    return len(runs) / total if total else nan


def repeated(samples: Sequence[Sample]) -> float:
    """Return the share of replies that are the same, word for word, as another one of the set; nan without any."""
    counts = Counter(" ".join(words(sample.text)) for sample in samples)
    return sum(count for count in counts.values() if count > 1) / len(samples) if samples else nan
