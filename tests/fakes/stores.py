"""Open stores for tests, and a look past them into their files."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

from persona.adapters.sqlite import SqliteStore


@contextlib.asynccontextmanager
async def open_store(path: Path):
    """A store that is closed however the test ends."""
    store = SqliteStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def with_store(path: Path, scenario):
    """Run `await scenario(store)` on a loop of its own and return what it returns."""

    async def run():
        async with open_store(path) as store:
            return await scenario(store)

    return asyncio.run(run())


def query(path: Path, sql: str, *parameters):
    """All rows of a query, read past the store."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, parameters).fetchall()


def execute(path: Path, *statements: str):
    """Change a file behind the store's back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
