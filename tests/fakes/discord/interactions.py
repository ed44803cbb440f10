"""Slash commands, context menus, buttons and modals: what members do, and what the bot hears of it."""

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tests.fakes.discord import interaction_handle as kinds
from tests.fakes.discord.command_rules import CHAT_INPUT, MESSAGE, USER, Payload
from tests.fakes.discord.commands import ADMINISTRATOR, VIEW_CHANNEL, CommandRegistry, allowed_in, may_use
from tests.fakes.discord.interaction_answers import Answers
from tests.fakes.discord.interaction_handle import Interaction
from tests.fakes.discord.interaction_routes import routes
from tests.fakes.discord.invocations import (
    InvocationError,
    Upload,
    click_data,
    fill,
    identity_of,
    modal_data,
)
from tests.fakes.discord.responses import attachment
from tests.fakes.discord.stage import Stage

__all__ = ["Interaction", "Interactions", "InvocationError", "Upload", "routes"]

_ATTACHMENT_LIMIT: Final = 10 * 1024 * 1024


class Interactions:
    """Everything about interactions on one server; `answers` is the bot's side, `commands` what is registered.

    Nobody clicks a button in the millisecond in which it appears, when the bot itself does not know yet that its
    message arrived: clicks and modals reach the bot `moment` seconds after they are made.
    """

    def __init__(self, stage: Stage, *, seed: int = 0, moment: float = 0.05) -> None:
        self.stage = stage
        self.commands = CommandRegistry(stage.application_id, stage.new_id)
        self.answers = Answers(stage)
        self.moment = moment
        self._random = random.Random(seed)

    @property
    def handles(self) -> list[Interaction]:
        """Every interaction so far, oldest first."""
        return self.answers.handles

    def invoke(
        self, member: Any, channel: Any, name: str, options: Mapping[str, Any] | None = None, *, force: bool = False
    ) -> Interaction:
        """Use a slash command, sub-commands after a space (`settings set`); files are given as `Upload`.

        Raises:
            InvocationError: the command is unknown, hidden from the member there, or wrongly filled in.
                `force` sends it in spite of permissions and contexts.
        """
        return self._command(member, channel, name, options or {}, force=force, focused=None)

    def autocomplete(
        self, member: Any, channel: Any, name: str, *, focused: str, typed: str, others: Mapping[str, Any] | None = None
    ) -> Interaction:
        """Type into an option that completes itself; the handle's `choices` are the bot's suggestions."""
        return self._command(member, channel, name, {**(others or {}), focused: typed}, force=False, focused=focused)

    def invoke_context(
        self, member: Any, channel: Any, target: Any, name: str, *, user: bool = False, force: bool = False
    ) -> Interaction:
        """Use a context menu command on a message, or with `user` on a member."""
        user_id, channel_id = identity_of(member), identity_of(channel)
        command = self._usable(user_id, channel_id, name, USER if user else MESSAGE, force=force)
        target_id = identity_of(target)
        if user:
            resolved: Payload = self._resolve(user_id, channel_id, "users", target)[1]
        else:
            resolved = {"messages": {target_id: self._visible(user_id, channel_id, target_id)}}
        data = _command_data(command) | {"target_id": target_id, "resolved": resolved}
        return self._begin(kinds.COMMAND, user_id, channel_id, data)

    def click(self, member: Any, message: Any, custom_id: str, values: Sequence[Any] | None = None) -> Interaction:
        """Press a button, or choose `values` in a select menu, of a message in any channel the member can see.

        `message` is a payload or an object with `id` and `channel_id`; ephemeral ones only their reader can click.
        """
        user_id, message_id = identity_of(member), identity_of(message)
        private = self.answers.ephemeral(message_id)
        if private is not None:
            channel_id = private[0].channel_id
        elif isinstance(message, (str, int)):
            raise InvocationError("a message in a channel is given itself, not by its id")
        else:
            channel_id = str(message["channel_id"] if isinstance(message, dict) else message.channel_id)
        shown = self._visible(user_id, channel_id, message_id)

        def resolver(section: str, value: Any) -> tuple[str, Payload]:
            return self._resolve(user_id, channel_id, section, value)

        return self._begin(
            kinds.COMPONENT, user_id, channel_id, click_data(shown, custom_id, values, resolver), source=shown
        )

    def submit_modal(self, handle: Interaction, texts: Mapping[str, str]) -> Interaction:
        """Fill in the modal that answered `handle` and send it."""
        if handle.modal is None:
            raise InvocationError("no modal is open")
        data = modal_data(handle.modal, texts)
        return self._begin(kinds.MODAL_SUBMIT, handle.user_id, handle.channel_id, data, source=handle.source)

    def set_permissions(self, guild: Any, command_name: str, entries: Iterable[Payload]) -> None:
        """Set who may use a command as an admin does in the server's settings (see `CommandRegistry`)."""
        guild_id = identity_of(guild)
        found = next(
            (c for kind in (1, 2, 3) if (c := self.commands.find(guild_id, command_name, kind)) is not None), None
        )
        if found is None:
            raise InvocationError(f"no command {command_name!r} is registered")
        self.commands.set_permissions(guild_id, found["id"], entries)

    def visible_to(self, member: Any, channel: Any) -> list[str]:
        """The names of the commands a member is offered in a channel."""
        user_id, channel_id = identity_of(member), identity_of(channel)
        guild_id = self.stage.guild_of(channel_id)
        offered = {(c["type"], c["name"]): c for scope in (None, guild_id) for c in self.commands.all(scope)}
        return sorted(c["name"] for c in offered.values() if self._hidden(c, user_id, channel_id) is None)

    def _command(
        self,
        member: Any,
        channel: Any,
        name: str,
        values: Mapping[str, Any],
        *,
        force: bool,
        focused: str | None,
    ) -> Interaction:
        user_id, channel_id = identity_of(member), identity_of(channel)
        first, *path = name.removeprefix("/").split()
        command = self._usable(user_id, channel_id, first, CHAT_INPUT, force=force)

        def resolver(section: str, value: Any) -> tuple[str, Payload]:
            return self._resolve(user_id, channel_id, section, value)

        filled = fill(command, path, values, resolver, focused=focused)
        data = _command_data(command) | {"options": filled.options}
        if filled.resolved:
            data["resolved"] = filled.resolved
        kind = kinds.COMMAND if focused is None else kinds.AUTOCOMPLETE
        return self._begin(kind, user_id, channel_id, data)

    def _usable(self, user_id: str, channel_id: str, name: str, kind: int, *, force: bool) -> Payload:
        command = self.commands.find(self.stage.guild_of(channel_id), name, kind)
        if command is None:
            known = sorted({c["name"] for scope in self.commands.scopes() for c in self.commands.all(scope)})
            raise InvocationError(f"no command {name!r} of type {kind} is registered here; there are {known}")
        if not force and (why := self._hidden(command, user_id, channel_id)) is not None:
            raise InvocationError(f"{name!r} is hidden: {why}")
        return command

    def _hidden(self, command: Payload, user_id: str, channel_id: str) -> str | None:
        guild_id = self.stage.guild_of(channel_id)
        if not allowed_in(command, direct=guild_id is None):
            return "it does not exist in direct messages" if guild_id is None else "it exists in direct messages only"
        if guild_id is None:
            return None
        return may_use(
            command,
            self.commands.permissions(guild_id, command["id"]),
            permissions=self.stage.permissions(channel_id, user_id),
            user_id=user_id,
            role_ids=self.stage.member(guild_id, user_id)["roles"],
            channel_id=channel_id,
            guild_id=guild_id,
        )

    def _visible(self, user_id: str, channel_id: str, message_id: str) -> Payload:
        """The message as the member sees it."""
        if (private := self.answers.ephemeral(message_id)) is not None:
            if private[0].user_id != user_id:
                raise InvocationError("the message is ephemeral: only the member it answers sees it")
            return private[1]
        seen = self.stage.permissions(channel_id, user_id) & (ADMINISTRATOR | VIEW_CHANNEL)
        if self.stage.guild_of(channel_id) is not None and not seen:
            raise InvocationError("the member cannot see the channel")
        message = self.stage.message(channel_id, message_id)
        if message is None:
            raise InvocationError(f"there is no message {message_id} in the channel")
        return message

    def _resolve(self, user_id: str, channel_id: str, section: str, value: Any) -> tuple[str, Payload]:
        """What a user, role, channel or file stands for in `resolved`."""
        if section == "attachments":
            if not isinstance(value, Upload):
                raise InvocationError(f"a file is given as Upload, not {value!r}")
            file_id = self.stage.new_id()
            return file_id, {"attachments": {file_id: attachment(file_id, value)}}
        identity, guild_id = identity_of(value), self.stage.guild_of(channel_id)
        try:
            if section == "roles":
                if guild_id is None:
                    raise InvocationError("there are no roles in direct messages")
                return identity, {"roles": {identity: self.stage.role(guild_id, identity)}}
            if section == "channels":
                allowed = str(self.stage.permissions(identity, user_id))
                return identity, {"channels": {identity: self.stage.channel(identity) | {"permissions": allowed}}}
            entries: Payload = {"users": {identity: self.stage.user(identity)}}
            if guild_id is not None:
                member = dict(self.stage.member(guild_id, identity))
                for left_out in ("user", "deaf", "mute"):
                    member.pop(left_out, None)
                allowed = str(self.stage.permissions(channel_id, identity))
                entries["members"] = {identity: member | {"permissions": allowed}}
        except KeyError:
            raise InvocationError(f"there is no such thing among the {section}: {value!r}") from None
        return identity, entries

    def _begin(
        self, kind: int, user_id: str, channel_id: str, data: Payload, source: Payload | None = None
    ) -> Interaction:
        """Hand the interaction to the bot."""
        identity = self.stage.new_id()
        token = f"aW50ZXJhY3Rpb246{self._random.getrandbits(256):064x}"
        guild_id = self.stage.guild_of(channel_id)
        payload = self._payload(kind, user_id, channel_id, data) | {"id": identity, "token": token}
        if source is not None:
            payload["message"] = source
        handle = Interaction(
            id=identity,
            token=token,
            kind=kind,
            user_id=user_id,
            channel_id=channel_id,
            guild_id=guild_id,
            created=self.stage.now(),
            payload=payload,
            source=source,
        )
        self.answers.expect(handle)
        if (source is None and kind != kinds.MODAL_SUBMIT) or self.moment <= 0:
            self._publish(handle)
        else:
            asyncio.get_running_loop().call_later(self.moment, self._publish, handle)
        return handle

    def _publish(self, handle: Interaction) -> None:
        """Send the interaction; it reaches the bot whether it can see the channel or not."""
        handle.created = self.stage.now()
        self.stage.publish("INTERACTION_CREATE", handle.payload, guild_id=handle.guild_id, channel_id=None)

    def _payload(self, kind: int, user_id: str, channel_id: str, data: Payload) -> Payload:
        stage, guild_id = self.stage, self.stage.guild_of(channel_id)
        payload: Payload = {
            "application_id": stage.application_id,
            "type": kind,
            "version": 1,
            "data": data,
            "channel_id": channel_id,
            "app_permissions": str(stage.permissions(channel_id, stage.application_id)),
            "locale": "en-US",
            "entitlements": [],
            "authorizing_integration_owners": {"0": guild_id or "0"},
            "context": 0 if guild_id is not None else 1,
            "attachment_size_limit": _ATTACHMENT_LIMIT,
        }
        if guild_id is None:
            return payload | {"user": stage.user(user_id), "channel": stage.channel(channel_id)}
        permissions = str(stage.permissions(channel_id, user_id))
        guild = stage.guild(guild_id)
        locale = guild.get("preferred_locale", "en-US")
        return payload | {
            "guild_id": guild_id,
            "guild_locale": locale,
            "guild": {"id": guild_id, "locale": locale, "features": guild.get("features", [])},
            "member": stage.member(guild_id, user_id) | {"permissions": permissions},
            "channel": stage.channel(channel_id) | {"permissions": permissions},
        }


def _command_data(command: Payload) -> Payload:
    data = {"id": command["id"], "name": command["name"], "type": command["type"]}
    return data | ({"guild_id": command["guild_id"]} if "guild_id" in command else {})
