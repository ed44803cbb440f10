"""Brings the memory up to date with the store: drains the store's outbox, resumable at any point."""

from collections.abc import Callable

from persona.ports import Memory, MessageStore

_LEAST_ROWS_PER_REFRESH = 50_000

OnProgress = Callable[[int, int], None]
"""Called with how many changes are done and how many there are in all; the total grows when more come in."""


async def open_memory(store: MessageStore, memory: Memory) -> bool:
    """Open the memory; when it holds nothing, put everything into the outbox again. Returns whether it held something.

    Raises:
        MemoryIndexError: the memory cannot be opened, not even a new one.
        StoreError: the store cannot be written.
    """
    held = await memory.open()
    if not held:
        await store.requeue_memory()
    return held


async def project(
    store: MessageStore, memory: Memory, *, batch: int = 1000, on_progress: OnProgress | None = None
) -> int:
    """Apply everything in the outbox to the memory, `batch` changes at a time; return how many changes that were.

    A change is confirmed only after the memory has it. Killed in between, the next run applies it again, which does no
    harm. Cancelling is safe at any point. The memory is tidied up at the end and, in a long run, at growing intervals,
    so that the whole costs about as much as tidying up once. Where messages were forgotten, it is purged of them.

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
        done += await _drain(store, memory, batch, on_progress)
        if not purge:
            return done
        await memory.purge()
        await store.purge_done(purge)


async def _drain(store: MessageStore, memory: Memory, batch: int, on_progress: OnProgress | None) -> int:
    """Apply the outbox as it is, and what comes in meanwhile."""
    total = await store.memory_changes_pending()
    done = untidy = 0
    while changes := await store.memory_changes(batch):
        await memory.apply(changes)
        await store.confirm_memory(changes[-1].sequence)
        done += len(changes)
        untidy += len(changes)
        if untidy >= max(_LEAST_ROWS_PER_REFRESH, done // 2):
            await memory.refresh()
            untidy = 0
        if on_progress is not None:
            if done > total:
                total = done + await store.memory_changes_pending()
            on_progress(done, total)
    await memory.refresh()
    return done
