"""Takes what was removed out of the table's files, not only out of its results."""

import asyncio
from datetime import timedelta
from typing import Any

from lancedb import AsyncTable

from persona.adapters.lance import table as shape
from persona.adapters.lance.folder import remove_asides
from persona.adapters.lance.indexing import column_indices, made_for, vector_config
from persona.adapters.lance.opening import Place
from persona.errors import MemoryIndexError

# A little more than nothing: LanceDB warns of zero, and versions are told apart by the clock.
_CLEANUP_AGE = timedelta(milliseconds=1)
_PAUSE_SECONDS = 0.05


async def purge_table(table: AsyncTable, place: Place) -> None:
    """Rewrite every row and index, then delete all files but those of the newest version, and tables moved aside.

    An update of every row is the one operation that leaves no old data file behind, in a single commit: cut off at any
    point, the table is whole, and purging again finishes the work. Nobody else may be writing to the table; who reads
    an older version has to look again.

    Raises:
        MemoryIndexError: old versions are left, as when the clock was set back; it may be tried again.
    """
    if await table.count_rows():
        await table.update(updates_sql={"created_at": "created_at"})
    for column, config in column_indices(place.language).items():
        await table.create_index(column, config=config, replace=True)
    for index in await table.list_indices():
        if shape.VECTOR in index.columns:
            nearest = vector_config(made_for(index.name))
            await table.create_index(shape.VECTOR, config=nearest, name=index.name, replace=True)
    newest = await table.version()
    await asyncio.sleep(_PAUSE_SECONDS)
    # Also deletes what a killed process left half-written: no other process works on this table.
    await table.optimize(cleanup_older_than=_CLEANUP_AGE, delete_unverified=True)
    versions: list[dict[str, Any]] = await table.list_versions()  # type: ignore[no-untyped-call]
    left = [entry for entry in versions if entry["version"] < newest]
    if left:
        raise MemoryIndexError(f"the memory index keeps {len(left)} old versions", cure="check the system's clock")
    if place.folder is not None:
        await asyncio.to_thread(remove_asides, place.folder)
