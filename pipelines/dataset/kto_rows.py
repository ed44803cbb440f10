"""The rows for KTO: what was liked, what was not, and no more silence than there was praise."""

from array import array
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Self, TextIO

import numpy as np

_ALWAYS = 0
_LARGEST = (1 << 63) - 1


@dataclass(slots=True, kw_only=True)
class _Part:
    """One split while it is written: its file, its labels, and a number for each row that nobody reacted to."""

    stream: TextIO
    file: Path
    labels: Counter[bool] = field(default_factory=Counter)
    ignored: "array[int]" = field(default_factory=lambda: array("q"))


class KtoRows:
    """Takes rows as they come into a working file for each split; `finish` says which of them stay.

    That nobody reacted to a message says little, and nearly every message is one of those. So many of them stay, drawn
    by the seed, as there are liked ones. Eight bytes of memory for each that nobody reacted to.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._parts: dict[str, _Part] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Return the rows."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the working files."""
        self._open.close()

    def add(self, split: str, example_id: str, line: str, *, liked: bool, ignored: bool) -> None:
        """Take a row: its line of JSON, its label, and whether the label only comes from silence."""
        part = self._parts.get(split)
        if part is None:
            file = self._folder / f"kto-{split}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            stream = self._open.enter_context(file.open("w", encoding="utf-8", errors="replace"))
            part = self._parts[split] = _Part(stream=stream, file=file)
        draw = self._draw(example_id) if ignored else _ALWAYS
        if ignored:
            part.ignored.append(draw)
        else:
            part.labels[liked] += 1
        part.stream.write(f"{draw}\t{line}")

    def finish(self, write: Callable[[str, str], None]) -> Counter[str]:
        """Pass on the rows that stay, as `write(split, line)`, in their order; return how many there are of each kind.

        A split with one label only is left out: there is nothing to tell apart in it. Without training rows there are
        no others.
        """
        self._open.close()
        counts: Counter[str] = Counter()
        for split, part in sorted(self._parts.items()):
            ignored = min(len(part.ignored), part.labels[True])
            if part.labels[True] and part.labels[False] + ignored and (split == "train" or counts["train"]):
                limit = int(np.sort(np.frombuffer(part.ignored, dtype=np.int64))[ignored - 1]) if ignored else _ALWAYS
                counts[split] = _pass_on(part.file, limit, partial(write, split))
                counts["silent"] += ignored
            part.file.unlink()
        return counts

    def _draw(self, example_id: str) -> int:
        """Return a number from 1 that depends on nothing but seed and example."""
        digest = blake2b(f"{self._seed}:{example_id}".encode(), digest_size=8, person=b"ignored").digest()
        return max(int.from_bytes(digest, "big") & _LARGEST, 1)


def _pass_on(file: Path, limit: int, write: Callable[[str], None]) -> int:
    passed = 0
    with file.open(encoding="utf-8") as stream:
        for text in stream:
            draw, _, line = text.partition("\t")
            if int(draw) <= limit:
                write(line)
                passed += 1
    return passed
