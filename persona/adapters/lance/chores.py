"""The heavy work on a table: tidying, indexing, purging; for large tables in a process of its own.

Such a process gives all its memory back when it ends (compacting 365,000 vectors needs 500 MB for three seconds) and
steps back behind everything else. It ends with its parent; killed at any point, the table is as it was or done.
"""

import asyncio
import json
import os
import sys
import threading
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from lancedb import AsyncTable

from persona.adapters.lance import table as shape
from persona.adapters.lance.indexing import column_indices, made_for, vector_config
from persona.adapters.lance.opening import LANCE_ERRORS, Place, connect, first_line, let_go
from persona.adapters.lance.purging import purge_table
from persona.adapters.lance.writing import gather
from persona.errors import MemoryIndexError

# Versions younger than this may be in use by a search that is under way.
_CLEANUP_AGE = timedelta(minutes=10)
_FAILED = 1


class Chore(StrEnum):
    """What there is to do."""

    FIRST = "make the first indices"
    TIDY = "tidy"
    INDEX = "index"
    PURGE = "purge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One piece of work on a table; `index` is the name of the vector index to make, if any."""

    chore: Chore
    table: str
    index: str = ""


async def perform(task: Task, table: AsyncTable, place: Place) -> None:
    """Do the work on an open table.

    Raises:
        MemoryIndexError: old versions could not be deleted in a purge.
        RuntimeError, ValueError, OSError: LanceDB failed.
    """
    match task.chore:
        case Chore.FIRST:
            await _make_first(table, place, task.index)
        case Chore.TIDY:
            await _tidy(table)
        case Chore.INDEX:
            await _index(table, task.index)
        case Chore.PURGE:
            await purge_table(table, place)


async def _make_first(table: AsyncTable, place: Place, index: str) -> None:
    """Make the indices of a table that has been filled, the one of vectors beside the others: none needs every core."""

    async def columns() -> None:
        for column, config in column_indices(place.language).items():
            await table.create_index(column, config=config, replace=True)

    await asyncio.gather(columns(), *([_index(table, index)] if index else []))


async def _tidy(table: AsyncTable) -> None:
    """Compact, index what is new, delete old versions.

    Compacting writes the whole table anew: LanceDB merges all neighbours below a million rows that are indexed alike,
    and has no setting for it. So a tail that is short is made one fragment beforehand, which is not indexed and has no
    neighbour alike: a second's work instead of ten.
    """
    await gather(table, whole_tail=True)
    await table.optimize(cleanup_older_than=_CLEANUP_AGE)


async def _index(table: AsyncTable, name: str) -> None:
    """Make a vector index beside the one at hand, then let go of that: a search always has one."""
    await table.create_index(shape.VECTOR, config=vector_config(made_for(name)), name=name, replace=True)
    for index in await table.list_indices():
        if shape.VECTOR in index.columns and index.name != name:
            await table.drop_index(index.name)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(_FAILED)


async def _obey(order: dict[str, Any]) -> None:
    folder = Path(order["uri"]) if order["folder"] else None
    options = order["storage_options"] or None
    place = Place(uri=order["uri"], folder=folder, storage_options=options, language=order["language"])
    connection = await connect(place)
    table = await connection.open_table(order["table"])
    await perform(Task(chore=Chore(order["chore"]), table=order["table"], index=order["index"]), table, place)
    let_go(table, connection)


def main() -> int:
    """Do the one task that standard input names; the last line printed says what went wrong."""
    line = sys.stdin.readline()
    if not line:
        return 0  # started ahead of a task that did not come
    order = json.loads(line)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        asyncio.run(_obey(order))
    except MemoryIndexError as error:
        print(str(error))  # noqa: T201 - the answer to the parent
        return _FAILED
    except LANCE_ERRORS as error:
        print(f"the memory index failed while doing this: {order['chore']}: {first_line(error)}")  # noqa: T201
        return _FAILED
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the reading thread holds on to standard input
