"""The program's own memory under measurement: filled as a first start does, searched as a reply does."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from memory_data import NOW, SCOPES, SHARES, Corpus, Rows, disk, memory_mb, message_of, percentiles
from memory_peers import NEAREST, recall
from numpy.typing import NDArray

from persona.adapters.lance import LanceMemory, chores
from persona.adapters.lance import table as shape
from persona.adapters.lance.opening import vector_search
from persona.adapters.sqlite import SqliteStore
from persona.domain.chat import Channel, ChannelId, GuildId, Message
from persona.ports import MemoryChange, MemoryOp, MemoryQuery, VectorSpace

_RECOLLECTIONS = 5
_POOL = 30
_WARM = 20
_BATCH = 1_000
_LIVE_BATCH = 32
# Between two questions; those before, during and after streaming are asked at the same pace, which costs each one
# a millisecond: the processor's caches have cooled.
_PAUSE_SECONDS = 0.005
# 32 messages so often are a busy evening of a thousand servers in one: far more than will ever come.
_PACE_SECONDS = 0.1
_DAYS_A_MONTH = 30


def space_of(corpus: Corpus) -> VectorSpace:
    """Return the space of the corpus's vectors."""
    return VectorSpace(model_id="benchmark", dimensions=corpus.dimensions)


def channels_in(scope: str) -> frozenset[ChannelId]:
    """Return the channels that a scope searches."""
    return frozenset(ChannelId(number + 1) for number in SCOPES[scope] or range(len(SHARES)))


async def fill(corpus: Corpus, rows: int, folder: Path) -> dict[str, Any]:
    """Store the messages, apply them with known vectors (as a rebuild does), wait for every index."""
    store = await store_in(folder)
    began = time.perf_counter()
    for part in corpus.chunks(rows):
        await store.put_messages(part.messages())
    stored = time.perf_counter() - began
    memory = memory_in(folder, store)
    await memory.open(space_of(corpus))
    applied = 0.0
    for part in corpus.chunks(rows, _BATCH):
        changes, vectors = _changes(part.messages()), by_text(part)
        began = time.perf_counter()
        await memory.apply(changes, vectors)
        applied += time.perf_counter() - began
    began = time.perf_counter()
    await memory.refresh()
    await memory.settle()
    indexed = time.perf_counter() - began
    stats = await memory.stats()
    await memory.close()
    await store.close()
    return {
        "store_s": stored,
        "insert_s": applied,
        "index_s": indexed,
        "index": stats.index,
        "messages": stats.messages,
        "memory_mb": memory_mb(),
        "disk": disk(folder / "memory"),
    }


async def search(corpus: Corpus, rows: int, questions: int, folder: Path) -> dict[str, Any]:
    """Search by vectors alone (as the peers do) and in full: both stages, one ranking, texts as the store has them."""
    store = await store_in(folder)
    began = time.perf_counter()
    memory = memory_in(folder, store)
    held = await memory.open(space_of(corpus))
    opened = time.perf_counter() - began
    if not held:
        raise SystemExit(f"{folder} holds no filled memory: it was refused at opening")
    result: dict[str, Any] = {"open_s": opened, "search_ms": {}, "retrieve_ms": {}, "words_ms": {}, "recall": {}}
    for scope in SCOPES:
        result["retrieve_ms"][scope] = percentiles(await _retrieve(memory, corpus, scope, questions))
        result["words_ms"][scope] = percentiles(await _retrieve(memory, corpus, scope, questions, by_vector=False))
    result["memory_mb"] = memory_mb()
    snapshot = memory._opened.contents.snapshot  # type: ignore[union-attr] # noqa: SLF001 - no port searches by vectors alone
    if snapshot is None:
        raise SystemExit(f"{folder}: not everything is indexed")
    number = {int(m.id): part.first + i for part in corpus.chunks(rows) for i, m in enumerate(part.messages())}
    for scope, numbers in SCOPES.items():
        where = shape.where(channel_ids=channels_in(scope)) if numbers else ""
        took, found = [], []
        for vector in corpus.question_vectors[:questions]:
            began = time.perf_counter()
            wanted = vector_search(snapshot.table, vector, rows=rows, where=where).fast_search()
            hits = await wanted.select(["_distance"]).with_row_id().limit(_POOL).to_arrow()
            ids, _ = snapshot.addresses.messages(hits["_rowid"].to_numpy().astype(np.int64))
            took.append(time.perf_counter() - began)
            found.append(np.array([number[i] for i in ids[:NEAREST].tolist()]))
        result["search_ms"][scope] = percentiles(took[_WARM:])
        result["recall"][scope] = recall(found, folder.parent, rows, scope)
    await memory.close()
    await store.close()
    return result


async def stream(corpus: Corpus, rows: int, messages: int, questions: int, folder: Path) -> dict[str, Any]:
    """Take in live messages, in small batches, while questions are asked all the time."""
    store = await store_in(folder)
    memory = memory_in(folder, store)
    await memory.open(space_of(corpus))
    fresh = await _retrieve(memory, corpus, "all", questions, pause=_PAUSE_SECONDS)
    meanwhile: list[tuple[float, bool]] = []
    compacting = asyncio.Event()
    asking = asyncio.create_task(_ask_on(memory, corpus, meanwhile, compacting))
    began = time.perf_counter()
    refreshed = 0.0
    for part in _parts(corpus, rows, rows + messages):
        await store.put_messages(part.messages())
        await memory.apply(_changes(part.messages()), by_text(part))
        compacting.set()
        at = time.perf_counter()
        await memory.refresh()
        refreshed += time.perf_counter() - at
        if not _busy(memory):
            compacting.clear()
        await asyncio.sleep(_PACE_SECONDS)
    took = time.perf_counter() - began
    asking.cancel()
    await asyncio.wait({asking})
    await memory.settle()
    after = await _retrieve(memory, corpus, "all", questions, pause=_PAUSE_SECONDS)
    stats = await memory.stats()
    await memory.close()
    await store.close()
    quiet = [seconds for seconds, busy in meanwhile if not busy]
    busy = [seconds for seconds, busy in meanwhile if busy]
    return {
        "messages": messages,
        "seconds": took,
        "refresh_seconds": refreshed,
        "retrieve_ms": {
            "fresh": percentiles(fresh),
            "streaming": percentiles(quiet) if quiet else None,
            "compacting": percentiles(busy) if busy else None,
            "after": percentiles(after),
        },
        "asked": {"streaming": len(quiet), "compacting": len(busy)},
        "fragments": stats.fragments,
        "versions": stats.versions,
        "unindexed": stats.unindexed,
        "memory_mb": memory_mb(),
        "disk": disk(folder / "memory"),
    }


async def year(corpus: Corpus, days: int, a_day: int, batch: int, folder: Path) -> list[dict[str, Any]]:
    """Live through days of messages with a clock that jumps ahead; one line of figures a month.

    LanceDB tells the age of old versions by the system's clock, which does not jump: they are deleted after a second
    instead of ten minutes, and the work is done in this process, where that can be told.
    """
    chores._CLEANUP_AGE = timedelta(seconds=1)  # type: ignore[misc] # noqa: SLF001 - see above
    clock = _Clock()
    store = await store_in(folder)
    memory = memory_in(folder, store, clock=clock, helper_rows=10**9)
    await memory.open(space_of(corpus))
    months: list[dict[str, Any]] = []
    for day in range(days):
        for start in range(day * a_day, (day + 1) * a_day, batch):
            part = corpus.rows(start, min(start + batch, (day + 1) * a_day))
            messages = _dated(part, a_day)
            await store.put_messages(messages)
            await memory.apply(_changes(messages), by_text(part))
            clock.now += 86_400 * batch / a_day
            await memory.refresh()
            await memory.settle()  # an index takes seconds, in which no day passes
        if (day + 1) % _DAYS_A_MONTH == 0 or day + 1 == days:
            took = await _retrieve(memory, corpus, "all", 100)
            stats = await memory.stats()
            files, size = disk(folder / "memory")
            parts = await _vector_parts(memory)
            months.append({
                "day": day + 1, "messages": stats.messages, "retrieve_ms": percentiles(took), "files": files,
                "disk_mb": size, "fragments": stats.fragments, "versions": stats.versions,
                "unindexed": stats.unindexed, "index": stats.index, "vector_parts": parts, "memory_mb": memory_mb(),
            })  # fmt: skip
    await memory.close()
    await store.close()
    return months


class _Clock:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _dated(part: Rows, a_day: int) -> list[Message]:
    """Return messages spread over the days before now, so many a day."""
    rows = zip(part.channels, part.texts, strict=True)
    return [
        message_of(part.first + i, int(channel), text, at=NOW - timedelta(days=400 - (part.first + i) / a_day))
        for i, (channel, text) in enumerate(rows)
    ]


async def store_in(folder: Path) -> SqliteStore:
    """Open the store in a folder, with the channels of the corpus."""
    store = SqliteStore(folder / "store.db")
    await store.open()
    everywhere = [
        Channel(id=ChannelId(n + 1), guild_id=GuildId(1), name=f"channel{n}", allowed=True) for n in range(len(SHARES))
    ]
    await store.put_channels(everywhere)
    return store


def memory_in(folder: Path, store: SqliteStore, **more: Any) -> LanceMemory:
    """Return the memory in a folder, at the moment when the corpus ends."""
    return LanceMemory(folder / "memory", messages=store.messages_by_id, now=lambda: NOW, **more)


async def _retrieve(
    memory: LanceMemory, corpus: Corpus, scope: str, questions: int, *, by_vector: bool = True, pause: float = 0.0
) -> list[float]:
    """Return how long the whole step took, question by question, with so many seconds between two."""
    took = []
    for at in [*range(_WARM), *range(questions)]:
        took.append(await _ask(memory, corpus, at % len(corpus.questions), scope, by_vector=by_vector))
        await asyncio.sleep(pause)
    return took[_WARM:]


async def _ask(memory: LanceMemory, corpus: Corpus, at: int, scope: str, *, by_vector: bool = True) -> float:
    query = MemoryQuery(
        text=corpus.questions[at],
        channel_ids=channels_in(scope),
        channel_id=min(channels_in(scope)),
        limit=_RECOLLECTIONS,
        vector=corpus.question_vectors[at] if by_vector else None,
    )
    began = time.perf_counter()
    await memory.search(query)
    return time.perf_counter() - began


async def _ask_on(
    memory: LanceMemory,
    corpus: Corpus,
    into: list[tuple[float, bool]],
    compacting: asyncio.Event,
) -> None:
    """Ask until cancelled; a question counts as asked while compacting when it was so at its start or its end."""
    at = 0
    while True:
        before = compacting.is_set()
        took = await _ask(memory, corpus, at % len(corpus.questions), "all")
        into.append((took, before or compacting.is_set()))
        at += 1
        await asyncio.sleep(_PAUSE_SECONDS)


def _busy(memory: LanceMemory) -> bool:
    return memory._keeper.indexing  # noqa: SLF001 - an index that is made in the background counts as compacting


async def _vector_parts(memory: LanceMemory) -> int:
    """Return how many pieces the vector index is in: every tidying may add one, and a search looks into each."""
    table = memory._opened.table  # type: ignore[union-attr] # noqa: SLF001 - the port has no need to tell
    for index in await table.list_indices():
        if shape.VECTOR in index.columns and (statistics := await table.index_stats(index.name)):
            return int(statistics.num_indices or 0)
    return 0


def _parts(corpus: Corpus, start: int, stop: int) -> list[Rows]:
    return [corpus.rows(at, min(at + _LIVE_BATCH, stop)) for at in range(start, stop, _LIVE_BATCH)]


def _changes(messages: Sequence[Message]) -> list[MemoryChange]:
    return [
        MemoryChange(sequence=i, message_id=message.id, op=MemoryOp.PUT, message=message)
        for i, message in enumerate(messages, start=1)
    ]


def by_text(part: Rows) -> Mapping[str, NDArray[np.float32]]:
    """Return the vectors of messages by what they say."""
    return dict(zip(part.texts, part.vectors, strict=True))
