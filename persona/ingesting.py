"""Catches up with Discord once: the ingest actor and a connection, without a model."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from actors.gateway import GatewayActor
from actors.ingest import IngestActor
from actors.kernel import ActorRef, ActorSystem, ChildSpec, Escalated, Hung, SupervisorSpec
from actors.messages import DescribeFetch, Fetch, FetchStatus
from persona.adapters.discord import DiscordTransport
from persona.adapters.sqlite import SqliteStore
from persona.allow_list import AllowList
from persona.config import Settings
from persona.errors import ConfigError, TransportError
from persona.joining import discord_transport
from persona.running import Refs, Tree
from persona.translate import ingest_settings

_LOOK_SECONDS = 0.5
_LONGEST_SECONDS = 30 * 24 * 3600.0


async def ingest_once(
    settings: Settings, token: str, store: SqliteStore, on_status: Callable[[FetchStatus], None]
) -> FetchStatus:
    """Read what is new in the allowed channels; `on_status` is called twice a second. Return the final figures.

    Raises:
        ConfigError: Discord refuses the token or the intents, or no channel is on the allow-list.
        TransportError: Discord cannot be reached in time.
        PersonaError: the ingest failed too often.
    """
    refs = Refs.new()
    allow_list = await AllowList.load(store, store.desk, fixed=settings.discord.channels)
    if not await store.channels(allowed_only=True):
        cure = "name some in config.toml ([discord] channels), or use /channels action:allow while the bot runs"
        raise ConfigError("no channel is on the allow-list: there is nothing to read", cure=cure)
    discord = discord_transport(settings, token, allow_list)
    tree = Tree(_system(settings, refs, store, discord), refs)
    await tree.start()
    life = asyncio.create_task(tree.wait(), name="tree")
    work = asyncio.create_task(_catch_up(settings, discord, refs.ingest, on_status), name="catch up")
    try:
        await asyncio.wait({life, work}, return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            life.result()
        return await work
    finally:
        for task in (work, life):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
        await tree.stop()


def _system(settings: Settings, refs: Refs, store: SqliteStore, discord: DiscordTransport) -> ActorSystem:
    def ingest() -> IngestActor:
        return IngestActor(
            store=store,
            progress=store.progress,
            history=discord,
            retriever=None,
            responder=None,
            forgetter=None,
            settings=ingest_settings(settings),
        )

    def gateway() -> GatewayActor:
        return GatewayActor(transport=discord, ingest=refs.ingest, responder=None, ended=lambda: None)

    root = SupervisorSpec(
        name="root",
        children=(ChildSpec(ref=refs.ingest, factory=ingest), ChildSpec(ref=refs.gateway, factory=gateway)),
        intensity=settings.supervision.intensity,
        period=settings.supervision.period_seconds,
    )
    return ActorSystem(root, fatal=(ConfigError, Escalated, Hung))


async def _catch_up(
    settings: Settings, discord: DiscordTransport, ingest: ActorRef, on_status: Callable[[FetchStatus], None]
) -> FetchStatus:
    patience = settings.supervision.start_timeout_seconds
    try:
        async with asyncio.timeout(patience):
            await discord.ready()
    except TimeoutError:
        raise TransportError(f"Discord could not be reached for {patience:.0f} s", cure="try again later") from None
    done = asyncio.create_task(ingest.ask(Fetch(), timeout=_LONGEST_SECONDS), name="fetch")
    try:
        while not done.done():
            on_status(await ingest.ask(DescribeFetch(), timeout=60))
            await asyncio.wait({done}, timeout=_LOOK_SECONDS)
        await done
    finally:
        done.cancel()
    status = await ingest.ask(DescribeFetch(), timeout=60)
    on_status(status)
    return status
