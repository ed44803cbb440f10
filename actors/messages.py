"""Every message the actors exchange; requests name the type of their answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from actors.kernel import Request
from persona.domain.chat import AuthorId, Channel, ChannelId, Message, MessageId, Recollection
from persona.domain.delivery import Delivery
from persona.domain.speaking import Decision
from persona.ports import ChatRequest, Finished, ModelInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageArrived:
    """Gateway -> ingest, responder: somebody said something. `addressed` when it mentions or answers the persona."""

    message: Message
    channel: Channel
    addressed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall(Request[Sequence[Recollection]]):
    """Responder -> retriever: what was said about this before, where this channel's audience may read it?"""

    text: str
    channel_id: ChannelId
    exclude: frozenset[MessageId] = frozenset()
    exclude_authors: frozenset[AuthorId] = frozenset()
    limit: int = 5


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
    """Responder -> gateway: deliver these messages in answer to one; answers with the ids they got."""

    channel_id: ChannelId
    answers: MessageId
    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """Responder -> gateway: a message is dealt with, spoken to or not; `/why` shows this."""

    message_id: MessageId
    channel_id: ChannelId
    decision: Decision
    outcome: str
    texts: tuple[str, ...] = ()
    recollections: Sequence[Recollection] = ()
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    finished: Finished | None = None
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Request[str]):
    """Heartbeat -> every actor: are you turning? Answers with one word or two on its state."""
