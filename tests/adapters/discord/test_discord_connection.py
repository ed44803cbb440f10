"""The connection against a server: outages, refusals, resumed and new sessions, and a fresh start after a failure."""

import asyncio
import logging
import re

import pytest
from discord.gateway import DiscordWebSocket
from discord.http import Route

from persona.adapters.discord import DiscordOptions, DiscordTransport
from persona.domain.chat import ChannelKind
from persona.errors import ConfigError, TransportError
from persona.ports import Arrival, LinkDown, LinkUp
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord_bot import Bot, bot, quick


def stage(fake):
    guild = fake.world.add_guild("The Server")
    return guild, fake.world.add_channel(guild, "general"), fake.world.add_member(guild, "Ann")


def test_it_hears_what_is_said_and_nothing_of_discord_py_was_changed():
    async def run():
        before = (Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY)
        async with FakeDiscord(seed=0) as fake:
            _, channel, ann = stage(fake)
            async with bot(fake) as one:
                assert one.heard(LinkUp) == [LinkUp(resumed=False, self_id=await one.transport.ready())]
                said = fake.world.say(channel, ann, "hello there")
                arrival = await one.arrival(int(said["id"]))
                assert arrival.message.content == "hello there"
                assert arrival.channel.name == "general"
        assert before == (Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY)

    asyncio.run(run())


def test_a_dropped_connection_is_resumed_and_nothing_is_missed_or_said_twice():
    async def run():
        async with FakeDiscord(seed=0) as fake:
            _, channel, ann = stage(fake)
            async with bot(fake) as one:
                said = []
                for number in range(30):
                    said.append(int(fake.world.say(channel, ann, f"message {number}")["id"]))
                    if number % 10 == 5:
                        fake.gateway.drop()
                    await asyncio.sleep(0.01)
                await one.until(lambda: len(one.heard(Arrival)) >= 30)
                assert [arrival.message.id for arrival in one.heard(Arrival)] == said
                ups = one.heard(LinkUp)
                assert not ups[0].resumed
                assert all(up.resumed for up in ups[1:])
                assert len(one.heard(LinkDown)) == len(ups) - 1 >= 1

    asyncio.run(run())


@pytest.mark.parametrize("how", ["invalidate", "4009"])
def test_a_session_that_is_over_begins_anew_and_says_that_something_may_be_missing(how):
    async def run():
        async with FakeDiscord(seed=0) as fake:
            stage(fake)
            async with bot(fake) as one:
                if how == "invalidate":
                    fake.gateway.invalidate(resumable=False)
                else:
                    fake.gateway.drop(code=4009)
                second = await one.next(LinkUp, 2)
                assert not second.resumed

    asyncio.run(run())


def test_being_asked_to_reconnect_misses_nothing():
    async def run():
        async with FakeDiscord(seed=0) as fake:
            _, channel, ann = stage(fake)
            async with bot(fake) as one:
                fake.gateway.ask_reconnect()
                said = fake.world.say(channel, ann, "in between")
                assert (await one.next(LinkUp, 2)).resumed
                await one.arrival(int(said["id"]))

    asyncio.run(run())


def test_a_frozen_connection_is_noticed_and_replaced():
    async def run():
        async with FakeDiscord(seed=0) as fake:
            _, channel, ann = stage(fake)
            async with bot(fake, heartbeat_seconds=0.5) as one:
                fake.gateway.freeze()
                said = fake.world.say(channel, ann, "into the void")
                await one.next(LinkDown)
                fake.gateway.thaw()
                await one.arrival(int(said["id"]))

    asyncio.run(run())


def test_discord_down_at_the_start_is_waited_for():
    async def run():
        async with FakeDiscord(seed=0) as fake:
            stage(fake)
            fake.faults.fail("*", status=503, times=4)
            async with bot(fake, up=False) as one:
                down = await one.next(LinkDown)
                assert "503" in down.reason
                await one.next(LinkUp)

    asyncio.run(run())


def test_nobody_there_at_all_is_waited_for():
    async def run():
        options = DiscordOptions(api_url="http://127.0.0.1:9/api/v10", backoff_seconds=0.02, backoff_cap_seconds=0.05)
        one = Bot(DiscordTransport(token="t" * 30, options=options, allowed=lambda _c, _p: True))
        one.start()
        down = await one.next(LinkDown)
        assert "cannot be reached" in down.reason
        await asyncio.sleep(0.3)
        assert one.heard(LinkDown) == [down], "the same news is told once"
        assert not one.ended.done()
        await one.transport.close()
        await one.ended

    asyncio.run(run())


def test_a_wrong_token_is_a_setting_and_is_never_shown(caplog):
    canary = "MTA0canaryCANARYcanaryCANARY.Gabcde.canaryCANARYcanaryCANARYcanaryCANARY"

    async def run():
        async with FakeDiscord(seed=0) as fake:
            one = Bot(DiscordTransport(token=canary, options=quick(fake), allowed=lambda _c, _p: True))
            with pytest.raises(ConfigError, match="DISCORD_TOKEN") as caught:
                await one.listen()
            assert caught.value.exit_code == 78
            shown = f"{caught.value!r} {caught.value} {one.transport!r} {vars(one.transport)!r}"
            assert canary not in shown

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())
    assert "canary" not in caplog.text.casefold()


@pytest.mark.parametrize(("code", "words"), [(4004, "DISCORD_TOKEN"), (4014, "Message Content Intent")])
def test_a_refusal_by_the_gateway_is_a_setting_with_a_cure(code, words):
    async def run():
        async with FakeDiscord(seed=0) as fake:
            stage(fake)
            async with bot(fake) as one:
                fake.gateway.drop(code=code)
                with pytest.raises(ConfigError, match=words) as caught:
                    await asyncio.wait_for(one.ended, 5)
                assert caught.value.exit_code == 78
                assert isinstance(one.events[-1], LinkDown)

    asyncio.run(run())


def test_a_payload_that_breaks_a_parser_ends_listening_and_a_new_call_starts_afresh():
    async def run():
        async with FakeDiscord(seed=0) as fake:
            guild, channel, ann = stage(fake)
            async with bot(fake) as one:
                fake.world.publish("MESSAGE_DELETE", {"channel_id": channel["id"]}, guild_id=guild["id"])
                with pytest.raises(TransportError, match="KeyError") as caught:
                    await asyncio.wait_for(one.ended, 5)
                assert not isinstance(caught.value, ConfigError)
                one.start()
                await one.next(LinkUp, 2)
                said = fake.world.say(channel, ann, "still there?")
                await one.arrival(int(said["id"]))

    asyncio.run(run())


def test_a_direct_message_is_heard_and_not_allowed():
    async def run():
        async with FakeDiscord(seed=0) as fake:
            _, _, ann = stage(fake)
            async with bot(fake) as one:
                arrival = await one.arrival(int(fake.world.say_directly(ann, "psst")["id"]))
                assert arrival.message.content == "psst"
                assert arrival.channel.kind is ChannelKind.DIRECT
                assert not arrival.channel.allowed

    asyncio.run(run())


def test_several_shards_when_discord_asks_for_them():
    async def run():
        async with FakeDiscord(seed=0) as fake:
            fake.gateway.shards = 2
            guilds = [fake.world.add_guild(f"Server {number}") for number in range(4)]
            channels = [fake.world.add_channel(guild, "general") for guild in guilds]
            people = [fake.world.add_member(guild, "Ann") for guild in guilds]
            async with bot(fake) as one:
                for channel, ann in zip(channels, people, strict=True):
                    await one.arrival(int(fake.world.say(channel, ann, "hi")["id"]))
                names = {entry.channel.guild_name for entry in await one.transport.channels()}
                assert names == {f"Server {number}" for number in range(4)}

    asyncio.run(run())


def test_new_sessions_are_spaced_and_paid_for_but_resumed_ones_are_free():
    async def run():
        spent = []

        async def spend():
            spent.append(asyncio.get_running_loop().time())

        async with FakeDiscord(seed=0) as fake:
            stage(fake)
            async with bot(fake, before_session=spend, identify_pause_seconds=0.3) as one:
                fake.gateway.drop()
                await one.next(LinkUp, 2)
                assert len(spent) == 1
                start = spent[0]
                fake.gateway.invalidate(resumable=False)
                await one.next(LinkUp, 3)
                assert len(spent) == 2
                assert asyncio.get_running_loop().time() - start >= 0.3

    asyncio.run(run())


def test_the_logs_of_discord_py_never_hold_what_people_say(caplog):
    async def run():
        async with FakeDiscord(seed=0) as fake:
            _, channel, ann = stage(fake)
            async with bot(fake) as one:
                said = fake.world.say(channel, ann, "the secret word is xyzzy")
                arrival = await one.arrival(int(said["id"]))
                await one.say(arrival, "xyzzy it is")
                return fake.token

    with caplog.at_level(logging.DEBUG):
        token = asyncio.run(run())
    theirs = "\n".join(record.getMessage() for record in caplog.records if re.match(r"discord|persona", record.name))
    assert "xyzzy" not in theirs
    assert token not in caplog.text
