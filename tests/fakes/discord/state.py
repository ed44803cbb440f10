"""Everything that the fake Discord knows, and who may do what where."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.fakes.discord import payloads
from tests.fakes.discord import permissions as rights
from tests.fakes.discord.payloads import THREADS, TYPES, Payload
from tests.fakes.discord.snowflakes import Snowflakes
from tests.fakes.discord.talk import Talk
from tests.fakes.discord.things import SaidThing, Thing

Publish = Callable[[str, dict[str, Any], str | None, str | None], None]

# The application's flags for privileged intents, as verified bots have them and (one to the left) as small ones do.
INTENT_FLAGS = {
    "presences": (1 << 12) | (1 << 13),
    "members": (1 << 14) | (1 << 15),
    "message_content": (1 << 18) | (1 << 19),
}


class State:
    """Users, guilds and channels (with the threads) by id, members by server and user, talks by channel.

    There is one bot; `owner` is whose application it is.
    """

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._snowflakes = Snowflakes()
        self.users: dict[str, Thing] = {}
        self.guilds: dict[str, Thing] = {}
        self.channels: dict[str, Thing] = {}
        self.members: dict[tuple[str, str], Thing] = {}
        self.talks: dict[str, Talk] = {}
        self.thread_members: dict[str, set[str]] = {}
        self.refuses_direct: set[str] = set()
        self.flags = 1 << 19  # of small bots that may read messages
        self.bot = self.add_user("Persona", bot=True)
        self.application_id: str = self.bot["id"]
        self.owner = self.add_user("owner")
        self._direct: dict[str, Thing] = {}

    def new_id(self, moment: datetime | None = None) -> str:
        """Return a fresh snowflake, of now or of a moment; ids of now only ever grow."""
        return str(self._snowflakes.new(moment))

    def now(self) -> float:
        """Return seconds on a clock that does not go back."""
        return time.monotonic()

    def add_user(self, name: str, *, bot: bool = False) -> Thing:
        """Add somebody who is on no server yet."""
        user = payloads.user(self.new_id(), name, bot=bot)
        self.users[user["id"]] = user
        return user

    def has_intent(self, name: str) -> bool:
        """Say whether a privileged intent is switched on."""
        return bool(self.flags & INTENT_FLAGS[name])

    def guild_of(self, channel_id: str) -> str | None:
        """Return a channel's server."""
        found: str | None = self.channels[channel_id].get("guild_id")
        return found

    def guild(self, guild_id: str) -> Thing:
        """Return a server."""
        return self.guilds[guild_id]

    def channel(self, channel_id: str) -> Thing:
        """Return a channel."""
        return self.channels[channel_id]

    def user(self, user_id: str) -> Thing:
        """Return a person."""
        return self.users[user_id]

    def member(self, guild_id: str, user_id: str) -> Payload:
        """Return a member with its user."""
        return {**self.members[guild_id, user_id], "user": self.users[user_id]}

    def role(self, guild_id: str, role_id: str) -> Thing:
        """Return a role."""
        for role in self.guilds[guild_id]["roles"]:
            if role["id"] == role_id:
                found: Thing = role
                return found
        raise KeyError(role_id)

    def members_of(self, guild_id: str) -> list[Payload]:
        """Return everybody on a server, oldest account first."""
        found = sorted(int(user_id) for where, user_id in self.members if where == guild_id)
        return [self.member(guild_id, str(user_id)) for user_id in found]

    def threads_of(self, guild_id: str, *, archived: bool) -> list[Thing]:
        """Return the threads of a server that the bot may see."""
        found = [c for c in self.channels.values() if c["type"] in THREADS and c["guild_id"] == guild_id]
        mine = [c for c in found if c["thread_metadata"]["archived"] == archived]
        return [c for c in mine if self.may(c["id"], "view_channel")]

    def guild_payload(self, guild_id: str) -> Payload:
        """Return what GUILD_CREATE says."""
        here = [c for c in self.channels.values() if c.get("guild_id") == guild_id]
        return payloads.guild_arrived(
            self.guilds[guild_id],
            member_count=sum(where == guild_id for where, _ in self.members),
            members=[self.member(guild_id, self.bot["id"])],
            channels=[channel for channel in here if channel["type"] not in THREADS],
            threads=self.threads_of(guild_id, archived=False),
        )

    def base_permissions(self, guild_id: str, user_id: str) -> int:
        """Return somebody's permission bits on a server, before any channel."""
        guild = self.guilds[guild_id]
        held = {guild_id, *self.members[guild_id, user_id]["roles"]}
        return rights.in_guild(guild["owner_id"] == user_id, (r for r in guild["roles"] if r["id"] in held))

    def permissions(self, channel_id: str, user_id: str) -> int:
        """Return somebody's permission bits in a channel; threads take their parent's."""
        channel = self.channels[channel_id]
        if channel["type"] == TYPES["dm"]:
            return rights.DIRECT
        if channel["type"] in THREADS:
            bits = self.permissions(channel["parent_id"], user_id)
            hidden = channel["type"] == payloads.PRIVATE_THREAD and not bits & rights.BITS["manage_threads"]
            return 0 if hidden and user_id not in self.thread_members[channel_id] else bits
        guild_id = channel["guild_id"]
        member = self.members.get((guild_id, user_id))
        if member is None:
            return 0
        bits = rights.in_channel(
            self.base_permissions(guild_id, user_id),
            channel["permission_overwrites"],
            guild_id=guild_id,
            role_ids=frozenset(member["roles"]),
            user_id=user_id,
        )
        until = member["communication_disabled_until"]
        if until is not None and bits != rights.ALL and datetime.fromisoformat(until) > datetime.now(UTC):
            bits &= rights.TIMED_OUT
        return bits

    def may(self, channel_id: str, permission: str, user_id: str | None = None) -> bool:
        """Say whether the bot (or somebody) has a permission in a channel."""
        return bool(self.permissions(channel_id, user_id or self.bot["id"]) & rights.BITS[permission])

    def _rest_form(self, message: SaidThing) -> Payload:
        return payloads.shown(message, self.bot["id"])
