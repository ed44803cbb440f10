"""Can anybody tell them apart? A classifier two-sample test on how replies are written."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from persona.errors import PersonaError
from pipelines.evaluation.samples import Conversation
from pipelines.evaluation.statistics import Interval, bootstrap

FOLDS = 5
_LEAST_CONVERSATIONS = 2 * FOLDS


class TooLittleError(PersonaError):
    """There is too little to measure; more held-out conversations are the cure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """For each reply of one conversation whether the classifier was right about it."""

    ours: tuple[bool, ...]
    theirs: tuple[bool, ...]


def separability(conversations: Sequence[Conversation], *, seed: int = 0, rounds: int = 300) -> Interval:
    """Return how often a classifier tells replies from human ones (0.5 is not at all, 1 is always).

    The classifier two-sample test (Lopez-Paz and Oquab 2017): logistic regression on runs of one to five characters,
    trained on four fifths of the conversations and asked about the last fifth, which it has never seen. Both sides
    count the same however many replies they have.

    Raises:
        TooLittleError: fewer than ten conversations.
    """
    found = recognised(conversations, seed=seed)
    scored = {id(conversation): one for conversation, one in zip(conversations, found, strict=True)}

    def accuracy(drawn: Sequence[Conversation]) -> float:
        ours = [hit for one in drawn for hit in scored[id(one)].ours]
        theirs = [hit for one in drawn for hit in scored[id(one)].theirs]
        return (sum(ours) / len(ours) + sum(theirs) / len(theirs)) / 2 if ours and theirs else float("nan")

    return bootstrap(conversations, accuracy, rounds=rounds, seed=seed)


def recognised(conversations: Sequence[Conversation], *, seed: int = 0) -> list[Recognised]:
    """Return which replies a classifier recognises in each conversation, trained on others only (five folds).

    Raises:
        TooLittleError: fewer than ten conversations.
    """
    if len(conversations) < _LEAST_CONVERSATIONS:
        raise TooLittleError(
            f"{len(conversations)} conversations are too few to tell styles apart; {_LEAST_CONVERSATIONS} are the least"
        )
    order = list(range(len(conversations)))
    random.Random(seed).shuffle(order)  # noqa: S311 - a fixed draw
    right: dict[int, Recognised] = {}
    for fold in range(FOLDS):
        asked = set(order[fold::FOLDS])
        known = [conversations[number] for number in order if number not in asked]
        right.update(_examine(known, {number: conversations[number] for number in asked}, seed=seed))
    return [right[number] for number in range(len(conversations))]


def _examine(known: Sequence[Conversation], asked: dict[int, Conversation], *, seed: int) -> dict[int, Recognised]:
    """Train on some conversations; say for others which replies were recognised."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - an extra, and slow to import
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415

    texts = [sample.text for one in known for sample in (*one.replies, *one.human)]
    labels = [label for one in known for label in (*(1 for _ in one.replies), *(0 for _ in one.human))]
    model = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 5), lowercase=False, sublinear_tf=True, min_df=2),
        LogisticRegression(max_iter=1000, class_weight="balanced", random_state=seed),
    )
    model.fit(texts, labels)
    results = {}
    for number, one in asked.items():
        guesses = model.predict([sample.text for sample in (*one.replies, *one.human)])
        results[number] = Recognised(
            ours=tuple(bool(guess == 1) for guess in guesses[: len(one.replies)]),
            theirs=tuple(bool(guess == 0) for guess in guesses[len(one.replies) :]),
        )
    return results
