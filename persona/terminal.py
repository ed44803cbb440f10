"""A persona in the terminal: what its tree is made of."""

from collections.abc import Callable

from actors.ingest import IngestActor, IngestSettings
from actors.replying.voice import VoiceCoach
from persona.adapters.console import build_console
from persona.adapters.sqlite import SqliteStore
from persona.config import Settings
from persona.domain.chat import ChannelId
from persona.memory_setup import embedder_for
from persona.model_following import model_follower
from persona.model_slot import ModelSlot
from persona.options import EngineFactory, Home, TerminalOptions
from persona.running import Refs, Tree
from persona.translate import reply_settings, voice_settings
from persona.tree import Parts, build_tree

_MEMORY_PATIENCE_SECONDS = 10.0
"""In the terminal the first question should find something, also right after an import."""


def terminal_tree(
    settings: Settings,
    home: Home,
    options: TerminalOptions,
    *,
    store: SqliteStore,
    engine: EngineFactory,
    ended: Callable[[], None],
) -> Tree:
    """Return a tree that talks in the terminal; `ended` is called at the end of the input."""
    refs = Refs.new()

    async def visible(_: ChannelId) -> frozenset[ChannelId]:
        # Whoever sits at the terminal owns the store: everything in it may be shown there.
        return frozenset(channel.id for channel in await store.channels(allowed_only=True))

    coach = VoiceCoach(
        store=store, inference=refs.inference, settings=voice_settings(settings), visible_channels=visible
    )
    transport = build_console(
        stdin=options.stdin,
        stdout=options.stdout,
        as_json=options.as_json,
        speaker=settings.terminal.speaker,
        name=lambda: coach.name,
        patience_seconds=3 * settings.reply.deadline_seconds,
    )
    replies = reply_settings(settings)
    parts = Parts(
        store=store,
        # The demo lives in a folder of its own: another model moves in with the next start.
        model=ModelSlot(engine, follower=None if home.demo else model_follower(settings), on_model=coach.model_changed),
        coach=coach,
        transport=transport,
        ended=ended,
        reply_settings=lambda: replies,
        visible_channels=visible,
        ingest=lambda: IngestActor(
            store=store,
            progress=store.progress,
            history=None,
            retriever=refs.retriever,
            responder=None,
            forgetter=None,
            settings=IngestSettings(),
        ),
        embedder=embedder_for(settings),
        vectors=store.embeddings,
        memory_patience=_MEMORY_PATIENCE_SECONDS,
    )
    return build_tree(settings, home, refs, parts)
