"""What is measured: replies to the same contexts, by people and by whatever is compared with them."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reply in its place: the lines before it, oldest first, and its messages (a burst is several)."""

    context_id: str
    conversation_id: str
    context: tuple[str, ...]
    messages: tuple[str, ...]

    @property
    def text(self) -> str:
        """The reply as one text."""
        return "\n".join(self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The unit that is drawn again for an interval: replies of one conversation resemble each other."""

    replies: tuple[Sample, ...]
    human: tuple[Sample, ...]


def by_conversation(replies: Iterable[Sample], human: Iterable[Sample]) -> Sequence[Conversation]:
    """Group both sides by conversation, in the order of the human side; one that only one side has is left out."""
    sides: tuple[dict[str, list[Sample]], dict[str, list[Sample]]] = ({}, {})
    for side, samples in zip(sides, (replies, human), strict=True):
        for sample in samples:
            side.setdefault(sample.conversation_id, []).append(sample)
    ours, theirs = sides
    return [Conversation(replies=tuple(ours[key]), human=tuple(theirs[key])) for key in theirs if key in ours]


def words(text: str) -> list[str]:
    """Return the words of a text, without case, compatible forms made one."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'"))
