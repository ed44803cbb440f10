"""The composition root: opens the store, runs the tree until the talk ends or a signal comes, gives the exit code."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import TYPE_CHECKING

import structlog

from persona.errors import EXIT_DONE, ModelFileError
from persona.options import EngineFactory, EngineWrapper, Home, TerminalOptions

if TYPE_CHECKING:
    from actors.messages import FetchStatus
    from persona.config import Settings
    from persona.ports import MessageStore
    from persona.running import Tree

log = structlog.get_logger(__name__)


class Ending(Enum):
    """How a life on Discord ended."""

    STOPPED = "stopped"
    RESTART = "restart"


def run_terminal(settings: "Settings", options: TerminalOptions, *, wrap: EngineWrapper | None = None) -> int:
    """Talk in the terminal until the input ends; return the exit code.

    `wrap` may put something around the language model, for tests. Nothing is written before the model file is checked.

    Raises:
        PersonaError: it could not start, or gave up; its `exit_code` says which.
    """
    settings, engine = checked_engine(settings)
    with _process(settings, terminal=True, debug=options.debug) as runner:
        return runner.run(_talk(settings, options, wrap(engine) if wrap else engine))


def run_discord(settings: "Settings", token: str, *, debug: bool = False, wrap: EngineWrapper | None = None) -> Ending:
    """Live on Discord until a signal or a command ends it; say whether to begin anew.

    Raises:
        PersonaError: it could not start, or gave up; its `exit_code` says which.
    """
    settings, engine = checked_engine(settings)
    with _process(settings, terminal=False, debug=debug, secrets=[token]) as runner:
        return runner.run(_live_on_discord(settings, token, wrap(engine) if wrap else engine))


def run_ingest(
    settings: "Settings", token: str, on_status: "Callable[[FetchStatus], None]", *, debug: bool = False
) -> "FetchStatus":
    """Read what is new in the allowed channels, once; `on_status` is called twice a second. Return the final figures.

    Raises:
        PersonaError: Discord refused, or something failed for good.
    """
    with _process(settings, terminal=True, debug=debug, secrets=[token]) as runner:
        return runner.run(_ingest_once(settings, token, on_status))


@contextlib.contextmanager
def _process(
    settings: "Settings", *, terminal: bool, debug: bool, secrets: Iterable[str] = ()
) -> Iterator[asyncio.Runner]:
    """Hold the data folder and the log for as long as the process lives."""
    from persona.instance_lock import InstanceLock  # noqa: PLC0415 - not needed for --help
    from persona.logs import LogOptions, configure  # noqa: PLC0415

    level = "debug" if debug else settings.log.level
    log_options = LogOptions(level=level, file=settings.log.file, content=settings.log.content)
    with InstanceLock(settings.storage.database.parent / "persona.lock"):
        handle = configure(log_options, terminal=terminal, secrets=secrets)
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                yield runner
        finally:
            handle.close()


def checked_engine(settings: "Settings") -> "tuple[Settings, EngineFactory]":
    """Check the chosen model file; return what loads it, and the settings with the names that the file brings.

    Raises:
        ModelFileError: the file is missing, damaged, not for this program, or was trained on other prompts.
        RegistryError: the list of models is damaged.
    """
    from persona.adapters.llama import check_model, llama_engine_factory  # noqa: PLC0415 - not needed for --help
    from persona.model_choice import Source, choose_model  # noqa: PLC0415

    choice = choose_model(settings)
    wanted = choice.llama
    try:
        checked = check_model(wanted)
        if checked.prompt_hash is not None and choice.source is not Source.DEMO:
            from persona.adapters.llama.loading import check_prompts  # noqa: PLC0415 - loads the native library

            check_prompts(checked.path, checked.prompt_hash)
    except ModelFileError as error:
        raise choice.explained(error) from None
    names = {
        "name": settings.persona.name or checked.persona_name or "Persona",
        "server": settings.persona.server or checked.server_name or "",
    }
    named = settings.model_copy(update={"persona": settings.persona.model_copy(update=names)})
    return named, llama_engine_factory(wanted, checked)


async def _talk(settings: "Settings", options: TerminalOptions, engine: EngineFactory) -> int:
    from persona.adapters.sqlite import SqliteStore  # noqa: PLC0415
    from persona.terminal import terminal_tree  # noqa: PLC0415 - pulls in every actor

    home = await choose_home(settings)
    store = SqliteStore(home.database)
    await store.open()
    try:
        if home.demo:
            await _remember_demo_history(store)
        ended = asyncio.Event()
        tree = terminal_tree(settings, home, options, store=store, engine=engine, ended=ended.set)
        return await _live(tree, ended, drain_seconds=settings.supervision.drain_seconds)
    finally:
        await store.close()


async def _live_on_discord(settings: "Settings", token: str, engine: EngineFactory) -> Ending:
    from persona.adapters.sqlite import SqliteStore  # noqa: PLC0415
    from persona.forgetting import Forgetter  # noqa: PLC0415
    from persona.live import discord_tree  # noqa: PLC0415 - pulls in every actor and discord.py

    home = Home(database=settings.storage.database, memory=settings.storage.memory)
    store = SqliteStore(home.database)
    await store.open()
    forgetter = Forgetter(
        store.ledger, runs=settings.storage.runs, models=settings.storage.models, quiz=settings.storage.quiz
    )
    try:
        forgetter.start()
        ended, again = asyncio.Event(), asyncio.Event()

        def restart() -> None:
            again.set()
            ended.set()

        tree = await discord_tree(
            settings,
            home,
            token=token,
            store=store,
            engine=engine,
            forgetter=forgetter,
            ended=ended.set,
            restart=restart,
        )
        await _live(tree, ended, drain_seconds=settings.supervision.drain_seconds)
        return Ending.RESTART if again.is_set() else Ending.STOPPED
    finally:
        await forgetter.close()
        await store.close()


async def _ingest_once(settings: "Settings", token: str, on_status: "Callable[[FetchStatus], None]") -> "FetchStatus":
    from persona.adapters.sqlite import SqliteStore  # noqa: PLC0415
    from persona.ingesting import ingest_once  # noqa: PLC0415 - pulls in discord.py

    store = SqliteStore(settings.storage.database)
    await store.open()
    try:
        return await ingest_once(settings, token, store, on_status)
    finally:
        await store.close()


async def choose_home(settings: "Settings") -> Home:
    """Return where to keep things: the demo has a folder of its own until there is a real history to talk about."""
    from persona.adapters.sqlite import SqliteStore  # noqa: PLC0415
    from persona.model_choice import Source, choose_model  # noqa: PLC0415

    storage = settings.storage
    own = Home(database=storage.database, memory=storage.memory)
    if choose_model(settings).source is not Source.DEMO:
        return own
    if storage.database.exists():
        store = SqliteStore(storage.database)
        await store.open()
        try:
            if await store.count():
                return own
        finally:
            await store.close()
    folder = storage.database.parent / "demo"
    return Home(database=folder / "persona.db", memory=folder / "memory.lance", demo=True)


async def _remember_demo_history(store: "MessageStore") -> None:
    """Give the demo persona its made-up past, once."""
    from persona.adapters.exports import find_exports  # noqa: PLC0415
    from persona.demo import demo_history_path  # noqa: PLC0415
    from persona.importing import import_files  # noqa: PLC0415

    if not await store.count():
        found = find_exports([demo_history_path()])
        await import_files(store, found.files, allow=True)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Prefer uvloop where it exists (not on Windows)."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _live(tree: "Tree", ended: asyncio.Event, *, drain_seconds: float) -> int:
    """Run a tree until the talk ends, a signal comes or it gives up; drain and stop it in any case."""
    with _signals(ended):
        await tree.start()
        life = asyncio.create_task(tree.wait(), name="tree")
        talk = asyncio.create_task(ended.wait(), name="talk")
        try:
            await asyncio.wait({life, talk}, return_when=asyncio.FIRST_COMPLETED)
            if not life.done():
                await tree.drain(drain_seconds)
        finally:
            talk.cancel()
            await tree.stop()
        if life.done() and not life.cancelled():
            life.result()
        life.cancel()
    return EXIT_DONE


@contextlib.contextmanager
def _signals(ended: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM end the talk; a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if ended.is_set():
            os._exit(128 + number)
        log.info("signal_received", number=number)
        ended.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
