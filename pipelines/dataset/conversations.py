"""Cuts the messages of a channel into conversations: by silence, with reply links followed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from persona.adapters.sqlite.snapshot import Stored
from persona.domain.chat import Message, MessageId
from pipelines.dataset.cleaning import Cleaned, Dropped
from pipelines.dataset.secrets import SecretKind

LONGEST_CONVERSATION = 600
"""A conversation that never pauses is cut after so many messages: one split must not swallow a whole channel."""

_LONGEST_LINK = timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One message of a conversation.

    Attributes:
        message: as it may be read along.
        reactions: emoji to count.
        secrets: what was masked in it; then it is not learned.
        copy_key: equal for near-verbatim copies.
        after_gap: something that is not here was said right before it.
        answers: for a message of the persona, what it answered.
    """

    message: Message
    reactions: Mapping[str, int] = field(default_factory=dict)
    secrets: tuple[SecretKind, ...] = ()
    copy_key: int = 0
    after_gap: bool = False
    answers: MessageId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What was said in a channel without a long silence, oldest first.

    `quoted` holds messages from outside that somebody in it replied to.
    """

    lines: tuple[Line, ...]
    quoted: Mapping[MessageId, Message] = field(default_factory=dict)


class Talk:
    """Reads one channel; `dropped` and `secrets` are told of what is left out or masked."""

    def __init__(
        self,
        *,
        gap_seconds: float,
        clean: Callable[[Stored], Cleaned | Dropped],
        find: Callable[[MessageId], Stored | None],
        dropped: Callable[[Dropped], None],
        secrets: Callable[[SecretKind], None],
    ) -> None:
        self._gap = timedelta(seconds=gap_seconds)
        self._clean = clean
        self._find = find
        self._dropped = dropped
        self._secrets = secrets

    def conversations(self, stored: Iterable[Stored]) -> Iterator[Conversation]:
        """Yield the conversations of a channel, of which no more than one is held at a time."""
        lines: list[Line] = []
        ids: set[MessageId] = set()
        missing = False
        for each in stored:
            cleaned = self._clean(each)
            if isinstance(cleaned, Dropped):
                self._dropped(cleaned)
                missing = missing or cleaned not in {Dropped.SYSTEM, Dropped.EMPTY}
                continue
            for kind in cleaned.secrets:
                self._secrets(kind)
            if lines and self._ends(lines, ids, cleaned.message):
                yield self._whole(lines, ids)
                lines, ids = [], set()
            lines.append(_line(each, cleaned, missing=missing))
            ids.add(cleaned.message.id)
            missing = False
        if lines:
            yield self._whole(lines, ids)

    def _ends(self, lines: list[Line], ids: set[MessageId], message: Message) -> bool:
        """Whether a message begins a new conversation: after a silence, unless it replies to something in this one."""
        if len(lines) >= LONGEST_CONVERSATION:
            return True
        silence = message.created_at - lines[-1].message.created_at
        if silence <= self._gap:
            return False
        return message.reply_to not in ids or silence > _LONGEST_LINK

    def _whole(self, lines: list[Line], ids: set[MessageId]) -> Conversation:
        targets = {line.message.reply_to for line in lines if line.message.reply_to is not None} - ids
        quoted: dict[MessageId, Message] = {}
        for target in sorted(targets):
            stored = self._find(target)
            cleaned = None if stored is None else self._clean(stored)
            if isinstance(cleaned, Cleaned):
                quoted[target] = cleaned.message
        return Conversation(lines=tuple(lines), quoted=quoted)


def _line(stored: Stored, cleaned: Cleaned, *, missing: bool) -> Line:
    return Line(
        message=cleaned.message,
        reactions=stored.reactions,
        secrets=cleaned.secrets,
        copy_key=cleaned.copy_key,
        after_gap=missing,
        answers=stored.answers,
    )
