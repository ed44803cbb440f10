"""Who may do what: permission bits and how roles and overwrites add up (Discord's documentation, "Permissions")."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

BITS = {
    "create_instant_invite": 1 << 0,
    "kick_members": 1 << 1,
    "ban_members": 1 << 2,
    "administrator": 1 << 3,
    "manage_channels": 1 << 4,
    "manage_guild": 1 << 5,
    "add_reactions": 1 << 6,
    "view_channel": 1 << 10,
    "send_messages": 1 << 11,
    "manage_messages": 1 << 13,
    "embed_links": 1 << 14,
    "attach_files": 1 << 15,
    "read_message_history": 1 << 16,
    "mention_everyone": 1 << 17,
    "use_external_emojis": 1 << 18,
    "connect": 1 << 20,
    "manage_roles": 1 << 28,
    "manage_webhooks": 1 << 29,
    "use_application_commands": 1 << 31,
    "manage_threads": 1 << 34,
    "create_public_threads": 1 << 35,
    "create_private_threads": 1 << 36,
    "send_messages_in_threads": 1 << 38,
}
ALL = (1 << 53) - 1
EVERYONE = sum(
    BITS[name]
    for name in (
        "view_channel",
        "send_messages",
        "send_messages_in_threads",
        "read_message_history",
        "add_reactions",
        "use_application_commands",
        "embed_links",
        "attach_files",
        "create_public_threads",
        "connect",
    )
)
DIRECT = EVERYONE & ~BITS["create_public_threads"]
"""What both sides may do in a direct channel."""

TIMED_OUT = BITS["view_channel"] | BITS["read_message_history"]
"""What is left to a member in a time-out."""


def in_guild(owner: bool, roles: Iterable[Mapping[str, Any]]) -> int:
    """Return the bits of a member before any channel; `roles` include @everyone."""
    bits = 0
    for role in roles:
        bits |= int(role["permissions"])
    return ALL if owner or bits & BITS["administrator"] else bits


def in_channel(
    base: int, overwrites: Collection[Mapping[str, Any]], *, guild_id: str, role_ids: frozenset[str], user_id: str
) -> int:
    """Return the bits of a member in a channel: @everyone's overwrite, then the roles', then the member's own."""
    if base == ALL:
        return ALL
    bits = base
    if overwrites:
        found = {entry["id"]: (int(entry["allow"]), int(entry["deny"])) for entry in overwrites}
        allow, deny = found.get(guild_id, (0, 0))
        bits = bits & ~deny | allow
        allow = deny = 0
        for role_id in role_ids - {guild_id}:
            more_allow, more_deny = found.get(role_id, (0, 0))
            allow, deny = allow | more_allow, deny | more_deny
        bits = bits & ~deny | allow
        allow, deny = found.get(user_id, (0, 0))
        bits = bits & ~deny | allow
    return bits if bits & BITS["view_channel"] else 0
