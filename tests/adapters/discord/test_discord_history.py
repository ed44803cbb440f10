"""Reading back: every channel and thread, pages without gaps, and no silence mistaken for an empty channel."""

import asyncio
from datetime import UTC, datetime

import pytest

from persona.domain.chat import ChannelKind
from persona.errors import AccessError, TransportError
from persona.ports import ChannelSeen
from tests.adapters.discord.test_discord_connection import stage
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord_bot import bot

START = datetime(2024, 1, 1, tzinfo=UTC)


def reading(play, **options):
    """Let `play(fake, one, guild, channel, ann)` read."""

    async def run():
        async with FakeDiscord(seed=0) as fake:
            place = stage(fake)
            async with bot(fake, **options) as one:
                await play(fake, one, *place)

    asyncio.run(run())


async def everything(one, channel, limit=100):
    """Page through a whole channel."""
    pages, after = [], 0
    while True:
        page = await one.transport.page(int(channel["id"]), after=after, limit=limit)
        pages.append(page)
        if page.last:
            return pages
        after = page.messages[-1].id


def test_pages_hold_everything_in_order():
    async def play(fake, one, _guild, channel, ann):
        fake.world.history(channel, 250, [ann], START)
        pages = await everything(one, channel)
        assert [len(page.messages) for page in pages] == [100, 100, 50]
        ids = [message.id for page in pages for message in page.messages]
        assert ids == sorted(set(ids))
        assert all(message.channel_id == int(channel["id"]) for page in pages for message in page.messages)

    reading(play)


def test_an_exact_end_is_the_end():
    async def play(fake, one, _guild, channel, ann):
        fake.world.history(channel, 100, [ann], START)
        first = await one.transport.page(int(channel["id"]), after=0, limit=100)
        assert not first.last
        second = await one.transport.page(int(channel["id"]), after=first.messages[-1].id, limit=100)
        assert (second.messages, second.last) == ((), True)

    reading(play)


def test_a_page_knows_who_was_addressed_and_what_was_reacted():
    async def play(fake, one, _guild, channel, ann):
        me = await one.transport.ready()
        plain = fake.world.say(channel, ann, "hello")
        mention = fake.world.say(channel, ann, f"<@{me}> hello")
        fake.world.react(plain, ann, "👍")
        page = await one.transport.page(int(channel["id"]), after=0)
        assert page.addressed == {int(mention["id"])}
        assert [(one.message_id, one.emoji, one.count) for one in page.reactions] == [(int(plain["id"]), "👍", 1)]

    reading(play)


def test_the_list_holds_channels_and_threads_with_their_rights():
    async def play(fake, one, guild, channel, ann):
        world = fake.world
        hidden = world.add_channel(guild, "hidden", private=True)
        world.deny(hidden, "view_channel")
        forum = world.add_channel(guild, "ideas", kind="forum")
        post = world.add_thread(forum, "a post")
        said = world.say(channel, ann, "hi")
        await one.until(lambda: any(seen.channel.name == "a post" for seen in one.heard(ChannelSeen)))
        await one.arrival(int(said["id"]))
        listed = {entry.channel.name: entry for entry in await one.transport.channels()}
        assert set(listed) >= {"general", "hidden", "ideas", "a post"}
        assert listed["general"].may_read
        assert listed["general"].last_message_id == int(said["id"])
        assert not listed["hidden"].may_read
        assert listed["ideas"].channel.kind is ChannelKind.FORUM
        assert (listed["a post"].channel.kind, listed["a post"].channel.parent_id) == (
            ChannelKind.THREAD,
            int(forum["id"]),
        )
        assert int(post["id"]) == listed["a post"].channel.id

    reading(play)


def test_archived_threads_public_and_private_page_by_page():
    async def play(fake, one, guild, channel, _ann):
        for number in range(105):
            fake.world.archive(fake.world.add_thread(channel, f"thread {number}"))
        fake.world.archive(fake.world.add_thread(channel, "behind closed doors", private=True))
        before = len(fake.requests)
        pages = [page async for page in one.transport.archived_threads(int(channel["id"]))]
        assert len(pages) == len(fake.requests) - before == 3
        assert [page.last for page in pages] == [False, False, True]
        found = [entry for page in pages for entry in page.threads]
        names = [entry.channel.name for entry in found]
        assert len(set(names)) == len(names) >= 105
        assert all(entry.archived and entry.channel.parent_id == int(channel["id"]) for entry in found)
        readable = await one.transport.readable_with(int(channel["id"]))
        public = {entry.channel.id for entry in found if entry.channel.name != "behind closed doors"}
        assert public <= readable
        assert not {entry.channel.id for entry in found} - public & readable
        del guild

    reading(play)


def test_without_the_right_to_the_history_it_is_refused_and_not_empty():
    async def play(fake, one, _guild, channel, ann):
        fake.world.history(channel, 5, [ann], START)
        fake.world.deny(channel, "read_message_history")
        await one.until(
            lambda: (
                not one.transport._connection.now()
                .get_channel(int(channel["id"]))
                .permissions_for(one.transport._connection.now().guilds[0].me)
                .read_message_history
            )
        )
        with pytest.raises(AccessError, match="may not read"):
            await one.transport.page(int(channel["id"]), after=0)

    reading(play)


def test_a_channel_that_is_gone():
    async def play(_fake, one, _guild, _channel, _ann):
        with pytest.raises(AccessError):
            await one.transport.page(424242, after=0)
        with pytest.raises(AccessError):
            await anext(one.transport.archived_threads(424242))
        assert await one.transport.readable_with(424242) == {424242}

    reading(play)


def test_trouble_on_the_way_may_be_tried_again():
    async def play(fake, one, _guild, channel, ann):
        fake.world.history(channel, 5, [ann], START)
        fake.faults.fail("GET /channels/*/messages", status=503, times=1)
        with pytest.raises(TransportError, match="503") as caught:
            await one.transport.page(int(channel["id"]), after=0)
        assert not isinstance(caught.value, AccessError)
        fake.faults.cut("GET /channels/*/messages", times=3)
        with pytest.raises(TransportError):
            await one.transport.page(int(channel["id"]), after=0)
        assert len((await one.transport.page(int(channel["id"]), after=0)).messages) == 5

    reading(play)


def test_before_the_login_there_is_no_history():
    async def play(_fake, one, _guild, channel, _ann):
        with pytest.raises(TransportError, match="not connected"):
            await one.transport.channels()
        assert await one.transport.readable_with(int(channel["id"])) == {int(channel["id"])}

    reading(play, up=False)


def test_what_everybody_here_can_read():
    async def play(fake, one, guild, channel, _ann):
        staff = fake.world.add_role(guild, "staff")
        private = fake.world.add_channel(guild, "staff-only", private=True)
        fake.world.allow(private, "view_channel", role=staff)
        other = fake.world.add_channel(guild, "random")
        await one.until(lambda: len(one.transport._connection.now().guilds[0].channels) >= 3)
        open_set = {int(channel["id"]), int(other["id"])}
        assert await one.transport.readable_with(int(channel["id"])) == open_set
        assert await one.transport.readable_with(int(private["id"])) == open_set | {int(private["id"])}

    reading(play)
