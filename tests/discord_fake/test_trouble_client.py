"""What an unpatched discord.py client makes of cut, frozen and refused connections, and of rate limits."""

import asyncio
import contextlib
import warnings

import pytest
import yarl

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports audioop, which Python 3.13 leaves out
    import discord

from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.chaos import ChaosProxy
from tests.fakes.discord.limits import HISTORY, Limits


class Client(discord.Client):
    def __init__(self):
        intents = discord.Intents(guilds=True, guild_messages=True, message_content=True)
        super().__init__(intents=intents, max_messages=None, guild_ready_timeout=0.1, heartbeat_timeout=1.0)
        self.happened = []

    async def before_identify_hook(self, shard_id, *, initial=False):
        """Do not wait for 5 s before each new session."""

    async def on_ready(self):
        self.happened.append("ready")

    async def on_resumed(self):
        self.happened.append("resumed")

    async def on_message(self, message):
        self.happened.append(message.content)


async def until(check, seconds=10):
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def connected(fake, monkeypatch, *, api=None, gateway=None):
    monkeypatch.setattr(discord.http.Route, "BASE", api or fake.api_url)
    monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(gateway or fake.gateway_url))
    async with Client() as client:
        running = asyncio.create_task(client.start(fake.token))
        try:
            await asyncio.wait_for(client.wait_until_ready(), 10)
            yield client
        finally:
            await client.close()
            await running


def populated(fake):
    guild = fake.world.add_guild("Garden")
    return fake.world.add_channel(guild, "general"), fake.world.add_member(guild, "ada")


def through(proxy, url):
    return str(yarl.URL(url).with_port(proxy.port))


def with_gateway_proxy(play, monkeypatch, *, heartbeat=41.25):
    async def run():
        async with (
            FakeDiscord(seed=1, heartbeat_seconds=heartbeat) as fake,
            ChaosProxy("127.0.0.1", fake.port) as proxy,
        ):
            # The server itself tells clients where to resume: there, too, the proxy has to be in between.
            fake.gateway.url = through(proxy, fake.gateway_url)
            channel, ada = populated(fake)
            async with connected(fake, monkeypatch, gateway=through(proxy, fake.gateway_url)) as client:
                await play(fake, proxy, client, channel, ada)

    asyncio.run(run())


def test_a_cut_gateway_is_resumed_and_nothing_is_lost(monkeypatch):
    async def play(fake, proxy, client, channel, ada):
        fake.world.say(channel, ada, "one")
        await until(lambda: "one" in client.happened)
        assert proxy.cut() == 1
        fake.world.say(channel, ada, "two")
        await until(lambda: "two" in client.happened)
        fake.world.say(channel, ada, "three")
        await until(lambda: "three" in client.happened)
        assert client.happened == ["ready", "one", "two", "resumed", "three"]
        assert proxy.accepted == 2

    with_gateway_proxy(play, monkeypatch)


def test_a_black_hole_is_noticed_by_the_missing_heartbeat_and_left(monkeypatch):
    async def play(fake, proxy, client, channel, ada):
        proxy.freeze()
        fake.world.say(channel, ada, "lost on the way")
        await until(lambda: proxy.bytes_lost > 0)
        await asyncio.sleep(0.2)
        assert client.happened == ["ready"]
        await until(lambda: proxy.accepted >= 2)  # the client gave the dead connection up and dialled again
        proxy.thaw()
        await until(lambda: "lost on the way" in client.happened, 20)
        assert client.happened.count("lost on the way") == 1

    with_gateway_proxy(play, monkeypatch, heartbeat=0.2)


def test_a_refused_gateway_is_tried_again(monkeypatch):
    async def play(fake, proxy, client, channel, ada):
        proxy.refuse()
        proxy.cut()
        await asyncio.sleep(0.1)
        fake.world.say(channel, ada, "meanwhile")
        proxy.accept()
        await until(lambda: "meanwhile" in client.happened, 30)

    with_gateway_proxy(play, monkeypatch)


def test_a_cut_request_is_repeated_once_on_a_new_connection_and_then_a_connection_error(monkeypatch):
    async def run():
        async with FakeDiscord(seed=2) as fake, ChaosProxy("127.0.0.1", fake.port) as proxy:
            place, ada = populated(fake)
            fake.world.say(place, ada, "hello")
            async with connected(fake, monkeypatch, api=through(proxy, fake.api_url)) as client:
                fake.faults.delay(0.3)

                async def cut_when_asked(asking, times):
                    for _ in range(times):
                        before = len(fake.requests)
                        await until(lambda before=before: len(fake.requests) > before)
                        proxy.cut()
                    return await asking

                # aiohttp itself repeats a GET whose connection had served before: the client notices nothing.
                asking = asyncio.create_task(client.http.logs_from(int(place.id), 100))
                assert [m["content"] for m in await cut_when_asked(asking, 1)] == ["hello"]
                for ask in (
                    lambda: client.http.get_channel(int(place.id)),
                    lambda: client.http.send_typing(int(place.id)),
                ):
                    proxy.cut()
                    await until(lambda: proxy.open == 0)
                    asking = asyncio.create_task(ask())
                    with pytest.raises(OSError, match="reset") as caught:
                        await cut_when_asked(asking, 1)
                    assert caught.value.errno == 104
                fake.faults.delay(0)
                assert [m["content"] for m in await client.http.logs_from(int(place.id), 100)] == ["hello"]

    asyncio.run(run())


def test_a_truncated_page_is_an_error_and_not_a_shorter_page(monkeypatch):
    async def run():
        async with FakeDiscord(seed=2) as fake, ChaosProxy("127.0.0.1", fake.port) as proxy:
            place, ada = populated(fake)
            for number in range(50):
                fake.world.say(place, ada, f"message {number}")
            async with connected(fake, monkeypatch, api=through(proxy, fake.api_url)) as client:
                proxy.truncate(5_000, then="close")
                with pytest.raises((discord.HTTPException, OSError, discord.http.aiohttp.ClientError)):
                    await client.http.logs_from(int(place.id), 100)
                assert len(await client.http.logs_from(int(place.id), 100)) == 50

    asyncio.run(run())


def test_limits_hold_behind_the_whole_server(monkeypatch):
    async def run():
        limits = Limits(history=(2, 0.5))
        async with FakeDiscord(seed=2, limits=limits) as fake:
            place, _ = populated(fake)
            other = fake.world.add_channel(fake.world.guilds[place.guild_id], "other")
            async with connected(fake, monkeypatch) as client:
                began = asyncio.get_running_loop().time()
                await asyncio.gather(*(client.http.logs_from(int(p.id), 100) for p in (place, other) for _ in range(4)))
                took = asyncio.get_running_loop().time() - began
                assert limits.total_429 == 0
                assert 0.45 <= took < 2.0  # two windows in each channel, side by side
                limits.force(1, 0.1, route=HISTORY)
                await client.http.logs_from(int(place.id), 100)
                assert limits.counts == {"user": 1}
                fake.world.deny(place, "view_channel")
                with pytest.raises(discord.Forbidden):
                    await client.http.logs_from(int(place.id), 100)
                assert limits.invalid(asyncio.get_running_loop().time()) == 2

    asyncio.run(run())
