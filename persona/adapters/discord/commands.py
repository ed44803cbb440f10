"""Commands on Discord: slash commands, the message menu, buttons, and messages with a prefix."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

import discord
import structlog

from persona.adapters.discord.command_answers import Conversation, InteractionPlace, ReplyPlace, WithdrawnPlace
from persona.adapters.discord.command_forms import fingerprint, registered
from persona.adapters.discord.command_intake import Intake
from persona.adapters.discord.errors import TROUBLE, described, not_delivered
from persona.adapters.discord.events import Emit
from persona.adapters.discord.places import Allowed, Places
from persona.domain.chat import Channel
from persona.domain.command_line import is_typed_command
from persona.domain.commands import Answer, CommandSpec, Invocation, Via
from persona.errors import DeliveryError, StoreError
from persona.ports.transport import CommandInvoked

log = structlog.get_logger(__name__)

REGISTERED_NOTE = "discord.commands"

_ACKNOWLEDGE_SECONDS = 10.0
_MOST_OPEN = 500
_EXPIRED = frozenset({10008, 10015, 10062, 50027})
"""Unknown message, unknown webhook, unknown interaction, invalid webhook token: the time to answer is over."""


class Notes(Protocol):
    """Small texts that survive a restart; see `ports.desk.Desk`."""

    async def note(self, name: str) -> str | None:
        """Return a text."""
        ...

    async def keep_note(self, name: str, text: str) -> None:
        """Keep a text."""
        ...


class DiscordCommands:
    """The `CommandDoor`: takes commands in, shows answers.

    Interactions are acknowledged before anything else (Discord waits three seconds), and only then reported: what
    could not be acknowledged, the caller has seen fail. The definitions are registered when they differ from those that
    were registered last, as `notes` remember it.
    """

    def __init__(self, *, prefix: str, allowed: Allowed, notes: Notes) -> None:
        self._prefix = prefix
        self._notes = notes
        self._intake = Intake(prefix=prefix, places=Places(allowed))
        self._open: OrderedDict[int, Conversation] = OrderedDict()

    def is_command(self, text: str) -> bool:
        """Say whether a message's text is meant as a command to the persona."""
        return is_typed_command(text, self._prefix)

    def from_message(
        self, payload: Mapping[str, Any], channel: Channel, guild: discord.Guild | None
    ) -> CommandInvoked | None:
        """Return the command in a MESSAGE_CREATE payload; None when it holds none."""
        invocation = self._intake.typed(payload, channel, guild)
        return None if invocation is None else CommandInvoked(invocation=invocation)

    async def install(self, client: discord.Client, emit: Emit) -> None:
        """Take in the interactions of a client that has just logged in, and register the commands if need be.

        Raises:
            discord.DiscordException: they could not be registered; interactions are heard all the same.
        """

        async def on_interaction(interaction: discord.Interaction[Any]) -> None:
            await self._hear(interaction, emit)

        client.event(on_interaction)
        self._intake.owners = _owners(client.application)
        self._intake.only_server = lambda: _is_on_one_server(client)
        await self._register(client)

    async def answer(self, client: discord.Client, invocation: Invocation, answer: Answer) -> None:
        """Show an answer; again for the same invocation replaces it. What comes too late is logged.

        Raises:
            DeliveryError: it cannot be shown.
        """
        conversation = self._conversation(client, invocation)
        if conversation is None:
            log.warning("discord_interaction_unknown", command=invocation.command)
            return
        try:
            await _show(conversation, answer)
        except discord.HTTPException as error:
            if error.code not in _EXPIRED:
                raise not_delivered(error) from None
            log.warning("discord_interaction_expired", command=invocation.command, reason=described(error))
            self._open.pop(invocation.id, None)
        except TROUBLE as error:
            raise not_delivered(error) from error
        except RuntimeError as error:
            if "closed" not in str(error):
                raise
            # The session of a client that was replaced meanwhile: aiohttp has no class of its own for this.
            raise DeliveryError("the connection was closed meanwhile") from error
        if answer.done:
            self._open.pop(invocation.id, None)

    # --- coming in ---

    async def _hear(self, interaction: discord.Interaction[Any], emit: Emit) -> None:
        """Acknowledge an interaction, then report it; an old button of an earlier version says that it is one."""
        found = self._intake.interaction(interaction)
        if found is None:
            log.info("discord_interaction_not_ours", kind=str(interaction.type))
            return
        spec, invocation = found
        if invocation.id in self._open or not await self._acknowledged(interaction, spec):
            return
        place = InteractionPlace(interaction, private=self._is_private(interaction, spec))
        self._keep(invocation.id, Conversation(place=place))
        emit(CommandInvoked(invocation=invocation))

    async def _acknowledged(self, interaction: discord.Interaction[Any], spec: CommandSpec) -> bool:
        """Tell Discord that an answer follows; False when it is too late."""
        in_place = _is_own_private_message(interaction)
        try:
            async with asyncio.timeout(_ACKNOWLEDGE_SECONDS):
                if in_place:
                    await interaction.response.defer()
                else:
                    await interaction.response.defer(ephemeral=self._is_private(interaction, spec), thinking=True)
        except TROUBLE as error:
            log.warning("discord_interaction_not_acknowledged", command=spec.name, reason=described(error))
            return False
        return True

    def _is_private(self, interaction: discord.Interaction[Any], spec: CommandSpec) -> bool:
        """Say whether the answer is for the caller alone: buttons and menus always."""
        return spec.private or interaction.type is discord.InteractionType.component

    # --- going out ---

    def _conversation(self, client: discord.Client, invocation: Invocation) -> Conversation | None:
        found = self._open.get(invocation.id)
        if found is None and invocation.via is Via.PREFIX:
            found = Conversation(place=ReplyPlace(client, invocation))
            self._keep(invocation.id, found)
        return found

    def _keep(self, invocation_id: int, conversation: Conversation) -> None:
        """Remember where to answer; the oldest are let go of, should their answers never come."""
        self._open[invocation_id] = conversation
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)

    # --- registering ---

    async def _register(self, client: discord.Client) -> None:
        application_id = client.application_id
        if application_id is None:
            return
        wanted = fingerprint(application_id)
        try:
            if await self._notes.note(REGISTERED_NOTE) == wanted:
                return
            await client.http.bulk_upsert_global_commands(application_id, registered())
            await self._notes.keep_note(REGISTERED_NOTE, wanted)
        except StoreError as error:
            log.warning("discord_commands_not_noted", reason=str(error))
            return
        log.info("discord_commands_registered", count=len(registered()))


async def _show(conversation: Conversation, answer: Answer) -> None:
    """Show an answer where it was promised; a private one to a public promise comes apart from it."""
    place = conversation.place
    if answer.private and isinstance(place, InteractionPlace) and not place.private and not conversation.shown:
        conversation.place = await WithdrawnPlace.in_place_of(place)
    await conversation.show(answer)


def _is_own_private_message(interaction: discord.Interaction[Any]) -> bool:
    """Say whether a button stands under an answer that only its presser sees: the next one takes its place."""
    message = interaction.message
    return message is not None and message.flags.ephemeral


def _is_on_one_server(client: discord.Client) -> bool:
    """Say whether the bot is on one server; with several connections nobody knows before all of them are there."""
    return len(client.guilds) == 1 and (client.shard_count or 1) == 1


def _owners(application: discord.AppInfo | None) -> frozenset[int]:
    """Return to whom the bot belongs: its owner, or those of its team who may administer it."""
    if application is None:
        return frozenset()
    if application.team is None:
        return frozenset({application.owner.id})
    trusted = {discord.TeamMemberRole.admin, discord.TeamMemberRole.developer}
    members = [one.id for one in application.team.members if one.role in trusted]
    return frozenset(one for one in (application.team.owner_id, *members) if one is not None)
