"""Training, validation and test: whole conversations, in the order of time, never windows shuffled together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction


class Split(StrEnum):
    """What an example is for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


SHARES: Mapping[Split, Fraction] = {
    Split.TRAIN: Fraction(85, 100),
    Split.VALIDATION: Fraction(10, 100),
    Split.TEST: Fraction(5, 100),
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Span:
    """A conversation: when it began, which one it is, how many examples it gives."""

    started_at: datetime
    conversation_id: str
    examples: int = 1

    @property
    def place(self) -> tuple[datetime, str]:
        """Where it stands among all conversations; ties in time are broken by the id."""
        return self.started_at, self.conversation_id


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitBounds:
    """The first conversations of validation and test, in the order of time; None where a split is empty."""

    validation_from: tuple[datetime, str] | None
    test_from: tuple[datetime, str] | None

    def of(self, started_at: datetime, conversation_id: str) -> Split:
        """Return the split of a conversation."""
        place = (started_at, conversation_id)
        if self.test_from is not None and place >= self.test_from:
            return Split.TEST
        if self.validation_from is not None and place >= self.validation_from:
            return Split.VALIDATION
        return Split.TRAIN


def split_bounds(spans: Iterable[Span]) -> SplitBounds:
    """Return where the splits begin: the oldest 85 % of all examples train, 10 % validate, the newest 5 % test.

    A conversation belongs where its middle example falls. Two conversations or more leave something for validation,
    three or more something for the test. O(n log n) in the number of conversations.
    """
    ordered = sorted((span for span in spans if span.examples > 0), key=lambda span: span.place)
    total = sum(span.examples for span in ordered)
    train_end = SHARES[Split.TRAIN] * total
    validation_end = (SHARES[Split.TRAIN] + SHARES[Split.VALIDATION]) * total
    validation = test = len(ordered)
    before = 0
    for number, span in enumerate(ordered):
        middle = before + Fraction(span.examples, 2)
        if middle >= train_end:
            validation = min(validation, number)
        if middle >= validation_end:
            test = min(test, number)
        before += span.examples
    if len(ordered) > 2:  # noqa: PLR2004 - one conversation each is what three are needed for
        test = min(test, len(ordered) - 1)
    if len(ordered) > 1:
        validation = max(min(validation, test - 1), 1)
        test = max(test, validation + 1)
    return SplitBounds(
        validation_from=ordered[validation].place if validation < len(ordered) else None,
        test_from=ordered[test].place if test < len(ordered) else None,
    )
