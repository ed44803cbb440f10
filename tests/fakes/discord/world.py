"""The world behind the fake Discord: what people and the bot say in its places, and what happens to it."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.fakes.discord import mentions, payloads
from tests.fakes.discord.payloads import REPLY, THREADS, TYPES, Payload
from tests.fakes.discord.places import Places
from tests.fakes.discord.snowflakes import moment_of, stamp, stamp_now
from tests.fakes.discord.things import SaidThing, id_text

if TYPE_CHECKING:
    from tests.fakes.discord.interactions import Interaction, Interactions


class World(Places):
    """Everything that can be done to messages; told to every session that may know. Implements `Stage`."""

    interactions: "Interactions"

    # --- what people do ---

    def say(
        self,
        channel: Any,
        member: Any,
        text: str,
        *,
        reply_to: Any = None,
        mentions: Iterable[Any] = (),
        attachments: Iterable[Payload] = (),
        forward_of: Any = None,
        webhook: bool = False,
        kind: int = 0,
        nonce: str | None = None,
        **fields: Any,
    ) -> SaidThing:
        """Say something, as somebody; who is written as `<@id>` is mentioned, and so are `mentions`.

        With `webhook` it comes from a webhook that looks like the member. `fields` go into the message as they are.
        """
        message = self.compose(channel, member, text, webhook=webhook, kind=kind)
        self.mention(message, mentions)
        message["attachments"] = payloads.attachments(attachments, self.new_id)
        if reply_to is not None:
            self.refer(message, reply_to)
        if forward_of is not None:
            self.forward(message, forward_of)
        if nonce is not None:
            message["nonce"] = nonce
        message.update(fields)
        return self.said(message)

    def say_directly(self, user: Any, text: str, **more: Any) -> SaidThing:
        """Send the bot a direct message."""
        return self.say(self.direct_channel(id_text(user)), user, text, **more)

    def history(self, channel: Any, count: int, members: Sequence[Any], start: datetime | None = None) -> list[int]:
        """Fill a channel with messages of the past, a minute apart, without telling anybody; return their ids."""
        first = start or datetime.now(UTC) - timedelta(minutes=count + 10)
        ids: list[int] = []
        for number in range(count):
            text = f"message number {number} of long ago"
            moment = first + timedelta(minutes=number)
            message = self.compose(channel, members[number % len(members)], text, moment=moment)
            self._store(message)
            ids.append(int(message["id"]))
        return ids

    def edit(self, message: Any, text: str) -> SaidThing:
        """Change the text of a message."""
        return self.change(message["channel_id"], id_text(message), {"content": text})

    def delete(self, message: Any, message_id: Any = None) -> None:
        """Delete a message, given itself or its channel and id."""
        channel_id = message["channel_id"] if message_id is None else id_text(message)
        gone = str(message["id"] if message_id is None else message_id)
        if self.talks[channel_id].remove(gone) is not None:
            self._happened("MESSAGE_DELETE", channel_id, {"id": gone})

    def bulk_delete(self, channel: Any, messages: Iterable[Any]) -> None:
        """Delete several messages at once."""
        channel_id = id_text(channel)
        ids = [id_text(message) for message in messages]
        gone = [one for one in ids if self.talks[channel_id].remove(one) is not None]
        if gone:
            self._happened("MESSAGE_DELETE_BULK", channel_id, {"ids": gone})

    def react(self, message: Any, member: Any, emoji: Any) -> None:
        """React to a message; `emoji` is a character or a custom emoji."""
        self._react(message, member, emoji, on=True)

    def unreact(self, message: Any, member: Any, emoji: Any) -> None:
        """Take a reaction back."""
        self._react(message, member, emoji, on=False)

    def clear_reactions(self, message: Any, emoji: Any = None) -> None:
        """Remove all reactions to a message, or those with one emoji."""
        found = self._existing(message)
        partial = None if emoji is None else payloads.emoji(emoji)
        found["reactions"] = [] if partial is None else [r for r in found["reactions"] if not _same(r, partial)]
        self.talks[found["channel_id"]].changed(found["id"])
        name = "MESSAGE_REACTION_REMOVE_ALL" if partial is None else "MESSAGE_REACTION_REMOVE_EMOJI"
        which = {"message_id": found["id"]} | ({} if partial is None else {"emoji": partial})
        self._happened(name, found["channel_id"], which)

    def typing(self, channel: Any, member: Any) -> None:
        """Show that somebody is typing."""
        channel_id, user_id = id_text(channel), id_text(member)
        data: Payload = {"user_id": user_id, "timestamp": int(datetime.now(UTC).timestamp())}
        guild_id = self.guild_of(channel_id)
        if guild_id is not None:
            data["member"] = self.member(guild_id, user_id)
        self._happened("TYPING_START", channel_id, data)

    def invoke(
        self, member: Any, channel: Any, command: str, options: Payload | None = None, **more: Any
    ) -> "Interaction":
        """Use a slash command; return its handle."""
        return self.interactions.invoke(id_text(member), id_text(channel), command, options or {}, **more)

    def invoke_context(self, member: Any, channel: Any, message: Any, command: str, **more: Any) -> "Interaction":
        """Use a message's context menu; return its handle."""
        return self.interactions.invoke_context(id_text(member), id_text(channel), id_text(message), command, **more)

    def click(self, member: Any, message: Any, custom_id: str, **more: Any) -> "Interaction":
        """Press a button under a message; return its handle."""
        return self.interactions.click(id_text(member), message, custom_id, **more)

    # --- what stands ---

    def messages(self, channel: Any) -> list[SaidThing]:
        """Return what stands in a channel, oldest first."""
        return list(self.talks[id_text(channel)])

    def messages_by(self, user: Any) -> list[SaidThing]:
        """Return everything that somebody said and that stands."""
        wanted = id_text(user)
        return [one for talk in self.talks.values() for one in talk if one["author"]["id"] == wanted]

    def message(self, channel_id: str, message_id: str) -> SaidThing | None:
        """Return a message that stands."""
        talk = self.talks.get(channel_id)
        return None if talk is None or not message_id.isdigit() else talk.said.get(int(message_id))

    # --- what the bot does, and the steps of saying something ---

    def send(self, channel_id: str, fields: Payload, allowed_mentions: Payload | None) -> SaidThing:
        """Say something as the bot; needs no permission."""
        message = self.compose(channel_id, self.bot, fields.get("content") or "")
        message.update(fields)
        self.mention(message)
        message["pings"] = self.pings(message, allowed_mentions)
        return self.said(message)

    def change(self, channel_id: str, message_id: str, fields: Payload) -> SaidThing:
        """Change fields of a message and tell everybody; an edit unless `fields` say otherwise."""
        found = self.talks[channel_id].said[int(message_id)]
        found.update({"edited_timestamp": stamp_now()} | fields)
        if "content" in fields:
            self.mention(found)
        self.talks[channel_id].changed(message_id)
        self._publish("MESSAGE_UPDATE", found, found.get("guild_id"), channel_id)
        return found

    def pings(self, message: Payload, allowed: Payload | None) -> list[str]:
        """Return whom a message of the bot notifies, by Discord's rules for allowed mentions."""
        guild_id = message.get("guild_id")
        may_all = guild_id is not None and self.may(message["channel_id"], "mention_everyone")
        roles = [] if guild_id is None else self.guilds[guild_id]["roles"]
        mentionable = [role["id"] for role in roles if role["mentionable"]]
        return mentions.pinged(message, allowed, may_all=may_all, mentionable=mentionable)

    def publish(self, name: str, data: Payload, *, guild_id: str | None = None, channel_id: Any = None) -> None:
        """Tell every session that may know."""
        self._publish(name, data, guild_id, None if channel_id is None else str(channel_id))

    def compose(
        self,
        channel: Any,
        member: Any,
        text: str,
        *,
        moment: datetime | None = None,
        webhook: bool = False,
        kind: int = 0,
    ) -> SaidThing:
        """Return a message that nobody has said yet."""
        channel_id = id_text(channel)
        message_id = self.new_id(moment)
        author = dict(self.users[id_text(member)])
        when = stamp(moment or moment_of(int(message_id)))
        message = payloads.message(message_id, channel_id, author, text, kind=kind, timestamp=when)
        guild_id = self.channels[channel_id].get("guild_id")
        if guild_id is not None:
            message["guild_id"] = guild_id
            message["mention_roles"] = mentions.roles_in(text)
            if mentions.everybody_in(text):
                message["mention_everyone"] = self.may(channel_id, "mention_everyone", author["id"])
        if webhook:
            message["webhook_id"] = self.new_id()
            message["author"] = author | {"bot": True, "id": message["webhook_id"], "discriminator": "0000"}
        elif (guild_id or "", author["id"]) in self.members:
            message["member"] = dict(self.members[guild_id or "", author["id"]])
        return message

    def mention(self, message: SaidThing, more: Iterable[Any] = ()) -> None:
        """Fill in whom a message mentions: those in its text, and more."""
        wanted = dict.fromkeys([*(id_text(one) for one in more), *mentions.users_in(message["content"])])
        guild_id = message.get("guild_id", "")
        message["mentions"] = []
        for user_id in wanted:
            if user_id in self.users:
                member = self.members.get((guild_id, user_id))
                shown = {"member": dict(member)} if member else {}
                message["mentions"].append({**self.users[user_id], **shown})

    def refer(self, message: SaidThing, target: Any) -> None:
        """Make a message a reply to another one, which may be gone."""
        message["type"] = REPLY
        message["message_reference"] = payloads.reference(target)
        found = self.message(target["channel_id"], target["id"])
        shown = None if found is None else payloads.shown(found, self.bot["id"])
        if shown is not None:
            shown.pop("referenced_message", None)
        message["referenced_message"] = shown

    def forward(self, message: SaidThing, target: Any) -> None:
        """Make a message a forward of another one."""
        message["message_reference"] = payloads.reference(target, payloads.FORWARD)
        message["message_snapshots"] = [payloads.snapshot(target)]

    def said(self, message: SaidThing) -> SaidThing:
        """Say a message; that opens an archived thread again."""
        self._store(message)
        channel = self.channels[message["channel_id"]]
        if channel["type"] in THREADS and channel["thread_metadata"]["archived"]:
            self.archive(channel, archived=False, locked=channel["thread_metadata"]["locked"])
        self._publish("MESSAGE_CREATE", message, message.get("guild_id"), message["channel_id"])
        return message

    # --- what of it the bot gets to see ---

    def shows_content(self, message: Payload) -> bool:
        """Say whether REST shows the text: with the intent, or where the bot is concerned."""
        if self.has_intent("message_content"):
            return True
        return payloads.concerns(message, self.bot["id"], direct=self.is_direct(message["channel_id"]))

    def is_direct(self, channel_id: str) -> bool:
        """Say whether a channel is a direct one."""
        return bool(self.channels[channel_id]["type"] == TYPES["dm"])

    def raw(self, message: SaidThing) -> bytes:
        """Return a message as REST shows it, as JSON."""
        return self.talks[message["channel_id"]].json(message)

    # --- inside ---

    def _happened(self, name: str, channel_id: str, data: Payload) -> None:
        guild_id = self.guild_of(channel_id)
        where = {"channel_id": channel_id} | ({} if guild_id is None else {"guild_id": guild_id})
        self._publish(name, where | data, guild_id, channel_id)

    def _store(self, message: SaidThing) -> None:
        talk, channel = self.talks[message["channel_id"]], self.channels[message["channel_id"]]
        talk.add(message)
        channel["last_message_id"] = talk.last_id
        if "message_count" in channel:
            channel["message_count"] += 1
            channel["total_message_sent"] += 1

    def _existing(self, message: Any) -> SaidThing:
        return self.talks[message["channel_id"]].said[int(message["id"])]

    def _react(self, message: Any, member: Any, emoji: Any, *, on: bool) -> None:
        found, partial, who = self._existing(message), payloads.emoji(emoji), id_text(member)
        entry = next((r for r in found["reactions"] if _same(r, partial)), None)
        if on == (entry is not None and who in entry["who"]):
            return
        if entry is None:
            entry = {"emoji": partial, "who": []}
            found["reactions"].append(entry)
        if on:
            entry["who"].append(who)
        else:
            entry["who"].remove(who)
            if not entry["who"]:
                found["reactions"].remove(entry)
        entry["count"] = len(entry["who"])
        self.talks[found["channel_id"]].changed(found["id"])
        data: Payload = {"user_id": who, "message_id": found["id"], "emoji": entry["emoji"], "burst": False, "type": 0}
        if on:
            data["message_author_id"] = found["author"]["id"]
            if (found.get("guild_id", ""), who) in self.members:
                data["member"] = self.member(found["guild_id"], who)
        self._happened("MESSAGE_REACTION_ADD" if on else "MESSAGE_REACTION_REMOVE", found["channel_id"], data)


def _same(reaction: Payload, emoji: Payload) -> bool:
    """Custom emoji are known by their ids: their names change."""
    if emoji["id"] is not None:
        return bool(reaction["emoji"]["id"] == emoji["id"])
    return bool(reaction["emoji"]["id"] is None and reaction["emoji"]["name"] == emoji["name"])
