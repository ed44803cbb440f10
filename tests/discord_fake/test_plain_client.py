"""The first thing that must work: a plain discord.py client is ready, hears, replies and reads the history."""

import asyncio

from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.plain_client import plain_client


def test_it_gets_ready_hears_replies_and_pages_history():
    async def main():
        async with FakeDiscord(seed=0) as fake:
            guild = fake.world.add_guild("the night kitchen")
            channel = fake.world.add_channel(guild, "kitchen")
            ann = fake.world.add_member(guild, "ann")
            old = fake.world.history(channel, 250, [ann])
            async with plain_client(fake) as client:
                assert client.user.name == fake.world.bot.username
                assert [one.name for one in client.guilds] == ["the night kitchen"]
                said = fake.world.say(channel, ann, "hello")
                heard = await client.next("message")
                assert (heard.id, heard.content, heard.author.name) == (int(said.id), "hello", "ann")
                sent = await heard.reply("hello ann", mention_author=False)
                assert sent.reference.message_id == heard.id
                back = await client.next("message", 2)
                assert (back.id, back.author.id, back.type.name) == (sent.id, client.user.id, "reply")
                read = [message.id async for message in heard.channel.history(limit=None, oldest_first=True)]
                assert read == [int(one) for one in old] + [heard.id, sent.id]
                newest = [message.id async for message in heard.channel.history(limit=120)]
                assert newest == read[::-1][:120]

    asyncio.run(main())
