"""`persona import`: read exported chats into the message store."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from persona.adapters.exports import find_exports
from persona.adapters.sqlite import SqliteStore
from persona.cli.import_screen import ImportScreen, as_json, print_report
from persona.config import Settings, load_settings
from persona.errors import EXIT_DONE, EXIT_FAILED, AlreadyRunningError, MemoryIndexError, UsageError
from persona.importing import ImportReport, import_files
from persona.instance_lock import InstanceLock
from persona.logs import LogOptions, configure
from persona.memory_setup import memory_for
from persona.projection import Embedding, open_memory, project

EXIT_INTERRUPTED = 130
_CHANGES_AT_ONCE = 4000


def run(arguments: argparse.Namespace) -> int:
    """Import what was named; return 0 when anything could be read, else 1 (78: configuration, 130: Ctrl-C).

    Raises:
        PersonaError: the settings are wrong or the database cannot be used.
    """
    settings = load_settings(arguments.config)
    own = " ".join((arguments.own or "").split())
    if arguments.own is not None and not own:
        raise UsageError("--own needs a note", cure="say whose messages these are, and where that can be found")
    with configure(LogOptions(), terminal=True), ImportScreen(sys.stderr) as screen:
        try:
            report = asyncio.run(
                _import(settings, arguments.paths, allow=not arguments.no_allow, own=own, screen=screen)
            )
        except KeyboardInterrupt:
            screen.close()
            print("persona: interrupted; what was stored stays, run it again to go on", file=sys.stderr)
            return EXIT_INTERRUPTED
    if arguments.json:
        print(as_json(report))
    else:
        print_report(report, sys.stdout)
    if not report.read:
        print("persona: nothing could be read from what was named", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_DONE


async def _import(
    settings: Settings, paths: Sequence[Path], *, allow: bool, own: str, screen: ImportScreen
) -> ImportReport:
    found = find_exports(paths)
    report = ImportReport(files=(), not_recognised=found.not_recognised)
    if not found.files:
        return report
    store = SqliteStore(settings.storage.database)
    await store.open()
    try:
        screen.expect(sum(file.size for file in found.files))
        started = time.perf_counter()
        files = await import_files(store, found.files, allow=allow, watcher=screen, own=own, exports=store)
        stored = time.perf_counter()
        if settings.memory.enabled and await store.memory_changes_pending():
            await _index(store, settings, screen)
    finally:
        await store.close()
    return replace(
        report,
        files=files,
        seconds=stored - started,
        indexed=screen.indexed,
        index_seconds=time.perf_counter() - stored,
        notes=tuple(screen.notes),
    )


async def _index(store: SqliteStore, settings: Settings, screen: ImportScreen) -> None:
    """Make the messages findable now; where that cannot be, the next start does it."""
    memory = memory_for(settings, settings.storage.memory, store)
    try:
        with InstanceLock(settings.storage.database.parent / "persona.lock"):
            try:
                known = Embedding(cache=store.embeddings)
                await open_memory(store, memory)
                await project(store, memory, batch=_CHANGES_AT_ONCE, on_progress=screen.indexing, embedding=known)
            finally:
                await memory.close()
    except AlreadyRunningError:
        screen.note("the running persona will make these messages findable")
    except MemoryIndexError as error:
        screen.note(f"the messages are stored but not findable yet: {error}")
