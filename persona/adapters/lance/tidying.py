"""When the table is worth tidying up, and giving freed memory back to the system."""

import ctypes
import sys
from dataclasses import dataclass, replace

_COMMITS = 32
_ROWS = 2_000
_SECONDS = 21_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Litter:
    """What has piled up since the last tidying, `at` a time on the monotonic clock.

    Every commit leaves a fragment (0.14 ms more a search), every unindexed row is searched word by word (5,000 of them
    cost about 20 ms), and versions that were replaced stay on disk until a later tidying finds them old enough.
    """

    commits: int = 0
    rows: int = 0
    old_versions: bool = False
    at: float

    def after(self, *, rows: int) -> "Litter":
        """Return what there is after one more commit."""
        return replace(self, commits=self.commits + 1, rows=self.rows + rows)

    def due(self, now: float) -> bool:
        """Whether tidying up pays: much has piled up, or a little for six hours."""
        if self.commits >= _COMMITS or self.rows >= _ROWS:
            return True
        return (self.commits > 0 or self.old_versions) and now - self.at >= _SECONDS

    def since(self, before: "Litter", now: float) -> "Litter":
        """Return what is left after tidying up what there was `before`: what came meanwhile, and replaced versions."""
        return Litter(
            commits=max(self.commits - before.commits, 0),
            rows=max(self.rows - before.rows, 0),
            old_versions=before.commits > 0,
            at=now,
        )


def give_memory_back() -> None:
    """Hand freed heap memory back to the system (glibc only; milliseconds).

    Index builds run on many threads, each with a heap of its own that glibc would keep for good.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
