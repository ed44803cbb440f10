"""A small server with people who chatted, in a real database."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from persona.adapters.sqlite import SqliteStore
from persona.demo import demo_model_path
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
from persona.domain.consent import PERMISSION, Choice, Entry, Scope, Source
from pipelines.dataset.plan import PreparePlan
from pipelines.dataset.preparing import Preparer
from pipelines.dataset.tokens import open_tokens

GUILD = GuildId(77)
GENERAL = Channel(id=ChannelId(500), guild_id=GUILD, name="general", guild_name="the greenhouse", allowed=True)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def person(number, name, *, bot=False):
    return Author(id=AuthorId(number), name=name, display_name=name, is_bot=bot)


ANN, BEN, CAT, DAN = person(1, "ann"), person(2, "ben"), person(3, "cat"), person(4, "dan")


def said(author, content, *, seconds=0, channel=GENERAL, reply_to=None, mentions=(), kind=None, sequence=0, **more):
    at = NOON + timedelta(seconds=seconds)
    return Message(
        id=MessageId(snowflake_at(at, sequence)),
        channel_id=channel.id,
        author=author,
        content=content,
        created_at=at,
        kind=kind or (MessageKind.REPLY if reply_to else MessageKind.DEFAULT),
        reply_to=reply_to,
        mentions=tuple(mentions),
        **more,
    )


def entry(author_id, choice=Choice.YES, *, scope=Scope.TRAIN, guild=GUILD, at=NOON, note="said so"):
    return Entry(
        author_id=AuthorId(author_id),
        scope=scope,
        choice=choice,
        at=at,
        source=Source.OWNER,
        guild_id=guild,
        note=note,
    )


PERMITTED = entry(PERMISSION, note="Discord, ticket 12")


@asynccontextmanager
async def opened(path):
    store = SqliteStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def fill(path, messages, *, channels=(GENERAL,), reactions=(), entries=(), own=""):
    async def do():
        async with opened(path) as store:
            await store.put_channels(channels)
            await store.put_messages(messages, reactions)
            if own:
                await store.note_own([message.id for message in messages], own, NOON)
            for each in entries:
                await store.ledger.record(each)

    asyncio.run(do())
    return path


def reaction(message, count, emoji="\N{FIRE}"):
    return Reaction(message_id=message.id, emoji=emoji, count=count)


def preparer(database, folder, **plan):
    settings = {"persona_name": "Pip", "tokens": 512, **plan}
    return Preparer(
        database=database, folder=folder, plan=PreparePlan(**settings), tokens=open_tokens(demo_model_path())
    )


def rows_in(folder):
    """Return the rows of all shards of a folder, in order."""
    files = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").split("\n") if line]
