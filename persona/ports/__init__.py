"""The doors between the persona and the outside: what actors may ask of a model, a store, a memory, a transport."""

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
from persona.ports.store import Health, MemoryChange, MemoryOp, MessageStore, ReplyRecord, StoreCounts
from persona.ports.transport import Arrival, Outcome, Transport

__all__ = [
    "Arrival",
    "ChatEngine",
    "ChatEvent",
    "ChatModel",
    "ChatRequest",
    "FinishReason",
    "Finished",
    "Health",
    "Memory",
    "MemoryChange",
    "MemoryOp",
    "MemoryQuery",
    "MessageStore",
    "ModelInfo",
    "Notifier",
    "Outcome",
    "ReplyRecord",
    "Sampling",
    "StoreCounts",
    "TextDelta",
    "Transport",
]
