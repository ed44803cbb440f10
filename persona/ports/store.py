"""The message store: the truth about what was said, and the bookkeeping of the process."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from persona.domain.chat import Channel, ChannelId, Edit, Message, MessageId, Reaction, Tombstone


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCounts:
    """How a batch of messages ended up: `added` are new, `updated` newer edits, the rest changed nothing."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRecord:
    """One row per decision to speak or not worth keeping: no content, only ids, reason and timings in milliseconds."""

    message_id: MessageId
    channel_id: ChannelId
    decided_at: datetime
    spoke: bool
    reason: str
    outcome: str
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: int = 0
    recollections: int = 0
    stage_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One look at the process: what the heartbeat saw."""

    at: datetime
    healthy: bool
    loop_lag_ms: float
    inference_stalled_s: float
    rss_mb: float
    actors: Mapping[str, str]


class MemoryOp(StrEnum):
    """What the memory must do to follow the store."""

    PUT = "put"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryChange:
    """One entry of the store's outbox for the memory; `message` is None for a removal."""

    sequence: int
    message_id: MessageId
    op: MemoryOp
    message: Message | None


class MessageStore(Protocol):
    """The truth: everything that was said and may be kept. Every write is one transaction."""

    async def open(self) -> None:
        """Open or create the database and migrate it.

        Raises:
            StoreMismatchError: the file is something else, or a newer program wrote it.
        """
        ...

    async def close(self) -> None:
        """Finish what is running and close; safe to call twice."""
        ...

    async def put_channels(self, channels: Iterable[Channel]) -> None:
        """Add or update channels; the stored allow-list flag is kept for a channel that is already known."""
        ...

    async def set_allowed(self, channel_ids: Collection[ChannelId], *, allowed: bool) -> None:
        """Put channels on the allow-list or take them off."""
        ...

    async def channels(self, *, allowed_only: bool = False) -> Sequence[Channel]:
        """Return the known channels, by name."""
        ...

    async def put_messages(self, messages: Sequence[Message], reactions: Sequence[Reaction] = ()) -> StoreCounts:
        """Add messages (any number) in one transaction; newer edits win, tombstoned ones are refused."""
        ...

    async def apply_edits(self, edits: Sequence[Edit]) -> int:
        """Apply edits that are newer than what is stored; return how many changed something."""
        ...

    async def bury(self, tombstones: Sequence[Tombstone]) -> int:
        """Remove messages for good, text, edits and reactions; return how many were stored until now."""
        ...

    async def put_reactions(self, reactions: Sequence[Reaction]) -> None:
        """Set the counts of reactions (0 removes one)."""
        ...

    async def messages_by_id(self, ids: Collection[MessageId]) -> Mapping[MessageId, Message]:
        """Return the stored ones of the messages asked for."""
        ...

    async def tail(self, channel_id: ChannelId, limit: int, *, before: MessageId | None = None) -> Sequence[Message]:
        """Return the newest `limit` messages of a channel (before an id), oldest first."""
        ...

    async def sample(self, limit: int, *, channel_ids: Collection[ChannelId]) -> Sequence[Message]:
        """Return up to `limit` messages spread evenly over the channels' history in runs of neighbours, by id."""
        ...

    async def count(self) -> int:
        """Return how many messages are stored."""
        ...

    async def put_replies(self, records: Sequence[ReplyRecord]) -> None:
        """Write down decisions and what became of them."""
        ...

    async def put_health(self, health: Health) -> None:
        """Write down what the heartbeat saw; old rows are thinned out."""
        ...

    async def put_restart(self, actor: str, error: str, at: datetime) -> None:
        """Write down that an actor was restarted."""
        ...

    async def memory_changes(self, limit: int, *, after: int = 0) -> Sequence[MemoryChange]:
        """Return the oldest changes (after a sequence number) that the memory has not confirmed, oldest first."""
        ...

    async def memory_changes_pending(self) -> int:
        """Return how many changes wait for the memory."""
        ...

    async def confirm_memory(self, through: int) -> None:
        """Forget the outbox up to and including a sequence number."""
        ...

    async def requeue_memory(self) -> int:
        """Put every message of an allowed channel into the outbox again (a rebuild); return how many."""
        ...

    async def purge_due(self) -> int:
        """Return a number above 0 when the memory must be purged of forgotten messages, to give to `purge_done`."""
        ...

    async def purge_done(self, through: int) -> None:
        """Note that the memory was purged after everything was applied that was pending at `purge_due`."""
        ...
