"""Baselines that need no model: a copy of the best matching training reply, any other person's reply, the ceiling."""

import random
from collections.abc import Sequence
from typing import Final

import numpy as np

from pipelines.evaluation.heldout import Context, Drawn
from pipelines.evaluation.measures import Contender
from pipelines.evaluation.measuring import last_lines
from pipelines.evaluation.samples import Sample
from pipelines.evaluation.vectors import TextVectors

CEILING: Final = "people"
RANDOM: Final = "random"
COPY: Final = "copy"

_MOST_TRAINING = 20_000
_ROWS = 2000


def ceiling(drawn: Drawn) -> Contender:
    """Return the other half of the people, each reply in its own place: what no model can be better than."""
    replies = tuple(context.sample(cluster=drawn.clusters[context.context_id]) for context in drawn.others)
    return Contender(
        key=CEILING,
        name="people, the other half",
        about="Replies of people in the same conversations that are not among the contexts: the human ceiling.",
        replies=(replies,),
    )


def random_reply(drawn: Drawn, training: Sequence[Context], *, rounds: int, seed: int) -> Contender:
    """Return any person's reply from the training part in each context: right in style, wrong in place."""
    found = []
    for number in range(rounds):
        chance = random.Random(f"{seed} random {number}")  # noqa: S311 - a fixed draw
        found.append(
            tuple(
                context.sample(chance.choice(training).sample().messages, cluster=drawn.clusters[context.context_id])
                for context in drawn.asked
            )
        )
    return Contender(
        key=RANDOM,
        name="a random other reply",
        about="Any person's reply from the training part: how people write, but to something else.",
        replies=tuple(found),
    )


def copy_machine(drawn: Drawn, training: Sequence[Context], vectors: TextVectors, *, seed: int) -> Contender:
    """Return the reply of the training example whose context is most alike, word for word."""
    chance = random.Random(f"{seed} copy")  # noqa: S311 - a fixed draw
    known = training if len(training) <= _MOST_TRAINING else chance.sample(list(training), _MOST_TRAINING)
    asked = [context.sample(cluster=drawn.clusters[context.context_id]) for context in drawn.asked]
    places = _nearest(asked, [context.sample() for context in known], vectors)
    replies = tuple(
        context.sample(known[place].sample().messages, cluster=drawn.clusters[context.context_id])
        for context, place in zip(drawn.asked, places, strict=True)
    )
    return Contender(
        key=COPY,
        name="retrieval copy",
        about="The reply of the training example with the most similar context, word for word.",
        replies=(replies,),
    )


def _nearest(asked: Sequence[Sample], known: Sequence[Sample], vectors: TextVectors) -> list[int]:
    """Return for each sample the place of the known one with the most similar context, some rows at a time."""
    wanted = vectors.embed([last_lines(sample) for sample in asked])
    best, places = np.full(len(asked), -np.inf), np.zeros(len(asked), dtype=int)
    for start in range(0, len(known), _ROWS):
        likeness = wanted @ vectors.embed([last_lines(sample) for sample in known[start : start + _ROWS]]).T
        nearest = likeness.argmax(axis=1)
        score = likeness[np.arange(len(asked)), nearest]
        better = score > best
        best[better], places[better] = score[better], start + nearest[better]
    return [int(place) for place in places]
