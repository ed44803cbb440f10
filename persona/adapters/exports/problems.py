"""Counts what could not be read, and remembers where it was first seen."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something in a file that was not as it should be; `where` is the first place, `lost` whether a message is gone.

    What is not lost was kept with the bad part left out or mended.
    """

    reason: str
    where: str
    count: int
    lost: bool


class Problems:
    """The problems of one file, by reason."""

    def __init__(self) -> None:
        self._found: dict[tuple[bool, str], tuple[str, int]] = {}

    def lost(self, reason: str, where: str, count: int = 1) -> None:
        """Count something that could not be kept."""
        self._note(reason, where, count, lost=True)

    def mended(self, reason: str, where: str, count: int = 1) -> None:
        """Count something that was kept in part."""
        self._note(reason, where, count, lost=False)

    def _note(self, reason: str, where: str, count: int, *, lost: bool) -> None:
        first, so_far = self._found.get((lost, reason), (where, 0))
        self._found[lost, reason] = (first, so_far + count)

    def listed(self) -> tuple[Problem, ...]:
        """Return the problems in the order they were first met."""
        return tuple(
            Problem(reason=reason, where=where, count=count, lost=lost)
            for (lost, reason), (where, count) in self._found.items()
        )
