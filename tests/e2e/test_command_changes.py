"""What admins change by command: in force at once, written down, kept over a restart; what cannot be is explained."""

import asyncio

from tests.fakes.command_stage import Stage, stage
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.limits import Limits
from tests.fakes.live import REPLY_SECONDS, LiveFolder, LiveProcess, eventually, id_of
from tests.fakes.live_tree import living_tree

WRONG = {
    "!setrate nan": "allowed: 0 to 1",
    "!setrate inf": "allowed: 0 to 1",
    "!setrate 1.01": "allowed: 0 to 1",
    "!setrate -0.5": "allowed: 0 to 1",
    "!setrate often": "allowed: 0 to 1",
    "!setrate 0,5": "allowed: 0 to 1",
    "!settemp 7": "allowed: 0 to 2",
    "!settemp -nan": "allowed: 0 to 2",
    "!setmaxlen 0": "allowed: whole numbers, 1 to 4096",
    "!setmaxlen 12.5": "allowed: whole numbers, 1 to 4096",
    "!setmaxlen 1e9": "allowed: whole numbers, 1 to 4096",
    "!settings rate yes": "allowed: 0 to 1",
    "!settings temperature nan": "allowed: 0 to 2",
    "!settings max-length many": "allowed: whole numbers, 1 to 4096",
    "!settings mentions-only 7": "allowed: yes or no",
    "!settings loudness 7": "name must be one of rate, temperature, max-length, mentions-only",
    "!setrate": "value is missing",
    "!setrate 0.1 0.2": "`0.2` is one word too many",
    "!mute 0": "from 1 to 10080",
    "!mute nan": "from 1 to 10080",
    "!mute 99999999": "from 1 to 10080",
    "!channels delete": "action must be one of list, allow, disable",
    "!channels allow nowhere": "There is no channel of that name here",
    "!fetch slash-member": "is not on the list",
    "!forget perhaps": "confirm must be yes or no",
}


def test_what_cannot_be_is_answered_with_what_can_and_changes_nothing(tmp_path, scripted_gguf):
    async def main():
        async with stage(tmp_path, scripted_gguf) as here:
            before = here.changed()
            room = here.rooms["prefix", "server owner"]
            for text, says in WRONG.items():
                said = here.world.say(room, here.people["server owner"], text)
                await replied(here, said, says)
            # Discord's own client lets numbers through that the settings refuse.
            for command, value, says in (("setrate", 3.5, "0 to 1"), ("setmaxlen", 0, "1 to 4096")):
                room = here.rooms["slash", "server owner"]
                handle = here.world.invoke(here.people["server owner"], room, command, {"value": value})
                await handle.wait_for(lambda it, says=says: says in it.text, 10)
                assert handle.ephemeral
            assert here.changed() == before

    asyncio.run(main())


async def replied(here: Stage, said, says: str) -> None:
    def shown() -> bool:
        return any(says in reply.content for reply in here.replies(said))

    await eventually(shown, seconds=10, what=f"{says!r} as the answer to {said.content!r}; it is {here.replies(said)}")
    await here.life.idle()


def test_fetch_shows_how_far_it_is_in_place(tmp_path, scripted_gguf):
    async def main():
        async with FakeDiscord(seed=0, heartbeat_seconds=1, limits=Limits(history=(5, 1.0))) as fake:
            here = Stage(fake)
            fake.world.history(here.kitchen, 1_200, [here.people["member"]])
            settings = {"memory": {"enabled": False}, "model": {"path": str(scripted_gguf)}, "discord": here.config}
            here.folder = LiveFolder(tmp_path, fake, channels=[here.kitchen], settings=settings)
            async with living_tree(here.folder) as here.life:
                said = fake.world.say(here.kitchen, here.people["server owner"], "!fetch #kitchen")
                await replied(here, said, "Done: ")
                (reply,) = here.replies(said)
                route, ending = "PATCH /channels/{}/messages/{}", f"/{reply['id']}"
                edits = [one.json for one in fake.requests if one.route == route and one.path.endswith(ending)]
                texts = [one["content"] for one in edits]
                first = next(one for one in fake.posts if one.json.get("nonce", "").startswith(f"c{said['id']}"))
                assert first.json["content"].startswith("Reading: 0 of 1 channels, ")
                assert " a second), " in first.json["content"]
                assert texts[-1].startswith("Done: ")
                assert len(here.folder.stored()) >= 1_200

    asyncio.run(main())


def test_what_admins_change_holds_at_once_and_after_a_restart_by_command(tmp_path, scripted_gguf):
    async def main():
        async with FakeDiscord(seed=0, heartbeat_seconds=1) as fake:
            world = fake.world
            guild = world.add_guild("the night kitchen")
            kitchen, garden = world.add_channel(guild, "kitchen"), world.add_channel(guild, "garden")
            max_ = world.add_member(guild, "max", permissions=["manage_guild"])
            ann = world.add_member(guild, "ann")
            old = world.history(garden, 120, [ann]) + world.history(kitchen, 3, [ann])
            settings = {"memory": {"enabled": False}, "model": {"path": str(scripted_gguf)}}
            async with LiveProcess(tmp_path, fake, channels=[kitchen], settings=settings) as live:

                async def given(command, says, **options):
                    handle = world.invoke(max_, garden, command, options)
                    await handle.wait_for(lambda it: says in it.text, 10)
                    assert handle.ephemeral
                    return handle.text

                def asks(channel):
                    return world.say(channel, ann, f"<@{world.bot.id}> who are you?")

                async def reason(channel, *, not_in=None):
                    overlooked = asks(not_in) if not_in else None
                    asked = asks(channel)
                    wanted = "SELECT reason, outcome FROM replies WHERE message_id = ?"
                    found = await eventually(
                        lambda: live.rows(wanted, id_of(asked)), seconds=REPLY_SECONDS, what="an outcome", every=0.05
                    )
                    if overlooked:
                        assert live.rows(wanted, id_of(overlooked)) == live.answers_to(overlooked) == []
                    return found[0]

                await live.start()
                assert await reason(kitchen, not_in=garden) == ("mentioned", "sent")
                await given("channels", "is on the list now", action="allow")
                await eventually(lambda: set(old) <= live.stored().keys(), seconds=10, what="its history is read")
                assert await reason(garden) == ("mentioned", "sent")
                await given("channels", "is off the list", action="disable", channel=kitchen)
                assert await reason(garden, not_in=kitchen) == ("mentioned", "sent")
                await given("settemp", "temperature is 0.25 now; it was 0.", value=0.25)
                await given("settings", "mentions-only is yes now; it was no.", name="mentions-only", value="on")
                await given("mute", "for 30 min", minutes=30)
                assert await reason(garden) == ("muted", "silent")

                pid = live.process.pid
                await given("restart", "Back in a moment")
                await eventually(lambda: starts(live) == 2, seconds=45, what="it lives on anew", every=0.05)
                assert (live.process.pid, live.process.poll()) == (pid, None)
                assert len(live.events("discord_commands_registered")) == 1

                text = await given("settings", "temperature")
                assert "**temperature** 0.25 (allowed: 0 to 2; changed here)" in text
                assert "**mentions-only** yes (allowed: yes or no; changed here)" in text
                listed = await given("channels", f"<#{garden.id}> 12")
                assert "last read <t:" in listed
                assert f"<#{kitchen.id}> off the list, 5 messages stored but not searched" in listed
                assert await reason(garden, not_in=kitchen) == ("muted", "silent")
                why = await given("why", "because it was muted here")
                assert "because somebody mentioned it" in why
                await given("unmute", "It may speak here again.")
                assert await reason(garden) == ("mentioned", "sent")
                trail = live.rows("SELECT command, outcome FROM audit WHERE author_id = ? ORDER BY id", id_of(max_))
                assert trail == [
                    ("channels", f"allowed {garden.id}"),
                    ("channels", f"disabled {kitchen.id}"),
                    ("settemp", "0 -> 0.25"),
                    ("settings", "no -> yes"),
                    ("mute", f"muted {garden.id} for 30 min"),
                    ("restart", "done"),
                    ("unmute", f"unmuted {garden.id}"),
                ]
                assert await live.stop() == 0

    asyncio.run(main())


def starts(live: LiveProcess) -> int:
    """Count the connections that were made anew, not resumed."""
    return len([event for event in live.events("link") if event["state"] == "connected" and not event["resumed"]])
