"""People who talk, edit, delete and open threads at random, and remember for themselves what must be left of it."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

RECENT = 400
"""Edits and deletions hit messages among the last so many of a channel."""

_WORDS = ("soup", "night", "oven", "bread", "coffee", "train", "rain", "cat", "moon", "kettle", "garden", "radio")


@dataclass(slots=True, kw_only=True)
class Said:
    """What one message must look like in the end; `at` is seconds since the crowd began."""

    id: int
    channel_id: int
    text: str
    at: float
    edits: int = 0
    changed_at: float = 0.0


@dataclass(slots=True, kw_only=True)
class Book:
    """The truth: what stands, and what is gone."""

    standing: dict[int, Said] = field(default_factory=dict)
    gone: dict[int, Said] = field(default_factory=dict)
    addressed: set[int] = field(default_factory=set)


class Crowd:
    """Acts on a fake Discord's world, one random step at a time.

    Args:
        world: the fake's world.
        channels: the channels to talk in; threads are added as they are opened.
        forum: a forum channel for posts, or None.
        members: who talks.
        bot: the bot's own account, to be mentioned now and then.
        rng: the only source of chance.
        address: share of the messages that mention the bot.
    """

    def __init__(
        self,
        world: Any,
        *,
        channels: Sequence[Any],
        members: Sequence[Any],
        bot: Any,
        rng: random.Random,
        forum: Any = None,
        address: float = 0.006,
    ) -> None:
        self.book = Book()
        self._world = world
        self._channels = list(channels)
        self._forum = forum
        self._members = members
        self._bot = bot
        self._rng = rng
        self._address = address
        self._recent: dict[int, list[tuple[Any, Said]]] = {}
        self._began = time.monotonic()
        self.counts = dict.fromkeys(("said", "edited", "deleted", "bulk_deleted", "threads"), 0)

    def begin(self) -> None:
        """Count time from now on."""
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the crowd came together."""
        return time.monotonic() - self._began

    def reminisce(self, count: int) -> None:
        """Give every channel a past of so many messages, a minute apart, that can be edited and deleted as well."""
        for channel in self._channels:
            self._world.history(channel, count, self._members)
            for message in self._world.messages(channel):
                self._note(message, channel, message.content)
        self.counts["said"] = 0

    def step(self) -> None:
        """Do one thing."""
        acts: list[tuple[float, Callable[[], None]]] = [
            (0.845, self.say),
            (0.09, self.edit),
            (0.045, self.delete),
            (0.004, self.bulk_delete),
            (0.002, self.open_thread),
            (0.014, self.react),
        ]
        chosen = self._rng.choices([act for _, act in acts], weights=[share for share, _ in acts])[0]
        chosen()

    def say(self) -> None:
        """Say something somewhere."""
        channel, member = self._rng.choice(self._channels), self._rng.choice(self._members)
        text = self._words()
        addressed = self._rng.random() < self._address
        if addressed:
            text = f"<@{int(self._bot.id)}> {text}"
        recent = self._recent.get(int(channel.id), [])
        reply_to = self._rng.choice(recent)[0] if recent and self._rng.random() < 0.1 else None
        message = self._world.say(channel, member, text, reply_to=reply_to, mentions=(self._bot,) if addressed else ())
        self._note(message, channel, text)
        if addressed:
            self.book.addressed.add(int(message.id))

    def edit(self) -> None:
        """Change a recent message."""
        if (found := self._pick()) is None:
            return
        message, said = found
        said.edits += 1
        said.text = f"{self._words()} (edit {said.edits})"
        said.changed_at = self.elapsed
        self._world.edit(message, said.text)
        self.counts["edited"] += 1

    def delete(self) -> None:
        """Take a recent message back."""
        if (found := self._pick()) is not None:
            self._world.delete(found[0])
            self._bury(*found)
            self.counts["deleted"] += 1

    def bulk_delete(self) -> None:
        """Do as a moderator does: several messages of one channel at once."""
        channel = self._rng.choice(self._channels)
        recent = self._recent.get(int(channel.id), [])
        chosen = self._rng.sample(recent, min(len(recent), self._rng.randint(2, 8)))
        if len(chosen) < 2:
            return
        self._world.bulk_delete(channel, [message for message, _ in chosen])
        for message, said in chosen:
            self._bury(message, said)
            self.counts["bulk_deleted"] += 1

    def react(self) -> None:
        """React to a recent message."""
        if (found := self._pick()) is not None:
            self._world.react(found[0], self._rng.choice(self._members), self._rng.choice("👍😂🌱"))

    def open_thread(self) -> None:
        """Open a thread, or a post in the forum, with a first message, and talk there from now on."""
        parent = self._rng.choice([channel for channel in [*self._channels[:3], self._forum] if channel is not None])
        thread = self._world.add_thread(parent, f"{self._rng.choice(_WORDS)} {self.counts['threads']}")
        self.counts["threads"] += 1
        self._channels.append(thread)
        text = self._words()
        self._note(self._world.say(thread, self._rng.choice(self._members), text), thread, text)

    def _note(self, message: Any, channel: Any, text: str) -> None:
        now = self.elapsed
        said = Said(id=int(message.id), channel_id=int(channel.id), text=text, at=now, changed_at=now)
        self.book.standing[said.id] = said
        recent = self._recent.setdefault(said.channel_id, [])
        recent.append((message, said))
        del recent[:-RECENT]
        self.counts["said"] += 1

    def _pick(self) -> tuple[Any, Said] | None:
        recent = self._recent.get(int(self._rng.choice(self._channels).id), [])
        return self._rng.choice(recent) if recent else None

    def _bury(self, message: Any, said: Said) -> None:
        said.changed_at = self.elapsed
        self._recent[said.channel_id].remove((message, said))
        self.book.gone[said.id] = self.book.standing.pop(said.id)

    def _words(self) -> str:
        return " ".join(self._rng.choices(_WORDS, k=self._rng.randint(3, 12)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """How a store differs from the truth, by message id."""

    missing: frozenset[int]
    stale: frozenset[int]
    undeleted: frozenset[int]

    def __bool__(self) -> bool:
        return bool(self.missing or self.stale or self.undeleted)

    def __str__(self) -> str:
        return f"{len(self.missing)} missing, {len(self.stale)} stale edits, {len(self.undeleted)} undeleted"


def compare(book: Book, stored: dict[int, str]) -> Differences:
    """Compare the truth with the stored texts."""
    there = book.standing.keys() & stored.keys()
    return Differences(
        missing=frozenset(book.standing.keys() - stored.keys()),
        stale=frozenset(number for number in there if stored[number] != book.standing[number].text),
        undeleted=frozenset(book.gone.keys() & stored.keys()),
    )


def explain(differences: Differences, book: Book, timeline: Sequence[tuple[float, str]], *, most: int = 30) -> str:
    """Say for every difference what it is, when it came about, and between which faults."""
    lines = [str(differences)]
    kinds = (("missing", differences.missing), ("stale", differences.stale), ("undeleted", differences.undeleted))
    for kind, ids in kinds:
        for number in sorted(ids)[:most]:
            said = book.standing.get(number) or book.gone[number]
            before = [f"{name} at {at:.2f}" for at, name in timeline if at <= said.changed_at][-2:]
            after = [f"{name} at {at:.2f}" for at, name in timeline if at > said.changed_at][:2]
            lines.append(
                f"  {kind} {number} in {said.channel_id}: said at {said.at:.2f}, changed at {said.changed_at:.2f} s "
                f"({said.edits} edits); between {', '.join(before) or 'the start'} and {', '.join(after) or 'the end'}"
            )
    return "\n".join(lines)
