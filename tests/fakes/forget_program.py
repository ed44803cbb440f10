"""Forgets a person and sees it through, saying where it is: a program to be killed in the middle of it."""

import asyncio
import sys
from pathlib import Path

from persona.adapters.lance import LanceMemory
from persona.adapters.sqlite import SqliteStore
from persona.adapters.sqlite.ledger import SqliteLedger
from persona.domain.chat import AuthorId
from persona.forgetting import Forgetter
from persona.projection import open_memory, project


async def main(folder, author_id):
    store, memory = SqliteStore(folder / "store.db"), LanceMemory(folder / "memory")
    await store.open()
    await open_memory(store, memory)
    forgetter = Forgetter(SqliteLedger(store.database), runs=folder / "runs")
    print("ready", flush=True)  # noqa: T201 - the killer reads it
    if author_id:
        await forgetter.forget_author(AuthorId(author_id))
        print("removed", flush=True)  # noqa: T201
    await forgetter.finish()
    await project(store, memory)
    print("done", flush=True)  # noqa: T201
    await memory.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
