"""A blind test on the server: which of two replies did a person write? What is asked, shown and counted."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist
from typing import Any, Literal, get_args

from persona.domain.chat import ChannelId, GuildId, MessageId
from persona.domain.safe_text import one_line, shorten
from persona.errors import PersonaError

QUIZ_FORMAT = "persona-quiz-1"
Side = Literal["left", "right"]
SIDES: tuple[Side, ...] = get_args(Side)

_LETTERS: Mapping[Side, str] = {"left": "A", "right": "B"}
_TEST = re.compile(r"[0-9a-f]{64}")
_CONTEXT_CHARACTERS, _CONTEXT_LINE, _REPLY_CHARACTERS = 700, 250, 450
_CURE = "make it again: python -m pipelines blindtest make"


class QuizError(PersonaError):
    """A quiz file cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuizQuestion:
    """Two replies to the same lines; `human` is the person's side.

    `marks` are the hashes of every message that is shown (see `lineage`): only the database they are from knows which.
    """

    context: tuple[str, ...]
    left: tuple[str, ...]
    right: tuple[str, ...]
    human: Side
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiz:
    """A blind test with its key."""

    test_id: str
    questions: tuple[QuizQuestion, ...]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How often people were right; `people` is how many answered at least one question."""

    people: int
    answers: int
    right: int


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
    return json.dumps({"format": QUIZ_FORMAT, "test": quiz.test_id, "questions": questions}, ensure_ascii=False)


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
    return Quiz(test_id=test_id, questions=tuple(_question(row, i) for i, row in enumerate(rows, start=1)))


def question_text(question: QuizQuestion, *, number: int, total: int) -> str:
    """Return a question as a message of less than 2,000 characters; `number` is counted from 1.

    In code blocks nothing is formatted, linked or pinged: both replies are shown in the same, bare way.
    """
    replies = "\n".join(
        f"**{letter}**\n{_block([_cut(line, _REPLY_CHARACTERS) for line in _reply(question, side)])}"
        for side, letter in _LETTERS.items()
    )
    context = _block(_newest(question.context))
    return f"**{number} of {total}.** After this was said:\n{context}\n{replies}\nWhich of the two did a person write?"


def card_text(asked: AskedQuiz, name: str) -> str:
    """Return the words of the card that invites to a quiz."""
    return (
        f"**Can you tell {name} from a person?** {_questions(len(asked.questions))}: each shows two replies, one of "
        f"them by somebody here, one by {name}. What you choose is for your eyes only and cannot be changed; you may "
        f"stop and go on. It closes <t:{int(asked.closes_at.timestamp())}:R>; then the same button shows the result."
    )


def result_text(asked: AskedQuiz, tally: Tally, own: Sequence[QuizAnswer] | None = None) -> str:
    """Return the result in words, with the reader's own where `own` gives it; 50 % is guessing.

    The range is Wilson's. It takes answers for independent; those of one person are somewhat alike, so with few people
    the truth may lie a little further off.
    """
    if not tally.answers:
        return "The quiz is closed. Nobody answered."
    low, high = wilson(tally.right, tally.answers)
    people = "1 person" if tally.people == 1 else f"{tally.people} people"
    text = (
        f"**The quiz is closed.** {people} gave {tally.answers:,} answers to {_questions(len(asked.questions))} and "
        f"recognised the person in **{tally.right / tally.answers:.0%}** ({low:.0%} to {high:.0%}). "
        "50 % is guessing: then nobody can tell."
    )
    return f"{text}\nYou: {sum(one.right for one in own)} of {len(own)}." if own else text


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share (Wilson 1927), right for few trials and shares near 0 or 1.

    Raises:
        ValueError: more successes than trials, or a negative number.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is not a share")
    if not trials:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(1 - (1 - confidence) / 2)
    share = successes / trials
    scale = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    reach = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # The ends are exact where nothing, or everything, succeeded; rounding must not shut out the truth there.
    low = 0.0 if successes == 0 else max(0.0, middle - reach)
    high = 1.0 if successes == trials else min(1.0, middle + reach)
    return low, high


def _question(row: Any, place: int) -> QuizQuestion:
    try:
        context, left, right, marks = (_texts(row[key]) for key in ("context", "left", "right", "marks"))
        human = SIDES[SIDES.index(row["human"])]
    except (KeyError, TypeError, ValueError) as error:
        raise QuizError(f"question {place} of the quiz is damaged: {error}", cure=_CURE) from None
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
        if taken and sum(map(len, taken)) + len(line) > _REPLY_CHARACTERS:
            return [*taken, "…"]
        taken.append(line)
    return taken


def _newest(lines: Sequence[str]) -> list[str]:
    """Return the last lines that fit, oldest first."""
    taken: list[str] = []
    for line in reversed(lines):
        cut = _cut(line, _CONTEXT_LINE)
        if taken and sum(map(len, taken)) + len(cut) > _CONTEXT_CHARACTERS:
            break
        taken.append(cut)
    return taken[::-1]


def _cut(line: str, limit: int) -> str:
    return shorten(one_line(line), limit)


def _block(lines: Sequence[str]) -> str:
    """Return lines as a code block that nothing in them can end."""
    text = "\n".join(lines).replace("``", "`\u200b`")
    return f"```text\n{text}\n```"


def _questions(count: int) -> str:
    return "1 question" if count == 1 else f"{count} questions"
