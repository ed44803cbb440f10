"""Brings the memory up to date with the store: drains the store's outbox and embeds, resumable at any point."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from persona.domain.chat import MessageId
from persona.errors import PersonaError
from persona.ports import Embedded, EmbeddingCache, Memory, MemoryChange, MessageStore, VectorSpace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from persona.ports.embedder import Embedder

    Vectors = Mapping[str, NDArray[np.float32]]

_LEAST_ROWS_PER_REFRESH = 200_000
_LEAST_VECTORS_PER_REFRESH = 10_000
_VECTORS_AT_ONCE = 1_000
_TEXTS_AT_ONCE = 256
_SMALL_BATCH = 64
_SMALL_BATCH_SECONDS = 2.0

OnProgress = Callable[[int, int], None]
"""Called with how many changes are done and how many there are in all; the total grows when more come in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """Where vectors come from: those that are known, and (unless None) a model for the others."""

    cache: EmbeddingCache
    embedder: "Embedder | None" = None


async def open_memory(store: MessageStore, memory: Memory, space: VectorSpace | None = None) -> bool:
    """Open the memory; when it holds nothing, put everything into the outbox again. Returns whether it held something.

    Raises:
        MemoryIndexError: the memory cannot be opened, not even a new one.
        StoreError: the store cannot be written.
    """
    held = await memory.open(space)
    if not held:
        await store.requeue_memory()
    return held


async def project(
    store: MessageStore,
    memory: Memory,
    *,
    batch: int = 1000,
    on_progress: OnProgress | None = None,
    embedding: Embedding | None = None,
    at_once: bool = False,
) -> int:
    """Apply everything in the outbox to the memory, `batch` changes at a time; return how many changes that were.

    A change is confirmed only after the memory has it. Killed in between, the next run applies it again, which does no
    harm. Cancelling is safe at any point. The memory is tidied up at the end and, in a long run, at growing intervals,
    so that the whole costs about as much as tidying up once. Where messages were forgotten, it is purged of them.

    With `at_once` it is not tidied up before the end: for where nobody searches meanwhile.

    Known vectors come along; a few changes are embedded at once, many are found by their words until `embed_waiting`.

    Raises:
        ValueError: `batch` is less than 1.
        MemoryIndexError: the memory failed; what is confirmed stays, the rest can be projected later.
        StoreError: the store failed.
    """
    if batch < 1:
        raise ValueError(f"batch is {batch}, it must be at least 1")
    done = 0
    while True:
        # Asked before the outbox is emptied: the removals that a purge is for are in it by then.
        purge = await store.purge_due()
        done += await _drain(store, memory, batch, on_progress, embedding, at_once=at_once)
        if not purge:
            return done
        await memory.purge()
        await store.purge_done(purge)


async def embed_waiting(memory: Memory, embedding: Embedding, *, on_progress: OnProgress | None = None) -> int:
    """Give every message of the memory that waits for its vector one, the newest first; return how many.

    Vectors are kept as they come, a few seconds' work at a time, so killing or cancelling this loses little. Without a
    model only known vectors are used.

    Raises:
        MemoryIndexError: the memory failed.
        StoreError: the store failed.
        PersonaError: the model failed.
    """
    space = memory.space
    if space is None:
        return 0
    total = await memory.waiting_count()
    done = untidy = 0
    while waiting := await memory.waiting(_VECTORS_AT_ONCE):
        vectors = await _vectors(space, {one.message_id: one.text for one in waiting}, embedding)
        embedded = [
            Embedded(message_id=one.message_id, text=one.text, vector=vectors[one.text])
            for one in waiting
            if one.text in vectors
        ]
        put = await memory.embed(embedded) if embedded else 0
        done += put
        untidy += put
        if on_progress is not None:
            on_progress(done, max(total, done))
        if not put and embedding.embedder is None:
            break  # the rest needs a model
        if untidy >= max(_LEAST_VECTORS_PER_REFRESH, done // 8):
            await memory.refresh()
            untidy = 0
    if done:
        await memory.refresh()
    return done


async def _drain(
    store: MessageStore,
    memory: Memory,
    batch: int,
    on_progress: OnProgress | None,
    embedding: Embedding | None,
    *,
    at_once: bool,
) -> int:
    """Apply the outbox as it is, and what comes in meanwhile; while much is left, the next batch is read ahead."""
    total = await store.memory_changes_pending()
    done = untidy = 0

    async def read(after: int = 0) -> "tuple[Sequence[MemoryChange], Vectors]":
        changes = await store.memory_changes(batch, after=after)
        return changes, await _for_changes(memory, changes, embedding)

    changes, vectors = await read()
    while changes:
        last = changes[-1].sequence
        ahead = asyncio.create_task(read(last)) if len(changes) == batch else None
        try:
            await memory.apply(changes, vectors)
            await store.confirm_memory(last)
            done += len(changes)
            untidy += len(changes)
            if not at_once and untidy >= max(_LEAST_ROWS_PER_REFRESH, 3 * done // 4):
                await memory.refresh(indexing=False)
                untidy = 0
            if on_progress is not None:
                if done > total:
                    total = done + await store.memory_changes_pending()
                on_progress(done, total)
            changes, vectors = await ahead if ahead is not None else ((), {})
        finally:
            if ahead is not None and not ahead.done():
                ahead.cancel()
        if not changes:  # what came while the last batch was written
            changes, vectors = await read()
    await memory.refresh()
    return done


async def _for_changes(memory: Memory, changes: Sequence[MemoryChange], embedding: Embedding | None) -> "Vectors":
    """Return the vectors to write along with changes: none, rather than make anybody wait for them."""
    if embedding is None or memory.space is None:
        return {}
    texts = {change.message_id: change.message.content for change in changes if change.message is not None}
    if len(texts) > _SMALL_BATCH or embedding.embedder is None:
        return await embedding.cache.known(memory.space, list(texts.values()))
    try:
        async with asyncio.timeout(_SMALL_BATCH_SECONDS):
            return await _vectors(memory.space, texts, embedding)
    except (TimeoutError, PersonaError):
        return {}  # found by their words until the model is there again: `embed_waiting` says what is wrong with it


async def _vectors(space: VectorSpace, texts: Mapping[MessageId, str], embedding: Embedding) -> "Vectors":
    """Return vectors by text: known ones, the others from the model, which are kept."""
    found = dict(await embedding.cache.known(space, list(texts.values())))
    if embedding.embedder is None:
        return found
    missing = {text: message_id for message_id, text in texts.items() if text not in found}
    for start in range(0, len(missing), _TEXTS_AT_ONCE):
        part = list(missing)[start : start + _TEXTS_AT_ONCE]
        made = dict(zip(part, await embedding.embedder.embed(part), strict=True))
        await embedding.cache.keep(space, made, [missing[text] for text in part])
        found |= made
    return found
