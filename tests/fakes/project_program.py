"""Projects a store into a memory in small steps, saying how far it is: a program to be killed in the middle of it."""

import asyncio
import sys
from pathlib import Path

from persona.adapters.lance import LanceMemory
from persona.adapters.sqlite import SqliteStore
from persona.projection import open_memory, project


def _say(done, total):
    print(done, total, flush=True)  # noqa: T201 - the killer reads it


async def main(database, folder):
    store, memory = SqliteStore(Path(database)), LanceMemory(folder)
    await store.open()
    await open_memory(store, memory)
    await project(store, memory, batch=40, on_progress=_say)
    await memory.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
