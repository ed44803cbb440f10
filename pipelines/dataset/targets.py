"""Which messages of a conversation are replies that can be learned, and what each of them answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from persona.domain.chat import AuthorId, MessageId
from pipelines.dataset.conversations import Conversation, Line

BURST_GAP = timedelta(minutes=5)
"""As in the prompt: messages of one author that follow each other within minutes are one reply."""

LONGEST_BURST = 8


class Unfit(StrEnum):
    """Why a reply is not learned."""

    OPENING = "opens a conversation: it answers nothing"
    GAP = "what it answers is not here"
    FOLLOW_UP = "goes on after its author's own words"
    FAR = "answers something out of sight"
    SECRET = "a secret was masked in it"  # noqa: S105
    WORDLESS = "no words, only attachments"
    LONG = "too long for the token budget"
    COPY = "copy of what was said too often"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A reply: the lines from `first` up to `last` (exclusive), written by one author, after reading up to `answered`.

    `context_from` is the first line that its author is taken to have in view. All are places in the conversation.
    """

    author_id: AuthorId
    first: int
    last: int
    answered: int
    context_from: int


def targets(conversation: Conversation, *, window: int) -> Iterator[Target | Unfit]:
    """Yield every reply of a person, or why one cannot be learned; `window` is how many messages a prompt may hold."""
    lines = conversation.lines
    places = {line.message.id: place for place, line in enumerate(lines)}
    first = 0
    while first < len(lines):
        last = _burst_end(lines, first)
        if lines[first].answers is None:
            yield _target(lines, places, first, last, window)
        first = last


def own_replies(conversation: Conversation, *, window: int) -> Iterator[Target]:
    """Yield the persona's own replies whose question is in the conversation."""
    lines = conversation.lines
    places = {line.message.id: place for place, line in enumerate(lines)}
    first = 0
    while first < len(lines):
        answers = lines[first].answers
        last = first + 1
        if answers is None:
            first = last
            continue
        while last < len(lines) and lines[last].answers == answers:
            last += 1
        answered = places.get(answers)
        if answered is not None and answered < first:
            yield Target(
                author_id=lines[first].message.author.id,
                first=first,
                last=last,
                answered=answered,
                context_from=max(0, answered + 1 - window),
            )
        first = last


def _burst_end(lines: Sequence[Line], first: int) -> int:
    """Return where the messages of one author end that begin at a place."""
    last = first + 1
    while (
        last < len(lines)
        and last - first < LONGEST_BURST
        and lines[last].message.author.id == lines[first].message.author.id
        and lines[last].message.reply_to is None
        and lines[last].answers is None
        and not lines[last].after_gap
        and lines[last].message.created_at - lines[last - 1].message.created_at <= BURST_GAP
    ):
        last += 1
    return last


def _target(lines: Sequence[Line], places: dict[MessageId, int], first: int, last: int, window: int) -> Target | Unfit:
    author = lines[first].message.author.id
    answered = _answered(lines, places, first, window)
    if isinstance(answered, Unfit):
        return answered
    if lines[answered].message.author.id == author:
        return Unfit.FOLLOW_UP
    if any(line.secrets for line in lines[first:last]):
        return Unfit.SECRET
    if not any(line.message.content.strip() for line in lines[first:last]):
        return Unfit.WORDLESS
    return Target(
        author_id=author, first=first, last=last, answered=answered, context_from=max(0, answered + 1 - window)
    )


def _answered(lines: Sequence[Line], places: dict[MessageId, int], first: int, window: int) -> int | Unfit:
    """Return the place of what a burst answers: what it replies to, else what was said right before."""
    reply_to = lines[first].message.reply_to
    if reply_to is not None:
        place = places.get(reply_to)
        if place is None or place >= first or lines[place].answers is not None:
            return Unfit.GAP
        if place < first - window:
            return Unfit.FAR
        if lines[place].message.author.id != lines[first].message.author.id:
            return place
    if first == 0:
        return Unfit.GAP if lines[first].after_gap else Unfit.OPENING
    if lines[first].after_gap or lines[first - 1].answers is not None:
        return Unfit.GAP
    return first - 1
