"""A blind test on the server: which of two replies did a person write? What is asked, shown and counted."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, get_args

from persona.domain.chat import AuthorId, ChannelId, GuildId, Message, MessageId
from persona.domain.recognition import Tally, interval
from persona.domain.safe_text import one_line, shorten
from persona.errors import PersonaError

QUIZ_FORMAT = "persona-quiz-1"
Side = Literal["left", "right"]
SIDES: tuple[Side, ...] = get_args(Side)

_LETTERS: Mapping[Side, str] = {"left": "A", "right": "B"}
_TEST = re.compile(r"[0-9a-f]{64}")
_MENTION = re.compile(r"<@!?([0-9]{1,20})>")
_CONTEXT_CHARACTERS, _CONTEXT_LINE, _REPLY_CHARACTERS = 700, 250, 450
_CURE = "make it again: python -m pipelines blindtest make"


class QuizError(PersonaError):
    """A quiz file cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuizQuestion:
    """Two replies to the same lines; `human` is the person's side.

    `marks` are the hashes of every message that is shown (see `lineage`): only the database they are from knows which.
    A question without any is a gap: something in it was forgotten, and its place is kept for the numbers of the others.
    """

    context: tuple[str, ...]
    left: tuple[str, ...]
    right: tuple[str, ...]
    human: Side
    marks: tuple[str, ...]


_GAP = QuizQuestion(context=(), left=(), right=(), human="left", marks=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiz:
    """A blind test with its key; `read_at` is when its messages were read, None where nobody knows."""

    test_id: str
    questions: tuple[QuizQuestion, ...]
    read_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuestion:
    """A question that is asked on a server: its number in the file, from 0, and the messages it shows."""

    number: int
    message_ids: frozenset[MessageId]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuiz:
    """A quiz that is, or was, asked in a channel; which questions it has is settled when it begins."""

    test_id: str
    guild_id: GuildId
    channel_id: ChannelId
    asked_at: datetime
    closes_at: datetime
    questions: tuple[AskedQuestion, ...]

    def is_open(self, now: datetime) -> bool:
        """Say whether it takes answers."""
        return now < self.closes_at


@dataclass(frozen=True, slots=True, kw_only=True)
class QuizAnswer:
    """What one person answered to one question."""

    test_id: str
    number: int
    right: bool
    at: datetime


def asked_id(test_id: str, guild_id: GuildId) -> str:
    """Return the name under which a test is asked on a server: each asks it once, whatever the others do."""
    return hashlib.sha256(f"{test_id} {guild_id}".encode()).hexdigest()


def write_quiz(quiz: Quiz) -> str:
    """Return a quiz as JSON."""
    questions = [
        {
            "context": question.context,
            "left": question.left,
            "right": question.right,
            "human": question.human,
            "marks": question.marks,
        }
        for question in quiz.questions
    ]
    read_at = quiz.read_at.isoformat() if quiz.read_at else None
    data = {"format": QUIZ_FORMAT, "test": quiz.test_id, "read_at": read_at, "questions": questions}
    return json.dumps(data, ensure_ascii=False)


def read_quiz(text: str) -> Quiz:
    """Return the quiz in a file's text.

    Raises:
        QuizError: it is none, or a question is damaged; says which.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise QuizError(f"the quiz is not JSON: {error}", cure=_CURE) from None
    if not isinstance(data, dict) or data.get("format") != QUIZ_FORMAT or not isinstance(data.get("questions"), list):
        raise QuizError("the file is no quiz", cure=_CURE)
    test_id, rows = str(data.get("test")), data["questions"]
    if not _TEST.fullmatch(test_id) or not rows:
        raise QuizError("the quiz is damaged: it has no name, or no question", cure=_CURE)
    questions = tuple(_question(row, i) for i, row in enumerate(rows, start=1))
    return Quiz(test_id=test_id, questions=questions, read_at=_moment(data.get("read_at")))


def without(quiz: Quiz, gone: Collection[str]) -> Quiz:
    """Return a quiz with a gap for each question that shows a message with one of these marks."""
    questions = tuple(_GAP if any(mark in gone for mark in one.marks) else one for one in quiz.questions)
    return replace(quiz, questions=questions)


def question_text(question: QuizQuestion, *, number: int, total: int) -> str:
    """Return a question as a message of less than 2,000 characters; `number` is counted from 1.

    In code blocks nothing is formatted, linked or pinged: both replies are shown in the same, bare way.
    """
    replies = "\n".join(f"**{letter}**\n{_block(_reply(question, side))}" for side, letter in _LETTERS.items())
    context = _block(_newest(question.context))
    return f"**{number} of {total}.** After this was said:\n{context}\n{replies}\nWhich of the two did a person write?"


def card_text(asked: AskedQuiz, name: str) -> str:
    """Return the words of the card that invites to a quiz."""
    return (
        f"**Can you tell {name} from a person?** {_questions(len(asked.questions))}: each shows two replies, one of "
        f"them by somebody here, one by {name}. Nobody here sees what you choose, and it cannot be changed; you may "
        f"stop and go on. Kept of you is which answers were right, and when (`/mydata`, `/forget`). "
        f"It closes <t:{int(asked.closes_at.timestamp())}:R>; then the same button shows the result."
    )


def result_text(asked: AskedQuiz, tally: Tally, own: Sequence[QuizAnswer] | None = None) -> str:
    """Return the result in words, with the reader's own where `own` gives it; 50 % is guessing.

    The range is that of other people and other questions like these (`recognition.interval`).
    """
    if not tally.answers:
        return "The quiz is closed. Nobody answered."
    low, high = interval(tally)
    people = "1 person" if tally.people == 1 else f"{tally.people} people"
    text = (
        f"**The quiz is closed.** {people} gave {tally.answers:,} answers to {_questions(len(asked.questions))} and "
        f"recognised the person in **{tally.right / tally.answers:.0%}** ({low:.0%} to {high:.0%}). "
        "50 % is guessing: then nobody can tell."
    )
    return f"{text}\nYou: {sum(one.right for one in own)} of {len(own)}." if own else text


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text is not None else None
    except (TypeError, ValueError) as error:
        raise QuizError(f"the quiz is damaged: {error}", cure=_CURE) from None
    if moment is not None and moment.tzinfo is None:
        raise QuizError("the quiz is damaged: its time has no zone", cure=_CURE)
    return moment


def mentioned(message: Message) -> frozenset[AuthorId]:
    """Return whom a message mentions; their names stand in the text of a question about it."""
    written = (AuthorId(int(each)) for each in _MENTION.findall(message.content))
    return frozenset(written) | {person.id for person in message.mentions}


def _question(row: Any, place: int) -> QuizQuestion:
    try:
        context, left, right, marks = (_texts(row[key]) for key in ("context", "left", "right", "marks"))
        human = SIDES[SIDES.index(row["human"])]
    except (KeyError, TypeError, ValueError) as error:
        raise QuizError(f"question {place} of the quiz is damaged: {error}", cure=_CURE) from None
    if not (context or left or right or marks):
        return _GAP
    if not (left and right and marks):
        raise QuizError(f"question {place} of the quiz lacks a reply, or which messages it shows", cure=_CURE)
    return QuizQuestion(context=context, left=left, right=right, human=human, marks=marks)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError("a list of texts was expected")
    return tuple(value)


def _reply(question: QuizQuestion, side: Side) -> Sequence[str]:
    """Return the lines of a reply, the first ones where it is very long."""
    lines = question.left if side == "left" else question.right
    taken: list[str] = []
    for line in lines:
        cut = _cut(line, _REPLY_CHARACTERS)
        if taken and _length([*taken, cut]) > _REPLY_CHARACTERS:
            return [*taken, "…"]
        taken.append(cut)
    return taken


def _newest(lines: Sequence[str]) -> list[str]:
    """Return the last lines that fit, oldest first."""
    taken: list[str] = []
    for line in reversed(lines):
        cut = _cut(line, _CONTEXT_LINE)
        if taken and _length([*taken, cut]) > _CONTEXT_CHARACTERS:
            break
        taken.append(cut)
    return taken[::-1]


def _length(lines: Sequence[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _cut(line: str, limit: int) -> str:
    """Return a line that fits, and in which nothing can end a code block."""
    return shorten(one_line(line).replace("``", "`\u200b`"), limit)


def _block(lines: Sequence[str]) -> str:
    """Return lines that were `_cut` as a code block."""
    return "\n".join(["```text", *lines, "```"])


def _questions(count: int) -> str:
    return "1 question" if count == 1 else f"{count} questions"
