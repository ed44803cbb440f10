"""Describes how a server talks: its style card, and a few real exchanges that show it."""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Protocol

from persona.domain.chat import AuthorId, ChannelId, Message, MessageId
from persona.domain.markup import prose, readable
from persona.domain.prompt import Exchange, clean_name, content_lines
from persona.domain.words import ABBREVIATIONS, COMMON_WORDS, guess_language

_LISTED = 8
_LISTED_EMOJI = 5
_SPREAD_AUTHORS = 3
"""A word, to be named in the card, must be used by so many people: what only one says is theirs, not the server's."""

_BURST_GAP = timedelta(minutes=1)
_MOSTLY, _OFTEN, _SELDOM = 0.6, 0.3, 0.1

_ANSWER_GAP = timedelta(minutes=2)
_REPLY_GAP = timedelta(hours=1)
_EXAMPLE_WORDS = (6, 20)
_TELLING_WORDS = 3

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_PICTURE = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55][\ufe0f\U0001f3fb-\U0001f3ff]?|:\\w{2,32}:")
_EMOTICON = re.compile(r"(?<!\S)(?:[:;=][-']?[)(DPpOo|/\\3]+|[xX]D+|<3|\^_?\^)(?!\S)")
_UNFIT = re.compile(r"\A\s*[/!.?$&%>#=+-](?=\S)|[@`<>|\n]|\d{5}|://|www\.")
"""What keeps a message from being an example: commands, quotes, mentions, code, links, long numbers, several lines."""

_ENDS_BARE = re.compile(r"[^\W_]\s*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleCard:
    """How people write here, measured on `messages` messages; shares are in 0..1, lengths a message."""

    messages: int = 0
    median_words: float = 0.0
    p90_words: float = 0.0
    median_characters: float = 0.0
    p90_characters: float = 0.0
    lower_case_share: float = 0.0
    bare_end_share: float = 0.0
    emoji_per_message: float = 0.0
    burst_share: float = 0.0
    favourite_emoji: tuple[str, ...] = ()
    favourite_words: tuple[str, ...] = ()
    abbreviations: tuple[str, ...] = ()
    language: str | None = None

    @property
    def text(self) -> str:
        """The card as three to five short lines for the prompt; empty when there was nothing to measure."""
        if not self.messages:
            return ""
        return "\n".join(line for line in (self._length(), self._manner(), self._emoji(), self._words()) if line)

    def _length(self) -> str:
        language = f" in {self.language}" if self.language else ""
        usual, most = max(round(self.median_words), 1), max(round(self.p90_words), 1)
        bursts = ", often several messages in a row" if self.burst_share >= _OFTEN else ""
        return f"People here write{language}, about {usual} words a message, rarely more than {most}{bursts}."

    def _manner(self) -> str:
        case = _how_often(self.lower_case_share, "all in lower case")
        end = _how_often(self.bare_end_share, "without a full stop at the end")
        habits = " and ".join(habit for habit in (case, end) if habit)
        return f"Messages are {habits}." if habits else "Messages have capitals and full stops."

    def _emoji(self) -> str:
        favourites = f", most of all {' '.join(self.favourite_emoji)}" if self.favourite_emoji else ""
        if self.emoji_per_message < _SELDOM / 2:
            return "Emoji are rare."
        if self.emoji_per_message < _MOSTLY:
            return f"About one message in {round(1 / self.emoji_per_message)} has an emoji{favourites}."
        return f"Emoji are everywhere{favourites}."

    def _words(self) -> str:
        words = (*self.abbreviations, *self.favourite_words)
        return f"Words you hear here: {', '.join(words)}." if words else ""


class Chance(Protocol):
    """The part of `random.Random` that choosing needs."""

    def random(self) -> float:
        """Return a number in 0..1, 1 excluded."""
        ...


def style_card(messages: Iterable[Message]) -> StyleCard:
    """Measure how people write in a sample of messages (any order); bots, commands and empty messages do not count."""
    talk = _human_talk(messages)
    said = [_said(message) for message in talk]
    if not said:
        return StyleCard()
    bare = [prose(message.content) for message in talk]
    lengths = [len(text.split()) for text in said]
    characters = [len(text) for text in said]
    lettered = [text for text in bare if _WORD.search(text)]
    pictures = [_emoji_in(text) for text in said]
    spoken = [[word.casefold() for word in _WORD.findall(text)] for text in bare]
    return StyleCard(
        messages=len(said),
        median_words=statistics.median(lengths),
        p90_words=_p90(lengths),
        median_characters=statistics.median(characters),
        p90_characters=_p90(characters),
        lower_case_share=_share(lettered, lambda text: text == text.lower()),
        bare_end_share=_share(lettered, lambda text: _ENDS_BARE.search(text) is not None),
        emoji_per_message=sum(map(len, pictures)) / len(said),
        burst_share=_burst_share(talk),
        favourite_emoji=_spread(talk, pictures, _LISTED_EMOJI),
        favourite_words=_favourite_words(talk, spoken),
        abbreviations=_spread(talk, [[w for w in words if w in ABBREVIATIONS] for words in spoken], _LISTED),
        language=guess_language(word for words in spoken for word in words),
    )


def choose_examples(
    messages: Sequence[Message], *, self_id: AuthorId, limit: int = 3, chance: Chance
) -> tuple[Exchange, ...]:
    """Choose up to `limit` short exchanges of two or three lines that show how people here answer each other.

    Lines are linked by a reply or by coming within two minutes; they are of ordinary length and hold no links, code,
    mentions, commands or files, nor anything of bots or the persona itself. Answers that are marked as replies and
    people who were not chosen yet come first. The same messages and the same `chance` give the same choice.
    """
    talk = [m for m in sorted(messages, key=lambda m: m.id) if m.is_talk]
    longest = _longest_example(talk)
    lines = {m.id: line for m in talk if (line := _example_line(m, self_id, longest)) is not None}
    chains = [chain for chain in _chains(talk) if all(message.id in lines for message in chain)]
    ranked = sorted(((_appeal(chain, lines) + chance.random(), chain) for chain in chains), key=lambda pair: -pair[0])
    chosen: list[tuple[Message, ...]] = []
    used: Counter[AuthorId] = Counter()
    while ranked and len(chosen) < limit:
        best = max(range(len(ranked)), key=lambda i: ranked[i][0] - 2 * sum(used[m.author.id] for m in ranked[i][1]))
        _, chain = ranked.pop(best)
        chosen.append(chain)
        used.update(message.author.id for message in chain)
        taken = {message.id for message in chain}
        ranked = [pair for pair in ranked if taken.isdisjoint(message.id for message in pair[1])]
    return tuple(
        Exchange(
            lines=tuple(f"{_name(message)}: {lines[message.id]}" for message in chain),
            message_ids=tuple(message.id for message in chain),
        )
        for chain in chosen
    )


def _chains(talk: Sequence[Message]) -> list[tuple[Message, ...]]:
    """Return every answer with what it answers, and that with what it answered in turn (messages oldest first)."""
    answered: dict[MessageId, Message] = {}
    newest: dict[ChannelId, Message] = {}
    by_id = {message.id: message for message in talk}
    chains: list[tuple[Message, ...]] = []
    for message in talk:
        before = newest.get(message.channel_id)
        target = by_id.get(message.reply_to) if message.reply_to is not None else before
        newest[message.channel_id] = message
        if target is None or not _answers(message, target):
            continue
        answered[message.id] = target
        earlier = answered.get(target.id)
        if earlier is not None and message.reply_to is None and message.author.id != earlier.author.id:
            earlier = None  # an unmarked third line goes on with the talk only where the first speaker comes back
        names = {m.author.id: _name(m) for m in (message, target, earlier or target)}
        if len(set(names.values())) == len(names):
            chains.append((target, message) if earlier is None else (earlier, target, message))
    return chains


def _answers(message: Message, target: Message) -> bool:
    gap = message.created_at - target.created_at
    return (
        message.author.id != target.author.id
        and message.channel_id == target.channel_id
        and timedelta(0) <= gap <= (_REPLY_GAP if message.reply_to is not None else _ANSWER_GAP)
    )


def _example_line(message: Message, self_id: AuthorId, longest: int) -> str | None:
    """Return a message as a line of an example, or None when it is not fit to be one."""
    content = message.content
    if message.author.is_bot or message.author.id == self_id or message.attachments or message.mentions:
        return None
    if _UNFIT.search(content) or prose(content).split() != readable(content, people={}).split():
        return None
    lines = content_lines(message, {})
    words = len(_WORD.findall(content))
    return lines[0] if len(lines) == 1 and 1 <= words <= longest else None


def _longest_example(talk: Sequence[Message]) -> int:
    """Return the number of words that three quarters of the messages keep to, within 6..20."""
    lengths = sorted(len(message.content.split()) for message in talk)
    typical = lengths[len(lengths) * 3 // 4] if lengths else 0
    return min(max(typical, _EXAMPLE_WORDS[0]), _EXAMPLE_WORDS[1])


def _appeal(chain: Sequence[Message], lines: Mapping[MessageId, str]) -> float:
    """Rate a chain: marked replies show best who answers what; a lone "ok" shows little."""
    linked = sum(message.reply_to is not None for message in chain)
    telling = sum(len(lines[message.id].split()) >= _TELLING_WORDS for message in chain)
    return 3 * linked / (len(chain) - 1) + telling / len(chain) + len(chain) / 4


def _name(message: Message) -> str:
    return clean_name(message.author.display_name or message.author.name)


def _human_talk(messages: Iterable[Message]) -> list[Message]:
    talk = (m for m in messages if m.is_talk and not m.author.is_bot and m.content.strip())
    return sorted(talk, key=lambda message: message.id)


def _said(message: Message) -> str:
    return readable(message.content, people={person.id: person.name for person in message.mentions})


def _emoji_in(text: str) -> list[str]:
    return [*_PICTURE.findall(text), *_EMOTICON.findall(text)]


def _favourite_words(talk: Sequence[Message], spoken: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return words that many people here use and that are neither common, shorthand nor somebody's name."""
    names = {word.casefold() for m in talk for word in _WORD.findall(f"{m.author.name} {m.author.display_name}")}
    dull = COMMON_WORDS | ABBREVIATIONS | names
    telling = [[w for w in words if len(w) > 2 and w.replace("\u2019", "'") not in dull] for words in spoken]  # noqa: PLR2004
    return _spread(talk, telling, _LISTED)


def _spread(talk: Sequence[Message], found: Sequence[Sequence[str]], limit: int) -> tuple[str, ...]:
    """Return the things that most people say, of those that at least three do; ties go to the more frequent."""
    users: defaultdict[str, set[AuthorId]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for message, things in zip(talk, found, strict=True):
        counts.update(things)
        for thing in things:
            users[thing].add(message.author.id)
    shared = [thing for thing, authors in users.items() if len(authors) >= _SPREAD_AUTHORS]
    return tuple(sorted(shared, key=lambda thing: (-len(users[thing]), -counts[thing], thing))[:limit])


def _burst_share(talk: Sequence[Message]) -> float:
    """Return the share of messages that follow one of the same person in the same channel within a minute."""
    channels: defaultdict[ChannelId, list[Message]] = defaultdict(list)
    for message in talk:
        channels[message.channel_id].append(message)
    pairs = [pair for messages in channels.values() for pair in pairwise(messages)]
    close = sum(a.author.id == b.author.id and b.created_at - a.created_at <= _BURST_GAP for a, b in pairs)
    return close / len(pairs) if pairs else 0.0


def _p90(values: Sequence[int]) -> float:
    """Return the value that nine of ten do not exceed (nearest rank)."""
    return float(sorted(values)[-(-len(values) * 9 // 10) - 1])


def _share(texts: Sequence[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, texts)) / len(texts) if texts else 0.0


def _how_often(share: float, habit: str) -> str:
    if share >= _MOSTLY:
        return f"mostly {habit}"
    return f"often {habit}" if share >= _OFTEN else ""
