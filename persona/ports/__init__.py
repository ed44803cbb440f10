"""The doors between the persona and the outside: what actors may ask of a model, a store, a memory, a transport."""

from persona.ports.desk import Activity, AuditEntry, Desk
from persona.ports.history import PAGE_MESSAGES, History, Page, ReadableChannel, ThreadPage
from persona.ports.journal import PendingReply, ReplyJournal
from persona.ports.ledger import ConsentLedger, ForgettingBook, ForgettingStep, Forgotten
from persona.ports.memory import Memory, MemoryQuery
from persona.ports.model import (
    ChatEngine,
    ChatEvent,
    ChatModel,
    ChatRequest,
    Finished,
    FinishReason,
    ModelInfo,
    Sampling,
    TextDelta,
)
from persona.ports.process import Notifier
from persona.ports.progress import ChannelProgress, IngestProgress
from persona.ports.store import Health, MemoryChange, MemoryOp, MessageStore, ReplyRecord, StoreCounts
from persona.ports.transport import (
    Arrival,
    ChannelGone,
    ChannelSeen,
    CommandInvoked,
    Edited,
    LinkDown,
    LinkUp,
    Outcome,
    Reacted,
    ReactionsCleared,
    Removed,
    Transport,
    TransportEvent,
)

__all__ = [
    "PAGE_MESSAGES",
    "Activity",
    "Arrival",
    "AuditEntry",
    "ChannelGone",
    "ChannelProgress",
    "ChannelSeen",
    "ChatEngine",
    "ChatEvent",
    "ChatModel",
    "ChatRequest",
    "CommandInvoked",
    "ConsentLedger",
    "Desk",
    "Edited",
    "FinishReason",
    "Finished",
    "ForgettingBook",
    "ForgettingStep",
    "Forgotten",
    "Health",
    "History",
    "IngestProgress",
    "LinkDown",
    "LinkUp",
    "Memory",
    "MemoryChange",
    "MemoryOp",
    "MemoryQuery",
    "MessageStore",
    "ModelInfo",
    "Notifier",
    "Outcome",
    "Page",
    "PendingReply",
    "Reacted",
    "ReactionsCleared",
    "ReadableChannel",
    "Removed",
    "ReplyJournal",
    "ReplyRecord",
    "Sampling",
    "StoreCounts",
    "TextDelta",
    "ThreadPage",
    "Transport",
    "TransportEvent",
]
