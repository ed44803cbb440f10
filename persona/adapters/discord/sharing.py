"""Keeps servers' overwrites sorted, so that telling what a channel shares with others is quick for every reply."""

from collections.abc import Iterable, Mapping
from typing import Any

import discord

from persona.adapters.discord import audience
from persona.adapters.discord.audience import SortedArea

_VOICE = frozenset({2, 13})


class Sharing:
    """Says which channels share their talk with a channel; see `audience`.

    Sorting takes longest where channels have many overwrites. What was sorted is kept for as long as a channel has the
    very list of overwrites that was sorted: a client makes a new list for every change. Roles are read anew each time.
    """

    def __init__(self) -> None:
        self._sorted: dict[int, Mapping[int, tuple[object, SortedArea]]] = {}

    def learn(self, guild: discord.Guild, channels: Iterable[discord.abc.GuildChannel]) -> Mapping[int, SortedArea]:
        """Return the channels of a server, sorted; those that are gone are let go of."""
        known = self._sorted.get(guild.id, {})
        now = {each.id: _sorted(each, known.get(each.id)) for each in channels}
        self._sorted[guild.id] = now
        return {key: area for key, (_, area) in now.items()}

    def readable(
        self, guild: discord.Guild, seen: discord.abc.GuildChannel, channels: Iterable[discord.abc.GuildChannel]
    ) -> frozenset[int]:
        """Return those of the channels, by id, whose history everybody who sees the one can read."""
        others = self.learn(guild, channels)
        area = others.get(seen.id) or _sorted(seen, None)[1]
        # A channel need not even share itself: some may see it, but not what was said before they came.
        return audience.shared_sorted(_server(guild), area, others)

    def visible(
        self, guild: discord.Guild, user_id: int, roles: frozenset[int], channels: Iterable[discord.abc.GuildChannel]
    ) -> frozenset[int]:
        """Return those of the channels, by id, that somebody with these roles can see."""
        server = _server(guild)
        areas = self.learn(guild, channels)
        return frozenset(key for key, area in areas.items() if audience.is_seen(server, area, roles, user_id))

    def forget(self, guild_id: int) -> None:
        """Let go of a server."""
        self._sorted.pop(guild_id, None)


def needs(channel: discord.abc.GuildChannel) -> int:
    """Return the permission bits it takes to read a channel's history."""
    connect = audience.CONNECT if channel.type.value in _VOICE else 0
    return audience.VIEW | audience.HISTORY | connect


def _server(guild: discord.Guild) -> audience.Server:
    roles = {role.id: role.permissions.value for role in guild.roles}
    return audience.Server(everyone=guild.id, owner=guild.owner_id or 0, roles=roles)


def _sorted(channel: discord.abc.GuildChannel, known: tuple[object, SortedArea] | None) -> tuple[object, SortedArea]:
    raw: list[Any] = channel._overwrites  # noqa: SLF001 - `overwrites` drops members who are not in the cache
    if known is not None and known[0] is raw:
        return known
    roles = [(one.id, one.allow, one.deny) for one in raw if one.is_role()]
    members = [(one.id, one.allow, one.deny) for one in raw if not one.is_role()]
    return raw, audience.sort_overwrites(roles, members, needs(channel))
