"""The token is seen by Discord alone: not in logs, output, database, memory or messages, whatever goes wrong."""

import asyncio
import contextlib

import pytest

from tests.fakes.discord import FakeDiscord
from tests.fakes.live import REPLY_SECONDS, LiveProcess, eventually

HISTORY = "GET /channels/{}/messages"
POSTS = "POST /channels/{}/messages"


@contextlib.asynccontextmanager
async def bot(folder, model):
    async with FakeDiscord(seed=0) as fake:
        guild = fake.world.add_guild("the night kitchen")
        channel = fake.world.add_channel(guild, "kitchen")
        ann = fake.world.add_member(guild, "ann")
        settings = {"model": {"path": str(model)}, "log": {"level": "debug", "content": True}}
        async with LiveProcess(folder, fake, channels=[channel], settings=settings) as live:
            yield fake, live, channel, ann


def test_a_life_with_errors_of_every_kind_writes_the_token_nowhere(tmp_path, scripted_gguf):
    async def main():
        async with bot(tmp_path, scripted_gguf) as (fake, live, channel, ann):
            await live.start("--debug")
            fake.faults.fail(HISTORY, status=500, times=2)
            fake.faults.fail(POSTS, status=503, times=1)
            fake.faults.cut(POSTS, times=1)
            fake.limits.force(2, 0.2, route=HISTORY)
            fake.gateway.drop(None)
            asked = fake.world.say(channel, ann, f"<@{fake.world.bot.id}> hi")
            await eventually(lambda: live.answers_to(asked), seconds=REPLY_SECONDS, what="an answer")
            fake.gateway.invalidate(resumable=False)
            await eventually(lambda: len(live.events("link")) >= 4, seconds=20, what="a new session")
            assert await live.stop() == 0
            assert len(live.events()) > 20
            assert live.places_of_token() == []

    asyncio.run(main())


@pytest.mark.parametrize("when", ["at the login", "at the gateway", "later"])
def test_a_token_that_is_refused_is_not_shown(tmp_path, scripted_gguf, when):
    async def main():
        async with bot(tmp_path, scripted_gguf) as (fake, live, *_):
            if when == "at the login":
                live.token = "MTIzNDU2.Gabcde.refused-token-that-nobody-may-see"  # noqa: S105
            elif when == "at the gateway":
                fake.gateway.refuse_token = True
            live.launch("--debug")
            if when == "later":
                await live.connected()
                fake.gateway.drop(4004)
            assert await live.ended() == 78
            assert "DISCORD_TOKEN" in live.output.strip().splitlines()[-1]
            assert live.places_of_token(live.token) == []

    asyncio.run(main())
