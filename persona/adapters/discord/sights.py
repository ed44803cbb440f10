"""Channels and threads that come into the bot's sight and go out of it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import discord

from persona.adapters.discord import places
from persona.adapters.discord.places import Places
from persona.domain.chat import ChannelId
from persona.ports.transport import ChannelGone, ChannelSeen, TransportEvent

Payload = Mapping[str, Any]


class Sights:
    """Follows the gateway's events on channels, threads and rights; threads it hears of are remembered in `known`."""

    def __init__(self, client: discord.Client, *, emit: Callable[[TransportEvent], None], known: Places) -> None:
        self._client = client
        self._emit = emit
        self._places = known
        self._readable: dict[int, frozenset[int]] = {}

    def guild_came(self, guild: discord.Guild) -> None:
        """Learn what a server holds; the catching up that follows lists it all, so nothing is told."""
        self._places.guild_came(guild)
        self._readable[guild.id] = _readable_now(guild)

    def channel(self, payload: Payload) -> None:
        """Tell of a new or changed channel, and of what its overwrites bring into sight."""
        guild = self._guild_of(payload)
        channel = guild.get_channel(int(payload["id"])) if guild else None
        if guild is not None and channel is not None and places.holds_talk(channel):
            self._emit(ChannelSeen(channel=self._places.of_channel(channel)))
        self._look_again(guild, told=int(payload["id"]))

    def thread(self, payload: Payload) -> None:
        """Tell of a new or changed thread."""
        if guild := self._guild_of(payload):
            self._emit(ChannelSeen(channel=self._places.of_thread(payload, guild)))

    def threads(self, payload: Payload) -> None:
        """Tell of the threads of a channel that came into sight."""
        if guild := self._guild_of(payload):
            for thread in payload.get("threads") or ():
                self._emit(ChannelSeen(channel=self._places.of_thread(thread, guild)))

    def channel_gone(self, payload: Payload) -> None:
        """Tell of a deleted channel, its threads first."""
        gone = ChannelId(int(payload["id"]))
        self._emit_gone((*self._places.threads_under(gone), gone))

    def thread_gone(self, payload: Payload) -> None:
        """Tell of a deleted thread."""
        self._emit_gone((ChannelId(int(payload["id"])),))

    def guild_gone(self, payload: Payload) -> None:
        """Let go of a server that the bot was removed from; one in an outage (`unavailable`) comes back."""
        guild = self._client.get_guild(int(payload["id"]))
        if guild is None or payload.get("unavailable"):
            return
        self._readable.pop(guild.id, None)
        self._places.guild_gone(guild.id)
        for channel in guild.channels:
            if places.holds_talk(channel):
                self.channel_gone({"id": channel.id})

    def rights(self, payload: Payload) -> None:
        """Look at what a changed role of the bot's brings into sight."""
        self._look_again(self._guild_of(payload))

    def _look_again(self, guild: discord.Guild | None, told: int = 0) -> None:
        """Tell which channels came into sight or out of it by a change of rights; `told` is known to be there."""
        if guild is None or guild.id not in self._readable:
            return
        old, new = self._readable[guild.id], _readable_now(guild)
        self._readable[guild.id] = new
        for channel_id in sorted(new - old - {told}):
            self._emit(ChannelSeen(channel=self._places.find(channel_id, guild)))
        self._emit_gone(ChannelId(one) for one in sorted(old - new) if guild.get_channel(one) is not None)

    def _emit_gone(self, gone: Iterable[ChannelId]) -> None:
        for channel_id in gone:
            self._places.forget(channel_id)
            self._emit(ChannelGone(channel_id=channel_id))

    def _guild_of(self, payload: Payload) -> discord.Guild | None:
        guild_id = payload.get("guild_id")
        return self._client.get_guild(int(guild_id)) if guild_id else None


def _readable_now(guild: discord.Guild) -> frozenset[int]:
    me = guild.me
    return places.readable_channels(guild, me) if me else frozenset()
