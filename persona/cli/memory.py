"""`persona memory`: rebuild the search index, look at it, or search it and see why something is found."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

from persona.adapters.sqlite import SqliteStore
from persona.app import choose_home
from persona.cli.memory_screen import MemoryScreen, print_matches, print_stats
from persona.config import Settings, load_settings
from persona.domain.chat import Channel
from persona.errors import EXIT_DONE, EXIT_INTERRUPTED, EmbedderError, MemoryIndexError, UsageError
from persona.instance_lock import InstanceLock
from persona.logs import LogOptions, configure
from persona.memory_setup import embedder_for, memory_for
from persona.ports import Embedder, Match, Memory, MemoryQuery, MemoryStats, VectorSpace
from persona.projection import Embedding, embed_waiting, open_memory, project

CHANGES_AT_ONCE = 16_000
_INTERRUPTED = "persona: interrupted; what was done stays, `persona memory rebuild --go-on` does the rest"


def run(arguments: argparse.Namespace) -> int:
    """Do one of the three; return 0 when done, 130 after Ctrl-C.

    Raises:
        UsageError: there is nothing to search for, or no such channel.
        PersonaError: the settings are wrong, the database or the index cannot be used, or the persona is running.
    """
    settings = load_settings(arguments.config)
    with configure(LogOptions(), terminal=True), MemoryScreen(sys.stderr) as screen:
        try:
            return asyncio.run(_run(settings, arguments, screen))
        except KeyboardInterrupt:
            screen.close()
            print(_INTERRUPTED, file=sys.stderr)
            return EXIT_INTERRUPTED


async def _run(settings: Settings, arguments: argparse.Namespace, screen: MemoryScreen) -> int:
    match arguments.action:
        case "rebuild":
            stats, seconds = await _rebuild(settings, screen, again=not arguments.go_on)
            screen.close()
            print_stats(stats, sys.stdout, as_json=arguments.json, seconds=seconds)
        case "stats":
            async with _memory(settings) as (_, memory):
                stats = await memory.stats()
            print_stats(stats, sys.stdout, as_json=arguments.json)
        case _:
            matches, channels = await _search(settings, arguments)
            names = {channel.id: channel.name for channel in channels}
            if arguments.json:
                print(json.dumps([asdict(match) for match in matches], default=str))
            else:
                print_matches(matches, names, sys.stdout, why=arguments.why)
    return EXIT_DONE


@asynccontextmanager
async def _memory(settings: Settings, space: VectorSpace | None = None) -> AsyncIterator[tuple[SqliteStore, Memory]]:
    """Open the store and the memory as they are; nobody else may use the memory meanwhile."""
    home = await choose_home(settings)
    if not home.database.exists():
        raise MemoryIndexError("there is no database yet", cure="import a history, or run the persona once")
    with InstanceLock(home.database.parent / "persona.lock"):
        store = SqliteStore(home.database)
        await store.open()
        memory = memory_for(settings, home.memory, store)
        try:
            await open_memory(store, memory, space)
            yield store, memory
        finally:
            await memory.close()
            await store.close()


async def _rebuild(settings: Settings, screen: MemoryScreen, *, again: bool) -> tuple[MemoryStats, float]:
    """Put everything into the index again, or go on where it was interrupted; known vectors are not made anew."""
    began = time.perf_counter()
    async with _embedder(settings) as embedder, _memory(settings, await _space(settings, embedder)) as (store, memory):
        if again:
            await memory.clear()
            await store.requeue_memory()
        embedding = Embedding(cache=store.embeddings, embedder=embedder)
        await project(
            store,
            memory,
            batch=CHANGES_AT_ONCE,
            on_progress=screen.filling,
            embedding=embedding,
            at_once=True,
        )
        await embed_waiting(memory, embedding, on_progress=screen.embedding)
        screen.indexing()
        await memory.settle()
        return await memory.stats(), time.perf_counter() - began


@asynccontextmanager
async def _embedder(settings: Settings) -> AsyncIterator[Embedder | None]:
    """Load the embedding model; where there is none standard error says so, and what vectors there are have to do."""
    build = embedder_for(settings)
    embedder: Embedder | None = None
    if build is not None:
        try:
            embedder = await asyncio.to_thread(build)
            await embedder.open()
        except EmbedderError as error:
            embedder = None
            print(f"persona: {error}", file=sys.stderr)
    try:
        yield embedder
    finally:
        if embedder is not None:
            await embedder.close()


async def _space(settings: Settings, embedder: Embedder | None) -> VectorSpace | None:
    """Return the space of the model, or without one that of the vectors that were made last."""
    if embedder is not None:
        return VectorSpace(model_id=embedder.model_id, dimensions=embedder.dimensions)
    home = await choose_home(settings)
    if not home.database.exists():
        return None
    store = SqliteStore(home.database)
    await store.open()
    try:
        return next((space for space, count in (await store.embeddings.spaces()).items() if count), None)
    finally:
        await store.close()


async def _search(settings: Settings, arguments: argparse.Namespace) -> tuple[list[Match], list[Channel]]:
    text = " ".join(arguments.text)
    if not text:
        raise UsageError("nothing to search for", cure='persona memory search "last summer"')
    async with _embedder(settings) as embedder, _memory(settings) as (store, memory):
        channels = list(await store.channels(allowed_only=True))
        wanted = [channel for channel in channels if arguments.channel in (None, str(channel.id), channel.name)]
        if arguments.channel is not None and not wanted:
            raise UsageError(f"no allowed channel is called {arguments.channel!r}", cure="give its name or its id")
        fits = embedder is not None and memory.space == await _space(settings, embedder)
        query = MemoryQuery(
            text=text,
            vector=await embedder.embed_query(text) if embedder is not None and fits else None,
            channel_ids=frozenset(channel.id for channel in wanted),
            channel_id=wanted[0].id if len(wanted) == 1 else None,
            limit=arguments.limit,
        )
        return list(await memory.explain(query)), channels
