"""How long it takes to make the memory anew, as `persona memory rebuild` does, when every vector is known."""

import time
from pathlib import Path
from typing import Any

from memory_data import Corpus, memory_mb
from memory_ours import by_text, memory_in, space_of, store_in

from persona.cli.memory import CHANGES_AT_ONCE
from persona.projection import Embedding, project


async def rebuild(corpus: Corpus, rows: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Store messages and their vectors, then make the memory anew so many times; times are in seconds."""
    store = await store_in(folder)
    space = space_of(corpus)
    for part in corpus.chunks(rows):
        messages = part.messages()
        await store.put_messages(messages)
        await store.embeddings.keep(space, by_text(part), [message.id for message in messages])
    took = []
    for _ in range(rounds):
        memory = memory_in(folder, store)
        await memory.open(space)
        began = time.perf_counter()
        await memory.clear()
        await store.requeue_memory()
        await project(store, memory, batch=CHANGES_AT_ONCE, embedding=Embedding(cache=store.embeddings), at_once=True)
        await memory.settle()
        took.append(time.perf_counter() - began)
        stats = await memory.stats()
        await memory.close()
        if stats.unindexed or stats.index is None:
            raise SystemExit(f"{folder}: not everything is indexed: {stats}")
    await store.close()
    return {"seconds": took, "memory_mb": memory_mb()}
