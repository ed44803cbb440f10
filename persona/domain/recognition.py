"""How often people recognised a reply, and how sure that figure is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How often people were right: (answers, right ones) of each person, and the same of each question."""

    by_person: tuple[tuple[int, int], ...]
    by_question: tuple[tuple[int, int], ...]

    @property
    def people(self) -> int:
        """How many answered at least one question."""
        return len(self.by_person)

    @property
    def answers(self) -> int:
        """How many answers there are."""
        return sum(answers for answers, _ in self.by_person)

    @property
    def right(self) -> int:
        """How many of them are right."""
        return sum(right for _, right in self.by_person)


def interval(tally: Tally) -> tuple[float, float]:
    """Return the range of the share (0..1), for other people and other questions like these: Wilson's on `worth`.

    Raises:
        ValueError: there are no answers.
    """
    if not tally.answers:
        raise ValueError("nobody answered")
    much = worth(tally)
    return wilson(tally.right / tally.answers * much, much)


def worth(tally: Tally) -> float:
    """Return how many independent answers these are worth: at most as many as they are, at least 1.

    Answers of one person are alike, and so are those to one question, all the more the more people answer it. The
    variance of the share counts both (two-way clustering: Cameron, Gelbach and Miller 2011); what is returned is the
    number of independent answers with that variance (Korn and Graubard 1998). Where all are right, or all are wrong,
    nothing shows how alike they are: then as many as there are people, or questions, whichever are more.
    """
    answers, share = tally.answers, tally.right / tally.answers
    single = answers * share * (1 - share)
    if not single:
        return max(len(tally.by_person), len(tally.by_question))
    people, questions = _spread(tally.by_person, share), _spread(tally.by_question, share)
    together = max(people + questions - single, people, questions, single)
    return max(1.0, answers * single / together)


def _spread(groups: Sequence[tuple[int, int]], share: float) -> float:
    """Return the variance of the number of right answers, groups being independent of each other."""
    several = len(groups) / (len(groups) - 1) if len(groups) > 1 else 0.0
    return several * sum((right - share * answers) ** 2 for answers, right in groups)


def wilson(successes: float, trials: float, *, confidence: float = 0.95) -> tuple[float, float]:
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
