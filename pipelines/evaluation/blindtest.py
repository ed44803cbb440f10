"""The blind test: which of two replies did a person write? A page for any browser, and the score of what came back."""

import hashlib
import html
import json
import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import resources
from typing import Any

from persona.domain.quiz import Quiz, QuizQuestion, Side
from persona.domain.recognition import Tally, interval
from persona.errors import PersonaError
from pipelines.evaluation.samples import Sample
from pipelines.evaluation.statistics import Interval, wilson

FORMAT = "persona-blindtest-1"
_SECRET = re.compile(r"^[0-9a-f]{64}$")


class BlindTestError(PersonaError):
    """A blind test cannot be made or scored from what was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Two replies to the same lines, one of them by a person."""

    context: tuple[str, ...]
    left: tuple[str, ...]
    right: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindTest:
    """What raters see (`questions`), and what they must not (`human`: the side of the person's reply).

    `context_ids` are the places in the held-out part that the questions are about.
    """

    test_id: str
    questions: tuple[Question, ...]
    human: tuple[Side, ...]
    context_ids: tuple[str, ...]

    def key(self) -> str:
        """Return the key, as JSON to be kept apart from the page."""
        return json.dumps({"format": FORMAT, "test": self.test_id, "human": self.human}, indent=1)

    def quiz(self, marks: Mapping[str, Sequence[str]], *, read_at: datetime | None = None) -> Quiz:
        """Return the test as the bot asks it on the server, key included; `marks` are a context's, by its id.

        `read_at` is when the messages were read from the database.

        Raises:
            BlindTestError: of some messages it is not known which they are, so nobody could say who may read them.
        """
        if not all(marks.get(context_id) for context_id in self.context_ids):
            raise BlindTestError("this run does not say which messages the replies are")
        questions = tuple(
            QuizQuestion(
                context=one.context, left=one.left, right=one.right, human=side, marks=tuple(marks[context_id])
            )
            for one, side, context_id in zip(self.questions, self.human, self.context_ids, strict=True)
        )
        return Quiz(test_id=self.test_id, questions=questions, read_at=read_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How often the person's reply was recognised; 0.5 is guessing."""

    raters: Mapping[str, Interval]
    overall: Interval


def make(replies: Sequence[Sample], human: Sequence[Sample], *, questions: int, seed: int) -> BlindTest:
    """Choose contexts that both sides answered and put the replies in random order.

    The number of questions is fixed before anybody answers: stopping when the figure looks good would spoil it. Pairs
    in which both replies are the same say nothing and are left out. The same input and seed make the same test.

    Raises:
        BlindTestError: there are fewer such contexts than questions.
    """
    theirs = {sample.context_id: sample for sample in human}
    pairs = [
        (sample, theirs[sample.context_id])
        for sample in sorted(replies, key=lambda one: one.context_id)
        if sample.context_id in theirs and _differ(sample, theirs[sample.context_id])
    ]
    if len(pairs) < questions:
        raise BlindTestError(f"there are {len(pairs)} contexts with two different replies; {questions} were asked for")
    chance = random.Random(seed)  # noqa: S311 - hidden by keeping the key apart, not by the generator
    chosen = chance.sample(pairs, questions)
    sides: tuple[Side, ...] = tuple(chance.choice(("left", "right")) for _ in chosen)
    asked = tuple(
        Question(
            context=ours.context,
            left=real.messages if side == "left" else ours.messages,
            right=ours.messages if side == "left" else real.messages,
        )
        for (ours, real), side in zip(chosen, sides, strict=True)
    )
    shown = json.dumps([asdict(question) for question in asked], ensure_ascii=False, sort_keys=True)
    return BlindTest(
        test_id=hashlib.sha256(shown.encode()).hexdigest(),
        questions=asked,
        human=sides,
        context_ids=tuple(ours.context_id for ours, _ in chosen),
    )


def page(test: BlindTest, *, server: str) -> str:
    """Return the test as one HTML file that needs no network; it saves a rater's answers as a file."""
    shown: dict[str, Any] = {
        "format": FORMAT,
        "test": test.test_id,
        "questions": [asdict(question) for question in test.questions],
    }
    # "<" must not end the script element, whatever somebody once wrote.
    data = json.dumps(shown, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    form = resources.files(__package__).joinpath("blindtest.html").read_text(encoding="utf-8")
    return form.replace("{{server}}", html.escape(server)).replace("{{data}}", data)


def score(key: str, answers: Sequence[str]) -> Score:
    """Score the answer files of any number of raters with the key.

    Raises:
        BlindTestError: a file is none of this test's, is incomplete, or a rater appears twice.
    """
    wanted = _read(key, "the key")
    human = wanted.get("human")
    if not isinstance(human, list) or not _SECRET.match(str(wanted.get("test"))):
        raise BlindTestError("the key is damaged: make the test again")
    hits: dict[str, int] = {}
    right = [0] * len(human)
    for number, text in enumerate(answers, start=1):
        given = _read(text, f"answer file {number}")
        rater = str(given.get("rater") or "").strip() or f"rater {number}"
        if given.get("test") != wanted["test"]:
            raise BlindTestError(f"the answers of {rater} belong to another test")
        chosen = given.get("answers")
        if not isinstance(chosen, list) or len(chosen) != len(human) or not {*chosen} <= {"left", "right"}:
            raise BlindTestError(f"the answers of {rater} are incomplete: {len(human)} times left or right is wanted")
        if rater in hits:
            raise BlindTestError(f"there are two answer files of {rater}; each person answers once")
        correct = [choice == side for choice, side in zip(chosen, human, strict=True)]
        hits[rater] = sum(correct)
        right = [before + now for before, now in zip(right, correct, strict=True)]
    raters = {rater: wilson(hit, len(human)) for rater, hit in hits.items()}
    return Score(raters=raters, overall=_overall(hits.values(), right, len(human)))


def _overall(by_rater: Collection[int], by_question: Sequence[int], questions: int) -> Interval:
    """Return the share over all raters; its range counts that answers of one rater, or to one question, are alike."""
    tally = Tally(
        by_person=tuple((questions, hit) for hit in by_rater),
        by_question=tuple((len(by_rater), hit) for hit in by_question),
    )
    if not tally.answers:
        return wilson(0, 0)
    low, high = interval(tally)
    return Interval(value=tally.right / tally.answers, low=low, high=high)


def _differ(one: Sample, other: Sample) -> bool:
    return " ".join(one.text.split()).casefold() != " ".join(other.text.split()).casefold()


def _read(text: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BlindTestError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise BlindTestError(f"{name} is no file of a blind test")
    return value
