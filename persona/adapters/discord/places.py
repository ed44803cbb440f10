"""Channels and threads: as the chat names them, who may read them, and which threads are known."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import discord

from persona.adapters.discord.sharing import Sharing, needs
from persona.adapters.discord.texts import clean
from persona.domain.chat import Channel, ChannelId, ChannelKind, GuildId

Allowed = Callable[[ChannelId, ChannelId | None], bool]
"""Whether a channel is on the allow-list, given its id and its parent's: a thread follows its parent."""

PRIVATE_THREAD = 12
_KINDS = {
    0: ChannelKind.TEXT,
    1: ChannelKind.DIRECT,
    2: ChannelKind.VOICE,
    3: ChannelKind.DIRECT,
    5: ChannelKind.NEWS,
    10: ChannelKind.THREAD,
    11: ChannelKind.THREAD,
    PRIVATE_THREAD: ChannelKind.THREAD,
    13: ChannelKind.VOICE,
    15: ChannelKind.FORUM,
    16: ChannelKind.FORUM,
}
_CATEGORY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownThread:
    """A thread, open or archived."""

    guild_id: int
    parent_id: int
    name: str
    private: bool


class Places:
    """Looks channels up in what a client knows, and remembers threads, of which a client forgets the archived ones."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._threads: dict[int, KnownThread] = {}
        self._under: dict[int, set[int]] = {}
        self._sharing = Sharing()

    def guild_came(self, guild: discord.Guild) -> None:
        """Learn which threads a server has, and who may read what."""
        for thread in guild.threads:
            self._remember(thread.id, _known(thread))
        self._sharing.learn(guild, _with_talk(guild.channels))

    def guild_gone(self, guild_id: int) -> None:
        """Let go of what was learned of a server."""
        self._sharing.forget(guild_id)

    def of_channel(self, channel: discord.abc.GuildChannel) -> Channel:
        """Return a server's channel."""
        return Channel(
            id=ChannelId(channel.id),
            guild_id=GuildId(channel.guild.id),
            name=clean(channel.name),
            kind=_KINDS.get(channel.type.value, ChannelKind.OTHER),
            guild_name=clean(channel.guild.name),
            topic=clean(getattr(channel, "topic", None)),
            allowed=self._allowed(ChannelId(channel.id), None),
        )

    def of_thread(self, payload: Mapping[str, Any], guild: discord.Guild) -> Channel:
        """Return the thread in a payload and remember it."""
        thread = KnownThread(
            guild_id=guild.id,
            parent_id=int(payload["parent_id"]),
            name=clean(payload.get("name")),
            private=payload.get("type") == PRIVATE_THREAD,
        )
        return self._as_channel(int(payload["id"]), thread, guild)

    def adopt(self, thread: discord.Thread) -> Channel:
        """Return a thread that a client knows, and remember it."""
        return self._as_channel(thread.id, _known(thread), thread.guild)

    def forget(self, thread_id: int) -> None:
        """Forget a deleted thread."""
        if thread := self._threads.pop(thread_id, None):
            siblings = self._under[thread.parent_id]
            siblings.discard(thread_id)
            if not siblings:
                del self._under[thread.parent_id]

    def threads_under(self, channel_id: int) -> tuple[ChannelId, ...]:
        """Return the known threads of a channel."""
        return tuple(ChannelId(one) for one in sorted(self._under.get(channel_id, ())))

    def find(self, channel_id: int, guild: discord.Guild | None) -> Channel:
        """Return a channel or thread by id; one that nobody has heard of is `OTHER` and has no name."""
        if guild is not None:
            match guild.get_channel_or_thread(channel_id):
                case discord.Thread() as thread:
                    return self.adopt(thread)
                case None if channel_id in self._threads:
                    return self._as_channel(channel_id, self._threads[channel_id], guild)
                case discord.abc.GuildChannel() as channel:
                    return self.of_channel(channel)
        return Channel(
            id=ChannelId(channel_id),
            guild_id=GuildId(guild.id if guild else 0),
            name="",
            kind=ChannelKind.OTHER,
            guild_name=clean(guild.name) if guild else "",
            allowed=guild is not None and self._allowed(ChannelId(channel_id), None),
        )

    def parent(self, channel_id: int, client: discord.Client) -> discord.abc.GuildChannel | None:
        """Return the channel whose rights count: a thread's parent, else the channel itself; None when not in sight."""
        if thread := self._threads.get(channel_id):
            guild = client.get_guild(thread.guild_id)
            return guild.get_channel(thread.parent_id) if guild else None
        match client.get_channel(channel_id):
            case discord.Thread() as thread_now:
                self.adopt(thread_now)
                return thread_now.parent
            case discord.abc.GuildChannel() as channel:
                return channel
        return None

    def readable_with(self, channel_id: int, guild: discord.Guild, *, itself: bool = True) -> frozenset[ChannelId]:
        """Return what everybody who sees a channel or thread can read, see `audience`; never another private thread.

        `itself` counts the channel in any case: not everybody who sees it need be let read what was said before.
        """
        mine = frozenset({ChannelId(channel_id)})
        for open_thread in guild.threads:
            if open_thread.id not in self._threads:
                self._remember(open_thread.id, _known(open_thread))
        thread = self._threads.get(channel_id)
        seen = guild.get_channel(thread.parent_id if thread else channel_id)
        if seen is None:
            return mine if itself else frozenset()
        readable = self._sharing.readable(guild, seen, _with_talk(guild.channels))
        under = chain.from_iterable(self._under.get(one, ()) for one in readable)
        threads = (one for one in under if not self._threads[one].private)
        shared = frozenset(map(ChannelId, chain(readable, threads)))
        return shared | mine if itself or seen.id in readable else shared

    def visible_to(self, user_id: int, role_ids: frozenset[int], guild: discord.Guild) -> frozenset[ChannelId]:
        """Return which channels of a server somebody with these roles can see; threads go by their channel."""
        seen = self._sharing.visible(guild, user_id, role_ids, _with_talk(guild.channels))
        return frozenset(map(ChannelId, seen))

    def _as_channel(self, thread_id: int, thread: KnownThread, guild: discord.Guild) -> Channel:
        self._remember(thread_id, thread)
        parent_id = ChannelId(thread.parent_id)
        return Channel(
            id=ChannelId(thread_id),
            guild_id=GuildId(guild.id),
            name=thread.name,
            kind=ChannelKind.THREAD,
            guild_name=clean(guild.name),
            parent_id=parent_id,
            allowed=self._allowed(ChannelId(thread_id), parent_id),
        )

    def _remember(self, thread_id: int, thread: KnownThread) -> None:
        before = self._threads.get(thread_id)
        if before is not None and before.parent_id != thread.parent_id:
            self.forget(thread_id)
        self._threads[thread_id] = thread
        self._under.setdefault(thread.parent_id, set()).add(thread_id)


def direct(payload: Mapping[str, Any]) -> Channel:
    """Return the direct channel that a message came through."""
    name = clean((payload.get("author") or {}).get("username"))
    return Channel(
        id=ChannelId(int(payload["channel_id"])), guild_id=GuildId(0), name=name, kind=ChannelKind.DIRECT, allowed=False
    )


def holds_talk(channel: discord.abc.GuildChannel) -> bool:
    """Say whether messages or posts can be in a channel: categories hold channels alone."""
    return channel.type.value != _CATEGORY


def may_read(channel: discord.abc.GuildChannel, me: discord.Member) -> bool:
    """Say whether the bot can read a channel's history: without the right Discord shows an empty one."""
    granted = channel.permissions_for(me).value
    needed = needs(channel)
    return granted & needed == needed


def readable_channels(guild: discord.Guild, me: discord.Member) -> frozenset[int]:
    """Return the ids of a server's channels that the bot can read."""
    return frozenset(channel.id for channel in _with_talk(guild.channels) if may_read(channel, me))


def _with_talk(channels: Iterable[discord.abc.GuildChannel]) -> Iterator[discord.abc.GuildChannel]:
    return (channel for channel in channels if holds_talk(channel))


def _known(thread: discord.Thread) -> KnownThread:
    return KnownThread(
        guild_id=thread.guild.id, parent_id=thread.parent_id, name=clean(thread.name), private=thread.is_private()
    )
