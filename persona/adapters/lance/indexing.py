"""The pure policy of indices: which a table should have by its size, and when one is to be made anew."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lancedb.index import FTS, Bitmap, BTree, IvfRq

# Below this exact search is as fast: 10,000 vectors of 384 numbers are 15 MB to read.
LEAST_VECTORS = 10_000
_GROWTH = 4
_BITS = 4
_ROWS_PER_PARTITION = 8_192
PROBES = 64
"""Partitions that a search looks into: all of them up to half a million messages."""

REFINE = 5
"""So many times the wanted number of candidates are measured again with their exact vectors."""

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


def wanted_index(vectors: int, present: VectorIndex | None) -> str | None:
    """Return the name of the index that should be made now, or None when the one at hand (or none) will do.

    An index keeps its partitions while it grows; at four times its size they are too large and no longer where the
    vectors are.
    """
    if vectors < LEAST_VECTORS:
        return None
    if present is not None and vectors < _GROWTH * max(present.made_for, 1):
        return None
    return f"vector_{vectors}_idx"


def vector_config(vectors: int) -> IvfRq:
    """Return how vectors are indexed: RaBitQ codes of 4 bits a dimension (Gao and Long 2024) in cosine partitions."""
    partitions = max(vectors // _ROWS_PER_PARTITION, 1)
    return IvfRq(distance_type="cosine", num_bits=_BITS, num_partitions=partitions)


def column_indices(language: str) -> Mapping[str, FTS | Bitmap | BTree]:
    """Return the index of each column that always has one."""
    # ICU finds words in scripts without spaces; stop words stay, or "who are you" would find nothing, silently.
    text_index = FTS(base_tokenizer="icu/split", language=language, stem=True, remove_stop_words=False)
    return {"text": text_index, "channel_id": Bitmap(), "message_id": BTree()}
