"""The allow-list: what config.toml names, what admins changed, and threads that follow their channel."""

import asyncio

import pytest

from persona.adapters.sqlite.desk import SqliteDesk
from persona.allow_list import AllowList
from persona.domain.chat import Channel, ChannelId, ChannelKind, GuildId
from persona.errors import StoreError
from tests.fakes.stores import execute, open_store, with_store

KITCHEN, GARDEN, SOUP, SALAD = map(ChannelId, (1, 2, 11, 12))


def channel(channel_id, parent_id=None, *, allowed=False):
    kind = ChannelKind.THREAD if parent_id else ChannelKind.TEXT
    return Channel(
        id=channel_id, guild_id=GuildId(5), name=f"c{channel_id}", kind=kind, parent_id=parent_id, allowed=allowed
    )


async def loaded(store, fixed=()):
    return await AllowList.load(store, SqliteDesk(store.database), fixed=fixed)


async def stored(store):
    return {one.id for one in await store.channels(allowed_only=True)}


def test_what_config_names_and_what_the_store_knows_is_allowed(tmp_path):
    async def scenario(store):
        await store.put_channels([channel(GARDEN, allowed=True), channel(3)])
        allow_list = await loaded(store, fixed=(KITCHEN,))
        assert [allow_list.allows(ChannelId(n)) for n in (1, 2, 3)] == [True, True, False]
        assert await stored(store) == {KITCHEN, GARDEN}
        assert allow_list.allows(SOUP, KITCHEN)
        assert not allow_list.allows(SOUP, ChannelId(3))

    with_store(tmp_path / "persona.db", scenario)


def test_taken_off_it_stays_off_after_a_restart_whatever_config_says(tmp_path):
    async def scenario(store):
        await (await loaded(store, fixed=(KITCHEN, GARDEN))).set([KITCHEN], allowed=False)

    async def restarted(store):
        allow_list = await loaded(store, fixed=(KITCHEN, GARDEN))
        assert not allow_list.allows(KITCHEN)
        assert allow_list.allows(GARDEN)
        await allow_list.set([KITCHEN], allowed=True)

    async def again(store):
        assert (await loaded(store, fixed=(KITCHEN, GARDEN))).allows(KITCHEN)

    for each in (scenario, restarted, again):
        with_store(tmp_path / "persona.db", each)


def test_threads_follow_their_channel_unless_they_were_named_themselves(tmp_path):
    async def scenario(store):
        allow_list = await loaded(store, fixed=(KITCHEN,))
        await store.put_channels([channel(SOUP, KITCHEN, allowed=True), channel(SALAD, KITCHEN, allowed=True)])
        await allow_list.set([SALAD], allowed=False)
        assert (allow_list.allows(SOUP, KITCHEN), allow_list.allows(SALAD, KITCHEN)) == (True, False)
        assert await stored(store) == {KITCHEN, SOUP}
        await allow_list.set([KITCHEN], allowed=False)
        assert not allow_list.allows(SOUP, KITCHEN)
        assert await stored(store) == set()
        await allow_list.set([KITCHEN], allowed=True)
        assert (allow_list.allows(SOUP, KITCHEN), allow_list.allows(SALAD, KITCHEN)) == (True, False)
        assert await stored(store) == {KITCHEN, SOUP}
        await allow_list.set([KITCHEN], allowed=False)
        await allow_list.set([SALAD], allowed=True)
        assert (allow_list.allows(KITCHEN), allow_list.allows(SALAD, KITCHEN)) == (False, True)

    with_store(tmp_path / "persona.db", scenario)


def test_what_cannot_be_kept_changes_nothing(tmp_path):
    async def run():
        async with open_store(tmp_path / "persona.db") as store:
            allow_list = await loaded(store, fixed=(KITCHEN,))
            execute(
                tmp_path / "persona.db",
                "CREATE TRIGGER no BEFORE UPDATE OF allowed ON channels BEGIN SELECT RAISE(ABORT, 'not now'); END",
            )
            with pytest.raises(StoreError):
                await allow_list.set([KITCHEN], allowed=False)
            assert allow_list.allows(KITCHEN)

    asyncio.run(run())
