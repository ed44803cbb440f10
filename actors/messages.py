"""Every message the actors exchange; requests name the type of their answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from actors.kernel import Request
from persona.domain.chat import AuthorId, Channel, ChannelId, GuildId, MessageId, Recollection
from persona.domain.commands import Answer, Invocation
from persona.domain.delivery import Delivery
from persona.ports import Arrival, ChatRequest, Finished, ModelInfo, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageArrived:
    """Gateway -> ingest, responder: somebody said something."""

    arrival: Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Gateway -> ingest: events of these channels were lost on the way (the mailbox was full); read them again."""

    channel_ids: frozenset[ChannelId]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch(Request[None]):
    """Commands, app -> ingest: read the history of these channels (None: all on the allow-list); answers when done."""

    channel_ids: frozenset[ChannelId] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelTrouble:
    """What is wrong with a channel, without its name: not everybody may know that it is there."""

    channel: Channel
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchStatus:
    """How far catching up is: counts since it began; `seconds_left` None while nobody can say.

    `troubles` name channels: they are for the owner. `channel_troubles` are the same for people on a server.
    """

    running: bool
    channels_done: int = 0
    channels_total: int = 0
    messages: int = 0
    added: int = 0
    requests: int = 0
    messages_per_second: float = 0.0
    seconds_left: float | None = None
    troubles: tuple[str, ...] = ()
    channel_troubles: tuple[ChannelTrouble, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeFetch(Request[FetchStatus]):
    """Commands, cli -> ingest: how far is it, with all servers or with one?"""

    guild_id: GuildId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(Request[int]):
    """Commands -> ingest: forget a person, or single messages; answers with how many messages were removed.

    Goes through ingest because only there what is on its way into the store is known, too.
    """

    author_id: AuthorId | None = None
    message_ids: frozenset[MessageId] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenNow:
    """Ingest -> responder: let go of what you still hold of a person or of messages."""

    author_id: AuthorId | None = None
    message_ids: frozenset[MessageId] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond(Request[None]):
    """Commands -> gateway: show an answer to whoever gave the command; again for the same one replaces it."""

    invocation: Invocation
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Muted:
    """Commands -> responder: keep quiet in a channel until a time; None: speak again."""

    channel_id: ChannelId
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall(Request[Sequence[Recollection]]):
    """Responder -> retriever: what was said about this before, where this channel's audience may read it?

    `text` holds the words to look for; `last` are the messages it was made of, oldest first: what they mean together.
    """

    text: str
    channel_id: ChannelId
    last: tuple[str, ...] = ()
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
class FitReply(Request[Delivery]):
    """Responder -> gateway: cut this answer so that each of its messages is sent in one step."""

    arrival: Arrival
    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReply(Request[tuple[MessageId, ...]]):
    """Responder -> gateway: deliver this in answer to an arrival; answers with the ids its messages got.

    Starts with message number `first`: what was out before a crash is not sent again. Ends early, with fewer ids, when
    `objection`, which is asked right before each message, gives a reason.
    """

    arrival: Arrival
    delivery: Delivery
    first: int = 0
    objection: Callable[[], str] = lambda: ""


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
