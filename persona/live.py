"""A persona on Discord: what its tree is made of."""

from collections.abc import Callable

from actors.ingest import IngestActor
from actors.voice import VoiceCoach
from persona.adapters.sqlite import SqliteStore
from persona.allow_list import AllowList
from persona.config import Settings
from persona.domain.chat import ChannelId
from persona.forgetting import Forgetter
from persona.joining import discord_transport
from persona.live_settings import LiveSettings
from persona.options import EngineFactory, Home
from persona.running import ModelSlot, Refs, Tree
from persona.translate import ingest_settings, reply_settings, voice_settings
from persona.tree import Parts, build_tree


async def discord_tree(
    settings: Settings,
    home: Home,
    *,
    token: str,
    store: SqliteStore,
    engine: EngineFactory,
    ended: Callable[[], None],
    restart: Callable[[], None],
) -> Tree:
    """Return a tree that lives on Discord; `restart` is called when an admin wants the process to begin anew."""
    refs = Refs.new()
    allow_list = await AllowList.load(store, store.desk, fixed=settings.discord.channels)
    live = await LiveSettings.load(settings, store.desk)
    discord = discord_transport(settings, token, allow_list)
    forgetter = Forgetter(store.ledger, runs=settings.storage.runs)

    async def visible(channel_id: ChannelId) -> frozenset[ChannelId]:
        readable = await discord.readable_with(channel_id)
        return frozenset(channel.id for channel in await store.channels(allowed_only=True)) & readable

    coach = VoiceCoach(store=store, inference=refs.inference, settings=voice_settings(settings))
    parts = Parts(
        store=store,
        model=ModelSlot(engine),
        coach=coach,
        transport=discord,
        ended=ended,
        reply_settings=lambda: reply_settings(live.current),
        visible_channels=visible,
        ingest=lambda: IngestActor(
            store=store,
            progress=store.progress,
            history=discord,
            retriever=refs.retriever,
            responder=refs.responder,
            forgetter=forgetter,
            settings=ingest_settings(settings),
        ),
        send_seconds=settings.supervision.drain_seconds + 5,
    )
    return build_tree(settings, home, refs, parts)
