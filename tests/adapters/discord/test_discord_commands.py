"""Commands as they travel: registered, acknowledged, understood with rights and channels, and answered in place."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from persona.adapters.discord.command_forms import button_id, button_meaning, fingerprint, registered
from persona.adapters.discord.commands import REGISTERED_NOTE, DiscordCommands
from persona.domain.chat import Author, AuthorId, Channel, ChannelId, ChannelKind, GuildId, MessageKind
from persona.domain.commands import COMMANDS, MENU_FORGET, Answer, Button, Caller, File, Invocation, Via
from persona.errors import DeliveryError, StoreError
from persona.ports import Arrival, CommandInvoked
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.command_rules import check_command, check_counts
from tests.fakes.discord.invocations import InvocationError
from tests.fakes.discord_bot import bot

EPHEMERAL = 64


class Notes(dict):
    """Texts that survive; `broken` ones cannot be read."""

    broken = False

    async def note(self, name):
        if self.broken:
            raise StoreError("the disk is gone")
        return self.get(name)

    async def keep_note(self, name, text):
        self[name] = text


def door(notes=None, prefix="!"):
    return DiscordCommands(
        prefix=prefix, allowed=lambda _channel, _parent: True, notes=Notes() if notes is None else notes
    )


def playing(play, *, notes=None, **options):
    """Run `play(here)` on a server with a bot, an owner, a manager, a helper and an ordinary member."""

    async def run():
        async with FakeDiscord(seed=0) as fake:
            world = fake.world
            guild = world.add_guild("The Server")
            helpers = world.add_role(guild, "helpers")
            here = SimpleNamespace(
                fake=fake,
                world=world,
                guild=guild,
                channel=world.add_channel(guild, "general"),
                other=world.add_channel(guild, "garden"),
                owner=guild.owner,
                manager=world.add_member(guild, "Max", permissions=["manage_guild"]),
                helper=world.add_member(guild, "Hal", roles=[helpers]),
                helpers=helpers,
                ann=world.add_member(guild, "Ann", nick="Annie"),
            )
            async with bot(fake, commands=door(notes), **options) as here.bot:
                await play(here)

    asyncio.run(run())


async def given(here, number=1):
    """The invocation of the command that was given as number `number`."""
    return (await here.bot.next(CommandInvoked, number)).invocation


def test_what_is_registered_is_what_discord_takes():
    forms = registered()
    checked = [check_command(form, (place,)) for place, form in enumerate(forms)]
    check_counts(checked)
    slash = {form["name"]: form for form in forms if form["type"] == 1}
    assert set(slash) == {spec.name for spec in COMMANDS}
    assert [form["name"] for form in forms if form["type"] == 3] == [MENU_FORGET]
    admin = {"status", "settings", "setrate", "settemp", "setmaxlen", "channels", "fetch", "restart", "mute", "unmute"}
    admin |= {"why", "consentcard", "quizcard"}
    assert {name for name, form in slash.items() if form["default_member_permissions"] == "32"} == admin
    in_direct = {name for name, form in slash.items() if 1 in form["contexts"]}
    assert in_direct == {"botdata", "mydata", "optin", "optout", "forget"}
    assert slash["mute"]["options"][0]["max_value"] == 10080
    assert slash["quiz"]["options"] == []  # what only buttons give is not offered to be filled in


def test_they_are_registered_once_and_again_only_when_they_changed():
    notes = Notes()

    async def play(here):
        def puts():
            return len([one for one in here.fake.requests if one.method == "PUT" and one.path.endswith("/commands")])

        application = int(here.world.bot.id)
        assert puts() == 1
        assert notes[REGISTERED_NOTE] == fingerprint(application) != fingerprint(application + 1)
        assert set(here.fake.interactions.visible_to(here.owner, here.channel)) >= {spec.name for spec in COMMANDS}
        assert "restart" not in here.fake.interactions.visible_to(here.ann, here.channel)
        async with bot(here.fake, commands=door(notes)):
            assert puts() == 1
        notes[REGISTERED_NOTE] = "of an earlier version"
        async with bot(here.fake, commands=door(notes)):
            assert puts() == 2

    playing(play, notes=notes)


def test_what_cannot_be_noted_does_not_keep_it_from_talking():
    notes = Notes()
    notes.broken = True

    async def play(here):
        here.world.say(here.channel, here.ann, "!help")
        assert (await given(here)).command == "help"

    playing(play, notes=notes)


def test_a_slash_command_is_acknowledged_before_it_is_carried_out_and_answered_in_private():
    async def play(here):
        handle = here.world.invoke(here.manager, here.channel, "settings", {"name": "rate", "value": "0.2"})
        invocation = await given(here)
        assert handle.acknowledged
        assert handle.deferred
        assert (invocation.command, invocation.via) == ("settings", Via.SLASH)
        assert invocation.options == {"name": "rate", "value": "0.2"}
        assert invocation.channel.name == "general"
        assert invocation.caller.may_manage
        assert not invocation.caller.is_owner
        await here.bot.transport.answer(invocation, Answer(text="rate is 0.2 now @everyone"))
        shown = await handle.wait_reply()
        assert shown.content == "rate is 0.2 now @everyone"
        assert handle.ephemeral

    playing(play)


def test_rights_are_those_of_the_caller_on_that_server():
    async def play(here):
        for number, who in enumerate((here.owner, here.manager, here.helper, here.ann), start=1):
            here.world.say(here.channel, who, "!help")
            await given(here, number)
        for number, who in enumerate((here.owner, here.manager, here.helper, here.ann), start=5):
            here.world.invoke(who, here.channel, "help")
            await given(here, number)
        callers = [event.invocation.caller for event in here.bot.heard(CommandInvoked)]
        for typed, slash in zip(callers[:4], callers[4:], strict=True):
            assert typed == slash
        rights = [(one.is_owner, one.may_manage) for one in callers[:4]]
        assert rights == [(True, True), (False, True), (False, False), (False, False)]
        assert callers[2].role_ids == {int(here.helpers.id)}
        assert callers[3].role_ids == frozenset()
        assert callers[3].author.display_name == "Annie"

    playing(play)


def test_a_servers_owner_is_not_the_bots_and_knows_if_there_are_other_servers():
    async def play(here):
        oda = here.world.add_user("oda")
        elsewhere = here.world.add_guild("Another Server", owner=oda)
        room = here.world.add_channel(elsewhere, "room")
        steps = [(here.channel, here.manager), (room, oda), (room, here.ann)]
        here.world.join(elsewhere, here.ann)
        await here.bot.until(lambda: len(here.bot.transport._connection.now().guilds) == 2)
        callers = []
        for where, who in steps:
            here.world.say(where, who, "!status")
            callers.append((await given(here, len(callers) + 1)).caller)
            if who is not here.ann:
                here.world.invoke(who, where, "status")
                callers.append((await given(here, len(callers) + 1)).caller)
        rights = [(one.is_owner, one.may_manage, one.only_server) for one in callers]
        assert rights == [(False, True, False)] * 4 + [(False, False, False)]

    playing(play)


def test_which_channels_the_giver_of_an_admin_command_sees():
    async def play(here):
        world = here.world
        hidden = world.add_channel(here.guild, "hidden", private=True)
        helpers = world.add_channel(here.guild, "for-helpers", private=True)
        world.allow(helpers, "view_channel", role=here.helpers)
        await here.bot.until(lambda: here.bot.transport._connection.now().get_channel(int(helpers["id"])))
        open_ones = {int(here.channel["id"]), int(here.other["id"])}
        every = open_ones | {int(one["id"]) for one in (hidden, helpers)}
        expected = {
            "owner": every,
            "manager": open_ones,
            "helper": open_ones | {int(helpers["id"])},
            "ann": open_ones,
        }
        for number, (who, sees) in enumerate(expected.items(), start=1):
            here.world.say(here.channel, getattr(here, who), "!status")
            caller = (await given(here, number)).caller
            assert (caller.sees, caller.only_server) == (sees, True), who
        here.world.invoke(here.manager, here.channel, "fetch")
        assert (await given(here, 5)).caller.sees == open_ones
        here.world.say(here.channel, here.ann, "!help")
        assert (await given(here, 6)).caller.sees == frozenset()

    playing(play)


def test_bots_and_webhooks_give_no_commands_and_talk_is_none():
    async def play(here):
        robot = here.world.add_member(here.guild, "Robot", bot=True)
        here.world.say(here.channel, robot, "!restart")
        here.world.say(here.channel, here.ann, "!restart", webhook=True)
        here.world.say(here.channel, here.ann, "!important: not ours")
        here.world.say(here.channel, here.ann, "well !help")
        last = here.world.say(here.channel, here.ann, "!help")
        invocation = await given(here)
        assert invocation.id == int(last.id)
        await here.bot.arrival(int(last.id))
        assert len(here.bot.heard(CommandInvoked)) == 1
        kinds = {one.message.content: one.message.kind for one in here.bot.heard(Arrival)}
        assert kinds["!help"] is MessageKind.COMMAND
        assert kinds["!important: not ours"] is MessageKind.DEFAULT

    playing(play)


def test_a_typed_command_is_answered_by_a_reply_that_pings_nobody_and_changes_in_place():
    async def play(here):
        said = here.world.say(here.channel, here.manager, "!channels allow #garden")
        invocation = await given(here)
        assert invocation.via is Via.PREFIX
        assert invocation.options == {"action": "allow", "channel": str(here.other.id)}
        assert (invocation.named.id, invocation.named.name) == (int(here.other.id), "garden")
        answer = here.bot.transport.answer
        await answer(invocation, Answer(text="working, @everyone", done=False))
        await answer(invocation, Answer(text="x" * 1990 + "\n" + "y" * 1990, done=False))
        await answer(invocation, Answer(text="done"))
        shown = here.world.messages_by(here.world.bot)
        assert [one.content for one in shown] == ["done"]
        assert shown[0]["message_reference"]["message_id"] == str(said.id)
        assert all(post.json["allowed_mentions"]["parse"] == [] for post in here.fake.posts)

    playing(play)


@pytest.mark.parametrize(
    ("text", "channel"),
    [("!fetch <#{garden}>", "garden"), ("!fetch {garden}", "garden"), ("!fetch GARDEN", "garden"), ("!fetch", None)],
)
def test_channels_can_be_named_in_every_way(text, channel):
    async def play(here):
        here.world.say(here.channel, here.manager, text.format(garden=here.other.id))
        invocation = await given(here)
        assert invocation.problem == ""
        assert (invocation.named.name if invocation.named else None) == channel

    playing(play)


def test_a_channel_that_is_not_there_or_not_the_only_one_of_its_name_is_a_problem():
    async def play(here):
        here.world.add_channel(here.guild, "garden")
        for number, name in enumerate(("garden", "nowhere", "123456789012345678"), start=1):
            here.world.say(here.channel, here.manager, f"!fetch {name}")
            invocation = await given(here, number)
            assert invocation.problem.startswith(("There are several", "There is no channel"))
            assert (invocation.options, invocation.named) == ({}, None)

    playing(play)


def test_a_slash_option_names_a_channel_of_this_server():
    async def play(here):
        here.world.invoke(here.manager, here.channel, "channels", {"action": "disable", "channel": here.other})
        invocation = await given(here)
        assert invocation.options == {"action": "disable", "channel": str(here.other.id)}
        assert invocation.named.name == "garden"

    playing(play)


def test_a_long_answer_with_a_file_and_buttons_stays_private():
    async def play(here):
        handle = here.world.invoke(here.ann, here.channel, "mydata")
        invocation = await given(here)
        assert invocation.caller.author.id == int(here.ann.id)
        files = (File(name="mydata.json", content=b"{}"),)
        button = Button(label="Forget me", command="forget", options={"confirm": True})
        await here.bot.transport.answer(
            invocation, Answer(text="a" * 1999 + "\n" + "b" * 100, files=files, buttons=(button,))
        )
        await handle.wait_reply(count=2)
        assert handle.ephemeral
        assert [file.content for file in handle.files] == [b"{}"]
        assert handle.messages[0]["components"] == []
        assert handle.messages[1]["components"][0]["components"][0]["custom_id"] == "persona:forget?confirm=true"

    playing(play)


def test_large_files_are_spread_over_messages():
    async def play(here):
        handle = here.world.invoke(here.ann, here.channel, "mydata")
        files = tuple(File(name=f"{number}.json", content=bytes(5_000_000)) for number in range(3))
        await here.bot.transport.answer(await given(here), Answer(text="all of it", files=files))
        await handle.wait_reply(count=3)
        assert [len(file.content) for file in handle.files] == [5_000_000] * 3
        assert all(message["flags"] & EPHEMERAL for message in handle.messages)

    playing(play)


def test_the_card_stays_public_and_its_buttons_answer_each_person_alone_also_after_a_restart():
    async def play(here):
        handle = here.world.invoke(here.manager, here.channel, "consentcard")
        card = Answer(text="May we?", private=False, buttons=(Button(label="Out", command="optout", style="danger"),))
        await here.bot.transport.answer(await given(here), card)
        shown = await handle.wait_reply()
        assert not shown["flags"] & EPHEMERAL
        await here.bot.transport.close()
        async with bot(here.fake, commands=door()) as later:  # knows nothing of the card
            pressed = here.world.click(here.ann, shown, "persona:optout")
            invocation = (await later.next(CommandInvoked)).invocation
            assert (invocation.command, invocation.via) == ("optout", Via.BUTTON)
            assert invocation.caller.author.id == int(here.ann.id)
            await later.transport.answer(invocation, Answer(text="Noted."))
            await pressed.wait_for(lambda one: "Noted." in one.text)
            assert pressed.ephemeral
        assert here.world.messages_by(here.world.bot)[0].content == "May we?"

    playing(play)


def test_a_refusal_where_a_public_answer_was_promised_is_private():
    async def play(here):
        handle = here.fake.interactions.invoke(here.ann.id, here.channel.id, "consentcard", force=True)
        await here.bot.transport.answer(await given(here), Answer(text="Only the people who look after it."))
        await handle.wait_for(lambda one: "Only" in one.text)
        assert [bool(message["flags"] & EPHEMERAL) for message in handle.messages] == [True]
        assert here.world.messages_by(here.world.bot) == []

    playing(play)


def test_the_confirmation_takes_the_place_of_the_question():
    async def play(here):
        handle = here.world.invoke(here.ann, here.channel, "forget")
        yes = Button(label="Yes", command="forget", options={"confirm": True})
        await here.bot.transport.answer(await given(here), Answer(text="Sure?", buttons=(yes,)))
        question = await handle.wait_reply()
        here.world.click(here.ann, question, "persona:forget?confirm=true")
        invocation = await given(here, 2)
        assert invocation.options == {"confirm": True}
        await here.bot.transport.answer(invocation, Answer(text="Done."))
        answered = here.fake.interactions.handles[-1]
        await answered.wait_for(lambda one: "Done." in one.text)
        assert answered.original.content == "Done."
        assert answered.original["components"] == []

    playing(play)


def test_the_menu_names_the_message_and_who_wrote_it():
    async def play(here):
        said = here.world.say(here.channel, here.ann, "forget me not")
        here.world.invoke_context(here.helper, here.channel, said, MENU_FORGET)
        invocation = await given(here)
        assert (invocation.command, invocation.via) == ("forget", Via.MENU)
        assert invocation.target == int(said.id)
        assert invocation.target_author == int(here.ann.id)
        assert invocation.caller.author.id == int(here.helper.id)

    playing(play)


def test_why_knows_which_message_it_answers():
    async def play(here):
        said = here.world.say(here.channel, here.ann, "hello")
        here.world.say(here.channel, here.manager, "!why", reply_to=said)
        invocation = await given(here)
        assert invocation.target == int(said.id)
        assert invocation.target_author == int(here.ann.id)

    playing(play)


def test_in_a_direct_message_only_what_is_about_oneself_is_offered():
    async def play(here):
        said = here.world.say_directly(here.ann, "!optout")
        invocation = await given(here)
        assert invocation.channel.kind is ChannelKind.DIRECT
        assert (invocation.channel.guild_id, invocation.caller.may_manage, invocation.caller.is_owner) == (
            0,
            False,
            False,
        )
        await here.bot.transport.answer(invocation, Answer(text="Noted."))
        direct = said["channel_id"]
        assert [one.content for one in here.world.messages(direct)] == ["!optout", "Noted."]
        here.world.invoke(here.ann, direct, "mydata")
        assert (await given(here, 2)).channel.kind is ChannelKind.DIRECT
        with pytest.raises(InvocationError):
            here.world.invoke(here.ann, direct, "status")

    playing(play)


def test_what_comes_too_late_is_logged_not_raised():
    async def play(here):
        handle = here.world.invoke(here.ann, here.channel, "help")
        invocation = await given(here)
        here.fake.faults.fail("PATCH /webhooks/*", status=404, times=1)
        stranger = Invocation(
            id=1,
            command="help",
            caller=Caller(author=Author(id=AuthorId(5), name="x", display_name="x")),
            channel=Channel(id=ChannelId(1), guild_id=GuildId(1), name="general"),
            via=Via.SLASH,
        )
        await here.bot.transport.answer(stranger, Answer(text="too late"))
        with pytest.raises(DeliveryError):
            await here.bot.transport.answer(invocation, Answer(text="hello"))
        await here.bot.transport.answer(invocation, Answer(text="hello"))
        assert (await handle.wait_reply()).content == "hello"

    playing(play)


def test_a_typed_command_whose_channel_is_closed_to_the_bot_fails_with_one_reason():
    async def play(here):
        here.world.say(here.channel, here.manager, "!help")
        invocation = await given(here)
        here.world.deny(here.channel, "send_messages", role=None)
        with pytest.raises(DeliveryError, match="may not write"):
            await here.bot.transport.answer(invocation, Answer(text="hello"))

    playing(play)


def test_button_ids_mean_what_they_meant():
    for button in (Button(label="x", command="optin"), Button(label="x", command="forget", options={"confirm": True})):
        spec, options = button_meaning(button_id(button))
        assert (spec.name, options) == (button.command, button.options)
    for foreign in (
        "",
        "other:forget",
        "persona:",
        "persona:nothing",
        "persona:forget?x=1",
        "persona:forget?confirm=[]",
    ):
        assert button_meaning(foreign) is None
    assert button_meaning("persona:forget?confirm=%7B") is None
    with pytest.raises(ValueError, match="longer than"):
        button_id(Button(label="x", command="forget", options={"confirm": "x" * 100}))
    assert json.loads("true") is button_meaning("persona:forget?confirm=true")[1]["confirm"]
