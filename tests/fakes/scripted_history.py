"""The other side in memory: channels with messages that are said, edited and deleted, and faults to order."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from persona.domain.chat import (
    Author,
    AuthorId,
    Channel,
    ChannelId,
    ChannelKind,
    Edit,
    GuildId,
    Message,
    MessageId,
    Reaction,
    snowflake_at,
)
from persona.errors import AccessError, TransportError
from persona.ports import Arrival, Edited, Page, Reacted, ReadableChannel, Removed, ThreadPage

SELF = AuthorId(1)
ANN = Author(id=AuthorId(2), name="ann", display_name="Ann")


@dataclass
class Room:
    """A channel as the other side has it."""

    channel: Channel
    messages: dict[MessageId, Message] = field(default_factory=dict)
    reactions: dict[MessageId, dict[str, int]] = field(default_factory=dict)
    may_read: bool = True
    archived: bool = False
    last_id: MessageId | None = None


@dataclass
class Asked:
    """A request for a page, as it got there."""

    channel_id: ChannelId
    after: MessageId
    at: float
    shown: int = 0


class ScriptedHistory:
    """`History` over rooms in memory. What happens here returns the event that a live connection would bring.

    `faults` are raised by the next page requests, one each; `on_page` runs while a page is on its way back: when it
    was put together but not handed over. `latency` is seconds each way; `bucket` (requests, seconds) holds a channel's
    requests up, as a client does that obeys a rate limit. `crowding` is the most requests for one channel at a time.
    """

    def __init__(self, *, start: datetime, latency: float = 0.0, bucket: tuple[int, float] | None = None):
        self.rooms: dict[ChannelId, Room] = {}
        self.asked: list[Asked] = []
        self.lists = 0
        self.crowding = 0
        self.faults: deque[Exception] = deque()
        self.list_faults: deque[Exception] = deque()
        self.on_page: Callable[[ChannelId], None] | None = None
        self.connected = asyncio.Event()
        self.connected.set()
        self._latency = latency
        self._bucket = bucket
        self._running: Counter[ChannelId] = Counter()
        self._windows: dict[ChannelId, tuple[float, int]] = {}
        self._now = start
        self.allowed: set[ChannelId] = set()

    # --- what happens there ---

    def room(self, number, *, kind=ChannelKind.TEXT, allowed=True, parent=None, archived=False):
        channel_id = ChannelId(number)
        if allowed and parent is None:
            self.allowed.add(channel_id)
        parent_id = None if parent is None else ChannelId(parent)
        channel = Channel(
            id=channel_id,
            guild_id=GuildId(9),
            name=f"room-{number}",
            kind=kind,
            guild_name="Guild",
            parent_id=parent_id,
        )
        self.rooms[channel_id] = Room(channel=channel, archived=archived)
        return self.channel(channel_id)

    def channel(self, channel_id) -> Channel:
        channel = self.rooms[channel_id].channel
        return replace(channel, allowed=channel_id in self.allowed or channel.parent_id in self.allowed)

    def say(self, channel_id, text="", *, author=ANN, seconds=1.0, at=None, addressed=False, **more) -> Arrival:
        """Somebody says something `seconds` after the last thing that was said anywhere (or `at` a time)."""
        if at is None:
            self._now += timedelta(seconds=seconds)
            at = self._now
        room = self.rooms[ChannelId(channel_id)]
        message_id = MessageId(snowflake_at(at, len(room.messages) % 4096))
        message = Message(
            id=message_id,
            channel_id=room.channel.id,
            author=author,
            content=text or f"line {len(room.messages)}",
            created_at=at,
            mentions=(Author(id=SELF, name="p", display_name="P"),) if addressed else (),
            **more,
        )
        room.messages[message_id] = message
        room.last_id = max(message_id, room.last_id or message_id)
        channel = self.channel(room.channel.id)
        return Arrival(message=message, channel=channel, self_id=SELF, addressed=addressed)

    def edit(self, message, text, *, minutes=1.0) -> Edited:
        room = self.rooms[message.channel_id]
        old = room.messages[message.id]
        edited_at = (old.edited_at or old.created_at) + timedelta(minutes=minutes)
        room.messages[message.id] = replace(old, content=text, edited_at=edited_at)
        return Edited(
            edit=Edit(message_id=message.id, channel_id=message.channel_id, content=text, edited_at=edited_at)
        )

    def delete(self, *messages) -> Removed:
        for message in messages:
            del self.rooms[message.channel_id].messages[message.id]
        return Removed(
            channel_id=messages[0].channel_id,
            message_ids=tuple(message.id for message in messages),
            at=messages[0].created_at,
        )

    def react(self, message, emoji, change=1) -> Reacted:
        counts = self.rooms[message.channel_id].reactions.setdefault(message.id, {})
        counts[emoji] = counts.get(emoji, 0) + change
        return Reacted(channel_id=message.channel_id, message_id=message.id, emoji=emoji, change=change)

    @property
    def truth(self) -> dict[MessageId, str]:
        """What a store that misses nothing holds, by id."""
        return {
            message.id: message.content
            for room in self.rooms.values()
            if self.channel(room.channel.id).allowed
            for message in room.messages.values()
        }

    # --- History ---

    async def ready(self) -> AuthorId:
        await self.connected.wait()
        return SELF

    async def channels(self):
        self.lists += 1
        await asyncio.sleep(2 * self._latency)
        if self.list_faults:
            raise self.list_faults.popleft()
        return [self._readable(room) for room in self.rooms.values() if not room.archived]

    async def archived_threads(self, channel_id):
        await asyncio.sleep(2 * self._latency)
        found = [room for room in self.rooms.values() if room.archived and room.channel.parent_id == channel_id]
        yield ThreadPage(threads=tuple(self._readable(room) for room in found), last=True)

    async def page(self, channel_id, *, after, limit=100) -> Page:
        await self._obey(channel_id)
        self._running[channel_id] += 1
        self.crowding = max(self.crowding, self._running[channel_id])
        try:
            return await self._answer(channel_id, after, limit)
        finally:
            self._running[channel_id] -= 1

    async def _answer(self, channel_id, after, limit) -> Page:
        await asyncio.sleep(self._latency)
        asked = Asked(channel_id=channel_id, after=after, at=time.monotonic())
        self.asked.append(asked)
        if self.faults:
            raise self.faults.popleft()
        room = self.rooms.get(channel_id)
        if room is None:
            raise AccessError("this channel does not exist any more")
        page = self._page(room, after, limit) if room.may_read else Page(messages=(), last=True)
        asked.shown = len(page.messages)
        if self.on_page is not None:
            self.on_page(channel_id)
        await asyncio.sleep(self._latency)
        return page

    async def readable_with(self, channel_id):
        return frozenset({channel_id})

    def _readable(self, room) -> ReadableChannel:
        return ReadableChannel(
            channel=self.channel(room.channel.id),
            may_read=room.may_read,
            last_message_id=room.last_id,
            archived=room.archived,
        )

    def _page(self, room, after, limit) -> Page:
        ids = sorted(message_id for message_id in room.messages if message_id > after)
        shown = ids[:limit]
        return Page(
            messages=tuple(room.messages[message_id] for message_id in shown),
            reactions=tuple(
                Reaction(message_id=message_id, emoji=emoji, count=count)
                for message_id in shown
                for emoji, count in room.reactions.get(message_id, {}).items()
                if count > 0
            ),
            addressed=frozenset(message_id for message_id in shown if room.messages[message_id].mentions),
            last=len(ids) <= limit,
        )

    async def _obey(self, channel_id) -> None:
        if self._bucket is None:
            return
        requests, seconds = self._bucket
        began, used = self._windows.get(channel_id, (-1e9, 0))
        now = time.monotonic()
        if now - began >= seconds:
            began, used = now, 0
        elif used >= requests:
            await asyncio.sleep(began + seconds - now)
            began, used = time.monotonic(), 0
        self._windows[channel_id] = (began, used + 1)


def outage(times: int) -> list[Exception]:
    """So many failures of the other side."""
    return [TransportError("the other side is down") for _ in range(times)]
