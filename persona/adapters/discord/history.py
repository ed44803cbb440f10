"""Reads what was said before: channels, archived threads, pages of messages."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import discord
import structlog

from persona.adapters.discord import convert, places
from persona.adapters.discord.client import PersonaClient
from persona.adapters.discord.connection import DiscordConnection
from persona.adapters.discord.errors import reading
from persona.domain.chat import AuthorId, Channel, ChannelId, ChannelKind, Message, MessageId, Reaction
from persona.errors import AccessError, TransportError
from persona.ports.history import PAGE_MESSAGES, Page, ReadableChannel, ThreadPage

log = structlog.get_logger(__name__)

Payload = Mapping[str, Any]
Listing = Callable[..., Awaitable[Any]]

_ARCHIVED_PAGE = 100
_WITH_THREADS = frozenset({ChannelKind.TEXT, ChannelKind.NEWS, ChannelKind.FORUM})


class DiscordHistory:
    """The history of all servers that the bot is on; see `ports.history.History`.

    Rate limits of single channels are kept to by discord.py, which knows them from Discord's answers; how fast all
    channels together are read is the caller's business.
    """

    def __init__(self, connection: DiscordConnection) -> None:
        self._connection = connection
        self._places = connection.places

    async def ready(self) -> AuthorId:
        """Wait until there is a connection; return the persona's own id."""
        return await self._connection.ready()

    async def channels(self) -> Sequence[ReadableChannel]:
        """Return every channel that can hold messages or posts, and the active threads.

        Raises:
            TransportError: Discord cannot be reached.
        """
        client = self._connection.now()
        found: list[ReadableChannel] = []
        for guild in list(client.guilds):
            if guild.unavailable:
                log.warning("discord_server_out_of_order", guild_id=guild.id)
                continue
            me = await _me(guild)
            for channel in guild.channels:
                if places.holds_talk(channel):
                    readable = self._readable(self._places.of_channel(channel), guild, me)
                    found.append(_with_newest(readable, getattr(channel, "last_message_id", None)))
            with reading(f"the threads of {guild.id}"):
                listed = await client.http.get_active_threads(guild.id)
            found += (self._thread(thread, guild, me) for thread in listed["threads"])
        return found

    async def archived_threads(self, channel_id: ChannelId) -> AsyncIterator[ThreadPage]:
        """Yield the archived threads (forum posts) of a channel, the public ones first, each kind the newest first.

        Every step is one request.

        Raises:
            AccessError: they may not be listed.
            TransportError: Discord cannot be reached.
        """
        client = self._connection.now()
        channel = client.get_channel(channel_id)
        if not isinstance(channel, discord.abc.GuildChannel):
            raise AccessError(f"cannot read the threads of {channel_id}: the channel is gone")
        if self._places.of_channel(channel).kind not in _WITH_THREADS:
            return
        me = await _me(channel.guild)
        if not places.may_read(channel, me):
            raise AccessError(f"cannot read the threads of {channel_id}: the bot may not read its history")
        listings: list[tuple[Listing, bool]] = [(client.http.get_public_archived_threads, False)]
        if isinstance(channel, discord.TextChannel) and not channel.is_news():
            every = channel.permissions_for(me).manage_threads
            listings += [
                (client.http.get_private_archived_threads, False)
                if every
                else (client.http.get_joined_private_archived_threads, True)
            ]
        for number, (listing, by_id) in enumerate(listings, start=1):
            async for threads, end in _pages(listing, channel_id, by_id=by_id):
                found = tuple(self._thread(thread, channel.guild, me, archived=True) for thread in threads)
                yield ThreadPage(threads=found, last=end and number == len(listings))

    async def page(self, channel_id: ChannelId, *, after: MessageId, limit: int = PAGE_MESSAGES) -> Page:
        """Return up to `limit` (1..100) messages with ids above `after`, the oldest of them: one request.

        A message that makes no sense is left out and logged.

        Raises:
            AccessError: the channel is gone or may not be read.
            TransportError: Discord cannot be reached.
        """
        client = self._connection.now()
        channel = self._places.parent(channel_id, client)
        guild = channel.guild if channel is not None else None
        if isinstance(channel, discord.ForumChannel) and channel.id == channel_id:
            return Page(messages=(), last=True)  # posts are threads of their own
        if channel is not None and not places.may_read(channel, await _me(channel.guild)):
            # Discord would show an empty channel, as if nothing had been said.
            raise AccessError(f"cannot read {channel_id}: the bot may not read its history")
        with reading(f"a page of {channel_id}"):
            raw = await client.http.logs_from(channel_id, limit, after=int(after))
        if not isinstance(raw, list):
            raise TransportError(f"cannot read a page of {channel_id}: Discord's answer makes no sense")
        return self._page(client, channel_id, guild, sorted(raw, key=_id), last=len(raw) < limit)

    async def readable_with(self, channel_id: ChannelId, *, itself: bool = True) -> frozenset[ChannelId]:
        """Return the channels that everybody who can see this one can read, too.

        `itself` counts this one in any case; else only where all of them may read its past.
        """
        alone = frozenset({channel_id}) if itself else frozenset()
        try:
            client = self._connection.now()
        except TransportError:
            return alone
        channel = self._places.parent(channel_id, client)
        if channel is None:
            return alone
        return self._places.readable_with(channel_id, channel.guild, itself=itself)

    # --- conversion ---

    def _page(
        self, client: PersonaClient, channel_id: ChannelId, guild: discord.Guild | None, raw: list[Any], *, last: bool
    ) -> Page:
        guild_id = guild.id if guild else 0
        role = guild.self_role if guild else None
        is_addressed = partial(
            convert.addressed, self_id=client.user.id if client.user else 0, self_role=role.id if role else None
        )
        nick_of = partial(self._connection.people.nick, guild_id)
        messages: list[Message] = []
        reactions: list[Reaction] = []
        addressed: set[MessageId] = set()
        for payload in raw:
            try:
                message = convert.message(
                    payload, nick_of=nick_of, is_command=self._connection.is_command, channel_id=channel_id
                )
                reactions += convert.reactions(payload)
            except convert.MalformedError as error:
                log.warning("discord_message_malformed", reason=str(error), channel_id=channel_id)
                continue
            messages.append(message)
            self._connection.people.heard(guild_id, message, live=False)
            if is_addressed(payload):
                addressed.add(message.id)
        return Page(messages=tuple(messages), reactions=tuple(reactions), addressed=frozenset(addressed), last=last)

    def _thread(
        self, payload: Payload, guild: discord.Guild, me: discord.Member, *, archived: bool = False
    ) -> ReadableChannel:
        readable = self._readable(self._places.of_thread(payload, guild), guild, me)
        state = payload.get("thread_metadata") or {}
        return _with_newest(
            ReadableChannel(
                channel=readable.channel,
                may_read=readable.may_read,
                archived=archived or state.get("archived") is True,
            ),
            payload.get("last_message_id"),
        )

    def _readable(self, channel: Channel, guild: discord.Guild, me: discord.Member) -> ReadableChannel:
        place = guild.get_channel(channel.parent_id or channel.id)
        return ReadableChannel(channel=channel, may_read=place is not None and places.may_read(place, me))


async def _me(guild: discord.Guild) -> discord.Member:
    """Return the bot as a member of a server; Discord sends it along, but does not have to."""
    me: discord.Member | None = guild.me
    if me is not None:
        return me
    with reading(f"the bot's own roles on {guild.id}"):
        return await guild.fetch_member(guild._state.self_id or 0)  # noqa: SLF001 - the public way is `guild.me`


async def _pages(listing: Listing, channel_id: int, *, by_id: bool) -> AsyncIterator[tuple[Sequence[Payload], bool]]:
    """Yield the pages of a listing, and whether each is the last.

    A listing `by_id` is sorted by id, others by when the threads were archived.
    """
    before: str | None = None
    while True:
        with reading(f"the archived threads of {channel_id}"):
            listed = await listing(channel_id, before=before, limit=_ARCHIVED_PAGE)
        threads = listed.get("threads") or []
        end = not threads or not listed.get("has_more")
        yield threads, end
        if end:
            return
        before = threads[-1]["id"] if by_id else threads[-1]["thread_metadata"]["archive_timestamp"]


def _with_newest(readable: ReadableChannel, newest: object) -> ReadableChannel:
    """Add the newest message's id, where Discord says it."""
    return readable if not newest else replace(readable, last_message_id=MessageId(int(str(newest))))


def _id(payload: Payload) -> int:
    return int(payload["id"])
