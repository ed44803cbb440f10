"""What catching up is made of: its settings, what it needs around it, and one round over the channels."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.kernel import Responder
from actors.reading.history_reader import Patience
from persona.domain.catching_up import Rules
from persona.domain.chat import AuthorId, Channel, ChannelId, Message
from persona.ports import Page, ReadableChannel

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]
"""Starts a task that ends with the actor, with a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUpSettings:
    """How catching up goes about it; times in seconds.

    `requests_per_second` over all channels, `channels_at_once` of them side by side. `rules` say how far back to look
    for edits and deletions. Channels that failed for a while are tried again after `retry_seconds` (0: not by itself).
    What was missed is read again after `gather_seconds`, since more of it may be on its way.
    """

    requests_per_second: float = 47.0
    channels_at_once: int = 128
    rules: Rules = field(default_factory=Rules)
    patience: Patience = field(default_factory=Patience)
    retry_seconds: float = 300.0
    gather_seconds: float = 1.0


class Surrounded(Protocol):
    """What catching up needs of the actor around it."""

    async def store_heard(self, channel_id: ChannelId) -> None:
        """Make sure that what was heard in a channel until now is in the store; `StoreError` when it cannot be."""
        ...

    def wanted(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the messages without those that were forgotten just now."""
        ...

    async def found(self, channel: Channel, page: Page, self_id: AuthorId) -> None:
        """Learn that a page is in the store; `self_id` is the persona's own account."""
        ...


@dataclass(slots=True, eq=False, kw_only=True)
class Round:
    """One run over channels: those in `scope` (None: all), or just the `given` ones, which need no list.

    Channels that come into sight while the list is made wait in `extra`.
    """

    scope: frozenset[ChannelId] | None = None
    given: tuple[ReadableChannel, ...] = ()
    waiters: list[Responder[None]] = field(default_factory=list)
    fresh: asyncio.Semaphore
    again: asyncio.Semaphore
    listed: bool = False
    extra: dict[ChannelId, Channel] = field(default_factory=dict)
    failed: set[ChannelId] = field(default_factory=set)
    task: "asyncio.Task[None] | None" = None

    @property
    def is_full(self) -> bool:
        """Whether this is about every channel."""
        return self.scope is None and not self.given

    def includes(self, channel: Channel) -> bool:
        """Whether a channel or thread belongs to this round."""
        return self.scope is None or channel.id in self.scope or channel.parent_id in self.scope
