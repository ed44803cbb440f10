"""What a report shows: counts of every step, shares, lengths, channels over time, what was dropped, samples."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

_LENGTH_STEPS = (1, 2, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorShare:
    """How many examples somebody had, and how many of them were taken."""

    name: str
    available: int
    taken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of values between bounds: `counts[i]` values are at least `bounds[i]` and below `bounds[i + 1]`."""

    name: str
    bounds: tuple[int, ...]
    counts: tuple[int, ...]
    median: float
    p95: float
    largest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """The examples of a channel in each of the report's months."""

    channel: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """How many messages or examples a step left out, and why."""

    step: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleShown:
    """One example as the model reads it: (role, text) of every turn, then the reply; `note` says where it is from."""

    prompt: tuple[tuple[str, str], ...]
    completion: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything that a report shows; a part that is empty is left out.

    Attributes:
        title: of the page, such as the name of the run.
        facts: (what, value) lines for the top: when, with which seed, how long it took.
        steps: (step, how many were left after it), in order.
        authors: everybody's share; any order.
        cap: the largest share that was asked for; `effective_cap` the one that held; `cap_reason` why they differ.
        splits: (split, examples).
        preferences: (kind, rows).
        lengths: histograms.
        months: the columns of `activity`, such as "2026-03".
        activity: examples by channel and month.
        dropped: what was left out.
        samples: a few examples.
    """

    title: str
    facts: Sequence[tuple[str, str]] = ()
    steps: Sequence[tuple[str, int]] = ()
    authors: Sequence[AuthorShare] = ()
    cap: float = 1.0
    effective_cap: float = 1.0
    cap_reason: str = ""
    splits: Sequence[tuple[str, int]] = ()
    preferences: Sequence[tuple[str, int]] = ()
    lengths: Sequence[Histogram] = ()
    months: Sequence[str] = ()
    activity: Sequence[Activity] = ()
    dropped: Sequence[Dropped] = ()
    samples: Sequence[SampleShown] = field(default=(), repr=False)

    def by_share(self) -> list[tuple[AuthorShare, float, float]]:
        """Return everybody with their shares before and after (0..1), the largest first."""
        before = sum(author.available for author in self.authors) or 1
        after = sum(author.taken for author in self.authors) or 1
        ordered = sorted(self.authors, key=lambda author: (-author.available, author.name))
        return [(author, author.available / before, author.taken / after) for author in ordered]


def histogram(name: str, values: Mapping[int, int] | Iterable[tuple[int, int]]) -> Histogram:
    """Return the histogram of non-negative whole values, given as value -> how often; bounds are of 0, 1, 2, 5, 10 ...

    Counts of values instead of the values themselves: a million lengths need no more memory than a thousand.
    """
    counted = sorted((value, times) for value, times in dict(values).items() if times)
    largest = counted[-1][0] if counted else 0
    bounds = [0, 1]
    scale = 1
    while bounds[-1] <= largest:
        bounds += [step * scale for step in _LENGTH_STEPS if step * scale > bounds[-1]]
        scale *= 10
    bounds = [bound for place, bound in enumerate(bounds) if not place or bounds[place - 1] <= largest]
    counts = [0] * (len(bounds) - 1)
    place = 0
    for value, times in counted:
        while value >= bounds[place + 1]:
            place += 1
        counts[place] += times
    first = next((number for number, count in enumerate(counts) if count), len(bounds))
    return Histogram(
        name=name,
        bounds=tuple(bounds[first:]),
        counts=tuple(counts[first:]),
        median=_quantile(counted, 0.5),
        p95=_quantile(counted, 0.95),
        largest=largest,
    )


def _quantile(counted: Sequence[tuple[int, int]], share: float) -> float:
    """Return the smallest value that at least this share of all values does not exceed; 0 when there are none."""
    wanted = share * sum(times for _, times in counted)
    seen = 0
    for value, times in counted:
        seen += times
        if seen >= wanted:
            return float(value)
    return 0.0
