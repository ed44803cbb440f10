"""A stage without a server: one guild, one direct channel, messages in a dictionary, events in a list."""

from datetime import UTC, datetime
from itertools import count

from tests.fakes.discord.command_rules import Payload

EVERYTHING = (1 << 31) | (1 << 10) | (1 << 11) | (1 << 16)

GUILD, CHANNEL, HIDDEN_CHANNEL, DIRECT = "100", "200", "201", "202"
BOT, ADA, BEN, OWNER = "300", "301", "302", "303"
HELPERS = "400"
JOINED = "2020-01-01T00:00:00+00:00"
FLAGS = {"deaf": False, "mute": False, "flags": 0}
ADMINISTRATOR, MANAGE_GUILD = 1 << 3, 1 << 5


class EmptyStage:
    """Enough of a world to test interactions alone; implements `Stage`."""

    application_id = BOT

    def __init__(self) -> None:
        self.time = 1_000.0
        self.events: list[tuple[str, Payload]] = []
        self.messages: dict[str, Payload] = {}
        self.allowed_mentions: list[Payload | None] = []
        self.rights = {ADA: EVERYTHING, BEN: EVERYTHING, OWNER: EVERYTHING | ADMINISTRATOR, BOT: EVERYTHING}
        self.roles = {ADA: [HELPERS], BEN: [], OWNER: [], BOT: []}
        self._ids = count(10_000)

    def new_id(self) -> str:
        return str(next(self._ids))

    def now(self) -> float:
        return self.time

    def guild_of(self, channel_id: str) -> str | None:
        return {CHANNEL: GUILD, HIDDEN_CHANNEL: GUILD, DIRECT: None}[channel_id]

    def guild(self, guild_id: str) -> Payload:
        return {GUILD: {"id": GUILD, "preferred_locale": "de", "features": ["COMMUNITY"]}}[guild_id]

    def channel(self, channel_id: str) -> Payload:
        if self.guild_of(channel_id) is None:
            return {"id": channel_id, "type": 1, "recipients": [self.user(ADA)], "flags": 0}
        place = {"position": 0, "parent_id": None, "nsfw": False, "flags": 0, "rate_limit_per_user": 0}
        return {"id": channel_id, "type": 0, "name": f"channel-{channel_id}", "guild_id": GUILD, **place}

    def user(self, user_id: str) -> Payload:
        return {
            "id": user_id,
            "username": {BOT: "persona", ADA: "ada", BEN: "ben", OWNER: "owner"}[user_id],
            "discriminator": "0",
            "avatar": None,
        }

    def member(self, guild_id: str, user_id: str) -> Payload:
        self.guild(guild_id)
        return {"user": self.user(user_id), "roles": self.roles[user_id], "joined_at": JOINED, **FLAGS}

    def role(self, guild_id: str, role_id: str) -> Payload:
        return {GUILD: {HELPERS: {"id": HELPERS, "name": "helpers"}}}[guild_id][role_id]

    def permissions(self, channel_id: str, user_id: str) -> int:
        self.guild_of(channel_id)
        return self.rights[user_id]

    def message(self, channel_id: str, message_id: str) -> Payload | None:
        found = self.messages.get(message_id)
        return found if found is not None and found["channel_id"] == channel_id else None

    def send(self, channel_id: str, fields: Payload, allowed_mentions: Payload | None) -> Payload:
        identity = self.new_id()
        now = datetime.now(UTC).isoformat()
        self.messages[identity] = {
            "id": identity,
            "channel_id": channel_id,
            "author": self.user(BOT),
            "timestamp": now,
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "pinned": False,
            "type": 0,
            **fields,
        }
        self.messages[identity]["pings"] = self.pings(self.messages[identity], allowed_mentions)
        self.allowed_mentions.append(allowed_mentions)
        self.events.append(("MESSAGE_CREATE", self.messages[identity]))
        return self.messages[identity]

    def change(self, channel_id: str, message_id: str, fields: Payload) -> Payload:
        self.messages[message_id] = self.messages[message_id] | fields
        self.events.append(("MESSAGE_UPDATE", self.messages[message_id]))
        return self.messages[message_id]

    def delete(self, channel_id: str, message_id: str) -> None:
        self.events.append(("MESSAGE_DELETE", self.messages.pop(message_id)))

    def pings(self, message: Payload, allowed: Payload | None) -> list[str]:
        everyone = "@everyone" in message["content"] and (allowed is None or "everyone" in allowed.get("parse", []))
        return ["@everyone"] if everyone else []

    def publish(self, name: str, data: Payload, *, guild_id: str | None, channel_id: str | None) -> None:
        self.events.append((name, data))
