"""What a reply is written from, and the turns that it becomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from persona.domain.chat import AuthorId, ChannelId, Message, MessageId, Recollection

MEMORY_HEADER = "[earlier on this server]"
NOW_HEADER = "[now]"


class Role(StrEnum):
    """Who a turn belongs to, in ChatML's words."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of the chat format; `notes` are what memory adds in front of the lines."""

    role: Role
    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The turn as the model reads it."""
        if not self.notes:
            return "\n".join(self.lines)
        return "\n".join((MEMORY_HEADER, *self.notes, NOW_HEADER, *self.lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the persona is: its own account, its name and the server it is a regular of."""

    id: AuthorId
    name: str
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A few real lines that show how people here talk; the last line answers the ones before.

    `message_ids` are the messages that they come from, as far as known.
    """

    lines: tuple[str, ...]
    message_ids: tuple[MessageId, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything a reply is written from; `messages` are oldest first and end with the one to answer.

    `quoted` holds reply targets that lie outside `messages`, `people` the names of those whom only a recollection
    mentions. `style` and `examples` are for models that were not trained on this server; leave them empty for one that
    was.
    """

    identity: Identity
    messages: Sequence[Message]
    channel_name: str = ""
    recollections: Sequence[Recollection] = ()
    quoted: Mapping[MessageId, Message] = field(default_factory=dict)
    channel_names: Mapping[ChannelId, str] = field(default_factory=dict)
    people: Mapping[AuthorId, str] = field(default_factory=dict)
    style: str = ""
    examples: Sequence[Exchange] = ()
