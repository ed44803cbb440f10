"""One training example: what was said, and what a person answered."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from persona.domain.chat import AuthorId, ChannelId, MessageId
from persona.domain.prompt import Role, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A prompt and the reply a person gave.

    Attributes:
        example_id: hash of the messages it teaches; the same messages in the same database give the same id.
        author_id: whose words are learned.
        conversation_id: hash of the conversation, which is in one split as a whole.
        created_at: when the reply was written.
        message_ids: the messages that are learned (a burst of one author).
        context_ids: the messages that stand in the prompt, quoted ones included.
        reactions: how many reactions the reply got.
        prompt_tokens: of the whole prompt, the frame of the reply included; a few too many where that is far from the
            budget, because nobody counts them then.
        completion_tokens: of the reply with its end.
        prompt: the turns that `persona.domain.prompt.render` made.
        completion: the reply.
    """

    example_id: str
    author_id: AuthorId
    channel_id: ChannelId
    conversation_id: str
    created_at: datetime
    message_ids: tuple[MessageId, ...]
    context_ids: tuple[MessageId, ...]
    reactions: int
    prompt_tokens: int
    completion_tokens: int
    prompt: tuple[Turn, ...]
    completion: str

    @property
    def messages(self) -> tuple[dict[str, str], ...]:
        """The prompt as chat messages, as TRL reads them."""
        return chat_messages(self.prompt)


def chat_messages(turns: Sequence[Turn]) -> tuple[dict[str, str], ...]:
    """Return turns as chat messages: role and content."""
    return tuple({"role": str(turn.role), "content": turn.text} for turn in turns)


def sft_row(example: Example) -> dict[str, Any]:
    """Return the row that supervised training reads: conversational prompt and completion (TRL)."""
    return {
        "prompt": list(example.messages),
        "completion": [{"role": str(Role.ASSISTANT), "content": example.completion}],
    }


def meta_row(example: Example, marks: Sequence[str] = ()) -> dict[str, Any]:
    """Return what is kept beside a row: nothing in it names a person or a message.

    `marks` are hashes of the messages in it (see `persona.domain.lineage`), by which the bot knows what it may show.
    """
    marked = {"marks": list(marks)} if marks else {}
    return {
        "example_id": example.example_id,
        "conversation_id": example.conversation_id,
        "created_at": example.created_at.isoformat(),
        "messages": len(example.message_ids),
        "context_messages": len(example.context_ids),
        "reactions": example.reactions,
        "prompt_tokens": example.prompt_tokens,
        "completion_tokens": example.completion_tokens,
        **marked,
    }


def json_line(row: dict[str, Any]) -> str:
    """Return a row as one line of JSON; equal rows give equal lines."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"
