"""A life on Discord as a whole: discord.py, every actor, SQLite, LanceDB and a small model, against the fake server."""

import asyncio
import contextlib
from typing import Any

import pytest

from tests.fakes.discord import FakeDiscord
from tests.fakes.live import REPLY_SECONDS, LiveProcess, eventually, id_of, merged
from tests.fakes.tiny_gguf import TinyModel, write_tiny_gguf

HELLO = "hello stop 🌱!"
"""What the scripted model always says."""


class Scene:
    """A server with the bot on it, a channel and a forum on the allow-list, and two people."""

    def __init__(self, folder, fake, *, model=None, settings=None):
        self.fake: Any = fake
        self.world = fake.world
        self.bot = fake.world.bot
        self.guild = fake.world.add_guild("the night kitchen")
        self.channel = fake.world.add_channel(self.guild, "kitchen")
        self.forum = fake.world.add_channel(self.guild, "recipes", kind="forum")
        self.ann, self.ben = fake.world.add_member(self.guild, "ann"), fake.world.add_member(self.guild, "ben")
        own = {} if model is None else {"model": {"path": str(model)}}
        channels = [self.channel, self.forum]
        self.live = LiveProcess(folder, fake, channels=channels, settings=merged(own, settings or {}))

    def say(self, text, *, where=None, who=None, **options):
        return self.world.say(where or self.channel, who or self.ann, text, **options)

    def mention(self, text="who are you?", **options):
        return self.say(f"<@{self.bot.id}> {text}", **options)

    def own_messages(self):
        return self.world.messages_by(self.bot)

    def typing(self):
        return [request for request in self.fake.requests if request.route == "POST /channels/{}/typing"]

    async def answer(self, message):
        """Wait for the answer to a message and for the bookkeeping after it; return the texts that were sent."""
        spoke, outcome = await self.outcome(message)
        assert (spoke, outcome) == (1, "sent"), self.live.rows("SELECT * FROM replies")
        return [post.json["content"] for post in self.live.answers_to(message)]

    async def silence(self, message):
        """Wait for the decision to keep quiet; return its reason."""
        spoke, _ = await self.outcome(message)
        assert spoke == 0
        assert self.live.answers_to(message) == []
        return self.reason(message)

    def left_no_trace(self, message):
        """Assert that a message, of which nothing may be kept, was neither answered nor stored nor decided on."""
        assert self.live.answers_to(message) == []
        assert id_of(message) not in self.live.stored()
        assert self.live.rows("SELECT reason FROM replies WHERE message_id = ?", id_of(message)) == []

    async def outcome(self, message):
        """Wait until a message is dealt with; return whether the bot spoke, and what became of it."""
        wanted = "SELECT spoke, outcome FROM replies WHERE message_id = ?"
        found = await eventually(
            lambda: self.live.rows(wanted, id_of(message)),
            seconds=REPLY_SECONDS,
            what=f"an outcome for {message.content!r}; {self.live.output[-1000:]}",
            every=0.05,
        )
        return found[0]

    def reason(self, message):
        return self.live.rows("SELECT reason FROM replies WHERE message_id = ?", id_of(message))[0][0]

    async def stored(self, message):
        await eventually(
            lambda: id_of(message) in self.live.stored(), seconds=10, what=f"{message.content!r} is stored", every=0.05
        )


@contextlib.asynccontextmanager
async def scene(folder, *, start=True, **options):
    async with FakeDiscord(seed=0, heartbeat_seconds=1) as fake:
        here = Scene(folder, fake, **options)
        async with here.live:
            if start:
                await here.live.start()
            yield here


def test_it_answers_a_mention_a_reply_and_its_name_and_nothing_else(tmp_path):
    async def main():
        async with scene(tmp_path) as here:
            plain = here.say("the soup is ready")
            assert await here.silence(plain) == "chance"
            mention = here.mention()
            texts = await here.answer(mention)
            assert all(texts)
            assert here.reason(mention) == "mentioned"
            first = here.live.answers_to(mention)[0].json
            assert first["message_reference"]["message_id"] == str(mention.id)
            sent = here.own_messages()[0]
            reply = here.say("what did you just say?", reply_to=sent)
            assert await here.answer(reply)
            assert here.reason(reply) == "replied_to"
            name = here.say("hey Pip, how are you?", who=here.ben)
            assert await here.answer(name)
            assert here.reason(name) == "named"
            assert await here.live.stop() == 0

    asyncio.run(main())


def test_it_joins_in_at_the_rate_that_is_set(tmp_path, scripted_gguf):
    async def main():
        async with scene(tmp_path, model=scripted_gguf, settings={"speaking": {"rate": 1}}) as here:
            said = here.say("the soup is ready")
            assert await here.answer(said) == [HELLO]
            assert here.reason(said) == "joined_in"

    asyncio.run(main())


def test_it_answers_in_threads_and_forum_posts(tmp_path, scripted_gguf):
    async def main():
        async with scene(tmp_path, model=scripted_gguf) as here:
            thread = here.world.add_thread(here.channel, "soup talk")
            in_thread = here.mention(where=thread)
            assert await here.answer(in_thread) == [HELLO]
            post = here.world.add_thread(here.forum, "my recipe")
            in_post = here.mention(where=post, who=here.ben)
            assert await here.answer(in_post) == [HELLO]
            sent_to = [request.path for request in here.live.answers_to(in_thread) + here.live.answers_to(in_post)]
            assert [path.split("/")[-2] for path in sent_to] == [thread.id, post.id]
            kinds = dict(here.live.rows("SELECT id, kind FROM channels"))
            assert kinds[id_of(thread)] == kinds[id_of(post)] == "thread"
            assert here.live.stored().keys() >= {id_of(in_thread), id_of(in_post)}

    asyncio.run(main())


def test_direct_messages_are_refused_and_not_kept(tmp_path, scripted_gguf):
    async def main():
        async with scene(tmp_path, model=scripted_gguf, settings={"speaking": {"rate": 1}}) as here:
            direct = here.world.say_directly(here.ann, "psst, secretword")
            assert await here.answer(here.mention()) == [HELLO]
            here.left_no_trace(direct)
            assert await here.live.stop() == 0
            assert b"secretword" not in everything_in(here.live.folder)
            assert not [post for post in here.fake.posts if direct.channel_id in post.path]

    asyncio.run(main())


def test_bots_webhooks_and_channels_off_the_list_get_no_answer(tmp_path, scripted_gguf):
    async def main():
        async with scene(tmp_path, model=scripted_gguf, settings={"speaking": {"rate": 1}}) as here:
            robot = here.world.add_member(here.guild, "robot", bot=True)
            assert await here.silence(here.mention(who=robot)) == "bot"
            assert await here.silence(here.mention(webhook=True)) == "bot"
            elsewhere = here.world.add_channel(here.guild, "elsewhere")
            private = here.mention("secretword", where=elsewhere)
            assert await here.answer(here.say("anybody here?")) == [HELLO]
            here.left_no_trace(private)
            assert await here.live.stop() == 0
            assert b"secretword" not in everything_in(here.live.folder)

    asyncio.run(main())


def test_what_happens_to_messages_happens_in_the_store(tmp_path, scripted_gguf):
    async def main():
        async with scene(tmp_path, model=scripted_gguf) as here:
            world = here.fake.world
            kept, edited, deleted, *bulk = [here.say(f"message number {number} of ann") for number in range(6)]
            await eventually(lambda: len(here.live.stored()) == 6, seconds=10, what="six messages are stored")
            world.edit(edited, "the second thought")
            world.edit(edited, "the third thought")
            world.delete(deleted)
            world.bulk_delete(here.channel, bulk)
            for who, emoji in ((here.ann, "👍"), (here.ben, "👍"), (here.ben, "🌱")):
                world.react(kept, who, emoji)
            world.unreact(kept, here.ann, "👍")
            expected = {id_of(kept): "message number 0 of ann", id_of(edited): "the third thought"}
            await eventually(lambda: here.live.stored() == expected, seconds=10, what="the changes are stored")
            counts = "SELECT emoji, count FROM reactions WHERE message_id = ? ORDER BY emoji"
            await eventually(
                lambda: here.live.rows(counts, id_of(kept)) == sorted([("👍", 1), ("🌱", 1)]),
                seconds=10,
                what="the reactions are stored",
            )
            assert here.live.rows("SELECT count(*) FROM tombstones") == [(4,)]

    asyncio.run(main())


def test_an_answer_to_a_message_deleted_meanwhile_is_not_sent(tmp_path, scripted_gguf):
    async def main():
        slow = {"reply": {"typing_characters_per_second": 4}}
        async with scene(tmp_path, model=scripted_gguf, settings=slow) as here:
            asked = here.mention()
            await eventually(here.typing, seconds=REPLY_SECONDS, what="it types")
            here.world.delete(asked)
            assert (await here.outcome(asked))[1] != "sent"
            assert here.own_messages() == []
            again = here.mention()
            assert await here.answer(again) == [HELLO]

    asyncio.run(main())


def test_a_restart_makes_up_for_what_was_said_meanwhile_and_keeps_the_settings(tmp_path, scripted_gguf):
    async def main():
        async with scene(tmp_path, model=scripted_gguf) as here:
            before = here.mention("before")
            assert await here.answer(before) == [HELLO]
            command = here.world.invoke(here.guild.owner, here.channel, "settemp", {"value": 0.25})
            await command.wait_reply(10)
            assert await here.live.stop() == 0
            missed = [here.say(f"said while it was away {number}") for number in range(150)]
            here.world.edit(missed[3], "edited while it was away")
            here.world.delete(missed[4])
            asked = here.mention("asked while it was away")
            await here.live.start()
            assert await here.answer(asked) == [HELLO]
            gone = {id_of(missed[4])}
            wanted = {id_of(message) for message in missed} - gone
            await eventually(lambda: here.live.stored().keys() >= wanted, seconds=20, what="the gap is filled")
            assert here.live.stored()[id_of(missed[3])] == "edited while it was away"
            assert not gone & here.live.stored().keys()
            assert len(here.live.answers_to(before)) == len(here.live.answers_to(asked)) == 1
            shown = here.world.invoke(here.guild.owner, here.channel, "settings")
            await shown.wait_reply(10)
            assert "0.25" in shown.text

    asyncio.run(main())


@pytest.mark.parametrize("pause", [0.0, 0.1, 0.4, 0.8, 1.2])
def test_a_kill_while_it_answers_loses_and_doubles_nothing(tmp_path, scripted_gguf, pause):
    async def main():
        slow = {"reply": {"typing_characters_per_second": 20}}
        async with scene(tmp_path, model=scripted_gguf, settings=slow) as here:
            asked = here.mention()
            await asyncio.sleep(pause)
            await here.live.kill()
            await here.live.start()
            assert await here.answer(asked)
            await asyncio.sleep(1)
            assert [message.content for message in here.own_messages()] == [HELLO]

    asyncio.run(main())


def test_what_the_model_says_pings_nobody(tmp_path):
    async def main():
        async with FakeDiscord(seed=0) as fake:
            guild = fake.world.add_guild("the night kitchen")
            role = fake.world.add_role(guild, "cooks", mentionable=True)
            channel, ann = fake.world.add_channel(guild, "kitchen"), fake.world.add_member(guild, "ann", roles=[role])
            fake.world.allow(channel, "mention_everyone")
            says = ["@", "everyone", " @here", f" <@&{role.id}>", f" <@{ann.id}>", f" <@!{ann.id}>", " @ann"]
            model = write_tiny_gguf(tmp_path / "loud.gguf", TinyModel(script=says))
            settings = {"model": {"path": str(model)}}
            async with LiveProcess(tmp_path / "home", fake, channels=[channel], settings=settings) as live:
                await live.start()
                asked = fake.world.say(channel, ann, f"<@{fake.world.bot.id}> hi")
                await eventually(lambda: live.answers_to(asked), seconds=REPLY_SECONDS, what="an answer")
                (answer,) = fake.world.messages_by(fake.world.bot)
                assert "everyone" in answer.content
                assert "here" in answer.content
                assert answer["pings"] == []

    asyncio.run(main())


@pytest.mark.parametrize(("refusal", "cure"), [("token", "DISCORD_TOKEN"), ("intent", "Message Content Intent")])
def test_what_only_the_owner_can_mend_ends_it_with_78_and_one_line(tmp_path, scripted_gguf, refusal, cure):
    async def main():
        async with scene(tmp_path, model=scripted_gguf, start=False) as here:
            if refusal == "token":
                here.live.token = "MTIz.not-the-token.at-all"  # noqa: S105 - that is the point
            else:
                here.world.withdraw_intent("message_content")
            here.live.launch()
            assert await here.live.ended() == 78
            last = here.live.output.strip().splitlines()[-1]
            assert last.startswith("persona: ")
            assert cure in last
            assert "Traceback" not in here.live.output

    asyncio.run(main())


def everything_in(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
