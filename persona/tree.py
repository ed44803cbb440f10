"""The supervision tree of a persona in the terminal: who exists, who talks to whom, who restarts whom."""

from collections.abc import Callable

from actors.gateway import GatewayActor
from actors.health import Lifecycle, Limits
from actors.heartbeat import HeartbeatActor, HeartbeatSettings
from actors.inference import InferenceActor
from actors.ingest import IngestActor
from actors.kernel import (
    ActorSystem,
    Backoff,
    ChildSpec,
    Escalated,
    Hung,
    SupervisorSpec,
    new_ref,
)
from actors.reply import ReplySettings
from actors.responder import ResponderActor
from actors.retriever import RetrieverActor, RetrieverSettings
from actors.voice import VoiceCoach, VoiceSettings
from persona.adapters.console import build_console
from persona.adapters.systemd import SdNotify
from persona.config import Settings
from persona.domain.chat import ChannelId
from persona.domain.delivery import DeliveryLimits
from persona.domain.speaking import SpeakingRules
from persona.errors import ConfigError
from persona.options import EngineFactory, Home, TerminalOptions
from persona.ports import Memory, MessageStore, Sampling, Transport
from persona.running import ModelSlot, Refs, RestartJournal, Tree

_MODEL_STOP_SECONDS = 25.0
"""A step of the model cannot be interrupted; reading a large piece of prompt may take this long."""

_SEARCH_SHARE = 0.9
"""Of the time that the responder waits for memory: the retriever should give up first, and say why."""

_MEMORY_PATIENCE_SECONDS = 10.0
"""In the terminal the first question should find something, also right after an import."""


def reply_settings(settings: Settings) -> ReplySettings:
    """Translate config.toml into what the responder needs."""
    sampling, speaking = settings.sampling, settings.speaking
    return ReplySettings(
        rules=SpeakingRules(
            enabled=speaking.enabled,
            rate=speaking.rate,
            active_rate=speaking.active_rate,
            active_minutes=speaking.active_minutes,
            cooldown_seconds=speaking.cooldown_seconds,
            max_age_seconds=speaking.max_age_seconds,
            mentions_only=speaking.mentions_only,
            names=(settings.persona.name, *settings.persona.nicknames),
            answer_everything_in_terminal=settings.terminal.answer_everything,
        ),
        limits=DeliveryLimits(
            max_burst=settings.reply.max_burst,
            characters_per_second=settings.reply.typing_characters_per_second,
        ),
        sampling=Sampling(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_tokens,
            seed=None if sampling.seed < 0 else sampling.seed,
        ),
        window_messages=settings.reply.window_messages,
        deadline_seconds=settings.reply.deadline_seconds,
        memory_limit=settings.memory.limit if settings.memory.enabled else 0,
        memory_timeout_seconds=settings.memory.timeout_seconds,
    )


def voice_settings(settings: Settings) -> VoiceSettings:
    """Translate config.toml into what the voice coach needs."""
    return VoiceSettings(
        name=settings.persona.name,
        server=settings.persona.server,
        style_card=settings.model.style_card,
        examples=settings.reply.examples,
    )


def build_terminal_tree(
    settings: Settings,
    home: Home,
    options: TerminalOptions,
    *,
    store: MessageStore,
    engine: EngineFactory,
    ended: Callable[[], None],
) -> Tree:
    """Wire everything up for a conversation in the terminal; `ended` is called at the end of the input."""
    refs = Refs(**{name: new_ref(name) for name in Refs.__dataclass_fields__})
    coach = VoiceCoach(store=store, inference=refs.inference, settings=voice_settings(settings))
    transport = build_console(
        stdin=options.stdin,
        stdout=options.stdout,
        as_json=options.as_json,
        speaker=settings.terminal.speaker,
        name=lambda: coach.name,
        patience_seconds=3 * settings.reply.deadline_seconds,
    )
    root = _root(
        settings,
        heartbeat=_heartbeat(settings, refs, store, slot := ModelSlot(engine), coach),
        engine=_engine(settings, home, refs, store, slot),
        chat=_chat(settings, refs, store=store, coach=coach, transport=transport, ended=ended),
    )
    journal = RestartJournal(store)
    return Tree(ActorSystem(root, fatal=(ConfigError, Escalated, Hung), on_restart=journal.note), refs)


def _root(
    settings: Settings, *, heartbeat: ChildSpec, engine: tuple[ChildSpec, ...], chat: tuple[ChildSpec, ...]
) -> SupervisorSpec:
    """Return the tree: the heartbeat starts first and stops last, the model comes before those who ask it."""
    supervision = settings.supervision

    def supervisor(name: str, *children: ChildSpec | SupervisorSpec) -> SupervisorSpec:
        return SupervisorSpec(
            name=name,
            children=children,
            intensity=supervision.intensity,
            period=supervision.period_seconds,
            backoff=Backoff(base=supervision.backoff_seconds),
        )

    return supervisor("root", heartbeat, supervisor("engine", *engine), supervisor("chat", *chat))


def _heartbeat(settings: Settings, refs: Refs, store: MessageStore, slot: ModelSlot, coach: VoiceCoach) -> ChildSpec:
    beat = settings.heartbeat
    lifecycle = Lifecycle()
    watched = [refs.inference, refs.ingest, refs.responder, refs.gateway]
    if settings.memory.enabled:
        watched.append(refs.retriever)

    def make() -> HeartbeatActor:
        return HeartbeatActor(
            targets=watched,
            store=store,
            notifier=SdNotify(),
            lifecycle=lifecycle,
            stalled_seconds=slot.stalled_seconds,
            activity=lambda: f"model {coach.model_name}" if coach.model_name else "",
            settings=HeartbeatSettings(
                interval_seconds=beat.interval_seconds,
                ping_timeout_seconds=beat.ping_timeout_seconds,
                limits=Limits(stall_seconds=beat.stall_seconds),
            ),
        )

    return ChildSpec(ref=refs.heartbeat, factory=make)


def _engine(settings: Settings, home: Home, refs: Refs, store: MessageStore, slot: ModelSlot) -> tuple[ChildSpec, ...]:
    async def visible(_: ChannelId) -> frozenset[ChannelId]:
        # Whoever sits at the terminal owns the store: everything in it may be shown there.
        return frozenset(channel.id for channel in await store.channels(allowed_only=True))

    def inference() -> InferenceActor:
        return InferenceActor(slot.make, stall_seconds=settings.heartbeat.stall_seconds)

    def memory() -> Memory:
        from persona.adapters.lance import LanceMemory  # noqa: PLC0415 - takes seconds, so on the retriever's thread

        return LanceMemory(home.memory)

    def retriever() -> RetrieverActor:
        return RetrieverActor(
            memory_factory=memory,
            store=store,
            visible_channels=visible,
            settings=RetrieverSettings(
                budget=_SEARCH_SHARE * settings.memory.timeout_seconds, patience=_MEMORY_PATIENCE_SECONDS
            ),
        )

    start = settings.supervision.start_timeout_seconds
    model = ChildSpec(ref=refs.inference, factory=inference, start_timeout=start, stop_timeout=_MODEL_STOP_SECONDS)
    if not settings.memory.enabled:
        return (model,)
    return (model, ChildSpec(ref=refs.retriever, factory=retriever, start_timeout=start))


def _chat(
    settings: Settings,
    refs: Refs,
    *,
    store: MessageStore,
    coach: VoiceCoach,
    transport: Transport,
    ended: Callable[[], None],
) -> tuple[ChildSpec, ...]:
    def responder() -> ResponderActor:
        return ResponderActor(
            store=store,
            inference=refs.inference,
            retriever=refs.retriever,
            gateway=refs.gateway,
            coach=coach,
            settings=reply_settings(settings),
        )

    def gateway() -> GatewayActor:
        return GatewayActor(transport=transport, ingest=refs.ingest, responder=refs.responder, ended=ended)

    return (
        ChildSpec(ref=refs.ingest, factory=lambda: IngestActor(store=store, retriever=refs.retriever)),
        ChildSpec(ref=refs.responder, factory=responder),
        ChildSpec(ref=refs.gateway, factory=gateway),
    )
