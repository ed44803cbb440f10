"""A persona on Discord: what its tree is made of."""

from collections.abc import Callable
from datetime import UTC, datetime

from actors.commanding.quiz import QuizCommands, Visible
from actors.commands import CommandsActor, StatusReport
from actors.ingest import IngestActor
from actors.replying.voice import VoiceCoach
from persona.adapters.discord import DiscordCommands, DiscordTransport
from persona.adapters.sqlite import SqliteStore
from persona.allow_list import AllowList
from persona.config import Settings
from persona.domain.chat import AuthorId, ChannelId
from persona.domain.command_rights import AdminRules
from persona.domain.command_texts import AboutBot
from persona.forgetting import Forgetter
from persona.joining import discord_transport
from persona.live_settings import LiveSettings
from persona.memory_setup import embedder_for
from persona.model_following import model_follower
from persona.model_slot import ModelSlot
from persona.mydata import mydata
from persona.options import EngineFactory, Home
from persona.quiz_file import load_quiz
from persona.running import Refs, Tree
from persona.translate import ingest_settings, reply_settings, voice_settings
from persona.tree import Parts, build_tree


async def discord_tree(
    settings: Settings,
    home: Home,
    *,
    token: str,
    store: SqliteStore,
    engine: EngineFactory,
    forgetter: Forgetter,
    ended: Callable[[], None],
    restart: Callable[[], None],
) -> Tree:
    """Return a tree that lives on Discord; `restart` is called when an admin wants the process to begin anew."""
    refs = Refs.new()
    allow_list = await AllowList.load(store, store.desk, fixed=settings.discord.channels)
    live = await LiveSettings.load(settings, store.desk)
    door = DiscordCommands(prefix=settings.discord.prefix, allowed=allow_list.allows, notes=store.desk)
    discord = discord_transport(settings, token, allow_list, commands=door)

    async def allowed() -> frozenset[ChannelId]:
        return frozenset(channel.id for channel in await store.channels(allowed_only=True))

    async def visible(channel_id: ChannelId) -> frozenset[ChannelId]:
        return await allowed() & await discord.readable_with(channel_id)

    async def shown(channel_id: ChannelId) -> frozenset[ChannelId]:
        return await allowed() & await discord.readable_with(channel_id, itself=False)

    coach = VoiceCoach(
        store=store, inference=refs.inference, settings=voice_settings(settings), visible_channels=visible
    )
    model = ModelSlot(engine, follower=model_follower(settings), on_model=coach.model_changed)
    parts = Parts(
        store=store,
        model=model,
        coach=coach,
        transport=discord,
        ended=ended,
        reply_settings=lambda: reply_settings(live.current),
        visible_channels=visible,
        ingest=_ingest(settings, refs, store, discord, forgetter),
        commands=_commands(
            settings,
            refs,
            store,
            coach=coach,
            model=model,
            live=live,
            allow_list=allow_list,
            shown=shown,
            restart=restart,
        ),
        embedder=embedder_for(settings),
        vectors=store.embeddings,
        journal=store.journal,
        history=discord,
        allowed=lambda channel: allow_list.allows(channel.id, channel.parent_id),
        mutes=lambda: store.desk.mutes(datetime.now(UTC)),
        send_seconds=settings.supervision.drain_seconds + 5,
    )
    return build_tree(settings, home, refs, parts)


def _ingest(
    settings: Settings, refs: Refs, store: SqliteStore, discord: DiscordTransport, forgetter: Forgetter
) -> Callable[[], IngestActor]:
    return lambda: IngestActor(
        store=store,
        progress=store.progress,
        history=discord,
        retriever=refs.retriever if settings.memory.enabled else None,
        responder=refs.responder,
        forgetter=forgetter,
        settings=ingest_settings(settings),
    )


def _commands(
    settings: Settings,
    refs: Refs,
    store: SqliteStore,
    *,
    coach: VoiceCoach,
    model: ModelSlot,
    live: LiveSettings,
    allow_list: AllowList,
    shown: Visible,
    restart: Callable[[], None],
) -> Callable[[], CommandsActor]:
    discord = settings.discord
    started_at = datetime.now(UTC)
    about = AboutBot(name=coach.name, contact=discord.contact, prefix=discord.prefix)
    quiz = QuizCommands(
        book=store.quizzes,
        load=lambda: load_quiz(settings.storage.quiz),
        key=store.ledger.lineage_key,
        store=store,
        ledger=store.ledger,
        visible=shown,
        about=about,
        now=lambda: datetime.now(UTC),
    )

    async def data_of(author_id: AuthorId) -> tuple[bytes, ...]:
        return await mydata(
            store.ledger, store, store.quizzes, author_id, at=datetime.now(UTC), contact=discord.contact
        )

    def status() -> StatusReport:
        return StatusReport(started_at=started_at, model=model.describe(), memory=settings.memory.enabled)

    return lambda: CommandsActor(
        desk=store.desk,
        ledger=store.ledger,
        store=store,
        progress=store.progress,
        live=live,
        allow_list=allow_list,
        gateway=refs.gateway,
        ingest=refs.ingest,
        responder=refs.responder,
        mydata=data_of,
        quiz=quiz,
        status=status,
        restart=restart,
        rules=AdminRules(author_ids=frozenset(discord.admins), role_ids=frozenset(discord.admin_roles)),
        about=about,
        memory=settings.memory.enabled,
    )
