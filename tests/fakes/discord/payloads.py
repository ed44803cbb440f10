"""Discord's objects in their JSON form, and what of a message the bot gets to see."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tests.fakes.discord.permissions import BITS
from tests.fakes.discord.snowflakes import stamp_now
from tests.fakes.discord.things import SaidThing, Thing, id_text

Payload = dict[str, Any]

TYPES: Final[Mapping[str, int]] = {
    "text": 0,
    "dm": 1,
    "voice": 2,
    "category": 4,
    "news": 5,
    "stage": 13,
    "forum": 15,
    "media": 16,
}
NEWS_THREAD, PUBLIC_THREAD, PRIVATE_THREAD = 10, 11, 12
THREADS: Final = frozenset({NEWS_THREAD, PUBLIC_THREAD, PRIVATE_THREAD})
WITH_POSTS: Final = frozenset({TYPES["forum"], TYPES["media"]})
WITHOUT_MESSAGES: Final = WITH_POSTS | {TYPES["category"]}

REPLY, FORWARD = 19, 1
HAS_THREAD: Final = 1 << 5
JOINED: Final = "2020-01-01T00:00:00+00:00"

# What the server knows about a message and shows nobody, and what only the gateway shows.
_KEPT_BACK: Final = frozenset({"guild_id", "member", "pings"})
_FORWARDED: Final = (
    *("content", "timestamp", "edited_timestamp", "attachments", "embeds", "mentions", "mention_roles", "flags"),
    *("type", "components"),
)
_HIDDEN: Final[Mapping[str, Any]] = {"content": "", "embeds": [], "attachments": [], "components": []}

_GUILD_DEFAULTS: Final[Mapping[str, Any]] = {
    "unavailable": False,
    "large": False,
    "joined_at": JOINED,
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


def user(user_id: str, name: str, *, bot: bool) -> Thing:
    """Return a person or a bot."""
    made = Thing(
        id=user_id,
        username=name.lower().replace(" ", "_"),
        global_name=name,
        discriminator="0",
        avatar=None,
        public_flags=0,
    )
    if bot:
        made["bot"] = True
    return made


def member(role_ids: list[str], nick: str | None) -> Thing:
    """Return a membership, without its user."""
    return Thing(
        roles=role_ids,
        nick=nick,
        avatar=None,
        joined_at=JOINED,
        premium_since=None,
        deaf=False,
        mute=False,
        flags=0,
        pending=False,
        communication_disabled_until=None,
    )


def role(role_id: str, name: str, bits: int, *, position: int, mentionable: bool) -> Thing:
    """Return a role."""
    return Thing(
        id=role_id,
        name=name,
        color=0,
        colors={"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        hoist=False,
        position=position,
        permissions=str(bits),
        managed=False,
        mentionable=mentionable,
        flags=0,
    )


def channel(
    channel_id: str, guild_id: str, name: str, kind: str, *, private: bool, topic: str, slow: int, position: int
) -> Thing:
    """Return a server's channel; a private one is hidden from @everyone."""
    hidden = {"id": guild_id, "type": 0, "allow": "0", "deny": str(BITS["view_channel"])}
    made = Thing(
        id=channel_id,
        type=TYPES[kind],
        guild_id=guild_id,
        name=name,
        position=position,
        permission_overwrites=[hidden] if private else [],
        parent_id=None,
        nsfw=False,
        topic=topic or None,
        last_message_id=None,
        rate_limit_per_user=slow,
        flags=0,
    )
    if made["type"] in WITH_POSTS:
        made.update(available_tags=[], default_reaction_emoji=None, default_sort_order=None)
    return made


def thread(thread_id: str, parent: Thing, name: str, *, owner_id: str, archived: bool, private: bool) -> Thing:
    """Return a thread in a channel, or a post in a forum."""
    kind = PRIVATE_THREAD if private else NEWS_THREAD if parent["type"] == TYPES["news"] else PUBLIC_THREAD
    now = stamp_now()
    state = {
        "archived": archived,
        "archive_timestamp": now,
        "auto_archive_duration": 1440,
        "locked": False,
        "create_timestamp": now,
    }
    made = Thing(
        id=thread_id,
        type=kind,
        guild_id=parent["guild_id"],
        parent_id=parent["id"],
        name=name,
        owner_id=owner_id,
        last_message_id=None,
        rate_limit_per_user=0,
        message_count=0,
        total_message_sent=0,
        member_count=1,
        flags=0,
        thread_metadata=state | ({"invitable": False} if private else {}),
    )
    if parent["type"] in WITH_POSTS:
        made["applied_tags"] = []
    return made


def message(message_id: str, channel_id: str, author: Payload, text: str, *, kind: int, timestamp: str) -> SaidThing:
    """Return a message as it is before anything is added to it."""
    return SaidThing(
        id=message_id,
        type=kind,
        channel_id=channel_id,
        content=text,
        author=author,
        timestamp=timestamp,
        edited_timestamp=None,
        tts=False,
        mention_everyone=False,
        mentions=[],
        mention_roles=[],
        attachments=[],
        embeds=[],
        reactions=[],
        pinned=False,
        flags=0,
        components=[],
    )


def guild_arrived(guild: Payload, **parts: Any) -> Payload:
    """Return what GUILD_CREATE says; `parts` are its channels, threads, members and their number."""
    return {**_GUILD_DEFAULTS, **guild, **parts}


def emoji(given: Any) -> Payload:
    """Return an emoji, given as a character or as a custom one, as reactions show it."""
    if isinstance(given, dict):
        return {"id": given["id"], "name": given["name"], "animated": given.get("animated", False)}
    return {"id": None, "name": given}


def reaction(entry: Payload, me: str) -> Payload:
    """Return a reaction as `me` sees it: how many, and whether `me` is among them."""
    count = len(entry["who"])
    return {
        "emoji": entry["emoji"],
        "count": count,
        "count_details": {"burst": 0, "normal": count},
        "me": me in entry["who"],
        "me_burst": False,
        "burst_colors": [],
    }


def attachments(given: Iterable[Payload], new_id: Any) -> list[Payload]:
    """Complete what tests say about files."""
    empty = {"filename": "file", "size": 1, "url": "", "proxy_url": ""}
    return [{"id": new_id(), **empty, **one} for one in given]


def snapshot(target: Payload) -> Payload:
    """Return what a forward shows of the message it forwards: not who wrote it."""
    return {"message": {name: target[name] for name in _FORWARDED}}


def reference(target: Payload, kind: int = 0) -> Payload:
    """Return how a message points at another one."""
    made = {"type": kind, "message_id": target["id"], "channel_id": target["channel_id"]}
    return made | ({"guild_id": target["guild_id"]} if "guild_id" in target else {})


def shown(said: Payload, me: str) -> Payload:
    """Return a message as REST shows it to `me`."""
    visible = {key: value for key, value in said.items() if key not in _KEPT_BACK}
    if visible.get("reactions"):
        visible["reactions"] = [reaction(entry, me) for entry in visible["reactions"]]
    return visible


def told(said: Payload, me: str) -> Payload:
    """Return a message as the gateway tells `me` of it."""
    visible = {key: value for key, value in said.items() if key != "pings"}
    if visible.get("reactions"):
        visible["reactions"] = [reaction(entry, me) for entry in visible["reactions"]]
    return visible


def concerns(said: Payload, me: str, *, direct: bool) -> bool:
    """Say whether a message's content is shown without the message content intent: own, direct, or with a mention."""
    return direct or said["author"]["id"] == me or any(id_text(one) == me for one in said["mentions"])


def without_content(visible: Payload, me: str, *, direct: bool) -> Payload:
    """Return a message as a bot without the message content intent gets it; so, too, what it replies to."""
    result = dict(visible)
    if not concerns(visible, me, direct=direct):
        result |= _HIDDEN
        result.pop("poll", None)
        if "message_snapshots" in result:
            result["message_snapshots"] = [{"message": one["message"] | _HIDDEN} for one in result["message_snapshots"]]
    replied = result.get("referenced_message")
    if replied and not concerns(replied, me, direct=direct):
        result["referenced_message"] = replied | _HIDDEN
    return result
