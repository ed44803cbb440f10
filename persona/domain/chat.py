"""The vocabulary of a group chat: messages, people, channels and what happens to them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NewType

MessageId = NewType("MessageId", int)
ChannelId = NewType("ChannelId", int)
AuthorId = NewType("AuthorId", int)
GuildId = NewType("GuildId", int)

DISCORD_EPOCH_MS = 1_420_070_400_000
"""Milliseconds from the Unix epoch to 2015-01-01, the zero of every snowflake."""


class ChannelKind(StrEnum):
    """What a channel is, as far as the persona cares."""

    TEXT = "text"
    NEWS = "news"
    VOICE = "voice"
    FORUM = "forum"
    THREAD = "thread"
    DIRECT = "direct"
    TERMINAL = "terminal"
    OTHER = "other"


class MessageKind(StrEnum):
    """What a message is: only `DEFAULT`, `REPLY` and `FORWARD` are human talk."""

    DEFAULT = "default"
    REPLY = "reply"
    FORWARD = "forward"
    COMMAND = "command"
    SYSTEM = "system"


_TALK = frozenset({MessageKind.DEFAULT, MessageKind.REPLY, MessageKind.FORWARD})


class TombstoneReason(StrEnum):
    """Why a message is gone; a forgotten one must never come back."""

    DELETED = "deleted"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """A person, bot or webhook; `display_name` is the server nick where there is one."""

    id: AuthorId
    name: str
    display_name: str
    is_bot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel or thread; `parent_id` is the channel a thread hangs in."""

    id: ChannelId
    guild_id: GuildId
    name: str
    kind: ChannelKind = ChannelKind.TEXT
    guild_name: str = ""
    parent_id: ChannelId | None = None
    topic: str = ""
    allowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file, sticker or embed, kept as words: the file itself is never stored."""

    kind: str
    name: str
    size_bytes: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as it stands now (its newest edit); times are aware and in UTC."""

    id: MessageId
    channel_id: ChannelId
    author: Author
    content: str
    created_at: datetime
    kind: MessageKind = MessageKind.DEFAULT
    edited_at: datetime | None = None
    reply_to: MessageId | None = None
    mentions: tuple[Author, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    pinned: bool = False

    @property
    def is_talk(self) -> bool:
        """Whether a person said this (commands and system notices are not talk)."""
        return self.kind in _TALK


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """New text for a stored message; of two edits the newer `edited_at` wins. `author_id` as far as it is known.

    `mentions` and `attachments` are what the message has now; None where the event does not say, so nothing changes.
    """

    message_id: MessageId
    channel_id: ChannelId
    content: str
    edited_at: datetime
    author_id: AuthorId | None = None
    mentions: tuple[Author, ...] | None = None
    attachments: tuple[Attachment, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A message that must stay gone, whatever a later page of history says."""

    message_id: MessageId
    channel_id: ChannelId
    reason: TombstoneReason
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """How many people reacted to a message with one emoji (`:name:` for a custom one)."""

    message_id: MessageId
    emoji: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recollection:
    """A stored message that retrieval found; `score` is higher for a better match."""

    message_id: MessageId
    channel_id: ChannelId
    author_name: str
    text: str
    created_at: datetime
    score: float


def snowflake_time(snowflake: int) -> datetime:
    """Return when a snowflake id was made (UTC, millisecond precision)."""
    milliseconds = (snowflake >> 22) + DISCORD_EPOCH_MS
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def snowflake_at(moment: datetime, sequence: int = 0) -> int:
    """Return a snowflake for an aware `moment`; `sequence` (0..4194303) tells same-millisecond ids apart.

    Raises:
        ValueError: the moment lies before Discord's epoch or `sequence` does not fit in 22 bits.
    """
    milliseconds = round(moment.timestamp() * 1000) - DISCORD_EPOCH_MS
    if milliseconds < 0:
        msg = f"{moment.isoformat()} is before Discord's epoch, 2015-01-01"
        raise ValueError(msg)
    if not 0 <= sequence < 1 << 22:
        msg = f"sequence {sequence} is outside 0..4194303"
        raise ValueError(msg)
    return (milliseconds << 22) | sequence
