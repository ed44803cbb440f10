"""The pure policy of indices: which a table should have by its size, and when one is to be made anew."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lancedb.index import FTS, Bitmap, BTree, IvfRq

# Below this exact search is as fast: 10,000 vectors of 384 numbers are 15 MB to read.
LEAST_VECTORS = 10_000
_GROWTH = 4
_MOST_PARTS = 6
_BITS = 4
_ROWS_PER_PARTITION = 8_192
_LEAST_PROBES, _LEAST_PROBES_FILTERED = 40, 16
_PROBED_SHARE = 0.75

REFINE = 1
"""The candidates are measured again with their exact vectors: of thirty, the nearest ten are among them anyway."""

_NAME = re.compile(r"vector_(\d+)_idx")


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorIndex:
    """The index that a table has: `made_for` is how many vectors there were when its partitions were chosen."""

    name: str
    made_for: int


def vector_index(names: Mapping[str, str]) -> VectorIndex | None:
    """Return the newest vector index among index names (values: the column)."""
    found = [VectorIndex(name=name, made_for=made_for(name)) for name, column in names.items() if column == "vector"]
    return max(found, key=lambda index: index.made_for, default=None)


def made_for(name: str) -> int:
    """Return how many vectors an index was made for, by its name; 0 for one that is not ours."""
    match = _NAME.fullmatch(name)
    return int(match.group(1)) if match else 0


def wanted_index(vectors: int, present: VectorIndex | None, *, parts: int = 1) -> str | None:
    """Return the name of the index that should be made now, or None when the one at hand (or none) will do.

    An index keeps its partitions while it grows; at four times its size they are too large and no longer where the
    vectors are. Each tidying adds a part to it, into which every search looks (0.4 ms): there are to be few.
    """
    if vectors < LEAST_VECTORS:
        return None
    if present is not None and vectors < _GROWTH * max(present.made_for, 1) and parts <= _MOST_PARTS:
        return None
    return f"vector_{vectors}_idx"


def vector_config(vectors: int) -> IvfRq:
    """Return how vectors are indexed: RaBitQ codes of 4 bits a dimension (Gao and Long 2024) in cosine partitions."""
    partitions = max(vectors // _ROWS_PER_PARTITION, 1)
    return IvfRq(distance_type="cosine", num_bits=_BITS, num_partitions=partitions)


def probes_for(rows: int, *, filtered: bool) -> int:
    """Return how many partitions a search looks into, in a table of so many rows.

    Three quarters of them find 0.99 of the nearest ten, also within one channel in a hundred; half of them 0.94.
    Without a filter looking into all costs little: up to 330,000 rows that is what is done.
    """
    least = _LEAST_PROBES_FILTERED if filtered else _LEAST_PROBES
    return max(math.ceil(_PROBED_SHARE * rows / _ROWS_PER_PARTITION), least)


def column_indices(language: str) -> Mapping[str, FTS | Bitmap | BTree]:
    """Return the index of each column that always has one."""
    # ICU finds words in scripts without spaces; stop words stay, or "who are you" would find nothing, silently.
    text_index = FTS(base_tokenizer="icu/split", language=language, stem=True, remove_stop_words=False)
    return {"text": text_index, "channel_id": Bitmap(), "message_id": BTree()}
