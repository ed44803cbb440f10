"""The history on the other side: channels, threads and pages of messages, for catching up."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from persona.domain.chat import AuthorId, Channel, ChannelId, Message, MessageId, Reaction

PAGE_MESSAGES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadableChannel:
    """A channel or thread as the other side lists it.

    `may_read` is False where reading the history is not permitted: a page would come back empty, as if nothing had
    been said. `last_message_id` is the newest message's id as far as known (it may be deleted by now).
    """

    channel: Channel
    may_read: bool
    last_message_id: MessageId | None = None
    archived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Consecutive messages, oldest first; `last` when there is nothing after them.

    `addressed` are the messages meant for the persona (they mention it or reply to it).
    """

    messages: tuple[Message, ...]
    reactions: tuple[Reaction, ...] = ()
    addressed: frozenset[MessageId] = frozenset()
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadPage:
    """What one request for archived threads brings; `last` when there is nothing more to ask for."""

    threads: tuple[ReadableChannel, ...]
    last: bool


class History(Protocol):
    """Reads what was said before. Calls fail alone: `TransportError` may be tried again, `AccessError` may not."""

    async def ready(self) -> AuthorId:
        """Wait until there is a connection; return the persona's own id."""
        ...

    async def channels(self) -> Sequence[ReadableChannel]:
        """Return every channel that can hold messages, and the active threads.

        Raises:
            TransportError: the other side cannot be reached.
        """
        ...

    def archived_threads(self, channel_id: ChannelId) -> AsyncIterator[ThreadPage]:
        """Yield the archived threads (forum posts) of a channel, the newest first; every step is one request.

        Raises:
            AccessError: they may not be listed.
            TransportError: the other side cannot be reached.
        """
        ...

    async def page(self, channel_id: ChannelId, *, after: MessageId, limit: int = PAGE_MESSAGES) -> Page:
        """Return up to `limit` (1..100) messages with ids above `after`, the oldest of them: one request.

        Raises:
            AccessError: the channel is gone or may not be read.
            TransportError: the other side cannot be reached.
        """
        ...

    async def readable_with(self, channel_id: ChannelId) -> frozenset[ChannelId]:
        """Return the channels that everybody who can read this channel can read, too (itself included)."""
        ...
