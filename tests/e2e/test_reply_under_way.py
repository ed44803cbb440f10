"""Replies against the fake server: taken back while the bot types, and killed at the worst moment."""

import asyncio
import os
import signal

import pytest

from tests.e2e.test_discord_live import scene
from tests.fakes.discord import rest_messages
from tests.fakes.live import REPLY_SECONDS, eventually
from tests.fakes.tiny_gguf import TinyModel, write_tiny_gguf

SLOW = {"reply": {"typing_characters_per_second": 4}, "memory": {"enabled": False}}
QUICK = {"reply": {"typing_characters_per_second": 1000}, "memory": {"enabled": False}}


def model_that_says(tmp_path, text):
    return write_tiny_gguf(tmp_path / "scripted.gguf", TinyModel(script=[text]))


@pytest.mark.parametrize("what", ["mute", "disable", "forget", "forget this", "delete"])
def test_what_is_taken_back_while_it_types_is_not_answered(tmp_path, what):
    async def main():
        model = model_that_says(tmp_path, "hello there my good friend of")
        async with scene(tmp_path / "home", model=model, settings=SLOW) as here:
            asked = here.mention("lupus")
            await eventually(here.typing, seconds=REPLY_SECONDS, what="it types")
            world, owner = here.world, here.guild.owner
            match what:
                case "mute":
                    command = world.invoke(owner, here.channel, "mute", {"minutes": 60})
                case "disable":
                    command = world.invoke(owner, here.channel, "channels", {"action": "disable"})
                case "forget":
                    command = world.invoke(here.ann, here.channel, "forget", {"confirm": True})
                case "forget this":
                    command = world.invoke_context(here.ann, here.channel, asked, "Forget this")
                case _:
                    command = None
                    world.delete(here.channel, asked.id)
            if command is not None:
                await eventually(lambda: command.text, seconds=10, what="the command is answered")
            ended = "not_spoken"
            await eventually(lambda: here.live.events(ended), seconds=15, what="the reply ended", every=0.05)
            assert not [said for said in here.own_messages() if "hello" in said.content]

    asyncio.run(main())


def test_killed_after_a_message_is_out_and_started_again_much_later_it_says_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(rest_messages, "_NONCE_SECONDS", 0.0)  # stands for a start minutes later

    async def main():
        model = model_that_says(tmp_path, "hello")
        async with scene(tmp_path / "home", model=model, settings=QUICK) as here:
            real = here.world.said

            def said(message):
                result = real(message)
                if message["author"]["id"] == here.bot.id:
                    here.world.said = real
                    os.kill(here.live.process.pid, signal.SIGKILL)
                return result

            here.world.said = said
            asked = here.mention("hi")
            await eventually(lambda: here.live.process.poll() is not None, seconds=REPLY_SECONDS, what="killed")
            await here.live.kill()
            assert here.live.rows("SELECT sent FROM pending_replies") == [(0,)]
            await here.live.start()
            assert await here.outcome(asked) == (1, "sent")
            assert [message.content for message in here.own_messages()] == ["hello"]

    asyncio.run(main())


def test_killed_between_the_pieces_of_a_message_that_grew_it_says_the_rest_once(tmp_path, monkeypatch):
    monkeypatch.setattr(rest_messages, "_NONCE_SECONDS", 0.0)

    async def main():
        model = model_that_says(tmp_path, ":wave: " * 150 + "bye")
        async with scene(tmp_path / "home", model=model, settings=QUICK, start=False) as here:
            here.world.add_emoji(here.guild, "wave")
            await here.live.start()
            asked = here.mention("hi")
            await eventually(lambda: len(here.own_messages()) == 2, seconds=REPLY_SECONDS, what="two out", every=0.005)
            await here.live.kill()
            await here.live.start()
            assert await here.outcome(asked) == (1, "sent")
            texts = [message.content for message in here.own_messages()]
            assert "".join(texts).count("<:wave:") == 150
            assert len(texts) >= 3
            assert texts[-1].endswith("bye")

    asyncio.run(main())
