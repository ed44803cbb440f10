"""Writes to the table and reads of whole rows; each write is one commit, whole or not at all."""

import asyncio
import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from lancedb import AsyncTable

from persona.adapters.lance import table as shape
from persona.adapters.lance.opening import Place
from persona.domain.chat import MessageId
from persona.ports import Embedded, VectorSpace, Waiting

T = TypeVar("T")

_IDS_PER_FILTER = 2_000
_FRAGMENT_SHIFT = 32
_LEAST_FRAGMENTS = 2
_MOST_GATHERED = 20_000
_STEP = 2
_PATIENCE_SECONDS = 3.0


async def stored(table: AsyncTable, ids: Sequence[int]) -> dict[int, shape.Row]:
    """Return the rows of messages, by id; those that are not there are left out."""
    found: dict[int, shape.Row] = {}
    columns = shape.COLUMNS.names
    for part in slices(ids):
        rows = await table.query().where(f"message_id IN ({shape.id_list(part)})").select(columns).to_list()
        found.update((row["message_id"], shape.Row(**row)) for row in rows)
    return found


async def waiting(table: AsyncTable, limit: int) -> list[Waiting]:
    """Return the newest messages without a vector, newest first."""
    found: pa.Table = await table.query().where(f"{shape.EMBEDDED} = false").select(["message_id"]).to_arrow()
    newest = np.sort(found["message_id"].to_numpy())[::-1][:limit]
    rows = await stored(table, [int(i) for i in newest])
    return [Waiting(message_id=MessageId(i), text=rows[i].text) for i in sorted(rows, reverse=True)]


async def embed(table: AsyncTable, space: VectorSpace, embedded: Sequence[Embedded]) -> list[shape.Row]:
    """Put vectors beside their texts in one commit, where the texts are still the same; return those rows."""
    wanted = {int(one.message_id): one for one in embedded}
    rows = await stored(table, list(wanted))
    same = [row for i, row in rows.items() if row.text == wanted[i].text]
    if not same:
        return []
    vectors = {one.text: one.vector for one in embedded}
    batch = await asyncio.to_thread(shape.batch_of, same, space, vectors)
    # Not deleted and added: a process killed in between would lose what the outbox no longer names.
    await table.merge_insert("message_id").when_matched_update_all().execute(batch)
    return same


async def gather(table: AsyncTable, *, whole_tail: bool = False) -> None:
    """Make one fragment of the small ones, in one commit.

    LanceDB's own compaction would write the whole table anew, however little there is to compact. The smallest come
    first, larger ones only where about as much has been gathered, so that no row is moved again and again; with
    `whole_tail` all but the largest fragment.
    """
    read: pa.Table = await table.query().select(["message_id"]).with_row_id().to_arrow()
    fragments = read["_rowid"].to_numpy() >> _FRAGMENT_SHIFT
    numbers, counts = np.unique(fragments, return_counts=True)
    order = np.argsort(counts, kind="stable")
    chosen = order[:-1] if whole_tail else order[: _geometric(counts[order].tolist())]
    if len(chosen) < _LEAST_FRAGMENTS or int(counts[chosen].sum()) > _MOST_GATHERED:
        return
    ids = read["message_id"].to_numpy()[np.isin(fragments, numbers[chosen])].tolist()
    moved = pa.concat_tables([
        await table.query().where(f"message_id IN ({shape.id_list(part)})").to_arrow() for part in slices(ids)
    ])  # fmt: skip
    # A message that waits for its vector has none, which is as it should be.
    await table.merge_insert("message_id").when_matched_update_all().execute(moved, on_bad_vectors="null")


def _geometric(counts: Sequence[int]) -> int:
    """Return how many fragments to gather, by their row counts, smallest first."""
    rows = 0
    for number, count in enumerate(counts):
        if number > 1 and count > _STEP * rows:
            return number
        rows += count
    return len(counts)


async def sync(place: Place) -> None:
    """Wait until what was written is on the disk: LanceDB does not, and the outbox is emptied for good after this."""
    if place.folder is not None:
        await asyncio.to_thread(_sync_file_system, str(place.folder))


def _sync_file_system(folder: str) -> None:
    if sys.platform != "linux":
        os.sync()
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), folder)
    finally:
        os.close(handle)


async def patiently(still: asyncio.Event) -> None:
    """Wait until nothing is under way, though not long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await still.wait()


def slices(ids: Sequence[int]) -> list[Sequence[int]]:
    """Cut ids into lists that make filters of a good length."""
    return [ids[start : start + _IDS_PER_FILTER] for start in range(0, len(ids), _IDS_PER_FILTER)]


async def unbroken(work: Coroutine[Any, Any, T], *, hurry: Callable[[], None] = lambda: None) -> T:
    """Run to the end even when cancelled: LanceDB would go on writing while the next writer looks at the table.

    `hurry` is called when it is cancelled, to bring the end nearer.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        hurry()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
