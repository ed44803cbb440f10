"""A straightforward recipe for the same data set, one message at a time, with everything in memory.

It is what one writes first: load all messages, shuffle them, weigh each message by its author's share, draw with
replacement, take the messages before it in the list as context, and look through all messages for a rejected one
for each that was liked. It is here to compare time and memory with; what it makes has known faults:

- the shuffle comes before the context windows, so that prompts hold messages that never stood together;
- weights are not divided by how much a person wrote, so that they hardly balance anything;
- a cap is undone by the normalisation after it;
- the two sides of a preference pair answer different prompts;
- nobody is asked for consent, and no secret is looked for.
"""

import json
import random
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

WINDOW = 30
PAIRS_TRIED = 40
"""So many liked messages are really paired; the time for all of them follows from it, for each takes as long."""

_SQL = """SELECT m.id, m.channel_id, m.author_id, a.display_name, m.content, m.created_at,
    (SELECT coalesce(sum(count), 0) FROM reactions r WHERE r.message_id = m.id)
    FROM messages m JOIN authors a ON a.id = m.author_id ORDER BY m.id"""
_SPLITS = (("train", 0.85), ("validation", 0.95), ("test", 1.0))


def prepare(database: Path, folder: Path, seed: int = 7) -> dict[str, Any]:
    """Write train, validation and test; return counts and seconds, those of pairs apart."""
    began = time.perf_counter()
    rng = random.Random(seed)
    messages = load(database)
    rng.shuffle(messages)
    kept = [place for place, message in enumerate(messages) if message["content"].strip()]
    weights = weigh(messages)
    chosen = rng.choices(kept, weights=[weights[place] for place in kept], k=len(kept))
    examples = [example(messages, place) for place in chosen]
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for name, end in _SPLITS:
        stop = int(len(examples) * end)
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in examples[start:stop]]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8", errors="replace")
        start = stop
    seconds = time.perf_counter() - began
    return {"messages": len(messages), "examples": len(examples), "seconds": seconds, **pairs(messages)}


def load(database: Path) -> list[dict[str, Any]]:
    """Return all messages as dictionaries."""
    connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    names = ("id", "channel", "author", "name", "content", "at", "reactions")
    try:
        return [dict(zip(names, row, strict=True)) for row in connection.execute(_SQL)]
    finally:
        connection.close()


def weigh(messages: list[dict[str, Any]]) -> list[float]:
    """Weigh each message by its author's share (capped, then normalised) and by its reactions."""
    counts = Counter(message["author"] for message in messages)
    weights: dict[int, float] = {}
    for author, count in counts.items():
        share = count / len(messages)
        weights[author] = min(share if share <= 0.05 else (share + 0.05) / 2, 0.12)
    total = sum(weights.values())
    return [
        weights[message["author"]] / total * (1 + 0.05 * min(message["reactions"], 5) if message["reactions"] else 1)
        for message in messages
    ]


def example(messages: list[dict[str, Any]], place: int) -> dict[str, Any]:
    """Return a prompt of the messages in front of it, and the message."""
    before = messages[max(0, place - WINDOW) : place]
    prompt = "\n".join(f"{message['name']}: {message['content']}" for message in before)
    return {
        "messages": [
            {"role": "system", "content": "You are a regular of this server."},
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": messages[place]["content"]},
        ]
    }


def pairs(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Pair liked messages with others nobody reacted to, the nearest in time; every one is looked for among all."""
    liked = [message for message in messages if message["reactions"] >= 3 and len(message["content"].split()) >= 4]
    began = time.perf_counter()
    found = sum(nearest(messages, message) is not None for message in liked[:PAIRS_TRIED])
    tried = min(len(liked), PAIRS_TRIED)
    each = (time.perf_counter() - began) / tried if tried else 0.0
    return {"liked": len(liked), "paired": found, "tried": tried, "pair_seconds_for_all": each * len(liked)}


def nearest(messages: list[dict[str, Any]], liked: dict[str, Any]) -> dict[str, Any] | None:
    """Return the message without reactions in the same channel that is nearest in time."""
    others = (m for m in messages if m["channel"] == liked["channel"] and not m["reactions"] and m is not liked)
    return min(others, key=lambda message: abs(message["at"] - liked["at"]), default=None)
