"""What interactions need from the server around them."""

from typing import Protocol

from tests.fakes.discord.command_rules import Payload


class Stage(Protocol):
    """The world as interactions see it; ids are texts, payloads are in Discord's form."""

    application_id: str

    def new_id(self) -> str:
        """A fresh snowflake."""

    def now(self) -> float:
        """Seconds on a clock that does not go back."""

    def guild_of(self, channel_id: str) -> str | None:
        """The channel's guild, None for a direct one; raises KeyError for an unknown channel."""

    def guild(self, guild_id: str) -> Payload:
        """The guild: at least id, preferred_locale and features; raises KeyError when the bot is not in it."""

    def channel(self, channel_id: str) -> Payload:
        """The channel or thread; raises KeyError."""

    def user(self, user_id: str) -> Payload:
        """The user; raises KeyError."""

    def member(self, guild_id: str, user_id: str) -> Payload:
        """The member with its `user` and `roles`; raises KeyError."""

    def role(self, guild_id: str, role_id: str) -> Payload:
        """The role; raises KeyError."""

    def permissions(self, channel_id: str, user_id: str) -> int:
        """The permission bits that a member (or the bot) has in a channel."""

    def message(self, channel_id: str, message_id: str) -> Payload | None:
        """The whole message as the members of the channel see it."""

    def send(self, channel_id: str, fields: Payload, allowed_mentions: Payload | None) -> Payload:
        """Store a message of the bot with these fields, publish it, return it; needs no permission."""

    def change(self, channel_id: str, message_id: str, fields: Payload) -> Payload:
        """Change fields of a message, publish it, return it."""

    def delete(self, channel_id: str, message_id: str) -> None:
        """Delete a message and publish that."""

    def pings(self, message: Payload, allowed: Payload | None) -> list[str]:
        """Whom a new message of the bot notifies, given its `allowed_mentions`."""

    def publish(self, name: str, data: Payload, *, guild_id: str | None, channel_id: str | None) -> None:
        """Send an event to the gateway's sessions."""
