"""What a channel shares is found quickly on big servers, and is never that of yesterday."""

import asyncio
import time
from types import SimpleNamespace

import discord
import pytest

from persona.adapters.discord.audience import HISTORY, VIEW
from persona.adapters.discord.places import Places
from persona.adapters.discord.sharing import Sharing
from tests.adapters.discord.test_discord_history import reading

SEEN = str(VIEW | HISTORY)


def channel(number, *, roles=(), members=()):
    """A channel's payload in which some roles and people have a right of their own."""
    overwrites = [{"id": str(one), "type": 0, "allow": SEEN, "deny": "0"} for one in roles]
    overwrites += [{"id": str(one), "type": 1, "allow": str(VIEW), "deny": "0"} for one in members]
    return {"id": str(number), "type": 0, "name": f"c{number}", "position": 0, "permission_overwrites": overwrites}


def server(*, roles=0, channels=()):
    """A server as discord.py holds it; everybody may read everything."""
    fields = {"color": 0, "hoist": False, "position": 1, "managed": False, "mentionable": False}
    named = [{"id": str(number), "name": f"r{number}", "permissions": SEEN, **fields} for number in range(1, 2 + roles)]
    payload = {"id": "1", "name": "the server", "owner_id": "9", "roles": named, "channels": list(channels)}
    client = discord.Client(intents=discord.Intents.none())
    return discord.Guild(data=payload, state=client._connection)


@pytest.mark.parametrize(
    ("roles", "channels", "by_role", "by_member"), [(100, 300, 20, 0), (100, 200, 20, 5), (50, 200, 10, 10)]
)
def test_a_big_server_takes_milliseconds(roles, channels, by_role, by_member):
    """Each of these took between one and six seconds when every pair of roles was tried on every member."""
    guild = server(
        roles=roles,
        channels=[
            channel(
                1000 + number,
                roles=[2 + (number * 7 + one) % roles for one in range(by_role)],
                members=[50_000 + number * by_member + one for one in range(by_member)],
            )
            for number in range(channels)
        ],
    )
    places = Places(lambda _channel, _parent: True)
    places.guild_came(guild)
    took = []
    for number in range(5):
        began = time.perf_counter()
        assert len(places.readable_with(1000 + number, guild)) == channels
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05


def test_what_was_sorted_is_kept_until_it_changes_or_the_server_is_gone():
    guild = server(channels=[channel(10), channel(11, roles=[1])])
    sharing = Sharing()
    first = sharing.learn(guild, guild.channels)
    again = sharing.learn(guild, guild.channels)
    assert all(again[key] is first[key] for key in (10, 11))
    changed = guild.get_channel(11)
    changed._fill_overwrites(channel(11))
    now = sharing.learn(guild, guild.channels)
    assert now[10] is first[10]
    assert now[11] is not first[11]
    assert sharing.learn(guild, [changed]).keys() == {11}
    assert sharing._sorted[1].keys() == {11}
    sharing.forget(1)
    assert sharing._sorted == {}


def test_every_change_of_rights_counts_at_once():
    async def play(fake, one, guild, here, _ann):
        world = fake.world
        other, role = world.add_channel(guild, "other"), world.add_role(guild, "staff")
        number = int(other["id"])

        async def shared_is(expected, what):
            await asyncio.sleep(0)
            ends = asyncio.get_running_loop().time() + 10
            while (number in await one.transport.readable_with(int(here["id"]))) is not expected:
                assert asyncio.get_running_loop().time() < ends, what
                await asyncio.sleep(0.01)

        await shared_is(True, "a new channel")
        world.deny(other, "read_message_history", role=guild)
        await shared_is(False, "history is denied")
        world.allow(other, "read_message_history", role=guild)
        await shared_is(True, "history is allowed")
        world.deny(other, "view_channel", role=role)
        await shared_is(False, "a role is kept out")
        world.deny(here, "view_channel", role=role)
        await shared_is(True, "the role is kept out here, too")

    reading(play)


def test_threads_are_found_under_their_channel_and_let_go_of():
    guild = server(channels=[channel(10), channel(11)])
    places = Places(lambda _channel, _parent: True)
    for number, parent in ((20, 10), (21, 11), (22, 11)):
        places.of_thread({"id": str(number), "parent_id": str(parent), "name": "t", "type": 11 + (number == 22)}, guild)
    assert places.threads_under(11) == (21, 22)
    assert places.readable_with(10, guild) == {10, 11, 20, 21}
    assert places.readable_with(22, guild) == {10, 11, 20, 21, 22}
    places.forget(21)
    places.forget(22)
    assert places.threads_under(11) == ()
    assert places.readable_with(10, guild) == {10, 11, 20}
    assert places._under == {10: {20}}


def test_a_channel_that_is_gone_shares_nothing():
    guild = SimpleNamespace(id=1, threads=[], channels=[], roles=[], owner_id=9, get_channel=lambda _number: None)
    assert Places(lambda _channel, _parent: True).readable_with(5, guild) == {5}
