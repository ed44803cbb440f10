"""The doors between the persona and the outside: what actors may ask of a model, a store, a memory, a transport."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from persona.domain.chat import (
    AuthorId,
    Channel,
    ChannelId,
    Edit,
    Message,
    MessageId,
    Reaction,
    Recollection,
    Tombstone,
)
from persona.domain.delivery import Delivery
from persona.domain.prompt import Turn
from persona.domain.speaking import Decision

# --- the language model ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn.

    `temperature` 0 is greedy; `top_p`, `min_p` in 0..1; `top_k` 0 means all; `repetition_penalty` 1 is none and looks
    back `penalty_window` tokens; `seed` None draws one. `max_tokens` bounds the reply.
    """

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    repetition_penalty: float = 1.1
    penalty_window: int = 64
    max_tokens: int = 160
    seed: int | None = None


class FinishReason(StrEnum):
    """Why a generation ended."""

    END = "end"
    STOP = "stop"
    LENGTH = "length"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One reply to write. `deadline` is on the monotonic clock; `conversation` lets the engine reuse its cache."""

    turns: tuple[Turn, ...]
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    deadline: float | None = None
    conversation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """More text of a reply, always whole characters and never part of a stop string."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The end of a reply with its cost; seconds are measured from the submission."""

    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    dropped_lines: int
    first_token_seconds: float
    total_seconds: float


ChatEvent = TextDelta | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What is loaded. `prompt_hash` is set on models that were trained with this project's prompt renderer."""

    name: str
    path: str
    sha256: str
    context_tokens: int
    parameters: int
    template: str
    prompt_hash: str | None = None
    persona_name: str | None = None
    server_name: str | None = None


class ChatEngine(Protocol):
    """A batching engine as a step machine: one thread owns it and calls `step` while `busy`.

    Every method is called from that one thread. A request that cannot be served fails alone (`failures`); an
    exception out of `step` means the engine itself is unusable.
    """

    @property
    def info(self) -> ModelInfo:
        """What is loaded."""
        ...

    @property
    def busy(self) -> bool:
        """Whether `step` has work to do."""
        ...

    def submit(self, job: int, request: ChatRequest) -> None:
        """Take on a request under an id of the caller's.

        Raises:
            InferenceError: it can never be served (`PromptTooLongError` when it does not fit the context window).
        """
        ...

    def cancel(self, job: int) -> None:
        """Drop a job between two tokens; unknown ids are ignored, a `Finished` with CANCELLED follows for known."""
        ...

    def step(self) -> Sequence[tuple[int, ChatEvent | Exception]]:
        """Do one bounded piece of work (a prefill chunk or one token for every running job), return what came of it."""
        ...

    def close(self) -> None:
        """Free the model; never while a step runs."""
        ...


class ChatModel(Protocol):
    """A language model for several conversations at once, as the actors see it."""

    @property
    def info(self) -> ModelInfo:
        """What is loaded; only after `open`."""
        ...

    async def open(self) -> None:
        """Load the model once.

        Raises:
            ModelFileError: the file is missing, damaged or not a model.
        """
        ...

    def stream(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Write a reply: text as it comes, then one `Finished`. Closing the iterator cancels between two tokens."""
        ...

    def stalled_seconds(self) -> float:
        """Return for how long there has been work without progress (0 when idle or progressing)."""
        ...

    async def closed(self) -> None:
        """Wait until the model dies on its own and raise why; never returns while it lives."""
        ...

    async def close(self) -> None:
        """Stop and free it."""
        ...


# --- the message store ----------------------------------------------------------------------------------------------


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

    async def put_reply(self, record: ReplyRecord) -> None:
        """Write down one decision."""
        ...

    async def put_health(self, health: Health) -> None:
        """Write down what the heartbeat saw; old rows are thinned out."""
        ...

    async def put_restart(self, actor: str, error: str, at: datetime) -> None:
        """Write down that an actor was restarted."""
        ...

    async def memory_changes(self, limit: int) -> Sequence[MemoryChange]:
        """Return the oldest changes that the memory has not confirmed, oldest first."""
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


# --- the memory -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryQuery:
    """What to look for, and where: only `channel_ids` are searched, filtered before ranking."""

    text: str
    channel_ids: frozenset[ChannelId]
    exclude: frozenset[MessageId] = frozenset()
    exclude_authors: frozenset[AuthorId] = frozenset()
    limit: int = 5


class Memory(Protocol):
    """A search index over the store; derived, can be rebuilt from it at any time."""

    async def open(self) -> bool:
        """Open the index, checking it with a real search; False when it had to be started anew."""
        ...

    async def close(self) -> None:
        """Let go of the index."""
        ...

    async def apply(self, changes: Sequence[MemoryChange]) -> None:
        """Bring the index up to date; doing the same changes twice does no harm."""
        ...

    async def refresh(self) -> None:
        """Make what was applied searchable at full speed and tidy up (after a batch, or now and then)."""
        ...

    async def search(self, query: MemoryQuery) -> Sequence[Recollection]:
        """Return the best matches, best first."""
        ...


# --- the transport --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A message as a transport hands it over; `addressed` when it mentions or answers the persona (`self_id`)."""

    message: Message
    channel: Channel
    self_id: AuthorId
    addressed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an arrival: the decision, what was sent, what memory gave, and where the time went."""

    arrival: Arrival
    decision: Decision
    result: str
    texts: tuple[str, ...] = ()
    recollections: Sequence[Recollection] = ()
    finished: Finished | None = None
    retries: int = 0
    stage_ms: Mapping[str, float] = field(default_factory=dict)


class Transport(Protocol):
    """Where the talk happens: Discord, or the terminal."""

    def listen(self) -> AsyncIterator[Arrival]:
        """Yield messages as they come; ends when there will be no more (the terminal's end of input)."""
        ...

    async def send(self, arrival: Arrival, delivery: Delivery) -> tuple[MessageId, ...]:
        """Deliver an answer, with its typing pauses; return the ids its messages got."""
        ...

    async def report(self, outcome: Outcome) -> None:
        """Learn what became of an arrival."""
        ...

    async def close(self) -> None:
        """Stop listening; what is being sent is finished."""
        ...


# --- the process supervisor -----------------------------------------------------------------------------------------


class Notifier(Protocol):
    """Tells whoever started the process (systemd) how it is doing; every call returns at once and never raises.

    The calls answer whether the message was handed over: False when nobody listens or the receiver is busy.
    """

    def watchdog_interval(self) -> float | None:
        """Return after how many seconds without a `watchdog` call the process is killed; None when it is not."""
        ...

    def ready(self) -> bool:
        """Say that start-up is complete."""
        ...

    def status(self, text: str) -> bool:
        """Show one line on what is going on."""
        ...

    def watchdog(self) -> bool:
        """Say that all is well."""
        ...

    def stopping(self) -> bool:
        """Say that shutdown has begun."""
        ...

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for this much more time from now to start or stop."""
        ...
