"""Application commands as the server keeps them, with ids, versions and who may use them where."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.fakes.discord.command_rules import ApiError, Payload, check_command, check_counts, invalid_form, mapping_of

ADMINISTRATOR: Final = 1 << 3
VIEW_CHANNEL: Final = 1 << 10
USE_APPLICATION_COMMANDS: Final = 1 << 31
_NEEDED: Final = {
    VIEW_CHANNEL: "cannot see the channel",
    USE_APPLICATION_COMMANDS: "lacks Use Application Commands there",
}
_NEW_COMMAND_STATUS: Final = 201


def unknown_command() -> ApiError:
    """The error 10063."""
    return ApiError(404, 10063, "Unknown application command")


@dataclass(slots=True)
class CommandRegistry:
    """Every registered command, by guild (None: global) and id; `new_id` gives snowflakes as strings."""

    application_id: str
    new_id: Callable[[], str]
    _commands: dict[str | None, dict[str, Payload]] = field(default_factory=dict)
    _permissions: dict[tuple[str, str], list[Payload]] = field(default_factory=dict)

    def all(self, guild_id: str | None) -> list[Payload]:
        """The commands of a guild, or the global ones."""
        return [*self._commands.get(guild_id, {}).values()]

    def scopes(self) -> list[str | None]:
        """Where commands are registered: guild ids, None for the global ones."""
        return [*self._commands]

    def get(self, guild_id: str | None, command_id: str) -> Payload:
        """One command; raises `ApiError` 404 10063."""
        try:
            return self._commands[guild_id][command_id]
        except KeyError:
            raise unknown_command() from None

    def overwrite(self, guild_id: str | None, wanted: Any) -> list[Payload]:
        """Make `wanted` all there is (PUT); commands of the same type and name keep their ids."""
        if not isinstance(wanted, list):
            raise invalid_form([], "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
        checked = [check_command(command, (place,)) for place, command in enumerate(wanted)]
        seen: set[tuple[int, str]] = set()
        for place, command in enumerate(checked):
            key = (command["type"], command["name"])
            if key in seen:
                raise invalid_form(
                    [place], "APPLICATION_COMMANDS_DUPLICATE_NAME", "Application command names must be unique"
                )
            seen.add(key)
        check_counts(checked)
        before = {(old["type"], old["name"]): old for old in self.all(guild_id)}
        stored = [self._stored(guild_id, new, before.get((new["type"], new["name"]))) for new in checked]
        self._commands[guild_id] = {command["id"]: command for command in stored}
        return stored

    def create(self, guild_id: str | None, wanted: Any) -> tuple[int, Payload]:
        """Add one (POST); one of the same type and name is replaced. Returns the status, 201 or 200, and it."""
        new = check_command(wanted, ())
        kept = self._commands.setdefault(guild_id, {})
        old = next((old for old in kept.values() if (old["type"], old["name"]) == (new["type"], new["name"])), None)
        if old is None:
            check_counts([*kept.values(), new])
        stored = self._stored(guild_id, new, old)
        kept[stored["id"]] = stored
        return (_NEW_COMMAND_STATUS if old is None else 200), stored

    def edit(self, guild_id: str | None, command_id: str, changes: Any) -> Payload:
        """Change fields of one (PATCH)."""
        old = self.get(guild_id, command_id)
        editable = {key: value for key, value in mapping_of(changes, ()).items() if key != "type"}
        stored = self._stored(guild_id, check_command(old | editable, ()), old)
        self._commands[guild_id][command_id] = stored
        return stored

    def delete(self, guild_id: str | None, command_id: str) -> None:
        """Remove one; raises `ApiError` 404 10063."""
        self.get(guild_id, command_id)
        del self._commands[guild_id][command_id]

    def find(self, guild_id: str | None, name: str, kind: int) -> Payload | None:
        """The command a member would use under this name; a guild's own hides the global one."""
        for scope in (guild_id, None) if guild_id is not None else (None,):
            for command in self.all(scope):
                if (command["name"], command["type"]) == (name, kind):
                    return command
        return None

    def set_permissions(self, guild_id: str, command_id: str, entries: Iterable[Payload]) -> None:
        """What an admin sets under Server Settings > Integrations, as `{id, type, permission}`.

        Types are 1 for a role, 2 for a user, 3 for a channel. A `command_id` equal to the application's id holds for
        every command without entries of its own.
        """
        self._permissions[guild_id, command_id] = [dict(entry) for entry in entries]

    def permissions(self, guild_id: str, command_id: str) -> list[Payload]:
        """The entries that hold for a command in a guild."""
        own = self._permissions.get((guild_id, command_id))
        return own if own is not None else self._permissions.get((guild_id, self.application_id), [])

    def permission_payloads(self, guild_id: str) -> list[Payload]:
        """All entries of a guild as `GET .../commands/permissions` lists them."""
        return [
            {"id": command, "application_id": self.application_id, "guild_id": guild, "permissions": entries}
            for (guild, command), entries in self._permissions.items()
            if guild == guild_id
        ]

    def _stored(self, guild_id: str | None, command: Payload, old: Payload | None) -> Payload:
        stored = {
            **command,
            "id": self.new_id() if old is None else old["id"],
            "application_id": self.application_id,
            "version": self.new_id(),
        }
        if guild_id is not None:
            stored["guild_id"] = guild_id
            stored["contexts"] = None
        return stored


def allowed_in(command: Payload, *, direct: bool) -> bool:
    """Whether a command exists in direct messages (or, not `direct`, in a server channel)."""
    if "guild_id" in command:
        return not direct
    contexts = command["contexts"]
    if contexts is not None:
        return (1 if direct else 0) in contexts
    return not direct or command["dm_permission"]


def may_use(
    command: Payload,
    entries: Iterable[Payload],
    *,
    permissions: int,
    user_id: str,
    role_ids: Iterable[str],
    channel_id: str,
    guild_id: str,
) -> str | None:
    """Why a member does not see a command in a channel, None if it does; `permissions` are those in the channel.

    Entries of the server's settings come before `default_member_permissions`: a member's own before its roles'
    (one that allows is enough) before everyone's, a channel's own before all channels'; administrators see all.
    """
    if permissions & ADMINISTRATOR:
        return None
    if lacking := [name for bit, name in _NEEDED.items() if not permissions & bit]:
        return f"the member {lacking[0]}"
    chosen = {(entry["type"], str(entry["id"])): bool(entry["permission"]) for entry in entries}
    everywhere = chosen.get((3, str(int(guild_id) - 1)), True)
    if not chosen.get((3, channel_id), everywhere):
        return "the server's settings hide the command in this channel"
    own = chosen.get((2, user_id))
    roles = [chosen[1, role] for role in role_ids if role != guild_id and (1, role) in chosen]
    decided = own if own is not None else any(roles) if roles else chosen.get((1, guild_id))
    if decided is None:
        return _lacking(command["default_member_permissions"], permissions)
    return None if decided else "the server's settings hide the command from this member"


def _lacking(needed: str | None, permissions: int) -> str | None:
    """Why `default_member_permissions` hide a command, None if they do not."""
    if needed is None:
        return None
    if int(needed) == 0:
        return "only administrators see the command (default_member_permissions is 0)"
    missing = int(needed) & ~permissions
    return f"the member lacks permission bits {missing:#x} of default_member_permissions" if missing else None
