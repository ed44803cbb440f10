"""Turns interactions and typed messages into invocations: who, where, what, and with which rights."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import discord

from persona.adapters.discord import convert
from persona.adapters.discord.command_forms import MESSAGE_MENU, button_meaning, options_in
from persona.adapters.discord.places import Places
from persona.adapters.discord.texts import clean
from persona.domain.chat import Author, AuthorId, Channel, ChannelId, ChannelKind, GuildId, MessageId
from persona.domain.command_line import Typed, parse_prefix, usage
from persona.domain.commands import (
    MENU_FORGET,
    Audience,
    Caller,
    CommandSpec,
    Invocation,
    OptionKind,
    OptionValue,
    Via,
    find_command,
)

Payload = Mapping[str, Any]

_REPLY = 19
_HUMAN = frozenset({0, _REPLY})
_CATEGORY = 4
_CHANNEL_MENTION = re.compile(r"<#(\d{1,20})>|(\d{1,20})")


class Intake:
    """Reads commands; `owners` are the people to whom the application belongs, `only_server` is asked for each one."""

    def __init__(self, *, prefix: str, places: Places) -> None:
        self._prefix = prefix
        self._places = places
        self.owners: frozenset[int] = frozenset()
        self.only_server: Callable[[], bool] = lambda: False

    def typed(self, payload: Payload, channel: Channel, guild: discord.Guild | None) -> Invocation | None:
        """Return the command in a new message; None for talk, and for whatever a bot or webhook says."""
        if payload.get("type", 0) not in _HUMAN or "webhook_id" in payload:
            return None
        text = clean(payload.get("content"))
        typed = parse_prefix(text, self._prefix)
        author = convert.author(payload["author"], payload.get("member"), convert.no_nick)
        if typed is None or author.is_bot:
            return None
        roles = frozenset(int(role) for role in (payload.get("member") or {}).get("roles") or ())
        answered = payload.get("referenced_message") or {}
        reference = payload.get("message_reference") or {}
        target = reference.get("message_id") if payload.get("type") == _REPLY else None
        options, named, problem = self._resolved(typed, guild)
        return Invocation(
            id=int(payload["id"]),
            command=typed.spec.name,
            caller=Caller(
                author=author,
                role_ids=roles,
                is_owner=author.id in self.owners,
                may_manage=guild is not None and _may_manage(guild, author.id, roles),
                only_server=guild is not None and self.only_server(),
                sees=self._sees(typed.spec, guild, author.id, roles),
            ),
            channel=channel,
            via=Via.PREFIX,
            options={} if problem else options,
            target=MessageId(int(target)) if target else None,
            target_author=_author_id(answered.get("author")),
            named=named,
            problem=problem,
        )

    def interaction(self, interaction: discord.Interaction[Any]) -> tuple[CommandSpec, Invocation] | None:
        """Return the command that an interaction gives; None when it is none of ours."""
        data: Payload = dict(interaction.data or {})
        match interaction.type:
            case discord.InteractionType.application_command if data.get("type") == MESSAGE_MENU:
                spec = find_command("forget") if data.get("name") == MENU_FORGET else None
                return None if spec is None else (spec, self._from_menu(interaction, data, spec))
            case discord.InteractionType.application_command:
                spec = find_command(str(data.get("name")))
                if spec is not None:
                    return spec, self._invocation(interaction, spec, Via.SLASH, options_in(data))
            case discord.InteractionType.component:
                meaning = button_meaning(str(data.get("custom_id")))
                if meaning is not None:
                    spec, options = meaning[0], dict(meaning[1])
                    return spec, self._invocation(interaction, spec, Via.BUTTON, options)
        return None

    def _from_menu(self, interaction: discord.Interaction[Any], data: Payload, spec: CommandSpec) -> Invocation:
        target = str(data.get("target_id"))
        message = ((data.get("resolved") or {}).get("messages") or {}).get(target) or {}
        # A webhook's messages belong to nobody who could ask for them.
        author = None if "webhook_id" in message else _author_id(message.get("author"))
        return self._invocation(interaction, spec, Via.MENU, {}, target=MessageId(int(target)), target_author=author)

    def _invocation(
        self,
        interaction: discord.Interaction[Any],
        spec: CommandSpec,
        via: Via,
        options: Mapping[str, OptionValue],
        *,
        target: MessageId | None = None,
        target_author: AuthorId | None = None,
    ) -> Invocation:
        guild = interaction.guild
        return Invocation(
            id=interaction.id,
            command=spec.name,
            caller=self._caller(interaction, spec),
            channel=self._channel(interaction),
            via=via,
            options=options,
            target=target,
            target_author=target_author,
            named=self._named(spec, options, guild),
        )

    def _caller(self, interaction: discord.Interaction[Any], spec: CommandSpec) -> Caller:
        user, permissions = interaction.user, interaction.permissions
        name = clean(user.name) or str(user.id)
        member = isinstance(user, discord.Member)
        held = user.roles if isinstance(user, discord.Member) else []
        roles = frozenset(role.id for role in held if not role.is_default())
        return Caller(
            author=Author(
                id=AuthorId(user.id), name=name, display_name=clean(user.display_name) or name, is_bot=user.bot
            ),
            role_ids=roles,
            is_owner=user.id in self.owners,
            may_manage=member and (_is_theirs(interaction.guild, user.id) or _manages(permissions)),
            only_server=member and self.only_server(),
            sees=self._sees(spec, interaction.guild, user.id, roles),
        )

    def _channel(self, interaction: discord.Interaction[Any]) -> Channel:
        channel_id = interaction.channel_id or 0
        if interaction.guild is not None:
            return self._places.find(channel_id, interaction.guild)
        return Channel(
            id=ChannelId(channel_id), guild_id=GuildId(0), name=clean(interaction.user.name), kind=ChannelKind.DIRECT
        )

    def _sees(
        self, spec: CommandSpec, guild: discord.Guild | None, user_id: int, roles: frozenset[int]
    ) -> frozenset[ChannelId]:
        """Return which channels somebody can see, where the answer could name some that they cannot."""
        if guild is None or spec.audience is not Audience.ADMIN:
            return frozenset()
        return self._places.visible_to(user_id, roles, guild)

    # --- channels that options name ---

    def _named(
        self, spec: CommandSpec, options: Mapping[str, OptionValue], guild: discord.Guild | None
    ) -> Channel | None:
        wanted = next((options.get(each.name) for each in spec.options if each.kind is OptionKind.CHANNEL), None)
        if wanted is None or guild is None or not str(wanted).isdigit():
            return None
        found = self._places.find(int(wanted), guild)
        return found if found.kind is not ChannelKind.OTHER or found.name else None

    def _resolved(
        self, typed: Typed, guild: discord.Guild | None
    ) -> tuple[dict[str, OptionValue], Channel | None, str]:
        """Return the options with channels as ids, the channel they name, and what is wrong."""
        options = dict(typed.options)
        for option in typed.spec.options:
            word = options.get(option.name)
            if option.kind is not OptionKind.CHANNEL or word is None:
                continue
            ids = _channel_ids(str(word), guild)
            if len(ids) != 1:
                found = "There are several channels" if ids else "There is no channel"
                problem = f"{found} of that name here. Write: `{usage(typed.spec, self._prefix)}`, with #channel."
                return {}, None, problem
            options[option.name] = str(ids[0])
        return options, self._named(typed.spec, options, guild), typed.problem


def _channel_ids(word: str, guild: discord.Guild | None) -> list[int]:
    """Return the channels and threads of a server that a mention, an id or a name means."""
    if guild is None:
        return []
    if found := _CHANNEL_MENTION.fullmatch(word.strip()):
        channel_id = int(found[1] or found[2])
        return [channel_id] if guild.get_channel_or_thread(channel_id) else []
    name = word.strip().removeprefix("#").casefold()
    everything = [*guild.channels, *guild.threads]
    return [each.id for each in everything if each.name.casefold() == name and each.type.value != _CATEGORY]


def _may_manage(guild: discord.Guild, user_id: int, role_ids: frozenset[int]) -> bool:
    """Say whether somebody's roles (and @everyone) give Manage Server; the server's owner may do everything."""
    roles = [role for role in guild.roles if role.id in role_ids or role.id == guild.id]
    return _is_theirs(guild, user_id) or any(_manages(role.permissions) for role in roles)


def _is_theirs(guild: discord.Guild | None, user_id: int) -> bool:
    return guild is not None and guild.owner_id == user_id


def _manages(permissions: discord.Permissions) -> bool:
    return permissions.administrator or permissions.manage_guild


def _author_id(user: Payload | None) -> AuthorId | None:
    return AuthorId(int(user["id"])) if user and "id" in user else None
