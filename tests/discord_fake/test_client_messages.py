"""Messages as an unpatched discord.py client has them: heard, sent, read back, changed, refused by Discord's rules."""

import asyncio
import io
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.plain_client import discord, plain_client, until


class Place(NamedTuple):
    """Where it happens, and who is there."""

    fake: Any
    client: Any
    guild: Any
    channel: Any
    ann: Any
    here: Any

    def say(self, text, **options):
        return self.fake.world.say(self.channel, self.ann, text, **options)

    async def hear(self, text, number=1, **options):
        """Let Ann say something; return it as the client has it."""
        said = self.say(text, **options)
        heard = await self.client.next("message", number)
        assert heard.id == int(said.id)
        return heard

    def standing(self):
        return [message.content for message in self.fake.world.messages(self.channel)]


def scene(play, *, loud=False, history=0, before=None, **options):
    """Let `play(place)` happen in a channel with some history; `before(world, channel)` prepares it."""

    async def run():
        async with FakeDiscord(seed=0) as fake:
            fake.pings_expected = loud
            guild = fake.world.add_guild("the night kitchen")
            channel, ann = fake.world.add_channel(guild, "kitchen"), fake.world.add_member(guild, "ann", nick="Annie")
            fake.world.history(channel, history, [ann])
            if before is not None:
                before(fake.world, channel)
            async with plain_client(fake, **options) as client:
                await play(Place(fake, client, guild, channel, ann, client.get_channel(int(channel.id))))

    asyncio.run(run())


def test_it_gets_ready_hears_replies_and_pages_history():
    async def play(place):
        assert place.client.user.name == place.fake.world.bot.username
        assert [one.name for one in place.client.guilds] == ["the night kitchen"]
        heard = await place.hear("hello")
        assert (heard.content, heard.author.name, heard.author.display_name) == ("hello", "ann", "Annie")
        sent = await heard.reply("hello ann", mention_author=False)
        assert sent.reference.message_id == heard.id
        back = await place.client.next("message", 2)
        assert (back.id, back.author.id, back.type.name) == (sent.id, place.client.user.id, "reply")
        assert back.reference.resolved.content == "hello"
        read = [message.id async for message in place.here.history(limit=None, oldest_first=True)]
        assert read == [int(message.id) for message in place.fake.world.messages(place.channel)]
        assert len(read) == 252
        newest = [message.id async for message in place.here.history(limit=120)]
        assert newest == read[::-1][:120]

    scene(play, history=250)


def test_pages_before_after_and_around_hold_what_discord_says():
    async def play(place):
        ids = [int(message.id) for message in place.fake.world.messages(place.channel)]

        async def page(**where):
            return [int(one["id"]) for one in await place.client.http.logs_from(int(place.channel.id), **where)]

        assert await page(limit=100) == ids[::-1][:100]
        assert await page(limit=10, after=ids[29]) == ids[30:40][::-1]
        assert await page(limit=10, before=ids[30]) == ids[20:30][::-1]
        assert await page(limit=4, around=ids[30]) == ids[28:32][::-1]
        assert await page(limit=100, after=ids[-1]) == []
        assert await page(limit=100, after=ids[-4]) == ids[-3:][::-1]
        assert await page(limit=100, after=0) == ids[:100][::-1]
        with pytest.raises(discord.HTTPException, match="between 1 and 100"):
            await page(limit=101)
        moment = datetime.now(UTC) - timedelta(minutes=60)
        since = [message async for message in place.here.history(limit=None, after=moment)]
        assert 40 < len(since) < 60
        assert all(message.created_at > moment for message in since)

    scene(play, history=150)


def test_what_was_said_late_stands_in_the_order_of_ids():
    async def play(place):
        said = place.say("now")
        (late,) = place.fake.world.history(place.channel, 1, [place.ann], datetime(2020, 1, 1, tzinfo=UTC))
        assert [int(message.id) for message in place.fake.world.messages(place.channel)] == [late, int(said.id)]
        assert place.fake.world.channels[place.channel.id]["last_message_id"] == said.id

    scene(play)


def test_without_the_right_to_read_history_there_is_silence_and_no_error():
    async def play(place):
        assert [message async for message in place.here.history(limit=5)] == []
        place.fake.world.allow(place.channel, "read_message_history")
        assert len([message async for message in place.here.history(limit=5)]) == 5

    scene(play, history=20, before=lambda world, channel: world.deny(channel, "read_message_history"))


def test_edits_and_deletions_are_told_and_read_back():
    async def play(place):
        first, second, third = [await place.hear(f"number {n}", n) for n in (1, 2, 3)]
        world = place.fake.world
        world.edit(world.message(place.channel.id, str(first.id)), "number one")
        edited = await place.client.next("raw_message_edit")
        assert (edited.message_id, edited.data["content"]) == (first.id, "number one")
        assert edited.data["edited_timestamp"] is not None
        read = await place.here.fetch_message(first.id)
        assert (read.content, read.edited_at is not None) == ("number one", True)
        world.delete(place.channel, second.id)
        assert (await place.client.next("raw_message_delete")).message_id == second.id
        with pytest.raises(discord.NotFound) as unknown:
            await place.here.fetch_message(second.id)
        assert unknown.value.code == 10008
        world.bulk_delete(place.channel, [first.id, third.id])
        assert (await place.client.next("raw_bulk_message_delete")).message_ids == {first.id, third.id}
        assert place.standing() == []

    scene(play)


def test_it_edits_and_deletes_its_own_and_others_only_with_the_right_to():
    async def play(place):
        heard = await place.hear("hello")
        mine = await place.here.send("one")
        assert (await mine.edit(content="two")).content == "two"
        with pytest.raises(discord.Forbidden) as refused:
            await place.client.http.edit_message(heard.channel.id, heard.id, params=_content("three"))
        assert refused.value.code == 50005
        with pytest.raises(discord.Forbidden) as missing:
            await heard.delete()
        assert missing.value.code == 50013
        await mine.delete()
        place.fake.world.allow(place.channel, "manage_messages")
        await heard.delete()
        more = [await place.here.send(str(number)) for number in range(3)]
        await place.here.delete_messages(more[:2])
        assert place.standing() == ["2"]
        with pytest.raises(discord.HTTPException) as too_old:
            await place.here.delete_messages([discord.Object(number) for number in (1 << 22, 2 << 22)])
        assert too_old.value.code == 50034

    scene(play)


def _content(text):
    return discord.http.handle_message_parameters(content=text)


@pytest.mark.parametrize(
    ("text", "status", "code"), [("", 400, 50006), ("  \n ", 400, 50006), ("x" * 2001, 400, 50035)]
)
def test_what_cannot_be_sent(text, status, code):
    async def play(place):
        with pytest.raises(discord.HTTPException) as refused:
            await place.here.send(text)
        assert (refused.value.status, refused.value.code) == (status, code)
        await place.here.send("x" * 2000)
        assert place.standing() == ["x" * 2000]

    scene(play)


def test_files_and_embeds_arrive():
    async def play(place):
        file = discord.File(io.BytesIO(b"abc"), "a.txt", description="letters")
        await place.here.send("look", file=file, embed=discord.Embed(title="a page"))
        (read,) = [message async for message in place.here.history(limit=1)]
        (attachment,) = read.attachments
        assert (attachment.filename, attachment.size, attachment.description) == ("a.txt", 3, "letters")
        assert read.embeds[0].title == "a page"
        assert place.fake.posts[-1].files[0].content == b"abc"
        place.fake.world.deny(place.channel, "attach_files")
        with pytest.raises(discord.Forbidden):
            await place.here.send(file=discord.File(io.BytesIO(b"abc"), "b.txt"))

    scene(play)


def test_the_same_nonce_says_it_once():
    async def play(place):
        first = await place.here.send("one", nonce="77-0")
        again = await place.here.send("one", nonce="77-0")
        other = await place.here.send("two", nonce="77-1")
        assert (again.id == first.id, other.id == first.id) == (True, False)
        assert place.standing() == ["one", "two"]
        assert len(place.fake.posts) == 3
        assert all(post.json["enforce_nonce"] for post in place.fake.posts)
        await place.client.next("message", 2)
        assert [message.nonce for message in place.client.all("message")] == ["77-0", "77-1"]
        with pytest.raises(discord.HTTPException, match="25 or fewer"):
            await place.here.send("three", nonce="7" * 26)

    scene(play)


NONE = discord.AllowedMentions.none()
USERS = discord.AllowedMentions(everyone=False, roles=False, users=True)


@pytest.mark.parametrize(
    ("allowed", "privileged", "expected"),
    [
        (NONE, False, set()),
        (NONE, True, set()),
        (USERS, False, {"ann"}),
        (None, False, {"ann", "loud"}),
        (None, True, {"ann", "loud", "quiet", "@everyone", "@here"}),
    ],
)
def test_who_is_pinged(allowed, privileged, expected):
    async def play(place):
        world = place.fake.world
        loud, quiet = (world.add_role(place.guild, name, mentionable=name == "loud") for name in ("loud", "quiet"))
        if privileged:
            world.allow(place.channel, "mention_everyone")
        text = f"@everyone @here <@{place.ann.id}> <@!{place.ann.id}> <@&{loud.id}> <@&{quiet.id}>"
        await place.here.send(text, allowed_mentions=allowed)
        (said,) = world.messages(place.channel)
        names = {place.ann.id: "ann", f"&{loud.id}": "loud", f"&{quiet.id}": "quiet"}
        assert {names.get(one, one) for one in said.pings} == expected
        assert place.fake.posts[-1].pings == said.pings
        heard = await place.client.next("message")
        assert heard.mentions[0].id == int(place.ann.id)
        assert heard.mention_everyone == ("@everyone" in expected)

    scene(play, loud=bool(expected))


@pytest.mark.parametrize("pinging", [True, False])
def test_a_reply_pings_whom_it_answers_only_when_it_says_so(pinging):
    async def play(place):
        heard = await place.hear("hello")
        await heard.reply("hello", mention_author=pinging, allowed_mentions=NONE)
        said = place.fake.world.messages(place.channel)[-1]
        assert said.pings == ([place.ann.id] if pinging else [])
        assert [user["id"] for user in said.mentions] == said.pings

    scene(play, loud=pinging)


def test_a_message_that_pings_fails_the_test_that_did_not_expect_it():
    async def play(place):
        await place.here.send(f"<@{place.ann.id}>")

    with pytest.raises(AssertionError, match="messages that ping"):
        scene(play)


def test_a_reply_to_what_is_gone_is_refused_unless_it_does_not_mind():
    async def play(place):
        heard = await place.hear("hello")
        place.fake.world.delete(place.channel, heard.id)
        with pytest.raises(discord.HTTPException, match="Unknown message") as refused:
            await heard.reply("hello", mention_author=False)
        assert (refused.value.status, refused.value.code) == (400, 50035)
        sent = await place.here.send("hello", reference=heard.to_reference(fail_if_not_exists=False))
        assert sent.reference is None
        place.say("again")
        again = place.fake.world.messages(place.channel)[-1]
        place.fake.world.deny(place.channel, "read_message_history")
        with pytest.raises(discord.HTTPException) as blind:
            await place.here.send("hello", reference=discord.MessageReference.from_message(_partial(place, again)))
        assert blind.value.code == 160002

    scene(play)


def _partial(place, message):
    return place.here.get_partial_message(int(message.id))


def test_slow_mode_makes_the_bot_wait_unless_it_manages_the_channel():
    async def play(place):
        slow = place.fake.world.add_channel(place.guild, "slow", slow=1)
        await place.client.next("guild_channel_create")
        there = place.client.get_channel(int(slow.id))
        loop = asyncio.get_running_loop()
        start = loop.time()
        await there.send("one")
        await there.send("two")
        assert 0.9 < loop.time() - start < 3
        refused = [request for request in place.fake.requests if request.status == 429]
        assert len(refused) == 1
        place.fake.world.allow(slow, "manage_messages")
        start = loop.time()
        await there.send("three")
        assert loop.time() - start < 0.5

    scene(play)


def test_reactions_of_people_and_of_the_bot():
    async def play(place):
        world = place.fake.world
        heard = await place.hear("hello")
        said = world.message(place.channel.id, str(heard.id))
        wave = world.add_emoji(place.guild, "wave")
        world.react(said, place.ann, "👍")
        world.react(said, place.ann, wave)
        added = [(await place.client.next("raw_reaction_add", n)).emoji for n in (1, 2)]
        assert [str(emoji) for emoji in added] == ["👍", f"<:wave:{wave.id}>"]
        await heard.add_reaction("👍")
        await heard.add_reaction(added[1])
        read = await place.here.fetch_message(heard.id)
        assert [(str(one.emoji), one.count, one.me) for one in read.reactions] == [
            ("👍", 2, True),
            (f"<:wave:{wave.id}>", 2, True),
        ]
        assert {user.name async for user in read.reactions[0].users()} == {"ann", "persona"}
        await read.remove_reaction("👍", place.client.user)
        world.unreact(said, place.ann, "👍")
        assert (await place.client.next("raw_reaction_remove", 2)).user_id == int(place.ann.id)
        world.clear_reactions(said, wave)
        assert (await place.client.next("raw_reaction_clear_emoji")).message_id == heard.id
        assert (await place.here.fetch_message(heard.id)).reactions == []
        with pytest.raises(discord.HTTPException, match="Unknown Emoji"):
            await heard.add_reaction("<:nope:123>")
        place.fake.world.deny(place.channel, "add_reactions")
        with pytest.raises(discord.Forbidden):
            await heard.add_reaction("🌱")

    scene(play)


def test_forwards_attachments_webhooks_and_typing():
    async def play(place):
        world = place.fake.world
        said = place.say("the original", attachments=[{"filename": "cat.png", "description": "a cat"}])
        original = await place.client.next("message")
        assert original.attachments[0].description == "a cat"
        forward = await place.hear("", 2, forward_of=said)
        assert forward.reference.type is discord.MessageReferenceType.forward
        assert forward.message_snapshots[0].content == "the original"
        hooked = await place.hear("beep", 3, webhook=True)
        assert (hooked.webhook_id is not None, hooked.author.bot) == (True, True)
        world.typing(place.channel, place.ann)
        assert (await place.client.next("raw_typing")).user_id == int(place.ann.id)
        async with place.here.typing():
            await until(lambda: place.fake.requests[-1].path.endswith("/typing"), "typing")

    scene(play)


def test_direct_messages_both_ways():
    async def play(place):
        world = place.fake.world
        said = world.say_directly(place.ann, "psst")
        heard = await place.client.next("message")
        assert (heard.id, heard.guild, heard.content) == (int(said.id), None, "psst")
        await heard.channel.send("yes?")
        user = await place.client.fetch_user(int(place.ann.id))
        assert (await user.create_dm()).id == int(said.channel_id)
        assert [one.content for one in world.messages(said.channel_id)] == ["psst", "yes?"]
        world.refuses_direct.add(place.ann.id)
        with pytest.raises(discord.Forbidden) as refused:
            await heard.channel.send("hello?")
        assert refused.value.code == 50007

    scene(play)


@pytest.mark.parametrize("intent", [True, False])
def test_the_content_intent_decides_whose_text_is_seen(intent):
    async def play(place):
        bot = place.fake.world.bot
        plain = await place.hear("secret", attachments=[{}])
        assert (plain.content, len(plain.attachments)) == (("secret", 1) if intent else ("", 0))
        mention = await place.hear(f"<@{bot.id}> hi", 2)
        assert mention.content.endswith("hi")
        reply = await place.hear(f"<@{bot.id}> what?", 3, reply_to=place.fake.world.messages(place.channel)[0])
        assert reply.reference.resolved.content == plain.content
        place.fake.world.say_directly(place.ann, "psst")
        assert (await place.client.next("message", 4)).content == "psst"
        await place.here.send("mine")
        assert (await place.client.next("message", 5)).content == "mine"

    intents = discord.Intents(guilds=True, messages=True, message_content=intent)
    scene(play, intents=intents)


def test_an_application_without_the_content_intent_reads_no_text_over_rest_either():
    async def play(place):
        place.say("secret")
        place.say(f"<@{place.fake.world.bot.id}> hi")
        await place.here.send("mine")
        read = [message.content async for message in place.here.history(limit=3, oldest_first=True)]
        assert read == ["", f"<@{place.fake.world.bot.id}> hi", "mine"]
        assert (await place.here.fetch_message(int(place.fake.world.messages(place.channel)[0].id))).content == ""

    intents = discord.Intents(guilds=True, messages=True)
    scene(play, intents=intents, before=lambda world, _: world.withdraw_intent("message_content"))


def test_only_what_the_intents_ask_for_is_told():
    async def play(place):
        heard = place.say("hello")
        place.fake.world.react(heard, place.ann, "👍")
        place.fake.world.typing(place.channel, place.ann)
        place.fake.world.say_directly(place.ann, "psst")
        place.fake.world.rename(place.channel, "parlour")
        await place.client.next("guild_channel_update")
        told = {event for event, _ in place.client.heard}
        assert not told & {"message", "raw_reaction_add", "raw_typing"}

    scene(play, intents=discord.Intents(guilds=True))
