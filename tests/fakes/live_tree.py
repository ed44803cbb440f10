"""The whole tree of a persona on Discord, on the test's own loop: what `persona` runs, without the process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

from actors.messages import Ping
from persona.adapters.sqlite import SqliteStore
from persona.app import checked_engine
from persona.config import load_settings
from persona.forgetting import Forgetter
from persona.live import discord_tree
from persona.options import Home
from tests.fakes.live import LiveFolder, eventually


@asynccontextmanager
async def living_tree(folder: LiveFolder) -> AsyncIterator[SimpleNamespace]:
    """Live from the config.toml of a folder until the context ends; connected inside it.

    Gives the `store`, in `restarts` how often somebody wanted the process to begin anew, and `idle()`, which waits
    until no command is being carried out: whoever gives the same one again before that is told to wait.
    """
    settings, engine = checked_engine(load_settings(folder.folder / "config.toml", {}))
    home = Home(database=settings.storage.database, memory=settings.storage.memory)
    store = SqliteStore(home.database)
    await store.open()
    forgetter = Forgetter(
        store.ledger, runs=settings.storage.runs, models=settings.storage.models, quiz=settings.storage.quiz
    )
    here = SimpleNamespace(store=store, restarts=[], ended=[])
    try:
        forgetter.start()
        tree = await discord_tree(
            settings,
            home,
            token=folder.fake.token,
            store=store,
            engine=engine,
            forgetter=forgetter,
            ended=lambda: here.ended.append(True),
            restart=lambda: here.restarts.append(True),
        )
        commands = tree._refs.commands

        async def idle() -> None:
            async with asyncio.timeout(10):
                while await commands.ask(Ping(), timeout=10) != "idle":
                    await asyncio.sleep(0.002)

        here.idle = idle
        await tree.start()
        try:
            await eventually(lambda: folder.fake.gateway.identifies, seconds=10, what="it is connected")
            yield here
        finally:
            await tree.stop()
    finally:
        await forgetter.close()
        await store.close()
