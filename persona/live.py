"""A persona on Discord: what its tree is made of."""

from collections.abc import Callable
from datetime import UTC, datetime

from actors.commands import CommandsActor
from actors.ingest import IngestActor, IngestSettings
from actors.voice import VoiceCoach
from persona.adapters.discord import DiscordOptions, DiscordTransport
from persona.adapters.sqlite import SqliteStore
from persona.allow_list import AllowList
from persona.config import Settings
from persona.domain.chat import ChannelId
from persona.live_settings import LiveSettings
from persona.options import EngineFactory, Home
from persona.running import ModelSlot, Refs, Tree
from persona.translate import reply_settings, voice_settings
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
    allow_list = await AllowList.load(store, fixed=settings.discord.channels)
    live = await LiveSettings.load(settings, store.desk)
    discord = DiscordTransport(token=token, options=discord_options(settings), allowed=allow_list.allows)

    async def visible(channel_id: ChannelId) -> frozenset[ChannelId]:
        readable = await discord.readable_with(channel_id)
        return frozenset(channel.id for channel in await store.channels(allowed_only=True)) & readable

    coach = VoiceCoach(
        store=store, inference=refs.inference, settings=voice_settings(settings), visible_channels=visible
    )
    return build_tree(settings, home, refs, Parts(...))
