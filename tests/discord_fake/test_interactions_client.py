"""Interactions as an unpatched discord.py client has them: it logs in, syncs, answers, edits, and restarts."""

import asyncio
import contextlib
import io
import warnings

import pytest
import yarl

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports audioop, which Python 3.13 leaves out
    import discord
    from discord import app_commands

from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.interactions import InvocationError, Upload

MANAGE_GUILD = 1 << 5


class Client(discord.Client):
    """A bot with every kind of interaction."""

    def __init__(self, guild, *, persistent=False):
        super().__init__(intents=discord.Intents(guilds=True), max_messages=None, guild_ready_timeout=0.1)
        self.place = discord.Object(int(guild.id))
        self.tree = app_commands.CommandTree(self)
        self.persistent = persistent
        self.seen = []
        self.failures = []
        install_plain(self)
        install_interactive(self)

        async def on_error(interaction, error):
            self.failures.append(error)

        self.tree.error(on_error)

    async def setup_hook(self):
        if self.persistent:
            self.add_view(Card())
        await self.tree.sync()
        await self.tree.sync(guild=self.place)


class Card(discord.ui.View):
    """A consent card whose buttons outlive the process."""

    def __init__(self):
        super().__init__(timeout=None)

    @discord.ui.button(label="Yes", custom_id="consent:yes", style=discord.ButtonStyle.green)
    async def yes(self, interaction, button):
        await interaction.response.send_message(f"Noted, {interaction.user.name}.", ephemeral=True)

    @discord.ui.button(label="No", custom_id="consent:no")
    async def no(self, interaction, button):
        await interaction.response.edit_message(content="The card is closed.", view=None)

    @discord.ui.button(label="Wait", custom_id="consent:wait")
    async def wait(self, interaction, button):
        await interaction.response.defer()
        await interaction.edit_original_response(content="Waited.")


class Question(discord.ui.Modal, title="A question"):
    why = discord.ui.TextInput(label="Why?", custom_id="why", min_length=3)

    async def on_submit(self, interaction):
        await interaction.response.send_message(f"Because {self.why.value}.")


def install_plain(client):
    tree, seen = client.tree, client.seen

    @tree.command(description="Adds.")
    @app_commands.describe(a="One number.", b="Another one.")
    async def add(interaction: discord.Interaction, a: int, b: app_commands.Range[int, 0, 10] = 1):
        seen.append((interaction.user.name, interaction.guild_id, interaction.permissions.value))
        await interaction.response.send_message(f"{a + b}")

    @tree.command(description="Takes a while.")
    async def slow(interaction: discord.Interaction, quietly: bool):
        await interaction.response.defer(ephemeral=quietly, thinking=True)
        await asyncio.sleep(0.02)
        first = await interaction.followup.send("First.", wait=True)
        second = await interaction.followup.send("Second.", ephemeral=True, wait=True)
        await first.edit(content="First, mended.")
        await second.delete()
        seen.append((await interaction.original_response()).content)

    @tree.command(description="Your data.")
    async def mydata(interaction: discord.Interaction):
        await interaction.response.defer(ephemeral=True)
        file = discord.File(io.BytesIO(b'{"messages": []}'), "mydata.json", description="All of it.")
        await interaction.followup.send("Here it is.", file=file)

    @tree.command(description="Reads a file, and whom it is about.")
    async def read(interaction: discord.Interaction, file: discord.Attachment, who: discord.Member):
        await interaction.response.send_message(f"{file.filename} {file.size} {who.name}", ephemeral=True)


def install_interactive(client):
    tree = client.tree

    @tree.command(description="A card.")
    async def card(interaction: discord.Interaction):
        await interaction.response.send_message("May we?", view=Card())

    @tree.command(description="Asks.")
    async def ask(interaction: discord.Interaction):
        await interaction.response.send_modal(Question())

    @tree.command(description="Says a word.")
    async def say(interaction: discord.Interaction, word: str):
        await interaction.response.send_message(word)

    @say.autocomplete("word")
    async def words(interaction: discord.Interaction, current: str):
        return [app_commands.Choice(name=w, value=w) for w in ("hello", "help", "stop") if w.startswith(current)]

    @tree.command(description="For managers.", guild=client.place)
    @app_commands.default_permissions(manage_guild=True)
    async def manage(interaction: discord.Interaction):
        await interaction.response.send_message("Managed.", ephemeral=True)

    @tree.command(description="Answers twice.")
    async def twice(interaction: discord.Interaction):
        await interaction.response.send_message("Once.")
        again = discord.InteractionResponse(interaction)
        await again.send_message("Twice.")

    @tree.context_menu(name="Forget this")
    async def forget(interaction: discord.Interaction, message: discord.Message):
        await interaction.response.send_message(f"Forgot {message.content!r}.", ephemeral=True)

    settings = app_commands.Group(name="settings", description="Settings.")

    @settings.command(name="rate", description="How often.")
    async def rate(interaction: discord.Interaction, value: app_commands.Range[float, 0.0, 1.0]):
        await interaction.response.send_message(f"{value}", ephemeral=True)

    tree.add_command(settings)


async def until(check):
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.005)


class Scene:
    """A server with an owner and two members, and a bot that is connected to it."""

    def __init__(self, fake, monkeypatch):
        self.fake, self.world, self.members = fake, fake.world, fake.interactions
        self.guild = self.world.add_guild("Garden")
        self.channel = self.world.add_channel(self.guild, "general")
        self.owner = self.guild.owner
        self.ada, self.ben = (self.world.add_member(self.guild, name) for name in ("ada", "ben"))
        self.direct = self.world.direct_channel(self.ada.id)
        self.client = None
        monkeypatch.setattr(discord.http.Route, "BASE", fake.api_url)
        monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(fake.gateway_url))

    def invoke(self, member, name, options=None, **more):
        return self.world.invoke(member, self.channel, name, options, **more)

    @contextlib.asynccontextmanager
    async def bot(self, *, persistent=False):
        async with Client(self.guild, persistent=persistent) as self.client:
            running = asyncio.create_task(self.client.start(self.fake.token))
            try:
                await asyncio.wait_for(self.client.wait_until_ready(), 10)
                yield self.client
            finally:
                await self.client.close()
                await running


@pytest.fixture
def scenario(monkeypatch):
    def start(play, *, alone=False):
        async def run():
            async with FakeDiscord(seed=3) as fake:
                scene = Scene(fake, monkeypatch)
                if alone:
                    await play(scene)
                else:
                    async with scene.bot():
                        await play(scene)

        asyncio.run(run())

    return start


def test_the_tree_syncs_global_and_guild_commands(scenario):
    async def play(at):
        commands = at.members.commands
        names = ["Forget this", "add", "ask", "card", "mydata", "read", "say", "settings", "slow", "twice"]
        assert sorted(c["name"] for c in commands.all(None)) == names
        (manage,) = commands.all(at.guild.id)
        assert (manage["name"], manage["default_member_permissions"]) == ("manage", str(MANAGE_GUILD))
        ids = {command.name: command.id for command in await at.client.tree.fetch_commands()}
        assert ids == {command.name: command.id for command in await at.client.tree.sync()}
        assert ids["add"] == int(commands.find(None, "add", 1)["id"])

    scenario(play)


def test_a_command_with_options_is_answered(scenario):
    async def play(at):
        assert (await at.invoke(at.ada, "add", {"a": 2, "b": 3}).wait_reply()).content == "5"
        assert (await at.invoke(at.ben, "add", {"a": 2}).wait_reply()).content == "3"
        assert (await at.world.invoke(at.ada, at.direct, "add", {"a": 1}).wait_reply()).content == "2"
        rights = at.world.permissions(at.channel.id, at.ada.id)
        guild_id = int(at.guild.id)
        assert at.client.seen == [("ada", guild_id, rights), ("ben", guild_id, rights), ("ada", None, 0)]
        assert [message.content for message in at.world.messages(at.channel)] == ["5", "3"]
        with pytest.raises(InvocationError, match="outside of 0 to 10"):
            at.invoke(at.ada, "add", {"a": 2, "b": 11})

    scenario(play)


def test_sub_commands_are_reached(scenario):
    async def play(at):
        handle = at.invoke(at.ada, "settings rate", {"value": 0.5})
        assert (await handle.wait_reply()).content == "0.5"
        assert handle.ephemeral
        assert at.world.messages(at.channel) == []

    scenario(play)


@pytest.mark.parametrize("quietly", [True, False])
def test_deferral_follow_ups_edits_and_deletion(scenario, quietly):
    async def play(at):
        handle = at.invoke(at.ada, "slow", {"quietly": quietly})
        await handle.wait_ack()
        assert (handle.deferred, handle.ephemeral) == (True, quietly)
        await until(lambda: at.client.seen)
        assert at.client.seen == ["First, mended."]
        assert [what for what, _ in handle.history] == ["message", "callback", "message", "message", "edit", "delete"]
        assert (handle.text, handle.ephemeral) == ("First, mended.", quietly)
        standing = [] if quietly else [("First, mended.", 20)]
        assert [(message.content, message.type) for message in at.world.messages(at.channel)] == standing
        finished = next(payload for what, payload in handle.history[2:] if what == "message")
        assert finished["edited_timestamp"] is None

    scenario(play)


def test_a_file_comes_with_a_follow_up(scenario):
    async def play(at):
        handle = at.invoke(at.ada, "mydata")
        message = await handle.wait_reply()
        (file,) = handle.files
        assert (file.name, file.content, file.description) == ("mydata.json", b'{"messages": []}', "All of it.")
        assert (message.attachments[0]["filename"], handle.ephemeral) == ("mydata.json", True)
        assert at.world.messages(at.channel) == []

    scenario(play)


def test_files_and_members_are_resolved(scenario):
    async def play(at):
        handle = at.invoke(at.ada, "read", {"file": Upload("a.txt", b"hello"), "who": at.ben})
        assert (await handle.wait_reply()).content == "a.txt 5 ben"

    scenario(play)


def test_a_context_menu_gets_its_message(scenario):
    async def play(at):
        said = at.world.say(at.channel, at.ben, "something silly")
        handle = at.world.invoke_context(at.ada, at.channel, said, "Forget this")
        assert (await handle.wait_reply()).content == "Forgot 'something silly'."
        assert handle.ephemeral

    scenario(play)


def test_buttons_answer_update_and_defer(scenario):
    async def play(at):
        card = await at.invoke(at.owner, "card").wait_reply()
        yes = at.world.click(at.ada, card, "consent:yes")
        assert (await yes.wait_reply()).content == "Noted, ada."
        assert yes.ephemeral
        waited = at.world.click(at.ada, card, "consent:wait")
        assert (await waited.wait_reply()).content == "Waited."
        assert waited.callback_type == 6
        no = at.world.click(at.ada, card, "consent:no")
        assert (await no.wait_reply()).content == "The card is closed."
        (standing,) = at.world.messages(at.channel)
        assert (standing.content, standing.components) == ("The card is closed.", [])

    scenario(play)


def test_a_card_that_the_bot_posted_can_be_clicked(scenario):
    async def play(at):
        channel = await at.client.fetch_channel(int(at.channel.id))
        await channel.send("May we?", view=Card())
        (card,) = at.world.messages(at.channel)
        assert (await at.world.click(at.ada, card, "consent:yes").wait_reply()).content == "Noted, ada."

    scenario(play)


def test_a_persistent_view_works_after_a_restart(scenario):
    async def play(at):
        async with at.bot():
            card = await at.invoke(at.owner, "card").wait_reply()
        async with at.bot():
            with pytest.raises(TimeoutError, match="nothing"):
                await at.world.click(at.ada, card, "consent:yes").wait_ack(timeout=0.3)
        async with at.bot(persistent=True):
            again = at.world.click(at.ada, card, "consent:yes")
            assert (await again.wait_reply()).content == "Noted, ada."

    scenario(play, alone=True)


def test_a_modal_is_filled_in(scenario):
    async def play(at):
        handle = at.invoke(at.ada, "ask")
        assert await handle.wait_ack() == 9
        sent = at.members.submit_modal(handle, {"why": "I can"})
        assert (await sent.wait_reply()).content == "Because I can."

    scenario(play)


def test_autocomplete_suggests(scenario):
    async def play(at):
        handle = at.members.autocomplete(at.ada, at.channel, "say", focused="word", typed="hel")
        await handle.wait_ack()
        assert [choice["value"] for choice in handle.choices] == ["hello", "help"]

    scenario(play)


def test_default_permissions_hold_on_the_server(scenario):
    async def play(at):
        with pytest.raises(InvocationError, match="hidden"):
            at.invoke(at.ada, "manage")
        assert (await at.invoke(at.owner, "manage").wait_reply()).content == "Managed."
        assert (await at.invoke(at.ada, "manage", force=True).wait_reply()).content == "Managed."
        manager = at.world.add_member(at.guild, "mia", permissions=["manage_guild"])
        assert (await at.invoke(manager, "manage").wait_reply()).content == "Managed."

    scenario(play)


def test_a_second_answer_is_refused(scenario):
    async def play(at):
        handle = at.invoke(at.ada, "twice")
        await until(lambda: at.client.failures)
        (failure,) = at.client.failures
        assert isinstance(failure.original, discord.HTTPException)
        assert failure.original.code == 40060
        assert handle.text == "Once."

    scenario(play)


def test_a_late_answer_is_refused(scenario):
    async def play(at):
        at.members.answers.callback_seconds = -1.0
        handle = at.invoke(at.ada, "add", {"a": 1})
        await until(lambda: at.client.failures)
        assert isinstance(at.client.failures[0].original, discord.NotFound)
        assert at.client.failures[0].original.code == 10062
        assert not handle.acknowledged

    scenario(play)


@pytest.mark.parametrize("loud", [True, False])
def test_an_answer_that_pings_is_recorded_as_such(scenario, loud):
    async def play(at):
        at.fake.pings_expected = loud
        if not loud:
            at.client._connection.allowed_mentions = discord.AllowedMentions.none()
        await at.invoke(at.ada, "say", {"word": f"Hello, <@{at.ben.id}>!"}).wait_reply()
        assert at.fake.posts[-1].pings == ([at.ben.id] if loud else [])

    scenario(play)


def test_everything_is_recorded_and_interactions_need_no_token_of_the_bot(scenario):
    async def play(at):
        at.fake.limits.global_per_second = 0
        assert (await at.invoke(at.ada, "add", {"a": 1}).wait_reply()).content == "2"
        post = at.fake.posts[-1]
        assert (post.route, post.auth) == ("POST /interactions/{}/{}/callback", None)
        assert post.json["data"]["content"] == "2"
        assert at.fake.limits.total_429 == 0

    scenario(play)
