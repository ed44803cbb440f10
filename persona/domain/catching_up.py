"""What to read again after an outage, in which order, and how long it will take: pure decisions."""

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

from persona.domain.chat import DISCORD_EPOCH_MS, MessageId, snowflake_time

OVERLAP = timedelta(seconds=60)
"""Messages arrive out of order under concurrent writers: what is this close below a watermark is read again."""

NEWEST = MessageId(2**63 - 1)
"""Above every id."""

_ONE_PAGE = 60
"""So many known messages and some new ones fit into one page: reading them together saves a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How far back to look for edits and deletions: so many hours and so many messages, whichever is less."""

    hours: float = 48.0
    messages: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a channel is: no gap up to `watermark`; `fetched_at` is when its history was last read to the end."""

    watermark: MessageId | None = None
    fetched_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A stretch of history to read, oldest first: ids above `after`, up to `until` (None: to the end)."""

    after: MessageId
    until: MessageId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to read of a channel: first what is new (None: nothing is), later what may have changed."""

    fresh: Sweep | None = None
    again: Sweep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far reading a channel is: from id `start` it came to `at` and means to get to `end`."""

    start: MessageId
    at: MessageId
    end: MessageId
    messages: int
    seconds: float
    done: bool = False


def id_at(moment: datetime) -> MessageId:
    """Return the lowest snowflake of a moment; 0 for one before Discord began."""
    milliseconds = round(moment.timestamp() * 1000) - DISCORD_EPOCH_MS
    return MessageId(max(0, milliseconds) << 22)


def window_start(standing: Standing, rules: Rules, *, now: datetime) -> MessageId:
    """Return the id from which on edits and deletions are looked for.

    The hours count back from when the channel was last read, not from now: an outage may have been longer.
    """
    since = now if standing.fetched_at is None else min(now, standing.fetched_at)
    return id_at(since - timedelta(hours=rules.hours))


def may_hold_changes(standing: Standing, rules: Rules, *, now: datetime) -> bool:
    """Return whether anything below the watermark lies in the window: if not, nothing has to be looked up."""
    mark = standing.watermark
    return mark is not None and rules.messages > 0 and mark > window_start(standing, rules, now=now)


def plan(standing: Standing, newest: MessageId | None, known: Collection[MessageId], rules: Rules) -> Plan:
    """Decide what to read of a channel.

    Args:
        standing: how far it is.
        newest: the id of its newest message as far as anybody knows; None when there never was one.
        known: the stored ids above `window_start` up to the watermark, in any order.
        rules: how far back to look.
    """
    mark = standing.watermark
    if mark is None:
        return Plan(fresh=Sweep(after=MessageId(0)))
    overlap = MessageId(max(0, mark - (int(OVERLAP.total_seconds() * 1000) << 22)))
    settled = standing.fetched_at is not None and standing.fetched_at >= snowflake_time(mark) + OVERLAP
    is_new = (newest or 0) > mark or not settled
    looked_at = sorted(known)[-rules.messages :] if rules.messages > 0 else []
    if not looked_at:
        return Plan(fresh=Sweep(after=overlap) if is_new else None)
    first = MessageId(looked_at[0] - 1)
    if not is_new:
        return Plan(again=Sweep(after=first))
    if first >= overlap or len(looked_at) <= _ONE_PAGE:
        return Plan(fresh=Sweep(after=min(first, overlap)))
    return Plan(fresh=Sweep(after=overlap), again=Sweep(after=first, until=overlap))


def order(standing: Standing, newest: MessageId | None) -> tuple[int, int, int]:
    """Return a sort key: small backlogs first, of equal ones the livelier channel, unknown backlogs last."""
    if standing.watermark is None:
        return (1, 0, -(newest or 0))
    return (0, max(0, (newest or 0) - standing.watermark), -(newest or 0))


def vanished(
    stored: AbstractSet[MessageId], shown: Collection[MessageId], heard_meanwhile: Collection[MessageId]
) -> frozenset[MessageId]:
    """Return the stored ids of a stretch that history does not show any more.

    What was heard only after the question was asked cannot be expected in its answer.
    """
    return frozenset(stored) - frozenset(shown) - frozenset(heard_meanwhile)


def backoff(attempt: int, *, first: float, longest: float, chance: float) -> float:
    """Return seconds to wait after failure number `attempt` (from 0): doubling, with up to a half of it by chance.

    The random half keeps many failed requests from coming back all at once ("equal jitter", AWS Architecture Blog,
    "Exponential Backoff And Jitter", 2015).
    """
    whole = min(longest, first * 2.0 ** min(attempt, 32))
    return whole / 2 + whole / 2 * chance


def seconds_left(readings: Iterable[Reading], *, waiting: int, messages_per_second: float) -> float | None:
    """Estimate how long reading goes on, or None while nobody can say.

    Each channel is taken to go on as densely as it was so far, a channel that waits to be as large as the others on
    average. The end comes with the slowest channel, but not before everything is through at the common speed.
    """
    if messages_per_second <= 0:
        return None
    sizes: list[float] = []
    left = slowest = 0.0
    for reading in readings:
        rest = 0.0 if reading.done else _messages_left(reading)
        if rest is None:
            waiting += 1
            continue
        left += rest
        sizes.append(reading.messages + rest)
        if rest and reading.messages and reading.seconds > 0:
            slowest = max(slowest, rest * reading.seconds / reading.messages)
    if waiting and not sizes:
        return None
    left += waiting * sum(sizes) / len(sizes) if waiting else 0.0
    return max(slowest, left / messages_per_second)


def _messages_left(reading: Reading) -> float | None:
    if reading.at <= reading.start:
        return None
    return reading.messages * max(0, reading.end - reading.at) / (reading.at - reading.start)
