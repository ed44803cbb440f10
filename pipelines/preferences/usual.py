"""How many reactions are usual for a person, in a channel, at that time: the measure of what was liked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from persona.domain.chat import AuthorId, ChannelId

COUNTED_REACTIONS = 5
"""Of one message, so many reactions count: one joke that the whole server liked is not worth more than a good one."""

_FAMILIAR = 20.0
"""How many messages a channel's month or a person needs until its own figures count as much as the wider ones."""

Month = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is known of a message that may have been liked: all its reactions, and whether its channel is allowed."""

    example_id: str
    author_id: AuthorId
    channel_id: ChannelId
    created_at: datetime
    reactions: int
    tokens: int
    allowed: bool = True

    @property
    def counted(self) -> int:
        """The reactions that count, 0..5."""
        return min(max(self.reactions, 0), COUNTED_REACTIONS)

    @property
    def month(self) -> Month:
        """When it was said: a server of twenty people reacts otherwise than one of two thousand."""
        moment = self.created_at.astimezone(UTC)
        return moment.year, moment.month


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """Usual counts of reactions: for each channel and month, and how people compare with where they write."""

    everywhere: float
    channels: Mapping[ChannelId, float]
    months: Mapping[tuple[ChannelId, Month], float]
    people: Mapping[AuthorId, float]

    def expected(self, judged: Judged) -> float:
        """Return how many (counted) reactions such a message usually gets, in 0..5."""
        place = self._place(judged.channel_id, judged.month)
        return min(place * self.people.get(judged.author_id, 1.0), float(COUNTED_REACTIONS))

    def surplus(self, judged: Judged) -> float:
        """Return how many more reactions it got than is usual; negative when fewer."""
        return judged.counted - self.expected(judged)

    def _place(self, channel: ChannelId, month: Month) -> float:
        return self.months.get((channel, month), self.channels.get(channel, self.everywhere))


def usual_reactions(messages: Iterable[Judged]) -> Usual:
    """Learn what is usual from all messages, liked or not. They are gone through twice.

    A channel's mean leans on the mean of everything, a month's on its channel's, a person's on 1 (empirical Bayes with
    a fixed strength: `_FAMILIAR` messages). A person's factor is their reactions over what their messages were
    expected to get where they were said. Memory grows with people, and with channels times months, not with messages.

    Raises:
        TypeError: the messages can be gone through only once.
    """
    if iter(messages) is messages:
        raise TypeError("these messages can be gone through only once")
    by_month: dict[tuple[ChannelId, Month], list[int]] = {}
    for message in messages:
        _count(by_month.setdefault((message.channel_id, message.month), [0, 0]), message)
    by_channel: dict[ChannelId, list[int]] = {}
    for (channel, _), (number, reactions) in by_month.items():
        sums = by_channel.setdefault(channel, [0, 0])
        sums[0] += number
        sums[1] += reactions
    number = sum(sums[0] for sums in by_channel.values())
    everywhere = sum(sums[1] for sums in by_channel.values()) / number if number else 0.0
    channels = {channel: _leaning(sums, everywhere) for channel, sums in by_channel.items()}
    months = {place: _leaning(sums, channels[place[0]]) for place, sums in by_month.items()}
    return Usual(everywhere=everywhere, channels=channels, months=months, people=_people(messages, months, everywhere))


def _people(
    messages: Iterable[Judged], months: Mapping[tuple[ChannelId, Month], float], everywhere: float
) -> dict[AuthorId, float]:
    got: dict[AuthorId, int] = {}
    expected: dict[AuthorId, float] = {}
    for message in messages:
        author = message.author_id
        got[author] = got.get(author, 0) + message.counted
        expected[author] = expected.get(author, 0.0) + months[message.channel_id, message.month]
    lean = _FAMILIAR * everywhere
    return {author: (got[author] + lean) / (expected[author] + lean) if lean else 1.0 for author in got}


def _count(sums: list[int], message: Judged) -> None:
    sums[0] += 1
    sums[1] += message.counted


def _leaning(sums: list[int], towards: float) -> float:
    number, reactions = sums
    return (reactions + _FAMILIAR * towards) / (number + _FAMILIAR)
