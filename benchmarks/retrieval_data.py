"""Annotated reply links as questions to a memory: at a message, which older ones belong to the same thread?"""

import csv
import gzip
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SETS = ("ubuntu", "stripe", "ubuntu-meeting")
_PREFIX = "irc-commons"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Talk:
    """One channel, oldest first; `thread` numbers the annotated threads (-1: not annotated, or alone)."""

    name: str
    texts: Sequence[str]
    created_at_ms: NDArray[np.int64]
    author: NDArray[np.int64]
    thread: NDArray[np.int64]
    burst: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A question: at message `position`, with everything up to `end` to remember; `relevant` positions lie below it."""

    position: int
    end: int
    relevant: frozenset[int]
    thread: int


def load(data: Path, name: str) -> Talk:
    """Read a channel and join its annotated reply links to threads (connected components).

    Raises:
        OSError: a file is missing.
    """
    stem = data / "jsonl" / f"{_PREFIX}.{name}"
    with gzip.open(f"{stem}.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = sorted(map(json.loads, lines), key=lambda record: int(record["id"]))
    with gzip.open(f"{stem}.provenance.tsv.gz", "rt", encoding="utf-8", newline="") as lines:
        origins = {row["id"]: row for row in csv.DictReader(lines, delimiter="\t")}
    position = {record["id"]: i for i, record in enumerate(records)}
    links = [
        (position[key], position[parent])
        for key, row in origins.items()
        for parent in row["gold_parents"].split(",")
        if key in position and parent in position
    ]
    return Talk(
        name=name,
        texts=[record["content"] for record in records],
        created_at_ms=np.array([_milliseconds(record["timestamp"]) for record in records], dtype=np.int64),
        author=np.array([int(record["author_id"]) for record in records], dtype=np.int64),
        thread=_threads(len(records), links),
        burst=[origins[record["id"]]["source_file"] for record in records],
    )


def cases(talk: Talk, distance: int, *, limit: int, part: Mapping[str, bool], seed: int) -> list[Case]:
    """Return up to `limit` messages, drawn at random, whose thread also has some older than the last `distance`.

    `part` says which bursts (source files) questions are drawn from; the memory always holds the whole channel.
    """
    members: dict[int, list[int]] = {}
    for position in np.flatnonzero(talk.thread >= 0).tolist():
        members.setdefault(int(talk.thread[position]), []).append(position)
    found = []
    for thread, positions in members.items():
        for position in positions:
            end = position - distance
            relevant = frozenset(other for other in positions if other < end)
            if relevant and part.get(talk.burst[position], False):
                found.append(Case(position=position, end=end, relevant=relevant, thread=thread))
    found.sort(key=lambda case: case.position)
    drawn = random.Random(seed).sample(found, min(limit, len(found)))
    return sorted(drawn, key=lambda case: case.position)


def halves(talk: Talk, seed: int) -> tuple[dict[str, bool], dict[str, bool]]:
    """Return two disjoint halves of the bursts: one to choose by, one to report."""
    bursts = sorted(set(talk.burst))
    random.Random(seed).shuffle(bursts)
    middle = len(bursts) // 2
    return dict.fromkeys(bursts[:middle], True), dict.fromkeys(bursts[middle:], True)


def _milliseconds(timestamp: str) -> int:
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)


def _threads(count: int, links: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Number the connected components of links (union-find with path halving, Tarjan and van Leeuwen 1984)."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    linked = set()
    for one, other in links:
        if one != other:
            parent[root(one)] = root(other)
            linked |= {one, other}
    threads = np.full(count, -1, dtype=np.int64)
    for node in linked:
        threads[node] = root(node)
    return threads
