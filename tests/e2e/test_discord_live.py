"""A life on Discord as a whole: discord.py, every actor, SQLite, LanceDB and a small model, against the fake server."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fakes.discord import FakeDiscord
from tests.fakes.live import REPLY_SECONDS, LiveProcess, eventually
from tests.fakes.tiny_gguf import TinyModel, write_tiny_gguf

HELLO = "hello stop 🌱!"
"""What the scripted model always says."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A server with a bot on it."""

    fake: Any
    live: Any
    guild: Any
    channel: Any
    ann: Any
    ben: Any

    @property
    def bot(self):
        return self.fake.world.bot

    def say(self, text, *, where=None, who=None, **options):
        return self.fake.world.say(where or self.channel, who or self.ann, text, **options)

    def mention(self, text="who are you?", **options):
        return self.say(f"<@{self.bot.id}> {text}", mentions=(self.bot,), **options)

    async def answer(self, message):
        """Wait for the answer to a message and for the bookkeeping after it; return the texts that were sent."""
        await eventually(
            lambda: self.outcome(message), seconds=REPLY_SECONDS, what=f"an outcome for {message.id}", every=0.05
        )
        assert self.outcome(message) == (1, "sent"), self.live.rows("SELECT * FROM replies")
        return [post.json["content"] for post in self.live.answers_to(message)]

    async def silence(self, message):
        """Wait for the decision to keep quiet; return its reason."""
        await eventually(
            lambda: self.outcome(message), seconds=REPLY_SECONDS, what=f"a decision on {message.id}", every=0.05
        )
        assert self.live.answers_to(message) == []
        assert self.outcome(message)[0] == 0
        return self.reason(message)

    def outcome(self, message):
        rows = self.live.rows("SELECT spoke, outcome FROM replies WHERE message_id = ?", message.id)
        return rows[0] if rows else None

    def reason(self, message):
        return self.live.rows("SELECT reason FROM replies WHERE message_id = ?", message.id)[0][0]


@contextlib.asynccontextmanager
async def scene(folder, *, start=True, **options):
    async with FakeDiscord(seed=0) as fake:
        guild = fake.world.add_guild("the night kitchen")
        channel = fake.world.add_channel(guild, "kitchen")
        ann, ben = fake.world.add_member(guild, "ann"), fake.world.add_member(guild, "ben")
        live = LiveProcess(folder, fake, channels=[channel, *options.pop("channels", ())], **options)
        try:
            if start:
                await live.start()
            yield Scene(fake=fake, live=live, guild=guild, channel=channel, ann=ann, ben=ben)
        finally:
            await live.kill()


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
            sent = [m for m in here.fake.world.messages(here.channel) if m.author.id == here.bot.id][0]
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
        settings = {"model": {"path": str(scripted_gguf)}, "speaking": {"rate": 1, "cooldown_seconds": 0}}
        async with scene(tmp_path, settings=settings) as here:
            said = here.say("the soup is ready")
            assert await here.answer(said) == [HELLO]
            assert here.reason(said) == "joined_in"

    asyncio.run(main())


def test_it_answers_in_threads_and_forum_posts(tmp_path, scripted_gguf):
    async def main():
        async with scene(tmp_path, model=scripted_gguf, forum=True) as here:
            thread = here.fake.world.add_thread(here.channel, "soup talk")
            in_thread = here.mention(where=thread)
            assert await here.answer(in_thread) == [HELLO]
            post = here.fake.world.add_thread(here.forum, "my recipe")
            in_post = here.mention(where=post, who=here.ben)
            assert await here.answer(in_post) == [HELLO]
            sent_to = [request.path for request in here.live.answers_to(in_thread) + here.live.answers_to(in_post)]
            assert [path.split("/")[-2] for path in sent_to] == [str(thread.id), str(post.id)]
            kinds = dict(here.live.rows("SELECT id, kind FROM channels"))
            assert kinds[thread.id] == kinds[post.id] == "thread"
            assert here.live.stored().keys() >= {in_thread.id, in_post.id}

    asyncio.run(main())


def test_direct_messages_are_refused_and_not_kept(tmp_path, scripted_gguf):
    async def main():
        async with scene(tmp_path, model=scripted_gguf, settings={"speaking": {"rate": 1}}) as here:
            direct = here.fake.world.say_directly(here.ann, "psst, secretword")
            assert await here.silence(direct) == "not_allowed"
            assert await here.answer(here.mention()) == [HELLO]
            assert direct.id not in here.live.stored()
            assert await here.live.stop() == 0
            assert b"secretword" not in everything_in(here.live.folder)
            assert not [post for post in here.fake.posts if str(direct.channel_id) in post.path]

    asyncio.run(main())


def test_bots_webhooks_and_channels_off_the_list_get_no_answer(tmp_path, scripted_gguf):
    async def main():
        async with scene(tmp_path, model=scripted_gguf, settings={"speaking": {"rate": 1}}) as here:
            robot = here.fake.world.add_member(here.guild, "robot", bot=True)
            assert await here.silence(here.mention(who=robot)) == "bot"
            assert await here.silence(here.mention(webhook=True)) == "bot"
            elsewhere = here.fake.world.add_channel(here.guild, "elsewhere")
            private = here.mention("secretword", where=elsewhere)
            assert await here.silence(private) == "not_allowed"
            assert await here.answer(here.say("anybody here?")) == [HELLO]
            assert await here.live.stop() == 0
            assert private.id not in here.live.stored()
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
            expected = {kept.id: "message number 0 of ann", edited.id: "the third thought"}
            await eventually(lambda: here.live.stored() == expected, seconds=10, what="the changes are stored")
            counts = "SELECT emoji, count FROM reactions WHERE message_id = ? ORDER BY emoji"
            await eventually(
                lambda: here.live.rows(counts, kept.id) == sorted([("👍", 1), ("🌱", 1)]),
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
            await eventually(lambda: here.typing(), seconds=REPLY_SECONDS, what="it types")
            here.fake.world.delete(asked)
            await eventually(lambda: here.outcome(asked), seconds=REPLY_SECONDS, what="an outcome")
            assert here.outcome(asked)[1] != "sent"
            assert here.own_messages() == []
            again = here.mention()
            assert await here.answer(again) == [HELLO]

    asyncio.run(main())


def test_a_restart_makes_up_for_what_was_said_meanwhile_and_keeps_the_settings(tmp_path, scripted_gguf):
    async def main():
        async with scene(tmp_path, model=scripted_gguf) as here:
            before = here.mention("before")
            assert await here.answer(before) == [HELLO]
            command = here.fake.world.invoke(here.owner, here.channel, "settemp", {"value": 0.25})
            await command.wait_reply(10)
            assert await here.live.stop() == 0
            missed = [here.say(f"said while it was away {number}") for number in range(150)]
            here.fake.world.edit(missed[3], "edited while it was away")
            here.fake.world.delete(missed[4])
            asked = here.mention("asked while it was away")
            await here.live.start()
            assert await here.answer(asked) == [HELLO]
            gone = {missed[4].id}
            wanted = {m.id for m in missed} - gone
            await eventually(lambda: here.live.stored().keys() >= wanted, seconds=20, what="the gap is filled")
            assert here.live.stored()[missed[3].id] == "edited while it was away"
            assert not gone & here.live.stored().keys()
            assert len(here.live.answers_to(before)) == len(here.live.answers_to(asked)) == 1
            shown = here.fake.world.invoke(here.owner, here.channel, "settings")
            await shown.wait_reply(10)
            assert "0.25" in shown.messages[-1].content

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
                asked = fake.world.say(channel, ann, f"<@{fake.world.bot.id}> hi", mentions=(fake.world.bot,))
                await eventually(lambda: live.answers_to(asked), seconds=REPLY_SECONDS, what="an answer")
                (answer,) = [m for m in fake.world.messages(channel) if m.author.id == fake.world.bot.id]
                assert "everyone" in answer.content
                assert "here" in answer.content
                assert answer.pings == set()

    asyncio.run(main())


@pytest.mark.parametrize(("refusal", "cure"), [("token", "DISCORD_TOKEN"), ("intent", "Message Content Intent")])
def test_what_only_the_owner_can_mend_ends_it_with_78_and_one_line(tmp_path, scripted_gguf, refusal, cure):
    async def main():
        async with scene(tmp_path, model=scripted_gguf, start=False) as here:
            if refusal == "token":
                here.live.token = "MTIz.not-the-token.at-all"  # noqa: S105 - that is the point
            else:
                here.fake.world.withdraw_intent("message_content")
            here.live.launch()
            assert await here.live.ended() == 78
            last = here.live.output.strip().splitlines()[-1]
            assert last.startswith("persona: ")
            assert cure in last
            assert "Traceback" not in here.live.output

    asyncio.run(main())


def everything_in(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
