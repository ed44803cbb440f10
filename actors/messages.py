"""Every message the actors exchange; requests name the type of their answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from actors.kernel import Request
from persona.domain.chat import AuthorId, ChannelId, MessageId, Recollection
from persona.domain.delivery import Delivery
from persona.ports import Arrival, ChatRequest, Finished, ModelInfo, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageArrived:
    """Gateway -> ingest, responder: somebody said something."""

    arrival: Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall(Request[Sequence[Recollection]]):
    """Responder -> retriever: what was said about this before, where this channel's audience may read it?"""

    text: str
    channel_id: ChannelId
    exclude: frozenset[MessageId] = frozenset()
    exclude_authors: frozenset[AuthorId] = frozenset()
    limit: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreChanged:
    """Ingest -> retriever: the store has changes that the memory does not know yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What the model wrote, and what it cost."""

    text: str
    finished: Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate(Request[Draft]):
    """Responder -> inference: write a reply."""

    request: ChatRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeModel(Request[ModelInfo]):
    """Responder -> inference: which model is loaded?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReply(Request[tuple[MessageId, ...]]):
    """Responder -> gateway: deliver this in answer to an arrival; answers with the ids its messages got."""

    arrival: Arrival
    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """Responder -> gateway: a message is dealt with, spoken to or not."""

    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain(Request[int]):
    """App -> responder: answer when no reply is being made any more, with how many were finished meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Request[str]):
    """Heartbeat -> every actor: are you turning? Answers with one word or two on its state."""


@dataclass(frozen=True, slots=True)
class TreeReady:
    """App -> heartbeat: every actor has started."""


@dataclass(frozen=True, slots=True)
class Draining:
    """App -> heartbeat: the process has been told to stop; running replies are finished, then everything ends."""
