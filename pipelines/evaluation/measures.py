"""What is measured: each measure with its name, what it really says, and which way is better."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipelines.evaluation.samples import Sample


class Better(StrEnum):
    """Which way a measure is better."""

    LOWER = "lower"
    HIGHER = "higher"
    PEOPLE = "as people"
    """The closer to what people have, the better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measure.

    Attributes:
        key: its name in the JSON twin.
        name: its name in the tables.
        better: which way is better.
        about: what it says, and what it does not.
        percent: shown as a percentage.
        biased: more or less than the truth where there are few replies: only comparisons mean something.
        gate: whether a new model must not be worse in it.
        bounds: what values it can have, where it is no percentage.
    """

    key: str
    name: str
    better: Better
    about: str
    percent: bool = False
    biased: bool = False
    gate: bool = False
    bounds: tuple[float, float] = (0.0, math.inf)

    @property
    def range(self) -> tuple[float, float]:
        """What values it can have."""
        return (0.0, 1.0) if self.percent else self.bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Whoever's replies are measured.

    Attributes:
        key: its name in the JSON twin.
        name: its name in the tables.
        about: how it answers.
        replies: for each round of drawing, one reply to each context; all rounds have the same contexts.
    """

    key: str
    name: str
    about: str
    replies: tuple[tuple[Sample, ...], ...]

    @property
    def all(self) -> tuple[Sample, ...]:
        """Every reply of every round."""
        return tuple(sample for once in self.replies for sample in once)


MEASURES: Sequence[Measure] = (
    Measure(
        key="perplexity_character",
        name="perplexity per character",
        better=Better.LOWER,
        about="How surprised the model is by each character that people wrote; compares any two models. 1 is "
        "foresight. It says nothing about what the model writes itself.",
        gate=True,
    ),
    Measure(
        key="perplexity_token",
        name="perplexity per token",
        better=Better.LOWER,
        about="The same by token: only models with the same vocabulary compare.",
    ),
    Measure(
        key="recognised",
        name="recognised by a classifier",
        better=Better.LOWER,
        about="How often a classifier of letters, trained on other conversations, tells the replies from people's. "
        "50 % is guessing.",
        percent=True,
        gate=True,
    ),
    Measure(
        key="energy",
        name="energy distance",
        better=Better.LOWER,
        about="How far the clouds of reply vectors lie apart (pairs from different conversations only). 0 is the same "
        "distribution; unlike the cosine of means it sees spread, too. Chance takes it a little below 0.",
        gate=True,
        bounds=(-math.inf, math.inf),
    ),
    Measure(
        key="letters",
        name="character 3-grams (JS)",
        better=Better.LOWER,
        about="Jensen-Shannon distance of runs of three characters: spelling, case, punctuation. Never 0 for few "
        "replies: compare with the other half of the people.",
        biased=True,
        gate=True,
    ),
    Measure(
        key="function_words",
        name="function words (JS)",
        better=Better.LOWER,
        about="Jensen-Shannon distance of the server's hundred most frequent words.",
        biased=True,
    ),
    Measure(
        key="vocabulary",
        name="vocabulary (JS)",
        better=Better.LOWER,
        about="Jensen-Shannon distance of all words.",
        biased=True,
    ),
    Measure(
        key="server_words",
        name="server words",
        better=Better.PEOPLE,
        about="Share of words that are frequent here and not everywhere.",
        percent=True,
    ),
    Measure(
        key="known_pairs",
        name="usual word pairs",
        better=Better.PEOPLE,
        about="Share of pairs of neighbouring words that somebody in the training part has written, too: word order. "
        "Far below people's: words strung together; far above: nothing but what was said before.",
        percent=True,
        gate=True,
    ),
    Measure(
        key="message_words",
        name="words a message (Wasserstein)",
        better=Better.LOWER,
        about="How many words a message would have to be made longer or shorter, on average, to match people's "
        "lengths.",
        biased=True,
        gate=True,
    ),
    Measure(
        key="burst",
        name="messages a reply (Wasserstein)",
        better=Better.LOWER,
        about="The same for the number of messages in a reply.",
        biased=True,
    ),
    Measure(
        key="habits",
        name="habits",
        better=Better.LOWER,
        about="Mean difference of shares of messages: lower case, full stops, questions, emoji, links ...",
        percent=True,
        biased=True,
    ),
    Measure(
        key="distinct",
        name="different word pairs",
        better=Better.PEOPLE,
        about="Share of different pairs of words among all (distinct-2), for as many replies as people's.",
        percent=True,
        biased=True,
    ),
    Measure(
        key="repeated",
        name="said more than once",
        better=Better.PEOPLE,
        about="Share of replies that equal another reply of the same round, word for word.",
        percent=True,
        gate=True,
    ),
    Measure(
        key="language",
        name="in people's language",
        better=Better.HIGHER,
        about="Share of blocks of replies whose language is the one that people write there.",
        percent=True,
    ),
    Measure(
        key="relevance",
        name="fits its context (MRR, vectors)",
        better=Better.HIGHER,
        about="Mean of one over the rank of the reply's own context among ten, by the likeness of vectors; 0.29 is "
        "guessing.",
        gate=True,
    ),
    Measure(
        key="relevance_model",
        name="fits its context (MRR, likelihood)",
        better=Better.HIGHER,
        about="The same, by how likely the measured model finds the reply after each context; 0.46 is guessing among "
        "five. A model finds its own replies fitting: compare others by it.",
    ),
    Measure(
        key="copied",
        name="copies eight words or more",
        better=Better.LOWER,
        about="Share of replies with a run of eight words or more from a message of the training part or, where the "
        "database is at hand, of any channel.",
        percent=True,
        gate=True,
    ),
    Measure(
        key="personal",
        name="holds personal data",
        better=Better.LOWER,
        about="Share of replies in which the detectors of `prepare` find a token, address or number.",
        percent=True,
        gate=True,
    ),
    Measure(
        key="similarity",
        name="cosine of mean vectors",
        better=Better.HIGHER,
        about="Likeness of the average reply. Kept for the old target only: shuffled words score high.",
        biased=True,
        bounds=(-1.0, 1.0),
    ),
)

BY_KEY: Mapping[str, Measure] = {measure.key: measure for measure in MEASURES}
"""The measures by their keys."""
