"""Who may give which command, over real interactions and messages: who gets in, who is refused in which words.

The whole tree lives on the fake Discord; every cell of the matrix is one command given by one kind of caller. What was
done is looked up in the database, never taken from the answer.
"""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from persona.domain.commands import COMMANDS, MENU_FORGET, find_command
from tests.fakes.command_stage import STRANGER, Case, Stage, stage
from tests.fakes.discord.invocations import InvocationError
from tests.fakes.live import eventually, id_of

EPHEMERAL = 64
NO_ADMIN = "Only the people who look after this server may use that command: its owner, whoever may manage it"
NO_KEEPER = "The bot is on several servers, and that command concerns them all: only the bot's owner and the admins"
NOT_HERE = "That command works on a server only; here there are: /botdata, /mydata, /optin, /optout, /forget."
KEEPERS = ("bot owner", "configured id", "configured role")
ADMINS = ("server owner", "bot owner", "configured id", "configured role", "Manage Server", "Administrator")
PEOPLE = (*ADMINS, "member")


def case(command: str, says: str, typed: str = "", **more: Any) -> Case:
    return Case(command=command, typed=f"!{command} {typed}".strip(), says=says, **more)


def changing(command: str, says: str, typed: str = "", **more: Any) -> Case:
    return case(command, says, typed, changes=True, audited=True, **more)


CASES = {
    "status": case("status", r"\*\*Running\*\* for"),
    "settings": case("settings", r"\*\*rate\*\* 0 \(allowed: 0 to 1; config.toml\)"),
    "settings, one changed": changing(
        "settings", "rate is 0.{n} now; it was", "rate 0.{n}", options={"name": "rate", "value": "0.{n}"}
    ),
    "setrate": changing("setrate", "rate is 0.{n} now; it was", "0.{n}", options={"value": "0.{n}"}),
    "settemp": changing("settemp", "temperature is 0.{n} now; it was", "0.{n}", options={"value": "0.{n}"}),
    "setmaxlen": changing("setmaxlen", "max-length is {n} now; it was", "{n}", options={"value": "{n}"}),
    "channels": case("channels", "messages, "),
    "channels, allowed": changing("channels", "is on the list now", "allow", options={"action": "allow"}),
    "channels, disabled": changing(
        "channels", "is off the list", "disable", options={"action": "disable"}, on_the_list=True
    ),
    "fetch": case(
        "fetch", "Done: .* messages read in 1 channels", "#kitchen", options={"channel": "kitchen"}, audited=True
    ),
    "restart": case("restart", "Back in a moment", audited=True),
    "mute": changing("mute", r"Quiet in <#\d+> for {n} min", "{n}", options={"minutes": "{n}"}),
    "unmute": changing("unmute", "It may speak here again", muted=True),
    "why": case("why", "kept quiet because|Nothing has been decided in this channel yet"),
    "consentcard": case("consentcard", "You may train on mine", audited=True, public=True),
    "quizcard": case("quizcard", "0 people have taken part so far", "count", options={"action": "count"}, quiz=True),
    "botdata": case("botdata", r"\*\*Whom to ask:\*\* mara"),
    "mydata": case("mydata", "everything that is kept of you", typed_says="for your eyes only: use the slash command"),
    "optin": case("optin", "may be trained on it", changes=True),
    "optout": case("optout", "nothing you say is kept", changes=True),
    "forget": case("forget", "removed, with all that was made", "yes", options={"confirm": True}, changes=True),
    "quiz": case("quiz", "There is no quiz here at the moment"),
    "help": case("help", r"What you can ask of Pip"),
}


def test_the_matrix_is_about_every_command():
    assert {one.command for one in CASES.values()} == {spec.name for spec in COMMANDS}
    for one in CASES.values():
        admin = find_command(one.command).audience == "admin"
        assert admin or not one.audited


@pytest.mark.parametrize("name", CASES)
def test_who_gets_in_and_who_is_refused(tmp_path, scripted_gguf, name):
    one = CASES[name]
    admin = find_command(one.command).audience == "admin"

    async def main():
        async with stage(tmp_path, scripted_gguf, one) as here:
            for give, is_slash in ((here.slash, True), (here.typed, False)):
                for who in PEOPLE:
                    allowed = who in ADMINS or not admin
                    says = (one.typed_says if not is_slash else "") or one.says if allowed else NO_ADMIN
                    before, trail = here.changed(), here.audits()
                    shown = await give(one, who, says)
                    await expect(here, one, who, before, trail, allowed=allowed)
                    look_at(one, shown, is_slash=is_slash, allowed=allowed)
            await machines_get_nothing(here, one)
            await in_direct_messages(here, one)

    asyncio.run(main())


@pytest.mark.parametrize("name", [name for name in CASES if find_command(CASES[name].command).audience == "admin"])
def test_who_gets_in_when_the_bot_is_on_two_servers(tmp_path, scripted_gguf, name):
    """A server's own admins look after that server; what concerns all of them is for the bot's owner and admins."""
    one = CASES[name]
    spec = find_command(one.command)

    async def main():
        async with stage(tmp_path, scripted_gguf, one, elsewhere=True) as here:
            for give, is_slash in ((here.slash, True), (here.typed, False)):
                for who in (*ADMINS, "member", *([STRANGER] if spec.everywhere else [])):
                    allowed = who in KEEPERS or (who in ADMINS and not spec.everywhere)
                    says = one.says if allowed else NO_KEEPER if who in (*ADMINS, STRANGER) else NO_ADMIN
                    before, trail = here.changed(), here.audits()
                    shown = await give(one, who, says)
                    await expect(here, one, who, before, trail, allowed=allowed)
                    look_at(one, shown, is_slash=is_slash, allowed=allowed)

    asyncio.run(main())


STRANGE = {
    "!fetch": "No channel of this server is on the list",
    "!fetch #kitchen": "There is no channel of that name here",
    "!fetch <#{kitchen}>": "There is no channel of that name here",
    "!channels": "No channel of this server is on the list",
    "!channels disable <#{kitchen}>": "There is no channel of that name here",
    "!channels allow <#{kitchen}>": "There is no channel of that name here",
    "!why": "Nothing has been decided in this channel yet",
    "!botdata": "No channel at the moment",
    "!mute 7": "Quiet in <#{room}> for 7 min",
    "!unmute": "It may speak here again",
    "!mydata": "for your eyes only",
    "!help": "What you can ask of Pip",
}


def test_the_owner_of_another_server_hears_and_changes_nothing_of_this_one(tmp_path, scripted_gguf):
    async def main():
        async with stage(tmp_path, scripted_gguf, elsewhere=True) as here:
            rooms = {"kitchen": id_of(here.kitchen), "room": id_of(here.rooms["prefix", STRANGER])}
            before = here.changed()
            for text, says in STRANGE.items():
                typed = case("help", "", "")
                given = replace(typed, typed=text.format(**rooms))
                shown = await here.typed(given, STRANGER, re.escape(says.format(**rooms)))
                words = " ".join(message.content for message in shown)
                assert "night kitchen" not in words
                assert str(rooms["kitchen"]) not in words
            assert here.changed() == before
            # Of what it may not do it is not even offered the names.
            names = await here.typed(CASES["help"], STRANGER, CASES["help"].says)
            assert "restart" not in names[-1].content

    asyncio.run(main())


@pytest.mark.parametrize("elsewhere", [False, True], ids=["one server", "two servers"])
def test_what_went_wrong_in_a_channel_is_told_to_those_who_see_it(tmp_path, scripted_gguf, elsewhere):
    """By its id alone, which Discord shows as its name to those who may know it."""

    async def main():
        async with stage(tmp_path, scripted_gguf, elsewhere=elsewhere, cellar=True) as here:
            trouble = f"<#{id_of(here.cellar)}>: reading its history is not permitted"
            every = case("fetch", "Done: .* messages read in 1 channels")
            for give in (here.slash, here.typed):
                for who, sees in (("server owner", True), ("Administrator", True), ("Manage Server", False)):
                    words = " ".join(message.content for message in await give(every, who, every.says))
                    assert (trouble in words) is sees
                    assert "layoffs" not in words
                    assert sees or str(id_of(here.cellar)) not in words

    asyncio.run(main())


async def expect(here: Stage, one: Case, who: str, before: list, trail: list, *, allowed: bool) -> None:
    """Look at what a command did: what it should, or nothing, and who wrote it down."""
    admin = find_command(one.command).audience == "admin"
    if allowed and one.command == "restart":
        await eventually(lambda: here.changed() != before, seconds=5, what="a restart is on its way")
    assert (here.changed() != before) is (allowed and (one.changes or one.command == "restart")), who
    new = here.audits()[len(trail) :]
    if not allowed and admin:
        assert new == [(id_of(here.people[who]), one.command, "refused: not permitted")]
    elif one.audited:
        ((author_id, command, outcome),) = new
        assert (author_id, command) == (id_of(here.people[who]), one.command)
        assert not outcome.startswith(("refused", "failed"))
    else:
        assert new == []


def look_at(one: Case, shown: list[Any], *, is_slash: bool, allowed: bool) -> None:
    """Look at an answer: for the caller alone where that is possible, but for the card."""
    alone = [bool(message["flags"] & EPHEMERAL) for message in shown]
    assert alone == [is_slash and not (one.public and allowed)] * len(shown)
    assert all(not message.get("pings") for message in shown)
    if one.command == "consentcard" and allowed:
        ids = [button["custom_id"] for row in shown[-1]["components"] for button in row["components"]]
        assert ids == ["persona:optout", "persona:mydata", "persona:forget", "persona:optin"]


async def machines_get_nothing(here: Stage, one: Case) -> None:
    """Bots and webhooks get neither an answer nor a line in the trail, whatever roles they have."""
    before, trail = here.changed(), here.audits()
    room = here.rooms["prefix", "another bot"]
    stood = len(here.world.messages(room))
    text = one.typed.replace("{n}", here.number())
    said = [
        here.world.say(room, here.people["another bot"], text),
        here.world.say(room, here.people["server owner"], text, webhook=True),
    ]
    later = here.world.say(room, here.people["member"], "!help")
    await eventually(lambda: here.replies(later), seconds=10, what="an answer to the command after theirs")
    assert [here.replies(each) for each in said] == [[], []]
    assert len(here.world.messages(room)) == stood + 4
    assert (here.changed(), here.audits()) == (before, trail)


async def in_direct_messages(here: Stage, one: Case) -> None:
    """Only what is about one's own data works there; rights are unknown, also the owner's."""
    spec = find_command(one.command)
    for who in ("server owner", "bot owner", "configured id", "member"):
        for give in (here.slash, here.typed):
            before, trail = here.changed(), here.audits()
            shown = await give(one, who, one.says if spec.direct else re.escape(NOT_HERE), direct=True)
            assert shown
            assert (here.changed() != before) is (spec.direct and one.changes)
            refused = [(id_of(here.people[who]), one.command, "refused: not permitted")]
            assert here.audits()[len(trail) :] == (refused if spec.audience == "admin" else [])


def test_whom_discord_offers_the_commands_by_itself(tmp_path, scripted_gguf):
    admin = {spec.name for spec in COMMANDS if spec.audience == "admin"}
    public = {spec.name for spec in COMMANDS} - admin
    direct = {spec.name for spec in COMMANDS if spec.direct}

    async def main():
        async with stage(tmp_path, scripted_gguf) as here:
            for spec in COMMANDS:
                here.fake.interactions.set_permissions(here.guild, spec.name, [])
            for who in PEOPLE:
                offered = set(here.fake.interactions.visible_to(here.people[who], here.kitchen)) - {MENU_FORGET}
                sees_all = who in {"server owner", "Manage Server", "Administrator"}
                assert offered == (public | admin if sees_all else public), who
                private = here.world.direct_channel(here.people[who].id)
                assert set(here.fake.interactions.visible_to(here.people[who], private)) == direct
            with pytest.raises(InvocationError, match="hidden"):
                here.world.invoke(here.people["member"], here.kitchen, "restart")
            # What Discord hides from them, people who are named in config.toml can type.
            await here.typed(CASES["setrate"], "configured role", CASES["setrate"].says)

    asyncio.run(main())


def test_the_menu_forgets_ones_own_messages_and_any_for_admins(tmp_path, scripted_gguf):
    async def main():
        async with stage(tmp_path, scripted_gguf) as here:
            gone = "SELECT message_id FROM tombstones"
            for who in PEOPLE:
                own = here.world.say(here.kitchen, here.people[who], f"a secret of {who}")
                stranger = "member" if who != "member" else "configured id"
                other = here.world.say(here.kitchen, here.people[stranger], f"for {who} to remove")
                both = {id_of(own), id_of(other)}
                await eventually(lambda both=both: both <= here.folder.stored().keys(), seconds=10, what="both stored")
                for message, allowed in ((own, True), (other, who in ADMINS)):
                    trail = here.audits()
                    handle = here.world.invoke_context(here.people[who], here.kitchen, message, MENU_FORGET)
                    says = (
                        "That message is forgotten" if allowed else "your own messages forgotten, not those of others"
                    )
                    await handle.wait_for(lambda it, says=says: says in it.text, 10)
                    assert handle.ephemeral
                    assert (id_of(message) in here.folder.stored()) is not allowed
                    assert ((id_of(message),) in here.folder.rows(gone)) is allowed
                    new = [entry[:2] for entry in here.audits()[len(trail) :]]
                    assert new == ([] if message is own else [(id_of(here.people[who]), "forget")])

    asyncio.run(main())


def test_buttons_work_for_whoever_presses_them_and_for_that_person_alone(tmp_path, scripted_gguf):
    async def main():
        async with stage(tmp_path, scripted_gguf) as here:
            (card,) = await here.slash(CASES["consentcard"], "Manage Server", "You may train on mine")
            choices = "SELECT author_id, guild_id, scope, choice FROM consent ORDER BY sequence"
            for who in ("member", "bot owner"):
                ann, guild = id_of(here.people[who]), id_of(here.guild)
                expected = here.folder.rows(choices)
                for button, says, choice in (
                    ("persona:optin", "a model may be trained on it", "yes"),
                    ("persona:optout", "nothing you say is kept", "no"),
                ):
                    pressed = here.world.click(here.people[who], card, button)
                    await pressed.wait_for(lambda it, says=says: says in it.text, 10)
                    assert pressed.ephemeral
                    expected += [(ann, guild, "store", choice), (ann, guild, "train", choice)]
                    assert here.folder.rows(choices) == expected
                pressed = here.world.click(here.people[who], card, "persona:mydata")
                await pressed.wait_for(lambda it: it.files, 10)
                assert pressed.ephemeral
                asked = here.world.click(here.people[who], card, "persona:forget")
                question = await asked.wait_reply(10)
                assert here.folder.rows("SELECT 1 FROM forgotten_authors WHERE author_id = ?", ann) == []
                sure = here.world.click(here.people[who], question, "persona:forget?confirm=true")
                await sure.wait_for(lambda it: "removed, with all that was made" in it.text, 10)
                assert here.folder.rows("SELECT 1 FROM forgotten_authors WHERE author_id = ?", ann) == [(1,)]
            assert here.world.messages(here.rooms["slash", "Manage Server"])[0].content == card.content

    asyncio.run(main())
