"""The messages and questions of the memory benchmark: real chat first, then new messages made of real neighbours."""

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from memory_vectors import cached
from numpy.typing import NDArray

from persona.adapters.lance.ranking import word_count
from persona.domain.chat import Author, AuthorId, ChannelId, Message, MessageId, snowflake_at

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPACING = timedelta(seconds=60)
SHARES = (0.23, 0.18, 0.14, 0.12, 0.10, 0.08, 0.06, 0.036, 0.024, 0.024, 0.006)
SCOPES: dict[str, tuple[int, ...]] = {"all": (), "23 %": (0,), "2.4 %": (8,), "0.6 %": (10,)}
"""What is searched: every channel, or one with this share of all messages."""

_QUESTIONS = 300
_AUTHORS = 500
_SHORT = 24


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Neighbouring messages: `first` is the number of the first one; vectors are of unit length, one a row."""

    first: int
    channels: NDArray[np.int64]
    texts: Sequence[str]
    vectors: NDArray[np.float32]

    def messages(self) -> list[Message]:
        """Return them as the program knows them."""
        return [
            message_of(self.first + i, int(channel), text)
            for i, (channel, text) in enumerate(zip(self.channels, self.texts, strict=True))
        ]


def message_of(number: int, channel: int, text: str, *, at: datetime | None = None) -> Message:
    """Return message `number` (0 is the oldest): one a minute, unless `at` says otherwise."""
    moment = at or NOW - timedelta(days=800) + number * SPACING
    name = f"person{number % _AUTHORS}"
    return Message(
        id=MessageId(snowflake_at(moment, number % 4096)),
        channel_id=ChannelId(channel + 1),
        author=Author(id=AuthorId(number % _AUTHORS + 1), name=name, display_name=name),
        content=text,
        created_at=moment,
    )


class Corpus:
    """Messages by number, the same ones every time: base texts, then copies that mix each with a later neighbour."""

    def __init__(self, folder: Path) -> None:
        self._texts: list[str] = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
        self._base = np.load(folder / "vectors.npy", mmap_mode="r")
        questions = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
        self.questions: list[str] = questions
        self.question_vectors: NDArray[np.float32] = np.load(folder / "question_vectors.npy").astype(np.float32)

    @property
    def dimensions(self) -> int:
        """How long vectors are."""
        return int(self._base.shape[1])

    @property
    def real(self) -> int:
        """How many messages are real."""
        return len(self._texts)

    def rows(self, start: int, stop: int) -> Rows:
        """Return the messages from number `start` up to `stop`."""
        numbers = np.arange(start, stop)
        at, copy = numbers % self.real, numbers // self.real
        other = (at + 7 * copy) % self.real
        vectors = self._base[at].astype(np.float32)
        mixed = np.flatnonzero(copy)
        if len(mixed):
            vectors[mixed] += self._base[other[mixed]].astype(np.float32)
            vectors[mixed] /= np.linalg.norm(vectors[mixed], axis=1, keepdims=True)
        texts = [
            self._texts[a] if not c else _mixed(self._texts[a], self._texts[b])
            for a, b, c in zip(at, other, copy, strict=True)
        ]
        return Rows(first=start, channels=channels_of(start, stop), texts=texts, vectors=vectors)

    def chunks(self, total: int, size: int = 5_000) -> Iterator[Rows]:
        """Yield all messages below number `total`."""
        for start in range(0, total, size):
            yield self.rows(start, min(start + size, total))


def channels_of(start: int, stop: int) -> NDArray[np.int64]:
    """Return the channel (0..10) of messages, by their number: drawn by `SHARES`, the same every time."""
    # A Weyl sequence spreads evenly, needs no state and repeats nothing.
    drawn = (np.arange(start, stop, dtype=np.float64) * 0.6180339887498949) % 1.0
    return np.searchsorted(np.cumsum(SHARES)[:-1], drawn, side="right").astype(np.int64)


def prepare(data: Path, model: Path, cache: Path, folder: Path, *, threads: int) -> None:
    """Write the base messages, their vectors and the questions (held out from them) into a folder."""
    texts: list[str] = []
    for path in sorted(data.glob("jsonl/irc-commons.*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            records = sorted(map(json.loads, lines), key=lambda record: int(record["id"]))
        own = [record["content"] for record in records]
        texts += own
    vectors = np.concatenate(_vectors_by_set(data, model, cache, threads))
    first = {text: i for i, text in reversed(list(enumerate(texts))) if word_count(text) > 1}
    chosen = sorted(first.values())
    held_out = set(random.Random(11).sample([i for i in chosen if len(texts[i]) >= _SHORT], _QUESTIONS))
    base = [i for i in chosen if i not in held_out]
    questions = sorted(held_out)
    (folder / "texts.json").write_text(json.dumps([texts[i] for i in base]), encoding="utf-8")
    (folder / "questions.json").write_text(json.dumps([texts[i] for i in questions]), encoding="utf-8")
    np.save(folder / "vectors.npy", vectors[base].astype(np.float16))
    np.save(folder / "question_vectors.npy", vectors[questions])


def _vectors_by_set(data: Path, model: Path, cache: Path, threads: int) -> list[NDArray[np.float32]]:
    """Embed set by set: each is kept in the cache by itself, shared with the other benchmarks."""
    made = []
    for path in sorted(data.glob("jsonl/irc-commons.*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            records = sorted(map(json.loads, lines), key=lambda record: int(record["id"]))
        made.append(cached([record["content"] for record in records], model, cache, threads=threads))
    return made


def _mixed(one: str, other: str) -> str:
    """Return the first half of one text and the second of another."""
    left, right = one.split(), other.split()
    return " ".join([*left[: (len(left) + 1) // 2], *right[len(right) // 2 :]])


def memory_mb() -> dict[str, float]:
    """Return resident and peak resident megabytes of this process, and the anonymous part (no mapped files)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    names = {"rss": "VmRSS", "anonymous": "RssAnon", "peak": "VmHWM"}
    return {name: int(fields[key].split()[0]) / 1024 for name, key in names.items()}


def disk(folder: Path) -> tuple[int, float]:
    """Return how many files a folder has, and their megabytes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes) / 1e6


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50 and p95 in milliseconds."""
    p50, p95 = np.percentile(np.asarray(seconds) * 1e3, (50, 95))
    return {"p50": float(p50), "p95": float(p95)}
