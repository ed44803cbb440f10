"""A made-up server of any size for the benchmark of `prepare`: written in batches, the same one every time."""

import asyncio
import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from persona.adapters.sqlite import SqliteStore
from persona.domain.chat import (
    Author,
    AuthorId,
    Channel,
    ChannelId,
    GuildId,
    Message,
    MessageId,
    MessageKind,
    Reaction,
    snowflake_at,
)

NOTE = "made up for a benchmark"

_GUILD = GuildId(9)
_START = datetime(2021, 1, 1, tzinfo=UTC)
_CHANNELS = 8
_PEOPLE = 400
_BATCH = 20_000
_SYLLABLES = ("ba", "ko", "ri", "ten", "lu", "mas", "ve", "shi", "ort", "an", "pe", "dol", "gu", "fi", "ren", "tak")
_WORDS = tuple("".join(parts) for parts in itertools.product(_SYLLABLES, repeat=2)) + _SYLLABLES
_EMOJI = ("\N{FIRE}", "\N{THUMBS UP SIGN}", "\N{FACE WITH TEARS OF JOY}")


def write_server(database: Path, messages: int, *, seed: int = 1) -> None:
    """Write a database of so many messages, all of them own exports: no permission is needed to learn from them."""
    asyncio.run(_write(database, messages, seed))


async def _write(database: Path, messages: int, seed: int) -> None:
    store = SqliteStore(database)
    await store.open()
    try:
        await store.put_channels(
            Channel(id=ChannelId(n + 1), guild_id=_GUILD, name=f"room-{n}", guild_name="made up", allowed=True)
            for n in range(_CHANNELS)
        )
        stream = made_up(messages, seed)
        while batch := list(itertools.islice(stream, _BATCH)):
            said = [message for message, _ in batch]
            await store.put_messages(said, [reaction for _, reaction in batch if reaction is not None])
            await store.note_own([message.id for message in said], NOTE, _START)
    finally:
        await store.close()


def made_up(messages: int, seed: int) -> Iterator[tuple[Message, Reaction | None]]:
    """Yield messages in the order of time: a few people write most of it, in bursts with silences between them.

    One in twelve is a reply to one of the last few, one in ten got reactions; the words are random.
    """
    rng = random.Random(seed)
    people = [Author(id=AuthorId(n + 1), name=f"user{n}", display_name=f"User {n}") for n in range(_PEOPLE)]
    weights = list(itertools.accumulate(1 / (n + 1) for n in range(_PEOPLE)))
    recent: dict[int, list[MessageId]] = {n: [] for n in range(_CHANNELS)}
    at = _START
    for number in range(messages):
        at += timedelta(seconds=rng.choice((3, 8, 15, 40, 90)) if number % 60 else rng.randrange(4000, 40_000))
        channel = (number // 60) % _CHANNELS
        known = recent[channel]
        reply_to = rng.choice(known) if known and rng.random() < 1 / 12 else None
        message = Message(
            id=MessageId(snowflake_at(at, number % 4096)),
            channel_id=ChannelId(channel + 1),
            author=rng.choices(people, cum_weights=weights)[0],
            content=" ".join(rng.choices(_WORDS, k=rng.randrange(2, 18))),
            created_at=at,
            kind=MessageKind.REPLY if reply_to else MessageKind.DEFAULT,
            reply_to=reply_to,
        )
        recent[channel] = [*known[-8:], message.id]
        liked = rng.random() < 0.1
        count = min(1 + int(rng.expovariate(0.7)), 12)
        yield message, Reaction(message_id=message.id, emoji=rng.choice(_EMOJI), count=count) if liked else None
