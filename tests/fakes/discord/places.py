"""Building and changing servers, channels, threads, roles and people of the fake Discord."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.fakes.discord import payloads
from tests.fakes.discord import permissions as rights
from tests.fakes.discord.payloads import THREADS, TYPES, Payload
from tests.fakes.discord.snowflakes import stamp, stamp_now
from tests.fakes.discord.state import INTENT_FLAGS, State
from tests.fakes.discord.talk import Talk
from tests.fakes.discord.things import Thing, id_text


class Places(State):
    """Builders and changes; every change is told to the sessions that may know.

    Whatever takes a user, channel, role or message also takes its id.
    """

    # --- the application ---

    def withdraw_intent(self, name: str = "message_content") -> None:
        """Switch a privileged intent off, as in the developer portal: message_content, members or presences."""
        self.flags &= ~INTENT_FLAGS[name]

    def grant_intent(self, name: str) -> None:
        """Switch a privileged intent on; only message_content is on from the start."""
        self.flags |= INTENT_FLAGS[name] & ~(INTENT_FLAGS[name] >> 1)

    # --- servers and people ---

    def add_guild(self, name: str, *, owner: Any = None) -> Thing:
        """Add a server that the bot is on; its `owner` is the application's own unless somebody else is named."""
        guild_id = self.new_id()
        boss = self.owner if owner is None else self.users[id_text(owner)]
        guild = Thing(
            id=guild_id,
            name=name,
            owner_id=boss["id"],
            roles=[],
            emojis=[],
            features=["COMMUNITY"],
            preferred_locale="en-US",
        )
        guild.owner = boss
        self.guilds[guild_id] = guild
        guild["roles"].append(payloads.role(guild_id, "@everyone", rights.EVERYONE, position=0, mentionable=False))
        managed = payloads.role(self.new_id(), self.bot["username"], 0, position=1, mentionable=False)
        managed |= {"managed": True, "tags": {"bot_id": self.bot["id"]}}
        guild["roles"].append(managed)
        self.members[guild_id, self.bot["id"]] = payloads.member([managed["id"]], None)
        self.members[guild_id, boss["id"]] = payloads.member([], None)
        self._publish("GUILD_CREATE", self.guild_payload(guild_id), guild_id, None)
        return guild

    def remove_guild(self, guild: Any) -> None:
        """Throw the bot out of a server."""
        guild_id = id_text(guild)
        self._publish("GUILD_DELETE", {"id": guild_id}, guild_id, None)
        del self.guilds[guild_id]
        for channel_id in [c["id"] for c in self.channels.values() if c.get("guild_id") == guild_id]:
            del self.channels[channel_id], self.talks[channel_id]

    def outage(self, guild: Any, *, over: bool = False) -> None:
        """Let a server be out of order, or (`over`) come back."""
        guild_id = id_text(guild)
        if over:
            self._publish("GUILD_CREATE", self.guild_payload(guild_id), guild_id, None)
        else:
            self._publish("GUILD_DELETE", {"id": guild_id, "unavailable": True}, guild_id, None)

    def add_role(self, guild: Any, name: str, permissions: Sequence[str] = (), *, mentionable: bool = False) -> Thing:
        """Add a role with permissions by name."""
        found = self.guilds[id_text(guild)]
        bits = sum(rights.BITS[one] for one in permissions)
        role = payloads.role(self.new_id(), name, bits, position=len(found["roles"]), mentionable=mentionable)
        found["roles"].append(role)
        self._publish("GUILD_ROLE_CREATE", {"guild_id": found["id"], "role": role}, found["id"], None)
        return role

    def add_member(
        self,
        guild: Any,
        name: str,
        *,
        roles: Iterable[Any] = (),
        bot: bool = False,
        permissions: Sequence[str] = (),
        nick: str | None = None,
    ) -> Thing:
        """Add a person (or another bot) to a server; `permissions` come as a role of their own."""
        user = self.add_user(name, bot=bot)
        held = list(roles)
        if permissions:
            held.append(self.add_role(guild, f"{name}'s", permissions))
        self.join(guild, user, held, nick=nick)
        return user

    def join(self, guild: Any, user: Any, roles: Iterable[Any] = (), *, nick: str | None = None) -> None:
        """Let somebody who exists join another server."""
        guild_id, user_id = id_text(guild), id_text(user)
        self.members[guild_id, user_id] = payloads.member([id_text(role) for role in roles], nick)
        data = {**self.member(guild_id, user_id), "guild_id": guild_id}
        self._publish("GUILD_MEMBER_ADD", data, guild_id, None)

    def leave(self, guild: Any, user: Any) -> None:
        """Let somebody leave a server; what they said stays."""
        guild_id, user_id = id_text(guild), id_text(user)
        del self.members[guild_id, user_id]
        data = {"guild_id": guild_id, "user": self.users[user_id]}
        self._publish("GUILD_MEMBER_REMOVE", data, guild_id, None)

    def set_roles(self, guild: Any, user: Any, roles: Iterable[Any]) -> None:
        """Give somebody exactly these roles."""
        self._update_member(guild, user, {"roles": [id_text(role) for role in roles]})

    def time_out(self, guild: Any, user: Any, seconds: float = 600.0) -> None:
        """Put somebody (the bot, too) in a time-out: they can read but not write."""
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        self._update_member(guild, user, {"communication_disabled_until": stamp(until)})

    def _update_member(self, guild: Any, user: Any, fields: Payload) -> None:
        guild_id, user_id = id_text(guild), id_text(user)
        self.members[guild_id, user_id].update(fields)
        data = {**self.member(guild_id, user_id), "guild_id": guild_id}
        self._publish("GUILD_MEMBER_UPDATE", data, guild_id, None)

    def add_emoji(self, guild: Any, name: str, *, animated: bool = False) -> Thing:
        """Add a custom emoji."""
        fields = {"animated": animated, "available": True, "managed": False, "require_colons": True, "roles": []}
        emoji = Thing(id=self.new_id(), name=name, **fields)
        found = self.guilds[id_text(guild)]
        found["emojis"].append(emoji)
        data = {"guild_id": found["id"], "emojis": found["emojis"]}
        self._publish("GUILD_EMOJIS_UPDATE", data, found["id"], None)
        return emoji

    # --- channels and threads ---

    def add_channel(
        self, guild: Any, name: str, kind: str = "text", *, private: bool = False, topic: str = "", slow: int = 0
    ) -> Thing:
        """Add a channel of a kind in `TYPES`; a private one is hidden from the bot, too, until `allow`.

        `slow` is its slow mode in seconds.
        """
        position = len(self.channels)
        channel = payloads.channel(
            self.new_id(), id_text(guild), name, kind, private=private, topic=topic, slow=slow, position=position
        )
        self._add_channel(channel)
        self._publish("CHANNEL_CREATE", channel, channel["guild_id"], channel["id"])
        return channel

    def add_thread(
        self,
        channel: Any,
        name: str,
        *,
        archived: bool = False,
        private: bool = False,
        owner: Any = None,
        message: Any = None,
    ) -> Thing:
        """Open a thread in a channel, or a post in a forum; begun at a `message` the thread has the message's id."""
        parent = self.channels[id_text(channel)]
        owner_id = self.guilds[parent["guild_id"]]["owner_id"] if owner is None else id_text(owner)
        thread_id = self.new_id() if message is None else id_text(message)
        thread = payloads.thread(thread_id, parent, name, owner_id=owner_id, archived=archived, private=private)
        self._add_channel(thread)
        self.thread_members[thread_id] = {owner_id}
        if not archived:
            self._publish("THREAD_CREATE", thread | {"newly_created": True}, thread["guild_id"], thread["id"])
        if message is not None:
            said = self.talks[parent["id"]].said[int(thread_id)]
            said |= {"thread": thread, "flags": said["flags"] | payloads.HAS_THREAD}
            self.talks[parent["id"]].changed(thread_id)
            self._publish("MESSAGE_UPDATE", said, thread["guild_id"], parent["id"])
        return thread

    def add_to_thread(self, thread: Any, user: Any) -> None:
        """Let somebody (the bot, too) take part in a thread; a private one becomes visible by that."""
        found, user_id = self.channels[id_text(thread)], id_text(user)
        new = user_id not in self.thread_members[found["id"]]
        self.thread_members[found["id"]].add(user_id)
        found["member_count"] = min(50, len(self.thread_members[found["id"]]))
        if user_id == self.bot["id"] and new:
            own = {"id": found["id"], "user_id": user_id, "join_timestamp": stamp_now(), "flags": 0}
            self._publish("THREAD_CREATE", found | {"member": own}, found["guild_id"], found["id"])

    def archive(self, thread: Any, *, archived: bool = True, locked: bool = False) -> None:
        """Archive a thread or open it again; in a `locked` one only those who manage threads can write."""
        found = self.channels[id_text(thread)]
        state = {"archived": archived, "locked": locked, "archive_timestamp": stamp_now()}
        found["thread_metadata"] |= state
        self._publish("THREAD_UPDATE", found, found["guild_id"], found["id"])

    def rename(self, channel: Any, name: str) -> None:
        """Give a channel or thread another name."""
        found = self.channels[id_text(channel)]
        found["name"] = name
        kind = "THREAD_UPDATE" if found["type"] in THREADS else "CHANNEL_UPDATE"
        self._publish(kind, found, found["guild_id"], found["id"])

    def delete_channel(self, channel: Any) -> None:
        """Delete a channel or thread with all that was said in it; a channel's threads go along."""
        found = self.channels[id_text(channel)]
        for thread in [c for c in self.channels.values() if c.get("parent_id") == found["id"]]:
            del self.channels[thread["id"]], self.talks[thread["id"]]
        del self.channels[found["id"]], self.talks[found["id"]]
        name = "THREAD_DELETE" if found["type"] in THREADS else "CHANNEL_DELETE"
        self._publish(name, found, found["guild_id"], None)

    def deny(self, channel: Any, permission: str, *, role: Any = None) -> None:
        """Take a permission from the bot (or a role, or with a server as `role` from everyone) in a channel."""
        self._overwrite(channel, permission, role, allow=False)

    def allow(self, channel: Any, permission: str, *, role: Any = None) -> None:
        """Give the bot (or a role, or with a server as `role` everyone) a permission in a channel."""
        self._overwrite(channel, permission, role, allow=True)

    def direct_channel(self, user_id: str) -> Thing:
        """Return the direct channel between somebody and the bot."""
        channel = self._direct.get(user_id)
        if channel is None:
            recipients = [self.users[user_id]]
            channel = Thing(id=self.new_id(), type=TYPES["dm"], recipients=recipients, last_message_id=None, flags=0)
            self._direct[user_id] = channel
            self._add_channel(channel)
            self._publish("CHANNEL_CREATE", channel, None, channel["id"])
        return channel

    # --- inside ---

    def _add_channel(self, channel: Thing) -> None:
        self.channels[channel["id"]] = channel
        self.talks[channel["id"]] = Talk(self._rest_form)

    def _overwrite(self, channel: Any, permission: str, role: Any, *, allow: bool) -> None:
        found = self.channels[id_text(channel)]
        seen = self.may(found["id"], "view_channel")
        target, kind = (self.bot["id"], 1) if role is None else (id_text(role), 0)
        entry = next((e for e in found["permission_overwrites"] if e["id"] == target), None)
        if entry is None:
            entry = {"id": target, "type": kind, "allow": "0", "deny": "0"}
            found["permission_overwrites"].append(entry)
        bit = rights.BITS[permission]
        on, off = ("allow", "deny") if allow else ("deny", "allow")
        entry[on] = str(int(entry[on]) | bit)
        entry[off] = str(int(entry[off]) & ~bit)
        self._publish("CHANNEL_UPDATE", found, found["guild_id"], found["id"])
        if not seen and self.may(found["id"], "view_channel"):
            threads = [c for c in self.threads_of(found["guild_id"], archived=False) if c["parent_id"] == found["id"]]
            sync = {"guild_id": found["guild_id"], "channel_ids": [found["id"]], "threads": threads, "members": []}
            self._publish("THREAD_LIST_SYNC", sync, found["guild_id"], found["id"])
