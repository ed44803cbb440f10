"""How well `persona.domain.speaking` predicts when somebody here replies, on the held-out days."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from persona.adapters.sqlite.snapshot import Snapshot
from persona.domain.chat import Author, AuthorId, Channel, GuildId, Message
from persona.domain.speaking import ChannelState, Reason, SpeakingRules, decide
from pipelines.dataset.gate import Gate
from pipelines.evaluation.ranking import Bin
from pipelines.evaluation.resampling import Floats, draws, figure
from pipelines.evaluation.statistics import Interval

REGULARS = 8
REPLY_WITHIN = timedelta(minutes=10)
_LOOK_AHEAD = 5
"""A reply is the person's next message, within so many messages of others and `REPLY_WITHIN`."""

_FEWEST = 20
_MOST_MESSAGES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A message that a regular could have answered: how readily the persona would, and whether they did."""

    day: str
    chance: float
    replied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaking:
    """The result.

    Attributes:
        people: how many regulars' places were taken.
        moments: how many messages they could have answered; `replies` how many they did.
        auc: the chance that a message that was answered had the higher score; 0.5 knows nothing.
        error: mean distance between predicted and real frequencies; `curve` is the calibration curve.
        spoken: the share of messages that the persona would have answered in their place.
    """

    people: int
    moments: int
    replies: int
    auc: Interval
    error: Interval
    spoken: float
    curve: tuple[Bin, ...]


def predict(database: Path, *, since: datetime, rules: SpeakingRules, seed: int, rounds: int = 300) -> Speaking | None:
    """Replay the held-out days for each of the most active people who agreed to training; None with too little to say.

    For each message of somebody else the rules say how readily the persona, in that person's place and under their
    name, would have spoken. Nobody can know who had their eyes on the channel: silence counts as a decision, so the
    share of replies is low and the calibration curve says by how much the rates are too high or low.

    Raises:
        StoreError: the database cannot be read.
    """
    with Snapshot(database) as snapshot:
        gate = Gate(snapshot.entries())
        moments: list[Moment] = []
        people: set[AuthorId] = set()
        for channel in snapshot.channels():
            talk = [
                (stored.message, stored.own)
                for stored in snapshot.messages(channel.id)
                if stored.message.created_at >= since
            ]
            talk = talk[:_MOST_MESSAGES]
            for author in _regulars(talk, gate, channel.guild_id):
                people.add(author.id)
                moments += _moments([message for message, _ in talk], channel, author, rules)
    return _result(moments, len(people), seed=seed, rounds=rounds)


def _regulars(talk: Sequence[tuple[Message, bool]], gate: Gate, guild: GuildId) -> list[Author]:
    """Return the most active people of a channel whose every message may be learned from."""
    said: Counter[AuthorId] = Counter()
    authors: dict[AuthorId, Author] = {}
    barred: set[AuthorId] = set()
    for message, own in talk:
        author = message.author
        if author.is_bot or not message.is_talk:
            continue
        if not gate.admits(author.id, guild, own=own):
            barred.add(author.id)
        said[author.id] += 1
        authors[author.id] = author
    admitted = [key for key, count in said.most_common() if count >= _FEWEST and key not in barred]
    return [authors[key] for key in admitted[:REGULARS]]


def _moments(messages: Sequence[Message], channel: Channel, author: Author, rules: SpeakingRules) -> Iterator[Moment]:
    """Yield what a regular could have answered, in order."""
    channel = replace(channel, allowed=True)
    rules = replace(rules, enabled=True, names=tuple({author.name, author.display_name}))
    state = ChannelState()
    for place, message in enumerate(messages):
        if message.author.id != author.id and message.is_talk and not message.author.is_bot and message.content.strip():
            yield Moment(
                day=f"{message.created_at:%Y-%m-%d}",
                chance=readiness(message, channel, state, rules, author.id),
                replied=_replied(messages, place, author.id),
            )
        state = state.after(message, self_id=author.id)


def readiness(
    message: Message, channel: Channel, state: ChannelState, rules: SpeakingRules, self_id: AuthorId
) -> float:
    """Return the probability (0..1) with which the rules speak on a message, at the moment when it was written."""

    def asked(chance: float) -> tuple[bool, Reason]:
        decision = decide(message, channel, state, rules, self_id=self_id, now=message.created_at, chance=chance)
        return decision.speak, decision.reason

    if asked(1.0)[0]:
        return 1.0
    speaks, reason = asked(0.0)
    if not speaks:
        return 0.0
    return max(rules.rate, rules.active_rate) if reason is Reason.ACTIVE else rules.rate


def _replied(messages: Sequence[Message], place: int, author: AuthorId) -> bool:
    """Say whether somebody's next message came soon enough after a message to be one on it."""
    message = messages[place]
    for later in messages[place + 1 : place + 2 + _LOOK_AHEAD]:
        if later.created_at - message.created_at > REPLY_WITHIN:
            return False
        if later.author.id == author:
            return later.reply_to is None or later.reply_to == message.id
    return False


def _result(moments: Sequence[Moment], people: int, *, seed: int, rounds: int) -> Speaking | None:
    replies = sum(moment.replied for moment in moments)
    if replies < _FEWEST or len(moments) - replies < _FEWEST:
        return None
    days = {day: place for place, day in enumerate(sorted({moment.day for moment in moments}))}
    # The rules know a handful of probabilities only: counts by day and probability say it all.
    levels = {chance: place for place, chance in enumerate(sorted({moment.chance for moment in moments}))}
    counts = np.zeros((2, len(days), len(levels)))
    for moment in moments:
        counts[int(moment.replied), days[moment.day], levels[moment.chance]] += 1
    weights = draws(len(days), rounds=rounds, seed=seed).weights
    silent, replied = weights @ counts[0], weights @ counts[1]
    chances = np.array(list(levels))
    whole = counts.sum(axis=1)
    return Speaking(
        people=people,
        moments=len(moments),
        replies=replies,
        auc=figure(_areas(silent, replied), bounds=(0.0, 1.0)).interval,
        error=figure(_errors(silent, replied, chances), bounds=(0.0, 1.0)).interval,
        spoken=sum(moment.chance for moment in moments) / len(moments),
        curve=tuple(
            Bin(
                predicted=chance,
                happened=float(whole[1, place] / whole[:, place].sum()),
                count=int(whole[:, place].sum()),
            )
            for chance, place in levels.items()
        ),
    )


def _areas(silent: Floats, replied: Floats) -> Floats:
    """Return the area under the curve for each draw (Mann-Whitney, from counts by rising score; ties count half)."""
    below = np.cumsum(silent, axis=1) - silent / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = (replied * below).sum(axis=1) / (replied.sum(axis=1) * silent.sum(axis=1))
    return found


def _errors(silent: Floats, replied: Floats, chances: Floats) -> Floats:
    """Return the mean distance of predicted and real frequency for each draw, weighted by number."""
    both = silent + replied
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.abs(both * chances - replied).sum(axis=1) / both.sum(axis=1)
    return found
