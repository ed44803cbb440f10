"""The world behind the fake Discord: servers, channels, people and messages, and everything that happens to them."""

import bisect
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.fakes.discord import permissions as rights
from tests.fakes.discord.things import SaidThing, Thing, id_text

EPOCH_MS = 1_420_070_400_000
TYPES = {"text": 0, "dm": 1, "voice": 2, "category": 4, "news": 5, "stage": 13, "forum": 15, "media": 16}
NEWS_THREAD, PUBLIC_THREAD, PRIVATE_THREAD = 10, 11, 12
THREADS = frozenset({NEWS_THREAD, PUBLIC_THREAD, PRIVATE_THREAD})
MENTION = re.compile(r"<@!?(\d+)>")
ROLE_MENTION = re.compile(r"<@&(\d+)>")
MESSAGE_CONTENT_FLAGS = (1 << 18) | (1 << 19)

Publish = Callable[[str, dict[str, Any], str | None, str | None], None]


class World:
    """Builders add things without a word; actions change them and tell every session that may know.

    Channels hold their messages sorted by id; `raw` keeps each message's JSON, so that a page costs a slice.
    """

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._sequence = 0
        self._last_ms = 0
        self.users: dict[str, Thing] = {}
        self.guilds: dict[str, Thing] = {}
        self.channels: dict[str, Thing] = {}
        self.members: dict[tuple[str, str], Thing] = {}
        self.everything: dict[str, dict[int, SaidThing]] = {}
        self._order: dict[str, list[int]] = {}
        self._raw: dict[int, bytes] = {}
        self._nonces: dict[tuple[str, str], tuple[str, float]] = {}
        self.slow: dict[tuple[str, str], float] = {}
        self.flags = 1 << 18
        self.bot = self._user("Persona", bot=True)
        self.application_id = self.bot["id"]
        self.interactions: Any = None

    # --- ids and times ---

    def new_id(self, moment: datetime | None = None) -> str:
        """Return a fresh snowflake, of now or of a moment; ids of now only ever grow."""
        if moment is None:
            self._last_ms = max(self._last_ms, int(time.time() * 1000))
            ms = self._last_ms
        else:
            ms = int(moment.timestamp() * 1000)
        self._sequence += 1
        if moment is None and self._sequence % 4096 == 0:
            self._last_ms += 1
        return str(((ms - EPOCH_MS) << 22) | (self._sequence % 4096))

    def now(self) -> float:
        """Return seconds on a clock that does not go back."""
        return time.monotonic()

    # --- builders ---

    def add_guild(self, name: str, *, owner: Any = None) -> Thing:
        """Add a server that the bot is on."""
        guild_id = self.new_id()
        boss = self._user("owner") if owner is None else owner
        guild = Thing(
            id=guild_id,
            name=name,
            owner_id=id_text(boss),
            roles=[],
            emojis=[],
            features=["COMMUNITY"],
            preferred_locale="en-US",
        )
        self.guilds[guild_id] = guild
        self._role(guild, "@everyone", rights.EVERYONE, role_id=guild_id)
        managed = self._role(guild, self.bot["username"], 0)
        managed["tags"] = {"bot_id": self.bot["id"]}
        managed["managed"] = True
        self._join(guild, self.bot, [managed["id"]])
        self._join(guild, boss, [])
        guild.owner = boss
        self._publish("GUILD_CREATE", self.guild_payload(guild_id), guild_id, None)
        return guild

    def add_role(self, guild: Any, name: str, permissions: Sequence[str] = (), *, mentionable: bool = False) -> Thing:
        """Add a role with permissions by name."""
        role = self._role(guild, name, sum(rights.BITS[one] for one in permissions), mentionable=mentionable)
        self._publish("GUILD_ROLE_CREATE", {"guild_id": id_text(guild), "role": role}, id_text(guild), None)
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
        user = self._user(name, bot=bot)
        role_ids = [id_text(role) for role in roles]
        if permissions:
            role_ids.append(id_text(self.add_role(guild, f"{name}'s", permissions)))
        self._join(self.guilds[id_text(guild)], user, role_ids, nick)
        return user

    def join(self, guild: Any, user: Any, roles: Iterable[Any] = ()) -> None:
        """Let somebody who exists join another server."""
        self._join(self.guilds[id_text(guild)], self.users[id_text(user)], [id_text(role) for role in roles])

    def add_emoji(self, guild: Any, name: str, *, animated: bool = False) -> Thing:
        """Add a custom emoji."""
        emoji = Thing(
            id=self.new_id(),
            name=name,
            animated=animated,
            available=True,
            managed=False,
            require_colons=True,
            roles=[],
        )
        found = self.guilds[id_text(guild)]
        found["emojis"].append(emoji)
        data = {"guild_id": found["id"], "emojis": found["emojis"]}
        self._publish("GUILD_EMOJIS_UPDATE", data, found["id"], None)
        return emoji

    def add_channel(
        self, guild: Any, name: str, kind: str = "text", *, private: bool = False, topic: str = "", slow: int = 0
    ) -> Thing:
        """Add a channel; a private one is hidden from @everyone, the bot included, until `allow`."""
        hidden = {"id": id_text(guild), "type": 0, "allow": "0", "deny": str(rights.BITS["view_channel"])}
        channel = Thing(
            id=self.new_id(),
            type=TYPES[kind],
            guild_id=id_text(guild),
            name=name,
            position=len(self.channels),
            permission_overwrites=[hidden] if private else [],
            parent_id=None,
            nsfw=False,
            topic=topic or None,
            last_message_id=None,
            rate_limit_per_user=slow,
            flags=0,
        )
        if kind in {"forum", "media"}:
            channel |= {"available_tags": [], "default_reaction_emoji": None, "default_sort_order": None}
            channel = Thing(channel)
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
        """Open a thread in a channel, or a post in a forum; `message` gives the thread its id."""
        parent = self.channels[id_text(channel)]
        kind = PRIVATE_THREAD if private else NEWS_THREAD if parent["type"] == TYPES["news"] else PUBLIC_THREAD
        now = stamp(datetime.now(UTC))
        thread = Thing(
            id=self.new_id() if message is None else id_text(message),
            type=kind,
            guild_id=parent["guild_id"],
            parent_id=parent["id"],
            name=name,
            owner_id=id_text(owner) if owner is not None else self.guilds[parent["guild_id"]]["owner_id"],
            last_message_id=None,
            rate_limit_per_user=0,
            message_count=0,
            total_message_sent=0,
            member_count=1,
            flags=0,
            thread_metadata={
                "archived": archived,
                "archive_timestamp": now,
                "auto_archive_duration": 1440,
                "locked": False,
                "create_timestamp": now,
            }
            | ({"invitable": False} if private else {}),
        )
        if parent["type"] in {TYPES["forum"], TYPES["media"]}:
            thread["applied_tags"] = []
        self._add_channel(thread)
        if not archived:
            self._publish("THREAD_CREATE", thread | {"newly_created": True}, thread["guild_id"], thread["id"])
        return thread

    def archive(self, thread: Any, *, archived: bool = True, locked: bool = False) -> None:
        """Archive a thread (or open it again)."""
        found = self.channels[id_text(thread)]
        found["thread_metadata"] |= {
            "archived": archived,
            "locked": locked,
            "archive_timestamp": stamp(datetime.now(UTC)),
        }
        self._publish("THREAD_UPDATE", found, found["guild_id"], found["id"])

    def delete_channel(self, channel: Any) -> None:
        """Delete a channel or thread with all that was said in it."""
        found = self.channels.pop(id_text(channel))
        self.everything.pop(found["id"], None)
        self._order.pop(found["id"], None)
        name = "THREAD_DELETE" if found["type"] in THREADS else "CHANNEL_DELETE"
        self._publish(name, found, found["guild_id"], None)

    def deny(self, channel: Any, permission: str, *, role: Any = None) -> None:
        """Take a permission from the bot (or a role) in a channel."""
        self._overwrite(channel, permission, role, allow=False)

    def allow(self, channel: Any, permission: str, *, role: Any = None) -> None:
        """Give the bot (or a role) a permission in a channel."""
        self._overwrite(channel, permission, role, allow=True)

    def withdraw_intent(self, name: str = "message_content") -> None:
        """Switch the message content intent off, as in the developer portal."""
        if name != "message_content":
            raise ValueError(name)
        self.flags &= ~MESSAGE_CONTENT_FLAGS

    def history(self, channel: Any, count: int, members: Sequence[Any], start: datetime | None = None) -> list[int]:
        """Fill a channel with messages of the past, a minute apart, without telling anybody; return their ids."""
        first = start or datetime.now(UTC) - timedelta(minutes=count + 10)
        ids: list[int] = []
        for number in range(count):
            moment = first + timedelta(minutes=number)
            author = members[number % len(members)]
            message = self._compose(channel, author, f"message number {number} of long ago", moment=moment)
            self._store(message)
            ids.append(int(message["id"]))
        return ids

    # --- actions ---

    def say(
        self,
        channel: Any,
        member: Any,
        text: str,
        *,
        reply_to: Any = None,
        mentions: Iterable[Any] = (),
        attachments: Iterable[dict[str, Any]] = (),
        forward_of: Any = None,
        webhook: bool = False,
        kind: int = 0,
        nonce: str | None = None,
        **fields: Any,
    ) -> SaidThing:
        """Say something, as somebody."""
        message = self._compose(channel, member, text, webhook=webhook, kind=kind)
        found = {id_text(one): self.users[id_text(one)] for one in mentions}
        found |= {one: self.users[one] for one in MENTION.findall(text) if one in self.users}
        message["mentions"] = [self._mentioned(user, message.get("guild_id")) for user in found.values()]
        message["attachments"] = [
            {"id": self.new_id(), "filename": "file", "size": 1, "url": "", "proxy_url": ""} | one
            for one in attachments
        ]
        if reply_to is not None:
            self._refer(message, reply_to)
        if forward_of is not None:
            self._forward(message, forward_of)
        if nonce is not None:
            message["nonce"] = nonce
        message.update(fields)
        return self._said(message)

    def say_directly(self, user: Any, text: str) -> SaidThing:
        """Send the bot a direct message."""
        return self.say(self.direct_channel(id_text(user)), user, text)

    def direct_channel(self, user_id: str) -> Thing:
        """Return the direct channel between somebody and the bot."""
        for channel in self.channels.values():
            if channel["type"] == TYPES["dm"] and channel["recipients"][0]["id"] == user_id:
                return channel
        channel = Thing(
            id=self.new_id(), type=TYPES["dm"], recipients=[self.users[user_id]], last_message_id=None, flags=0
        )
        self._add_channel(channel)
        self._publish("CHANNEL_CREATE", channel, None, channel["id"])
        return channel

    def edit(self, message: Any, text: str) -> SaidThing:
        """Change the text of a message."""
        return self.change(message["channel_id"], id_text(message), {"content": text})

    def delete(self, message: Any, message_id: Any = None) -> None:
        """Delete a message, given itself or its channel and id."""
        channel_id = message["channel_id"] if message_id is None else id_text(message)
        gone = str(message["id"] if message_id is None else message_id)
        found = self._remove(channel_id, gone)
        data = {"id": gone, "channel_id": channel_id} | self._guild_field(channel_id)
        if found is not None:
            self._publish("MESSAGE_DELETE", data, data.get("guild_id"), channel_id)

    def bulk_delete(self, channel: Any, messages: Iterable[Any]) -> None:
        """Delete several messages at once."""
        channel_id = id_text(channel)
        ids = [id_text(message) for message in messages]
        for one in ids:
            self._remove(channel_id, one)
        data = {"ids": ids, "channel_id": channel_id} | self._guild_field(channel_id)
        self._publish("MESSAGE_DELETE_BULK", data, data.get("guild_id"), channel_id)

    def react(self, message: Any, member: Any, emoji: Any) -> None:
        """React to a message; `emoji` is a character or a custom emoji."""
        self._react(message, member, emoji, 1)

    def unreact(self, message: Any, member: Any, emoji: Any) -> None:
        """Take a reaction back."""
        self._react(message, member, emoji, -1)

    def clear_reactions(self, message: Any, emoji: Any = None) -> None:
        """Remove all reactions to a message, or those with one emoji."""
        found = self._existing(message)
        partial = None if emoji is None else emoji_payload(emoji)
        kept = [] if partial is None else [r for r in found["reactions"] if r["emoji"] != partial]
        found["reactions"] = kept
        self._raw.pop(int(found["id"]), None)
        data = {"message_id": found["id"], "channel_id": found["channel_id"]} | self._guild_field(found["channel_id"])
        if partial is not None:
            data["emoji"] = partial
        name = "MESSAGE_REACTION_REMOVE_ALL" if partial is None else "MESSAGE_REACTION_REMOVE_EMOJI"
        self._publish(name, data, data.get("guild_id"), found["channel_id"])

    def publish(self, name: str, data: dict[str, Any], *, guild_id: str | None = None, channel_id: Any = None) -> None:
        """Tell every session that may know."""
        self._publish(name, data, guild_id, None if channel_id is None else str(channel_id))

    def invoke(
        self, member: Any, channel: Any, command: str, options: dict[str, Any] | None = None, **more: Any
    ) -> Any:
        """Use a slash command; return its handle."""
        return self.interactions.invoke(id_text(member), id_text(channel), command, options or {}, **more)

    def invoke_context(self, member: Any, channel: Any, message: Any, command: str, **more: Any) -> Any:
        """Use a message's context menu; return its handle."""
        return self.interactions.invoke_context(id_text(member), id_text(channel), id_text(message), command, **more)

    def click(self, member: Any, message: Any, custom_id: str, **more: Any) -> Any:
        """Press a button under a message; return its handle."""
        return self.interactions.click(id_text(member), message, custom_id, **more)

    # --- questions ---

    def messages(self, channel: Any) -> list[SaidThing]:
        """Return what stands in a channel, oldest first."""
        found = self.everything.get(id_text(channel), {})
        return [found[number] for number in self._order.get(id_text(channel), [])]

    def messages_by(self, user: Any) -> list[SaidThing]:
        """Return everything that somebody said and that stands."""
        wanted = id_text(user)
        return [one for said in self.everything.values() for one in said.values() if one["author"]["id"] == wanted]

    def page(
        self,
        channel_id: str,
        limit: int,
        *,
        before: int | None = None,
        after: int | None = None,
        around: int | None = None,
    ) -> list[SaidThing]:
        """Return a page of history as Discord does: the newest first, also with `after`."""
        order = self._order.get(channel_id, [])
        if after is not None:
            start = bisect.bisect_right(order, after)
            chosen = order[start : start + limit]
        elif around is not None:
            middle = bisect.bisect_left(order, around)
            chosen = order[max(0, middle - limit // 2) :][:limit]
        else:
            end = len(order) if before is None else bisect.bisect_left(order, before)
            chosen = order[max(0, end - limit) : end]
        found = self.everything.get(channel_id, {})
        return [found[number] for number in reversed(chosen)]

    def raw(self, message: SaidThing) -> bytes:
        """Return a message as REST shows it, as JSON."""
        number = int(message["id"])
        if number not in self._raw:
            shown = {key: value for key, value in message.items() if key not in {"guild_id", "member", "pings"}}
            self._raw[number] = json.dumps(shown).encode()
        return self._raw[number]

    def shows_content(self, message: Any) -> bool:
        """Say whether the bot gets to see the text: with the intent, or where it is concerned."""
        if self.flags & MESSAGE_CONTENT_FLAGS or message["author"]["id"] == self.bot["id"]:
            return True
        direct = self.channels[message["channel_id"]]["type"] == TYPES["dm"]
        return direct or any(user["id"] == self.bot["id"] for user in message["mentions"])

    def base_permissions(self, guild_id: str, user_id: str) -> int:
        """Return somebody's permission bits on a server, before any channel."""
        guild = self.guilds[guild_id]
        held = {guild_id, *self.members[guild_id, user_id]["roles"]}
        return rights.in_guild(guild["owner_id"] == user_id, (r for r in guild["roles"] if r["id"] in held))

    def permissions(self, channel_id: str, user_id: str) -> int:
        """Return somebody's permission bits in a channel; threads take their parent's."""
        channel = self.channels[channel_id]
        if channel["type"] == TYPES["dm"]:
            return rights.EVERYONE
        if channel["type"] in THREADS:
            bits = self.permissions(channel["parent_id"], user_id)
            manages = bits & rights.BITS["manage_threads"]
            hidden = channel["type"] == PRIVATE_THREAD and not manages and channel["owner_id"] != user_id
            joined = user_id in channel.get("invited", ())
            return 0 if hidden and not joined else bits
        guild_id = channel["guild_id"]
        if (guild_id, user_id) not in self.members:
            return 0
        return rights.in_channel(
            self.base_permissions(guild_id, user_id),
            channel["permission_overwrites"],
            guild_id=guild_id,
            role_ids=frozenset(self.members[guild_id, user_id]["roles"]),
            user_id=user_id,
        )

    def may(self, channel_id: str, permission: str, user_id: str | None = None) -> bool:
        """Say whether the bot (or somebody) has a permission in a channel."""
        bit = rights.BITS[permission]
        return bool(self.permissions(channel_id, user_id or self.bot["id"]) & bit)

    # --- what interactions need (see `Stage`) ---

    def guild_of(self, channel_id: str) -> str | None:
        """Return a channel's server."""
        found: str | None = self.channels[channel_id].get("guild_id")
        return found

    def guild(self, guild_id: str) -> dict[str, Any]:
        """Return a server."""
        return {key: value for key, value in self.guilds[guild_id].items() if key != "owner"}

    def channel(self, channel_id: str) -> dict[str, Any]:
        """Return a channel."""
        return self.channels[channel_id]

    def user(self, user_id: str) -> dict[str, Any]:
        """Return a person."""
        return self.users[user_id]

    def member(self, guild_id: str, user_id: str) -> dict[str, Any]:
        """Return a member with its user."""
        return {**self.members[guild_id, user_id], "user": self.users[user_id]}

    def role(self, guild_id: str, role_id: str) -> dict[str, Any]:
        """Return a role."""
        return next(role for role in self.guilds[guild_id]["roles"] if role["id"] == role_id)

    def message(self, channel_id: str, message_id: str) -> SaidThing | None:
        """Return a message that stands."""
        return self.everything.get(channel_id, {}).get(int(message_id))

    def send(self, channel_id: str, fields: dict[str, Any], allowed_mentions: dict[str, Any] | None) -> SaidThing:
        """Say something as the bot."""
        message = self._compose(channel_id, self.bot, fields.get("content") or "")
        message.update(fields)
        message["mentions"] = [
            self._mentioned(self.users[one], message.get("guild_id"))
            for one in MENTION.findall(message["content"])
            if one in self.users
        ]
        message["pings"] = self.pings(message, allowed_mentions)
        return self._said(message)

    def change(self, channel_id: str, message_id: str, fields: dict[str, Any]) -> SaidThing:
        """Change fields of a message and tell everybody."""
        found = self.everything[channel_id][int(message_id)]
        changed = SaidThing({**found, "edited_timestamp": stamp(datetime.now(UTC)), **fields})
        self.everything[channel_id][int(message_id)] = changed
        self._raw.pop(int(message_id), None)
        found.clear()
        found.update(changed)
        self.everything[channel_id][int(message_id)] = found
        self._publish("MESSAGE_UPDATE", found, found.get("guild_id"), channel_id)
        return found

    # --- inside ---

    def pings(self, message: dict[str, Any], allowed: dict[str, Any] | None) -> list[str]:
        """Return whom a message of the bot notifies, by Discord's rules for allowed mentions."""
        text = message.get("content") or ""
        parse = {"users", "roles", "everyone"} if allowed is None else set(allowed.get("parse") or ())
        wanted: list[str] = []
        may_all = message.get("guild_id") is None or self.may(message["channel_id"], "mention_everyone")
        if "everyone" in parse and may_all:
            wanted += re.findall(r"@(?:everyone|here)", text)
        listed = (allowed or {}).get("users") or ()
        wanted += [one for one in MENTION.findall(text) if "users" in parse or one in listed]
        roles = {r["id"]: r for g in self.guilds.values() for r in g["roles"]}
        listed = (allowed or {}).get("roles") or ()
        for one in ROLE_MENTION.findall(text):
            mentionable = may_all or roles.get(one, {}).get("mentionable")
            if mentionable and ("roles" in parse or one in listed):
                wanted.append(f"&{one}")
        replied = message.get("referenced_message")
        if replied and (allowed is None or allowed.get("replied_user")):
            wanted.append(replied["author"]["id"])
        return wanted

    def _user(self, name: str, *, bot: bool = False) -> Thing:
        user = Thing(
            id=self.new_id(),
            username=name.lower().replace(" ", "_"),
            global_name=name,
            discriminator="0",
            avatar=None,
            public_flags=0,
        )
        if bot:
            user["bot"] = True
        self.users[user["id"]] = user
        return user

    def _role(
        self, guild: Any, name: str, bits: int, *, role_id: str | None = None, mentionable: bool = False
    ) -> Thing:
        found = self.guilds[id_text(guild)]
        role = Thing(
            id=role_id or self.new_id(),
            name=name,
            color=0,
            colors={"primary_color": 0, "secondary_color": None, "tertiary_color": None},
            hoist=False,
            position=len(found["roles"]),
            permissions=str(bits),
            managed=False,
            mentionable=mentionable,
            flags=0,
        )
        found["roles"].append(role)
        return role

    def _join(self, guild: Thing, user: Any, role_ids: list[str], nick: str | None = None) -> None:
        self.members[guild["id"], user["id"]] = Thing(
            roles=role_ids,
            nick=nick,
            avatar=None,
            joined_at="2020-01-01T00:00:00+00:00",
            premium_since=None,
            deaf=False,
            mute=False,
            flags=0,
            pending=False,
        )

    def guild_payload(self, guild_id: str) -> dict[str, Any]:
        """Return what GUILD_CREATE says."""
        bot_id = self.bot["id"]
        here = [channel for channel in self.channels.values() if channel.get("guild_id") == guild_id]
        seen = [channel for channel in here if self.may(channel["id"], "view_channel")]
        return {
            **self.guild(guild_id),
            "unavailable": False,
            "large": False,
            "joined_at": "2020-01-01T00:00:00+00:00",
            "member_count": sum(where == guild_id for where, _ in self.members),
            "members": [self.member(guild_id, bot_id)],
            "channels": [channel for channel in here if channel["type"] not in THREADS],
            "threads": [c for c in seen if c["type"] in THREADS and not c["thread_metadata"]["archived"]],
            "voice_states": [],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "stickers": [],
            "soundboard_sounds": [],
            "verification_level": 0,
            "default_message_notifications": 0,
            "explicit_content_filter": 0,
            "mfa_level": 0,
            "nsfw_level": 0,
            "premium_tier": 0,
            "premium_progress_bar_enabled": False,
            "system_channel_flags": 0,
            "afk_timeout": 300,
            "afk_channel_id": None,
            "system_channel_id": None,
            "rules_channel_id": None,
            "public_updates_channel_id": None,
            "icon": None,
            "splash": None,
            "discovery_splash": None,
            "banner": None,
            "description": None,
            "vanity_url_code": None,
            "application_id": None,
        }

    def _add_channel(self, channel: Thing) -> None:
        self.channels[channel["id"]] = channel
        self.everything.setdefault(channel["id"], {})
        self._order.setdefault(channel["id"], [])

    def _overwrite(self, channel: Any, permission: str, role: Any, *, allow: bool) -> None:
        found = self.channels[id_text(channel)]
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

    def _guild_field(self, channel_id: str) -> dict[str, str]:
        guild_id = self.channels[channel_id].get("guild_id")
        return {} if guild_id is None else {"guild_id": guild_id}

    def _compose(
        self,
        channel: Any,
        member: Any,
        text: str,
        *,
        moment: datetime | None = None,
        webhook: bool = False,
        kind: int = 0,
    ) -> SaidThing:
        channel_id = id_text(channel)
        message_id = self.new_id(moment)
        author = self.users[id_text(member)]
        guild = self._guild_field(channel_id)
        message = SaidThing(
            id=message_id,
            type=kind,
            channel_id=channel_id,
            content=text,
            author=dict(author),
            timestamp=stamp(moment or moment_of(int(message_id))),
            edited_timestamp=None,
            tts=False,
            mention_everyone="@everyone" in text or "@here" in text,
            mentions=[],
            mention_roles=ROLE_MENTION.findall(text),
            attachments=[],
            embeds=[],
            reactions=[],
            pinned=False,
            flags=0,
            components=[],
            **guild,
        )
        if webhook:
            message["webhook_id"] = self.new_id()
            message["author"] = {**author, "bot": True, "id": message["webhook_id"], "discriminator": "0000"}
        elif guild and (guild["guild_id"], author["id"]) in self.members:
            message["member"] = dict(self.members[guild["guild_id"], author["id"]])
        return message

    def _mentioned(self, user: Any, guild_id: str | None) -> dict[str, Any]:
        member = self.members.get((guild_id or "", user["id"]))
        return {**user, **({"member": dict(member)} if member else {})}

    def _refer(self, message: SaidThing, target: Any) -> None:
        found = self.everything.get(target["channel_id"], {}).get(int(target["id"]))
        message["type"] = 19
        message["message_reference"] = {
            "type": 0,
            "message_id": target["id"],
            "channel_id": target["channel_id"],
            **self._guild_field(target["channel_id"]),
        }
        shown = (
            {k: v for k, v in found.items() if k not in {"guild_id", "member", "pings", "referenced_message"}}
            if found
            else None
        )
        message["referenced_message"] = shown

    def _forward(self, message: SaidThing, target: Any) -> None:
        message["message_reference"] = {
            "type": 1,
            "message_id": target["id"],
            "channel_id": target["channel_id"],
            **self._guild_field(target["channel_id"]),
        }
        kept = (
            "content",
            "timestamp",
            "edited_timestamp",
            "attachments",
            "embeds",
            "mentions",
            "mention_roles",
            "flags",
            "type",
        )
        message["message_snapshots"] = [{"message": {name: target[name] for name in kept}}]

    def _store(self, message: SaidThing) -> None:
        channel_id, number = message["channel_id"], int(message["id"])
        order = self._order[channel_id]
        if order and order[-1] > number:
            bisect.insort(order, number)
        else:
            order.append(number)
        self.everything[channel_id][number] = message
        channel = self.channels[channel_id]
        channel["last_message_id"] = str(order[-1])
        if "message_count" in channel:
            channel["message_count"] += 1
            channel["total_message_sent"] += 1

    def _said(self, message: SaidThing) -> SaidThing:
        self._store(message)
        channel = self.channels[message["channel_id"]]
        if channel["type"] in THREADS and channel["thread_metadata"]["archived"]:
            self.archive(channel, archived=False)
        self._publish("MESSAGE_CREATE", message, message.get("guild_id"), message["channel_id"])
        return message

    def _remove(self, channel_id: str, message_id: str) -> SaidThing | None:
        found = self.everything[channel_id].pop(int(message_id), None)
        if found is not None:
            order = self._order[channel_id]
            del order[bisect.bisect_left(order, int(message_id))]
            self._raw.pop(int(message_id), None)
        return found

    def _existing(self, message: Any) -> SaidThing:
        return self.everything[message["channel_id"]][int(message["id"])]

    def _react(self, message: Any, member: Any, emoji: Any, change: int) -> None:
        found = self._existing(message)
        partial = emoji_payload(emoji)
        entry = next((r for r in found["reactions"] if r["emoji"] == partial), None)
        if entry is None:
            if change < 0:
                return
            entry = {"emoji": partial, "count": 0, "me": False, "me_burst": False, "burst_colors": [], "who": []}
            entry["count_details"] = {"burst": 0, "normal": 0}
            found["reactions"].append(entry)
        who = id_text(member)
        if (change > 0) == (who in entry["who"]):
            return
        entry["who"] = [*entry["who"], who] if change > 0 else [one for one in entry["who"] if one != who]
        entry["count"] = entry["count_details"]["normal"] = len(entry["who"])
        if not entry["count"]:
            found["reactions"].remove(entry)
        self._raw.pop(int(found["id"]), None)
        data = {
            "user_id": who,
            "channel_id": found["channel_id"],
            "message_id": found["id"],
            "emoji": partial,
            "burst": False,
            "type": 0,
            **self._guild_field(found["channel_id"]),
        }
        if change > 0:
            data["message_author_id"] = found["author"]["id"]
            if "guild_id" in data:
                data["member"] = self.member(data["guild_id"], who)
        name = "MESSAGE_REACTION_ADD" if change > 0 else "MESSAGE_REACTION_REMOVE"
        self._publish(name, data, data.get("guild_id"), found["channel_id"])


def emoji_payload(emoji: Any) -> dict[str, Any]:
    """Return an emoji as reactions show it."""
    if isinstance(emoji, dict):
        return {"id": emoji["id"], "name": emoji["name"], "animated": emoji.get("animated", False)}
    return {"id": None, "name": emoji}


def stamp(moment: datetime) -> str:
    """Return a moment as Discord writes it."""
    return moment.isoformat(timespec="microseconds")


def moment_of(snowflake: int) -> datetime:
    """Return when a snowflake was made."""
    return datetime.fromtimestamp(((snowflake >> 22) + EPOCH_MS) / 1000, tz=UTC)
