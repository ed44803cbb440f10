"""Counts what a table holds, and what it takes on the disk."""

import asyncio
from pathlib import Path
from typing import Any

from persona.adapters.lance.folder import table_path
from persona.adapters.lance.indexing import vector_index
from persona.adapters.lance.opening import Opened, Place
from persona.adapters.lance.table import EMBEDDED
from persona.ports import MemoryStats


async def statistics_of(opened: Opened, place: Place) -> MemoryStats:
    """Return what the table holds.

    Raises:
        RuntimeError, ValueError, OSError: LanceDB failed.
    """
    table = opened.table
    statistics: Any = await table.stats()  # a dict, whatever its annotation says
    versions: list[dict[str, Any]] = await table.list_versions()  # type: ignore[no-untyped-call]
    texts = await table.index_stats("text_idx")
    rows = await table.count_rows()
    waiting, index, unindexed = 0, "none", texts.num_unindexed_rows if texts else rows
    if opened.space is not None:
        waiting = await table.count_rows(f"{EMBEDDED} = false")
        present = vector_index({entry.name: entry.columns[0] for entry in await table.list_indices()})
        index = f"RaBitQ, made for {present.made_for:,} vectors" if present else "exact search"
        if present and (vectors := await table.index_stats(present.name)):
            unindexed = max(unindexed, vectors.num_unindexed_rows)
    size, files = (None, None) if place.folder is None else await asyncio.to_thread(_disk, place.folder, opened.name)
    return MemoryStats(
        table=opened.name,
        space=opened.space,
        messages=rows,
        waiting=waiting,
        unindexed=unindexed,
        fragments=statistics["fragment_stats"]["num_fragments"],
        versions=len(versions),
        index=index,
        bytes=size,
        files=files,
    )


def _disk(folder: Path, name: str) -> tuple[int, int]:
    size = files = 0
    for path in table_path(folder, name).rglob("*"):
        try:
            if path.is_file():
                size, files = size + path.stat().st_size, files + 1
        except FileNotFoundError:
            continue  # deleted while we were looking
    return size, files
