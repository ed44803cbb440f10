"""Moves searches on to a version of the table in which everything is indexed."""

import asyncio

import numpy as np
from lancedb import AsyncTable

from persona.adapters.lance import table as shape
from persona.adapters.lance.addresses import Addresses
from persona.adapters.lance.contents import Snapshot, read_all
from persona.adapters.lance.opening import Opened, text_search, vector_search

_COMMON_WORD = "the"


async def pin(opened: Opened) -> None:
    """Search the newest version from now on. All of it is indexed, but for what is in the tail.

    Searches go on in the version before until this one has been searched once: the first one reads its indices.

    Raises:
        RuntimeError, ValueError, OSError: LanceDB failed; the version before is searched still.
    """
    contents = opened.contents
    before = contents.snapshot.table if contents.snapshot is not None else None
    table = next(handle for handle in opened.handles if handle is not before)
    await table.checkout(await opened.table.version())
    addresses = await asyncio.to_thread(Addresses, await read_all(table))
    indexed = any(shape.VECTOR in index.columns for index in await table.list_indices())
    await _warm(table, opened, indexed=indexed)
    contents.snapshot = Snapshot(table=table, addresses=addresses, vectors_indexed=indexed)


async def _warm(table: AsyncTable, opened: Opened, *, indexed: bool) -> None:
    await text_search(table, _COMMON_WORD).select(["_score"]).limit(1).fast_search().to_arrow()
    if opened.space is not None and indexed:
        vector = np.ones(opened.space.dimensions, dtype=np.float32)
        search = vector_search(table, vector, rows=opened.contents.rows).fast_search()
        await search.select(["_distance"]).limit(1).to_arrow()
