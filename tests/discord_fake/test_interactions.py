import asyncio
import contextlib
import json

import aiohttp
import pytest
from aiohttp import web

from tests.fakes.discord.empty_stage import (
    ADA,
    BEN,
    BOT,
    CHANNEL,
    DIRECT,
    GUILD,
    HELPERS,
    HIDDEN_CHANNEL,
    MANAGE_GUILD,
    OWNER,
    EmptyStage,
)
from tests.fakes.discord.interactions import Interactions, InvocationError, Upload, routes
from tests.fakes.discord.stage import Stage

EPHEMERAL = 64
PING = {"name": "ping", "description": "Answers."}
COMMANDS = f"/applications/{BOT}/commands"
GUILD_COMMANDS = f"/applications/{BOT}/guilds/{GUILD}/commands"


class Bot:
    """The bot's side over real HTTP."""

    def __init__(self, session, base, stage, interactions):
        self.session, self.base, self.stage, self.interactions = session, base, stage, interactions

    async def call(self, method, path, body=None, **options):
        if body is not None:
            options["json"] = body
        async with self.session.request(method, self.base + path, **options) as response:
            raw = await response.read()
            if raw:
                assert response.headers["Content-Type"] == "application/json"
            return response.status, json.loads(raw) if raw else None

    async def register(self, *commands, path=COMMANDS):
        status, stored = await self.call("PUT", path, list(commands))
        assert status == 200, stored
        return stored

    async def respond(self, handle, kind, data=None, **options):
        body = {"type": kind} if data is None else {"type": kind, "data": data}
        path = f"/interactions/{handle.id}/{handle.token}/callback?with_response=1"
        return await self.call("POST", path, body, **options)

    def hook(self, handle, rest=""):
        return f"/webhooks/{BOT}/{handle.token}{rest}"


def shown(message):
    """As REST gives it."""
    return {key: value for key, value in message.items() if key != "pings"}


def scenario(play):
    async def run():
        stage: Stage = EmptyStage()
        interactions = Interactions(stage, seed=1, moment=0)
        app = web.Application()
        app.add_routes(routes(interactions))
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(runner.cleanup)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            await play(Bot(session, f"http://127.0.0.1:{runner.addresses[0][1]}", stage, interactions), interactions)

    asyncio.run(run())


# Registration


def test_commands_get_ids_and_versions_and_keep_their_ids_when_overwritten():
    async def play(bot, members):
        (first,) = await bot.register(PING)
        assert first["application_id"] == BOT
        assert (first["type"], first["default_member_permissions"], first["nsfw"]) == (1, None, False)
        again, other = await bot.register({**PING, "description": "New."}, {"name": "help", "description": "Helps."})
        assert again["id"] == first["id"]
        assert int(again["version"]) > int(first["version"])
        _status, listed = await bot.call("GET", COMMANDS)
        assert [command["description"] for command in listed] == ["New.", "Helps."]
        assert "name_localizations" not in listed[0]
        await bot.register()
        assert await bot.call("GET", COMMANDS) == (200, [])
        assert await bot.call("GET", f"{COMMANDS}/{other['id']}") == (
            404,
            {"message": "Unknown application command", "code": 10063},
        )

    scenario(play)


def test_commands_are_created_edited_and_deleted_one_by_one():
    async def play(bot, members):
        status, created = await bot.call("POST", COMMANDS, PING)
        assert status == 201
        status, replaced = await bot.call("POST", COMMANDS, {**PING, "description": "Again."})
        assert (status, replaced["id"]) == (200, created["id"])
        one = f"{COMMANDS}/{created['id']}"
        status, edited = await bot.call("PATCH", one, {"default_member_permissions": MANAGE_GUILD})
        assert (edited["default_member_permissions"], edited["description"]) == ("32", "Again.")
        assert await bot.call("GET", one) == (200, edited)
        assert await bot.call("DELETE", one) == (204, None)
        assert (await bot.call("DELETE", one))[0] == 404

    scenario(play)


def test_guild_commands_are_apart_from_global_ones():
    async def play(bot, members):
        await bot.register(PING)
        (own,) = await bot.register({**PING, "contexts": [0]}, path=GUILD_COMMANDS)
        assert (own["guild_id"], own["contexts"]) == (GUILD, None)
        handle = members.invoke(ADA, CHANNEL, "ping")
        assert handle.payload["data"]["id"] == own["id"]
        assert handle.payload["data"]["guild_id"] == GUILD
        assert members.invoke(ADA, DIRECT, "ping").payload["data"]["id"] != own["id"]
        unknown = f"/applications/{BOT}/guilds/999/commands"
        assert await bot.call("PUT", unknown, []) == (403, {"message": "Missing Access", "code": 50001})
        assert (await bot.call("PUT", "/applications/999/commands", []))[1]["code"] == 20012

    scenario(play)


def option(**fields):
    return {"type": 3, "name": "text", "description": "Some text."} | fields


@pytest.mark.parametrize(
    ("command", "where"),
    [
        ({"name": "Ping", "description": "x"}, ["0", "name"]),
        ({"name": "two words", "description": "x"}, ["0", "name"]),
        ({"name": "x" * 33, "description": "x"}, ["0", "name"]),
        ({"description": "x"}, ["0", "name"]),
        ({"name": "ping", "description": ""}, ["0", "description"]),
        ({"name": "ping", "description": "x" * 101}, ["0", "description"]),
        ({"name": "Forget this", "type": 3, "description": "x"}, ["0", "description"]),
        ({"name": "ping", "description": "x", "type": 9}, ["0", "type"]),
        ({**PING, "default_member_permissions": "many"}, ["0", "default_member_permissions"]),
        ({**PING, "contexts": [3]}, ["0", "contexts"]),
        ({**PING, "options": [option(name="Bad")]}, ["0", "options", "0", "name"]),
        ({**PING, "options": [option(description="")]}, ["0", "options", "0", "description"]),
        ({**PING, "options": [option(), option()]}, ["0", "options", "1"]),
        ({**PING, "options": [option(), option(name="b", required=True)]}, ["0", "options", "1"]),
        ({**PING, "options": [option(name=f"o{i}") for i in range(26)]}, ["0", "options"]),
        ({**PING, "options": [option(type=12)]}, ["0", "options", "0", "type"]),
        ({**PING, "options": [option(type=1), option(name="b")]}, ["0", "options", "1"]),
        ({**PING, "options": [option(type=2, options=[option()])]}, ["0", "options", "0"]),
        ({**PING, "options": [option(type=1, options=[option(type=1)])]}, ["0", "options", "0"]),
        ({**PING, "options": [option(choices=[{"name": "a", "value": 1}])]}, ["0", "options", "0", "choices", "0"]),
        ({**PING, "options": [option(choices=[{"name": "a", "value": "a"}], autocomplete=True)]}, ["0", "options"]),
        ({**PING, "options": [option(type=5, autocomplete=True)]}, ["0", "options", "0", "choices"]),
    ],
)
def test_commands_that_break_the_rules_are_refused_and_nothing_changes(command, where):
    async def play(bot, members):
        await bot.register(PING)
        status, answer = await bot.call("PUT", COMMANDS, [command])
        assert (status, answer["code"], answer["message"]) == (400, 50035, "Invalid Form Body")
        tree = answer["errors"]
        for step in where:
            tree = tree[step]
        assert [c["name"] for c in members.commands.all(None)] == ["ping"]

    scenario(play)


def test_duplicates_and_too_many_commands_are_refused():
    async def play(bot, members):
        assert (await bot.call("PUT", COMMANDS, [PING, PING]))[1]["code"] == 50035
        many = [{"name": f"c{i}", "description": "x"} for i in range(101)]
        assert (await bot.call("PUT", COMMANDS, many))[1]["code"] == 30032
        assert len(await bot.register(*many[:100])) == 100
        assert (await bot.call("POST", COMMANDS, many[100]))[1]["code"] == 30032

    scenario(play)


# Invocation


def test_an_invocation_reaches_the_bot_in_discords_form():
    async def play(bot, members):
        (stored,) = await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        name, payload = bot.stage.events[-1]
        assert name == "INTERACTION_CREATE"
        assert payload["data"] == {"id": stored["id"], "name": "ping", "type": 1, "options": []}
        assert payload["member"]["permissions"] == str(bot.stage.rights[ADA])
        assert payload["member"]["user"]["id"] == ADA
        assert "user" not in payload
        assert payload["channel"] == bot.stage.channel(CHANNEL) | {"permissions": str(bot.stage.rights[ADA])}
        kept = {key: payload[key] for key in ("type", "version", "guild_id", "guild", "guild_locale", "locale")}
        assert kept == {
            "type": 2,
            "version": 1,
            "guild_id": GUILD,
            "guild": {"id": GUILD, "locale": "de", "features": ["COMMUNITY"]},
            "guild_locale": "de",
            "locale": "en-US",
        }
        assert (payload["context"], payload["entitlements"]) == (0, [])
        assert payload["authorizing_integration_owners"] == {"0": GUILD}
        assert payload["token"] == handle.token
        assert len({members.invoke(ADA, CHANNEL, "ping").token for _ in range(5)}) == 5

    scenario(play)


def test_in_direct_messages_there_is_a_user_and_no_member():
    async def play(bot, members):
        await bot.register(PING)
        members.invoke(ADA, DIRECT, "ping")
        payload = bot.stage.events[-1][1]
        assert payload["user"]["id"] == ADA
        assert {"member", "guild_id", "guild"}.isdisjoint(payload)
        assert (payload["context"], payload["authorizing_integration_owners"]) == (1, {"0": "0"})

    scenario(play)


SETTINGS = {
    "name": "settings",
    "description": "Changes settings.",
    "options": [
        {
            "type": 1,
            "name": "rate",
            "description": "How often.",
            "options": [
                option(type=10, name="value", required=True, min_value=0, max_value=1),
                option(type=7, name="where", channel_types=[0]),
                option(type=6, name="who"),
                option(type=8, name="role"),
                option(type=9, name="either"),
                option(type=11, name="file"),
                option(type=4, name="times", min_value=1),
                option(type=5, name="loud"),
                option(name="word", min_length=2, max_length=4),
                option(name="pick", choices=[{"name": "A", "value": "a"}, {"name": "B", "value": "b"}]),
            ],
        },
    ],
}


def test_options_travel_below_their_sub_command_with_what_they_stand_for():
    async def play(bot, members):
        await bot.register(SETTINGS)
        values = {
            "value": 0.5,
            "where": CHANNEL,
            "who": int(BEN),
            "role": HELPERS,
            "either": HELPERS,
            "file": Upload("a.txt", b"hello", "text/plain"),
            "times": 3,
            "loud": True,
            "word": "abc",
            "pick": "b",
        }
        data = members.invoke(ADA, CHANNEL, "settings rate", values).payload["data"]
        (sub,) = data["options"]
        assert (sub["type"], sub["name"]) == (1, "rate")
        sent = {o["name"]: (o["type"], o["value"]) for o in sub["options"]}
        file_id = sent["file"][1]
        assert sent == {
            "value": (10, 0.5),
            "where": (7, CHANNEL),
            "who": (6, BEN),
            "role": (8, HELPERS),
            "either": (9, HELPERS),
            "file": (11, file_id),
            "times": (4, 3),
            "loud": (5, True),
            "word": (3, "abc"),
            "pick": (3, "b"),
        }
        resolved = data["resolved"]
        assert resolved["users"][BEN]["username"] == "ben"
        assert "user" not in resolved["members"][BEN]
        assert resolved["members"][BEN]["permissions"] == str(bot.stage.rights[BEN])
        assert resolved["channels"][CHANNEL]["permissions"] == str(bot.stage.rights[ADA])
        assert resolved["roles"][HELPERS]["name"] == "helpers"
        assert (resolved["attachments"][file_id]["filename"], resolved["attachments"][file_id]["size"]) == ("a.txt", 5)

    scenario(play)


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("nothing", {}, "no command 'nothing'"),
        ("settings", {}, "needs one of 'rate'"),
        ("settings loudness", {}, "no sub-command 'loudness'"),
        ("settings rate", {}, "'value' is required"),
        ("settings rate", {"value": 0.5, "size": 1}, r"no option \['size'\]"),
        ("settings rate", {"value": 1.5}, "outside of 0 to 1"),
        ("settings rate", {"value": float("nan")}, "outside of 0 to 1"),
        ("settings rate", {"value": "0.5"}, "cannot be typed"),
        ("settings rate", {"value": True}, "cannot be typed"),
        ("settings rate", {"value": 0.5, "times": 0}, "outside of 1"),
        ("settings rate", {"value": 0.5, "times": 1.5}, "cannot be typed"),
        ("settings rate", {"value": 0.5, "word": "a"}, "outside of 2 to 4"),
        ("settings rate", {"value": 0.5, "pick": "c"}, "not among the choices"),
        ("settings rate", {"value": 0.5, "where": DIRECT}, "channel of type 1"),
        ("settings rate", {"value": 0.5, "who": 999}, "no such thing among the users"),
        ("settings rate", {"value": 0.5, "either": 999}, "neither a member nor a role"),
        ("settings rate", {"value": 0.5, "file": b"x"}, "a file is given as Upload"),
    ],
)
def test_what_a_member_could_not_send_is_refused_before_it_is_sent(name, values, why):
    async def play(bot, members):
        await bot.register(SETTINGS)
        with pytest.raises(InvocationError, match=why):
            members.invoke(ADA, CHANNEL, name, values)
        assert bot.stage.events == []

    scenario(play)


ADMIN = {"name": "admin", "description": "x", "default_member_permissions": str(MANAGE_GUILD)}
LOCKED = {"name": "locked", "description": "x", "default_member_permissions": "0"}


def test_default_permissions_hide_commands_and_force_sends_them_anyway():
    async def play(bot, members):
        await bot.register(ADMIN, LOCKED, PING)
        bot.stage.rights[BEN] |= MANAGE_GUILD
        assert members.visible_to(ADA, CHANNEL) == ["ping"]
        assert members.visible_to(BEN, CHANNEL) == ["admin", "ping"]
        assert members.visible_to(OWNER, CHANNEL) == ["admin", "locked", "ping"]
        with pytest.raises(InvocationError, match="'admin' is hidden: the member lacks permission bits 0x20"):
            members.invoke(ADA, CHANNEL, "admin")
        assert members.invoke(ADA, CHANNEL, "admin", force=True).payload["member"]["user"]["id"] == ADA
        bot.stage.rights[ADA] &= ~(1 << 31)
        with pytest.raises(InvocationError, match="lacks Use Application Commands"):
            members.invoke(ADA, CHANNEL, "ping")
        assert members.visible_to(ADA, DIRECT) == ["admin", "locked", "ping"]

    scenario(play)


def test_a_member_uses_nothing_in_a_channel_it_cannot_see():
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        await bot.respond(handle, 4, {"content": "?", "components": row(button("yes"))})
        bot.stage.rights[BEN] &= ~(1 << 10)
        assert members.visible_to(BEN, CHANNEL) == []
        with pytest.raises(InvocationError, match="cannot see the channel"):
            members.invoke(BEN, CHANNEL, "ping")
        with pytest.raises(InvocationError, match="cannot see the channel"):
            members.click(BEN, handle.original, "yes")

    scenario(play)


def test_the_servers_settings_override_the_defaults():
    async def play(bot, members):
        admin, _, ping = await bot.register(ADMIN, LOCKED, PING)
        members.set_permissions(GUILD, "admin", [{"id": HELPERS, "type": 1, "permission": True}])
        assert members.visible_to(ADA, CHANNEL) == ["admin", "ping"]
        members.set_permissions(
            GUILD,
            "admin",
            [{"id": HELPERS, "type": 1, "permission": True}, {"id": ADA, "type": 2, "permission": False}],
        )
        assert members.visible_to(ADA, CHANNEL) == ["ping"]
        members.set_permissions(GUILD, "ping", [{"id": GUILD, "type": 1, "permission": False}])
        assert members.visible_to(ADA, CHANNEL) == []
        assert members.visible_to(OWNER, CHANNEL) == ["admin", "locked", "ping"]
        all_channels = str(int(GUILD) - 1)
        members.set_permissions(
            GUILD,
            "ping",
            [{"id": all_channels, "type": 3, "permission": False}, {"id": CHANNEL, "type": 3, "permission": True}],
        )
        assert members.visible_to(ADA, CHANNEL) == ["ping"]
        assert members.visible_to(ADA, HIDDEN_CHANNEL) == []
        status, entries = await bot.call("GET", f"{GUILD_COMMANDS}/permissions")
        assert {entry["id"] for entry in entries} == {admin["id"], ping["id"]}
        status, one = await bot.call("GET", f"{GUILD_COMMANDS}/{ping['id']}/permissions")
        assert (status, one["permissions"][1]["id"]) == (200, CHANNEL)
        assert (await bot.call("GET", f"{GUILD_COMMANDS}/{LOCKED['name']}/permissions"))[1]["code"] == 10066

    scenario(play)


@pytest.mark.parametrize(
    ("fields", "in_guild", "in_direct"),
    [
        ({}, True, True),
        ({"contexts": [0]}, True, False),
        ({"contexts": [1]}, False, True),
        ({"dm_permission": False}, True, False),
    ],
)
def test_contexts_decide_where_a_command_exists(fields, in_guild, in_direct):
    async def play(bot, members):
        await bot.register(PING | fields)
        assert (members.visible_to(ADA, CHANNEL) == ["ping"]) is in_guild
        assert (members.visible_to(ADA, DIRECT) == ["ping"]) is in_direct

    scenario(play)


# Answers


def test_a_reply_is_a_message_of_the_channel():
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        assert not handle.acknowledged
        waiting = asyncio.create_task(handle.wait_reply())
        data = {"content": "Pong!", "allowed_mentions": {"parse": []}}
        status, answer = await bot.respond(handle, 4, data)
        message = await waiting
        assert status == 200
        assert answer == {
            "interaction": {
                "id": handle.id,
                "type": 2,
                "response_message_id": message["id"],
                "response_message_loading": False,
                "response_message_ephemeral": False,
            },
            "resource": {"type": 4, "message": shown(message)},
        }
        assert message.pings == []
        assert (message["content"], message["type"], message["webhook_id"]) == ("Pong!", 20, BOT)
        assert message["interaction_metadata"]["user"]["id"] == ADA
        assert bot.stage.events[-1] == ("MESSAGE_CREATE", message)
        assert bot.stage.allowed_mentions == [{"parse": []}]
        assert (handle.deferred, handle.ephemeral, handle.files, handle.text) == (False, False, [], "Pong!")
        assert await bot.call("GET", bot.hook(handle, "/messages/@original")) == (200, shown(message))

    scenario(play)


def test_whom_an_answer_pings_is_known_also_after_a_deferral():
    async def play(bot, members):
        await bot.register(PING)
        at_once, later, quiet = (members.invoke(ADA, CHANNEL, "ping") for _ in range(3))
        await bot.respond(at_once, 4, {"content": "@everyone"})
        for handle, extra in ((later, {}), (quiet, {"allowed_mentions": {"parse": []}})):
            await bot.respond(handle, 5)
            await bot.call("PATCH", bot.hook(handle, "/messages/@original"), {"content": "@everyone"} | extra)
        assert [handle.original.pings for handle in (at_once, later, quiet)] == [["@everyone"], ["@everyone"], []]

    scenario(play)


def test_without_with_response_the_callback_answers_204():
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        path = f"/interactions/{handle.id}/{handle.token}/callback"
        assert await bot.call("POST", path, {"type": 4, "data": {"content": "Pong!"}}) == (204, None)
        assert handle.text == "Pong!"

    scenario(play)


def test_an_ephemeral_reply_is_in_no_channel_and_on_no_gateway():
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        before = len(bot.stage.events)
        status, answer = await bot.respond(handle, 4, {"content": "For you.", "flags": EPHEMERAL})
        assert answer["interaction"]["response_message_ephemeral"] is True
        assert (handle.ephemeral, handle.text) == (True, "For you.")
        assert (bot.stage.messages, len(bot.stage.events)) == ({}, before)
        original = bot.hook(handle, "/messages/@original")
        status, edited = await bot.call("PATCH", original, {"content": "Still for you."})
        assert (status, edited["flags"], handle.text) == (200, EPHEMERAL, "Still for you.")
        assert await bot.call("DELETE", original) == (204, None)
        assert handle.messages == []
        assert (await bot.call("GET", original))[1]["code"] == 10008

    scenario(play)


@pytest.mark.parametrize("flags", [0, EPHEMERAL])
def test_the_first_follow_up_after_a_deferral_finishes_the_thinking_message(flags):
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        _, answer = await bot.respond(handle, 5, {"flags": flags})
        assert answer["interaction"]["response_message_loading"] is True
        assert (handle.deferred, handle.thinking, handle.messages) == (True, True, [])
        other = 0 if flags else EPHEMERAL
        _, first = await bot.call("POST", bot.hook(handle), {"content": "Done.", "flags": other})
        assert first["id"] == handle.original_id
        assert (first["flags"], first["edited_timestamp"]) == (flags, None)  # the deferral decided who sees it
        assert (handle.thinking, handle.text, handle.ephemeral) == (False, "Done.", bool(flags))
        _status, second = await bot.call("POST", bot.hook(handle), {"content": "And more.", "flags": other})
        assert second["type"] == 19
        assert second["message_reference"]["message_id"] == first["id"]
        assert (second["flags"], handle.text) == (other, "Done.\nAnd more.")
        assert [message["id"] for message in handle.followups] == [second["id"]]
        assert handle.ephemeral is False

    scenario(play)


def test_a_deferral_can_be_finished_by_editing_the_original():
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        await bot.respond(handle, 5)
        original = bot.hook(handle, "/messages/@original")
        assert (await bot.call("PATCH", original, {"content": ""}))[1]["code"] == 50006
        status, edited = await bot.call("PATCH", original, {"content": "Done."})
        assert (status, edited["flags"], edited["edited_timestamp"]) == (200, 0, None)
        assert [name for name, _ in bot.stage.events[1:]] == ["MESSAGE_CREATE", "MESSAGE_UPDATE"]
        status, edited = await bot.call("PATCH", original, {"content": "Really."})
        assert edited["edited_timestamp"] is not None
        assert [what for what, _ in handle.history] == ["message", "callback", "message", "edit"]

    scenario(play)


def test_files_come_as_multipart_and_can_be_kept_or_dropped():
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        await bot.respond(handle, 5, {"flags": EPHEMERAL})

        def form(body, *contents):
            parts = aiohttp.FormData(quote_fields=False)
            parts.add_field("payload_json", json.dumps(body), content_type="application/json")
            for number, content in enumerate(contents):
                parts.add_field(f"files[{number}]", content, filename=f"f{number}.json", content_type="text/json")
            return parts

        content = b'{"a": 1}\r\n--not a boundary\r\n\x00\xff'
        listed = [{"id": 0, "filename": "mine.json", "description": "Yours."}]
        status, message = await bot.call(
            "POST", bot.hook(handle), data=form({"content": "Here.", "attachments": listed}, content, b" two\r\n")
        )
        assert status == 200
        assert [upload.name for upload in handle.files] == ["mine.json", "f1.json"]
        assert [upload.content for upload in handle.files] == [content, b" two\r\n"]
        assert handle.files[0].description == "Yours."
        assert [(a["filename"], a["size"]) for a in message["attachments"]] == [
            ("mine.json", len(content)),
            ("f1.json", 6),
        ]
        kept = message["attachments"][1]["id"]
        original = bot.hook(handle, "/messages/@original")
        status, edited = await bot.call("PATCH", original, {"attachments": [{"id": kept}]})
        assert [a["id"] for a in edited["attachments"]] == [kept]
        status, edited = await bot.call("PATCH", original, data=form({"content": "More."}, b"three"))
        assert [a["filename"] for a in edited["attachments"]] == ["f1.json", "f0.json"]

    scenario(play)


def test_three_seconds_without_a_callback_are_too_many():
    async def play(bot, members):
        await bot.register(PING)
        late, in_time = members.invoke(ADA, CHANNEL, "ping"), members.invoke(ADA, CHANNEL, "ping")
        bot.stage.time += 3.0
        assert (await bot.respond(in_time, 5))[0] == 200
        bot.stage.time += 0.01
        refused = (404, {"message": "Unknown interaction", "code": 10062})
        assert await bot.respond(late, 4, {"content": "Late."}) == refused
        assert (late.acknowledged, late.messages) == (False, [])
        assert (await bot.call("POST", bot.hook(late), {"content": "Late."}))[1]["code"] == 10015

    scenario(play)


def test_an_interaction_is_answered_once_and_with_its_own_token():
    async def play(bot, members):
        await bot.register(PING)
        handle, other = members.invoke(ADA, CHANNEL, "ping"), members.invoke(ADA, CHANNEL, "ping")
        wrong = f"/interactions/{handle.id}/{other.token}/callback"
        assert (await bot.call("POST", wrong, {"type": 5}))[1]["code"] == 10062
        assert (await bot.respond(handle, 4, {"content": "One."}))[0] == 200
        status, answer = await bot.respond(handle, 4, {"content": "Two."})
        assert (status, answer["code"]) == (400, 40060)
        assert handle.text == "One."
        message = f"/messages/{handle.original_id}"
        await bot.respond(other, 5)
        assert (await bot.call("GET", bot.hook(other, message)))[1]["code"] == 10008

    scenario(play)


def test_a_refused_answer_can_be_mended():
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        status, answer = await bot.respond(handle, 4, {"content": "x" * 2001})
        assert (status, answer["code"]) == (400, 50035)
        assert answer["errors"]["content"]["_errors"][0]["message"] == "Must be 2000 or fewer in length."
        assert (await bot.respond(handle, 4, {"content": ""}))[1]["code"] == 50006
        assert (await bot.respond(handle, 7, {"content": "x"}))[1]["code"] == 50035
        assert (await bot.respond(handle, 4, {"content": "x" * 2000}))[0] == 200

    scenario(play)


def test_the_token_lives_for_fifteen_minutes():
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        await bot.respond(handle, 4, {"content": "Pong!"})
        bot.stage.time += 900.0
        assert (await bot.call("POST", bot.hook(handle), {"content": "x"}))[0] == 200
        bot.stage.time += 0.01
        original = bot.hook(handle, "/messages/@original")
        for method, path in (("POST", bot.hook(handle)), ("PATCH", original), ("GET", original), ("DELETE", original)):
            body = None if method in ("GET", "DELETE") else {"content": "x"}
            assert await bot.call(method, path, body) == (401, {"message": "Invalid Webhook Token", "code": 50027})

    scenario(play)


def test_waiting_in_vain_tells_what_was_answered():
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        with pytest.raises(TimeoutError, match="so far: nothing"):
            await handle.wait_reply(timeout=0.02)
        await bot.respond(handle, 4, {"content": "Pong!"})
        with pytest.raises(TimeoutError, match=r"message 'Pong!', callback 4"):
            await handle.wait_reply(timeout=0.02, count=2)

    scenario(play)


# Context menus, components, modals, autocomplete


def test_context_menus_carry_their_target():
    async def play(bot, members):
        await bot.register({"name": "Forget this", "type": 3}, {"name": "About", "type": 2})
        said = bot.stage.send(CHANNEL, {"content": "old news", "flags": 0, "attachments": [], "embeds": []}, None)
        handle = members.invoke_context(ADA, CHANNEL, said, "Forget this")
        data = handle.payload["data"]
        assert (data["type"], data["target_id"], data["resolved"]) == (3, said["id"], {"messages": {said["id"]: said}})
        await bot.respond(handle, 4, {"content": "Gone.", "flags": EPHEMERAL})
        assert handle.messages[0]["type"] == 23
        assert handle.messages[0]["interaction_metadata"]["target_message_id"] == said["id"]
        about = members.invoke_context(ADA, CHANNEL, BEN, "About", user=True)
        assert about.payload["data"]["resolved"]["users"][BEN]["username"] == "ben"
        assert about.payload["data"]["resolved"]["members"][BEN]["roles"] == []
        with pytest.raises(InvocationError, match="no message 999"):
            members.invoke_context(ADA, CHANNEL, 999, "Forget this")
        with pytest.raises(InvocationError, match="no command"):
            members.invoke(ADA, CHANNEL, "About")

    scenario(play)


def row(*components):
    return [{"type": 1, "components": list(components)}]


def button(custom_id, **fields):
    return {"type": 2, "style": 1, "label": custom_id, "custom_id": custom_id} | fields


def test_a_click_can_update_its_message_or_answer_it():
    async def play(bot, members):
        await bot.register(PING)
        opened = members.invoke(ADA, CHANNEL, "ping")
        await bot.respond(opened, 4, {"content": "Sure?", "components": row(button("yes"), button("no"))})
        card = opened.original
        click = members.click(BEN, card, "yes")
        payload = bot.stage.events[-1][1]
        assert (payload["type"], payload["message"]["id"]) == (3, card["id"])
        assert (payload["data"]["custom_id"], payload["data"]["component_type"]) == ("yes", 2)
        _, answer = await bot.respond(click, 7, {"content": "Yes.", "components": []})
        assert answer["resource"] == {"type": 7, "message": shown(click.original)}
        assert bot.stage.messages[card.id]["content"] == click.messages[-1].content == "Yes."
        assert click.text == "Yes."
        with pytest.raises(InvocationError, match="no component 'yes'"):
            members.click(BEN, card, "yes")

        again = members.invoke(ADA, CHANNEL, "ping")
        await bot.respond(again, 4, {"content": "Sure?", "components": row(button("yes"))})
        click = members.click(BEN, again.original, "yes")
        assert (await bot.respond(click, 6))[0] == 200
        assert (click.deferred, click.messages) == (True, [])
        _, edited = await bot.call("PATCH", bot.hook(click, "/messages/@original"), {"content": "Later."})
        assert (edited["id"], click.text) == (again.original_id, "Later.")
        _status, reply = await bot.call("POST", bot.hook(click), {"content": "Psst.", "flags": EPHEMERAL})
        assert (reply["type"], reply["message_reference"]["message_id"]) == (19, again.original_id)

    scenario(play)


def test_buttons_of_ephemeral_messages_are_for_their_reader():
    async def play(bot, members):
        await bot.register(PING)
        opened = members.invoke(ADA, CHANNEL, "ping")
        data = {"content": "?", "flags": EPHEMERAL, "components": row(button("yes"), button("no", disabled=True))}
        await bot.respond(opened, 4, data)
        with pytest.raises(InvocationError, match="ephemeral"):
            members.click(BEN, opened.original, "yes")
        with pytest.raises(InvocationError, match="disabled"):
            members.click(ADA, opened.original, "no")
        click = members.click(ADA, opened.original, "yes")
        await bot.respond(click, 7, {"content": "Done.", "components": []})
        assert (await bot.call("GET", bot.hook(opened, "/messages/@original")))[1]["content"] == "Done."

    scenario(play)


def test_a_select_menu_offers_only_its_options():
    async def play(bot, members):
        await bot.register(PING)
        opened = members.invoke(ADA, CHANNEL, "ping")
        options = [{"label": word, "value": word} for word in ("a", "b", "c")]
        menus = [
            *row({"type": 3, "custom_id": "words", "options": options, "max_values": 2}),
            *row({"type": 5, "custom_id": "people"}),
        ]
        await bot.respond(opened, 4, {"content": "?", "components": menus})
        assert members.click(ADA, opened.original, "words", ["a", "c"]).payload["data"]["values"] == ["a", "c"]
        people = members.click(ADA, opened.original, "people", [BEN]).payload["data"]
        assert (people["values"], people["resolved"]["users"][BEN]["username"]) == ([BEN], "ben")
        for values, why in ((["d"], "offers"), (["a", "b", "c"], "takes 1 to 2"), ([], "takes 1 to 2")):
            with pytest.raises(InvocationError, match=why):
                members.click(ADA, opened.original, "words", values)

    scenario(play)


@pytest.mark.parametrize(
    "components",
    [row(button("same"), button("same")), row(button("x" * 101)), row(*(button(f"{i}") for i in range(6))), row()],
)
def test_components_that_break_the_rules_are_refused(components):
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        status, answer = await bot.respond(handle, 4, {"content": "?", "components": components})
        assert (status, answer["code"]) == (400, 50035)

    scenario(play)


def test_a_modal_is_opened_filled_in_and_answered():
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        text = {"type": 4, "custom_id": "why", "label": "Why?", "style": 1, "min_length": 3}
        modal = {"custom_id": "ask", "title": "A question", "components": row(text)}
        assert (await bot.respond(handle, 9, {**modal, "title": ""}))[1]["code"] == 50035
        _status, answer = await bot.respond(handle, 9, modal)
        assert answer == {"interaction": {"id": handle.id, "type": 2}}
        assert handle.modal["title"] == "A question"
        assert (await bot.call("GET", bot.hook(handle, "/messages/@original")))[1]["code"] == 10008
        for texts, why in (({}, "required"), ({"why": "no"}, "outside of 3"), ({"who": "me"}, "no input")):
            with pytest.raises(InvocationError, match=why):
                members.submit_modal(handle, texts)
        sent = members.submit_modal(handle, {"why": "because"})
        assert sent.payload["type"] == 5
        assert sent.payload["data"]["components"][0]["components"][0]["value"] == "because"
        assert (await bot.respond(sent, 9, modal))[1]["code"] == 50035
        await bot.respond(sent, 4, {"content": "I see."})
        assert sent.text == "I see."

    scenario(play)


def test_autocomplete_sends_what_is_typed_and_takes_choices():
    async def play(bot, members):
        await bot.register({**PING, "options": [option(required=True, autocomplete=True), option(name="other")]})
        handle = members.autocomplete(ADA, CHANNEL, "ping", focused="text", typed="he", others={"other": "x"})
        assert handle.payload["type"] == 4
        assert handle.payload["data"]["options"] == [
            {"type": 3, "name": "text", "value": "he", "focused": True},
            {"type": 3, "name": "other", "value": "x"},
        ]
        choices = [{"name": "hello", "value": "hello"}]
        assert (await bot.respond(handle, 4, {"content": "x"}))[1]["code"] == 50035
        assert (await bot.respond(handle, 8, {"choices": choices * 26}))[1]["code"] == 50035
        assert (await bot.respond(handle, 8, {"choices": choices}))[0] == 200
        assert handle.choices == choices

    scenario(play)


def test_embeds_have_limits():
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        too_long = [
            [{"title": "x" * 257}],
            [{"description": "x" * 4097}],
            [{"description": "x" * 3001}] * 2,
            [{"title": "x"}] * 11,
            [{"fields": [{"name": "x", "value": "y"}] * 26}],
        ]
        for embeds in too_long:
            assert (await bot.respond(handle, 4, {"embeds": embeds}))[1]["code"] == 50035
        assert (await bot.respond(handle, 4, {"embeds": [{"title": "x"}]}))[0] == 200
        assert handle.messages[0]["embeds"] == [{"type": "rich", "title": "x"}]

    scenario(play)


def test_broken_json_is_refused():
    async def play(bot, members):
        await bot.register(PING)
        handle = members.invoke(ADA, CHANNEL, "ping")
        path = f"/interactions/{handle.id}/{handle.token}/callback"
        assert (await bot.call("POST", path, data=b"{"))[1]["code"] == 50109
        assert (await bot.call("PUT", COMMANDS, data=b"{"))[0] == 400
        assert not handle.acknowledged

    scenario(play)
