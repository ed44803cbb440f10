"""When the table is worth tidying up, and having freed memory given back to the system."""

import ctypes
import sys
from dataclasses import dataclass, replace

_COMMITS = 64
_ROWS = 1_000
_SECONDS = 86_400.0
_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK_BYTES = 128 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Litter:
    """What has piled up, `at` (the last tidying) a time on the monotonic clock.

    Every commit leaves a fragment, some files: gathering the small ones costs some 50 ms. Rows that no index knows are
    searched in memory (a thousand cost half a millisecond), and versions that were replaced stay on disk, until tidying
    up: seconds of another process.
    """

    commits: int = 0
    rows: int = 0
    old_versions: bool = False
    at: float

    @classmethod
    def found(cls, *, commits: int, unindexed: int, at: float) -> "Litter":
        """Return what there is at the start: what an earlier run left unindexed, however little, is due at once."""
        return cls(commits=commits, rows=max(unindexed, _ROWS) if unindexed else 0, at=at)

    def after(self, *, rows: int) -> "Litter":
        """Return what there is after one more commit."""
        return replace(self, commits=self.commits + 1, rows=self.rows + rows)

    @property
    def scattered(self) -> bool:
        """Whether there are so many small fragments that gathering them pays."""
        return self.commits >= _COMMITS

    def gathered(self) -> "Litter":
        """Return what is left once small fragments are one."""
        return replace(self, commits=0, old_versions=True)

    def due(self, now: float) -> bool:
        """Whether tidying up pays: much has piled up, or a little for a day."""
        if self.rows >= _ROWS:
            return True
        return (self.commits > 0 or self.rows > 0 or self.old_versions) and now - self.at >= _SECONDS

    def since(self, before: "Litter", now: float) -> "Litter":
        """Return what is left after tidying up what there was `before`: what came meanwhile, and replaced versions."""
        return Litter(
            commits=max(self.commits - before.commits, 0),
            rows=max(self.rows - before.rows, 0),
            old_versions=before.commits > 0 or before.rows > 0,
            at=now,
        )


def return_large_blocks() -> None:
    """Have large blocks of memory go back to the system as soon as they are freed (glibc only).

    So glibc begins, but the first large block that is freed makes it keep those of that size in its heaps, full of
    holes after a while: 50 MB of 400.
    """
    if sys.platform == "linux":
        option = getattr(ctypes.CDLL(None), "mallopt", None)
        if option is not None:
            option(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def give_memory_back() -> None:
    """Hand freed heap memory back to the system (glibc only; milliseconds).

    Index builds run on many threads, each with a heap of its own that glibc would keep for good.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
