"""Messages to remember, and a look at what the memory's table really holds."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lancedb

from persona.domain.chat import Author, AuthorId, Channel, ChannelId, GuildId, Message, MessageId, snowflake_at
from persona.ports import MemoryChange, MemoryOp

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
KITCHEN = ChannelId(100)
ATTIC = ChannelId(200)
ANN = Author(id=AuthorId(2), name="ann", display_name="Ann")
BEN = Author(id=AuthorId(3), name="ben", display_name="Ben")


def said(number, text, *, channel=KITCHEN, author=ANN, at=NOON, **more):
    """A message; of two at the same moment the one with the higher number is newer."""
    return Message(
        id=MessageId(snowflake_at(at, number)), channel_id=channel, author=author, content=text, created_at=at, **more
    )


def put(*messages):
    """The outbox entries that tell the memory of messages."""
    return [
        MemoryChange(sequence=i, message_id=m.id, op=MemoryOp.PUT, message=m) for i, m in enumerate(messages, start=1)
    ]


def remove(*messages):
    """The outbox entries that make the memory forget messages."""
    return [
        MemoryChange(sequence=i, message_id=m.id, op=MemoryOp.REMOVE, message=None)
        for i, m in enumerate(messages, start=1)
    ]


def allowed_channel(channel_id):
    """A channel on the allow-list."""
    return Channel(id=channel_id, guild_id=GuildId(1), name=f"channel-{channel_id}", allowed=True)


def chatter(count, *, seed=0, channels=(KITCHEN, ATTIC), words_each=7, start=NOON):
    """Messages of made-up words, a minute apart, in random channels."""
    rng = random.Random(seed)
    vocabulary = [f"{a}{b}{c}" for a in "bdgklmprstvz" for b in "aeiou" for c in ("xo", "ku", "zim", "bax")]
    return [
        said(
            number % 4096,
            " ".join(rng.choices(vocabulary, k=words_each)),
            channel=rng.choice(channels),
            author=rng.choice((ANN, BEN)),
            at=start + timedelta(minutes=number),
        )
        for number in range(count)
    ]


async def rows_of(folder: Path):
    """Every row of the table by its ids, in order, read past the adapter; duplicates show."""
    connection = await lancedb.connect_async(str(folder))
    table = await connection.open_table("messages")
    rows = await table.query().select(["message_id", "channel_id", "author_id", "author_name", "text"]).to_list()
    table.close()
    connection.close()
    return sorted(tuple(row.values()) for row in rows)
