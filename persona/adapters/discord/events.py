"""Turns gateway events into transport events, in the order of arrival: convert and emit, nothing else."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import discord
import structlog

from persona.adapters.discord import convert, places
from persona.adapters.discord.client import Parser, PersonaClient
from persona.adapters.discord.link import Change, Link
from persona.adapters.discord.people import People
from persona.adapters.discord.places import Places
from persona.adapters.discord.sights import Sights
from persona.domain.chat import AuthorId, Channel, ChannelId, MessageId
from persona.ports.transport import (
    Arrival,
    Edited,
    LinkDown,
    LinkUp,
    Reacted,
    ReactionsCleared,
    Removed,
    TransportEvent,
)

log = structlog.get_logger(__name__)

Payload = Mapping[str, Any]
Handler = Callable[[Any], None]
Emit = Callable[[TransportEvent], None]
Command = Callable[[Payload, Channel, discord.Guild | None], TransportEvent | None]
"""Gives what a message says as a command to the persona, or None when it is none."""


def now_utc() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class Ears:
    """Hears one client's events; `attach` puts it in the place of the client's own parsers.

    Messages and reactions never reach discord.py's own parsers: building its objects is slower than all the rest, and
    an unexpected field there would end the connection.
    """

    def __init__(
        self,
        client: PersonaClient,
        *,
        emit: Emit,
        known: Places,
        people: People,
        command: Command,
        is_command: convert.IsCommand,
        guild_wait_seconds: float,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        self._client = client
        self._emit = emit
        self._places = known
        self._people = people
        self._command = command
        self._is_command = is_command
        self._guild_wait_seconds = guild_wait_seconds
        self._now = now
        self._link = Link(client.shard_keys)
        self._timers: dict[int | None, asyncio.TimerHandle] = {}
        self._sights = Sights(client, emit=emit, known=known)
        self._told = ""

    def attach(self) -> None:
        """Hear from now on."""
        self._client.lost = self.lost
        instead: dict[str, Handler] = {
            "MESSAGE_CREATE": self._message,
            "MESSAGE_UPDATE": self._update,
            "MESSAGE_DELETE": self._delete,
            "MESSAGE_DELETE_BULK": self._delete,
            "MESSAGE_REACTION_ADD": partial(self._reaction, change=1),
            "MESSAGE_REACTION_REMOVE": partial(self._reaction, change=-1),
            "MESSAGE_REACTION_REMOVE_ALL": self._reactions_gone,
            "MESSAGE_REACTION_REMOVE_EMOJI": self._reactions_gone,
        }
        before: dict[str, Handler] = {
            "CHANNEL_DELETE": self._sights.channel_gone,
            "THREAD_DELETE": self._sights.thread_gone,
            "GUILD_DELETE": self._sights.guild_gone,
        }
        after: dict[str, Handler] = {
            "READY": self._ready,
            "RESUMED": self._resumed,
            "GUILD_CREATE": self._guild,
            "CHANNEL_CREATE": self._sights.channel,
            "CHANNEL_UPDATE": self._sights.channel,
            "THREAD_CREATE": self._sights.thread,
            "THREAD_UPDATE": self._sights.thread,
            "THREAD_LIST_SYNC": self._sights.threads,
            "GUILD_ROLE_UPDATE": self._sights.rights,
            "GUILD_ROLE_DELETE": self._sights.rights,
            "GUILD_MEMBER_UPDATE": self._sights.rights,
        }
        self._client.hear(
            {name: partial(_instead, handler) for name, handler in instead.items()}
            | {name: partial(_before, handler) for name, handler in before.items()}
            | {name: partial(_after, handler) for name, handler in after.items()}
        )

    def lost(self, shard: int | None, reason: str) -> None:
        """Tell that a connection ended or did not come about; the same news is told once."""
        if timer := self._timers.pop(shard, None):
            timer.cancel()
        change = self._link.lost(shard)
        if change is Change.DOWN or reason != self._told:
            self._told = reason
            self._emit(LinkDown(reason=reason))

    def close(self) -> None:
        """Stop waiting for servers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    # --- the connection ---

    def _ready(self, payload: Payload) -> None:
        shard = self._shard(payload)
        self._client.established(shard)
        guilds = [int(guild["id"]) for guild in payload.get("guilds") or () if guild.get("unavailable")]
        self._tell(self._link.began(shard, guilds))
        self._wait_for_guilds(shard)

    def _resumed(self, payload: Payload) -> None:
        shard = payload.get("__shard_id__")
        self._client.established(shard)
        self._tell(self._link.resumed(shard))

    def _guild(self, payload: Payload) -> None:
        if payload.get("unavailable") is True:
            return
        guild_id = int(payload["id"])
        guild = self._client.get_guild(guild_id)
        if guild is not None:
            self._sights.guild_came(guild)
        for shard in list(self._timers):
            self._wait_for_guilds(shard)
        self._tell(self._link.arrived(guild_id))

    def _wait_for_guilds(self, shard: int | None) -> None:
        """Wait from now on once more: every server that comes shows that more may come."""
        if timer := self._timers.pop(shard, None):
            timer.cancel()
        if not self._link.is_up:
            loop = asyncio.get_running_loop()
            self._timers[shard] = loop.call_later(self._guild_wait_seconds, self._waited, shard)

    def _waited(self, shard: int | None) -> None:
        self._timers.pop(shard, None)
        self._tell(self._link.waited_enough(shard))

    def _tell(self, change: Change | None) -> None:
        if change is not None:
            self._told = ""
            self._emit(LinkUp(resumed=change is Change.RESUMED, self_id=self._self_id))

    @property
    def _self_id(self) -> AuthorId:
        user = self._client.user
        return AuthorId(user.id if user else 0)

    def _shard(self, payload: Payload) -> int | None:
        """Return which shard a READY is for; a client without shards has one connection, whatever READY calls it."""
        shard = payload.get("shard")
        return int(shard[0]) if shard and int(shard[0]) in self._client.shard_keys else None

    # --- talk ---

    def _message(self, payload: Payload) -> None:
        guild_id = int(payload.get("guild_id") or 0)
        guild = self._client.get_guild(guild_id) if guild_id else None
        try:
            message = convert.message(
                payload, nick_of=partial(self._people.nick, guild_id), is_command=self._is_command
            )
        except convert.MalformedError as error:
            log.warning("discord_message_malformed", reason=str(error))
            return
        channel = self._places.find(message.channel_id, guild) if guild_id else places.direct(payload)
        if guild_id:
            self._people.heard(guild_id, message)
            _note_newest(guild, message.channel_id, message.id)
        role = guild.self_role if guild else None
        self._emit(
            Arrival(
                message=message,
                channel=channel,
                self_id=self._self_id,
                addressed=convert.addressed(payload, self_id=self._self_id, self_role=role.id if role else None),
            )
        )
        try:
            command = self._command(payload, channel, guild)
        except Exception:  # nothing that a member types may end the connection
            log.exception("discord_command_not_understood", message_id=message.id)
            return
        if command:
            self._emit(command)

    def _update(self, payload: Payload) -> None:
        try:
            edit = convert.edit(payload, nick_of=partial(self._people.nick, int(payload.get("guild_id") or 0)))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            log.warning("discord_edit_malformed", message_id=payload.get("id"), reason=type(error).__name__)
            return
        if edit is not None:
            self._emit(Edited(edit=edit))

    def _delete(self, payload: Payload) -> None:
        ids = payload["ids"] if "ids" in payload else [payload["id"]]
        removed = tuple(MessageId(int(one)) for one in ids)
        self._emit(Removed(channel_id=ChannelId(int(payload["channel_id"])), message_ids=removed, at=self._now()))

    def _reaction(self, payload: Payload, *, change: int) -> None:
        self._emit(
            Reacted(
                channel_id=ChannelId(int(payload["channel_id"])),
                message_id=MessageId(int(payload["message_id"])),
                emoji=convert.emoji_name(payload["emoji"]),
                change=change,
            )
        )

    def _reactions_gone(self, payload: Payload) -> None:
        emoji = payload.get("emoji")
        self._emit(
            ReactionsCleared(
                channel_id=ChannelId(int(payload["channel_id"])),
                message_id=MessageId(int(payload["message_id"])),
                emoji=convert.emoji_name(emoji) if emoji else None,
            )
        )


def _note_newest(guild: discord.Guild | None, channel_id: int, message_id: int) -> None:
    """Keep the newest message's id, as discord.py's own parser would."""
    channel = guild.get_channel_or_thread(channel_id) if guild else None
    if channel is not None and hasattr(channel, "last_message_id"):
        channel.last_message_id = message_id


def _instead(handler: Handler, _parser: Parser) -> Parser:
    return handler


def _before(handler: Handler, parser: Parser) -> Parser:
    def both(payload: Any) -> None:
        handler(payload)
        parser(payload)

    return both


def _after(handler: Handler, parser: Parser) -> Parser:
    def both(payload: Any) -> None:
        parser(payload)
        handler(payload)

    return both
