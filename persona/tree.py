"""The supervision tree of a persona in the terminal: who exists, who talks to whom, who restarts whom."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from actors.inference import InferenceActor
from actors.threaded_model import ThreadedChatModel

from actors.gateway import GatewayActor
from actors.health import Lifecycle, Limits
from actors.heartbeat import HeartbeatActor, HeartbeatSettings
from actors.ingest import IngestActor
from actors.kernel import (
    ActorCrashed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Backoff,
    ChildSpec,
    Escalated,
    Hung,
    StartFailed,
    SupervisorSpec,
    new_ref,
)
from actors.messages import Drain, Draining, TreeReady
from actors.responder import ReplySettings, ResponderActor
from actors.retriever import RetrieverActor, RetrieverSettings
from actors.voice import VoiceCoach, VoiceSettings
from persona.adapters.console import build_console
from persona.adapters.systemd import SdNotify
from persona.options import EngineFactory, Home, TerminalOptions
from persona.config import Settings
from persona.domain.chat import ChannelId
from persona.domain.delivery import DeliveryLimits
from persona.domain.speaking import SpeakingRules
from persona.errors import ConfigError, PersonaError
from persona.ports import ChatModel, Memory, MessageStore, Sampling, Transport

log = structlog.get_logger(__name__)

_SEARCH_SHARE = 0.9
"""Of the time that the responder waits for memory: the retriever should give up first, and say why."""

_MEMORY_PATIENCE_SECONDS = 10.0
"""In the terminal the first question should find something, also right after an import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refs:
    """The address of every actor; made once, they outlive restarts."""

    heartbeat: ActorRef
    inference: ActorRef
    retriever: ActorRef
    ingest: ActorRef
    responder: ActorRef
    gateway: ActorRef


class ModelSlot:
    """Makes the language model for each incarnation of the inference actor and knows the newest one."""

    def __init__(self, engine: EngineFactory) -> None:
        self._engine = engine
        self._newest: ThreadedChatModel | None = None

    def make(self) -> ChatModel:
        """Return a new model, not opened yet."""
        self._newest = ThreadedChatModel(self._engine)
        return self._newest

    def stalled_seconds(self) -> float:
        """Return for how long the newest model has had work without progress."""
        return self._newest.stalled_seconds() if self._newest else 0.0


class Tree:
    """A running persona: start, wait, drain, stop, with the program's own errors instead of the kernel's."""

    def __init__(self, system: ActorSystem, refs: Refs) -> None:
        self._system = system
        self._refs = refs

    async def start(self) -> None:
        """Start everything in order.

        Raises:
            PersonaError: a part could not start.
        """
        try:
            await self._system.start()
        except StartFailed as error:
            raise _told(error) from error
        self._refs.heartbeat.tell(TreeReady())

    async def wait(self) -> None:
        """Wait until the tree gives up.

        Raises:
            PersonaError: which part failed too often, or what no restart can cure.
        """
        try:
            await self._system.wait()
        except (Escalated, StartFailed, Hung) as error:
            raise _told(error) from error

    async def drain(self, seconds: float) -> None:
        """Let the replies in the making finish, for `seconds` at most."""
        self._refs.heartbeat.tell(Draining())
        try:
            await self._refs.responder.ask(Drain(), timeout=seconds)
        except (AskTimeout, ActorCrashed, ActorStopped) as error:
            log.warning("drain_incomplete", error=type(error).__name__)

    async def stop(self) -> None:
        """Stop everything in reverse order."""
        await self._system.stop()


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
        heartbeat=_heartbeat(settings, refs, store, slot := ModelSlot(engine)),
        engine=_engine(settings, home, refs, store, slot),
        chat=_chat(settings, refs, store, coach, transport, ended),
    )
    journal = RestartJournal(store)
    return Tree(ActorSystem(root, fatal=(ConfigError, Escalated, Hung), on_restart=journal.note), refs)


class RestartJournal:
    """Writes restarts down in the store, beside everything else."""

    def __init__(self, store: MessageStore) -> None:
        self._store = store
        self._writing: set[asyncio.Task[None]] = set()

    def note(self, actor: str, error: BaseException) -> None:
        """Store a restart as soon as possible; the kernel has logged it."""
        task = asyncio.get_running_loop().create_task(self._write(actor, error))
        self._writing.add(task)  # an unreferenced task may vanish
        task.add_done_callback(self._writing.discard)

    async def _write(self, actor: str, error: BaseException) -> None:
        try:
            await self._store.put_restart(actor, f"{type(error).__name__}: {error}", datetime.now(UTC))
        except PersonaError as trouble:
            log.warning("restart_not_written", error=str(trouble))


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


def _heartbeat(settings: Settings, refs: Refs, store: MessageStore, slot: ModelSlot) -> ChildSpec:
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
    model = ChildSpec(ref=refs.inference, factory=inference, start_timeout=start)
    if not settings.memory.enabled:
        return (model,)
    return (model, ChildSpec(ref=refs.retriever, factory=retriever, start_timeout=start))


def _chat(
    settings: Settings,
    refs: Refs,
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


def _told(error: BaseException) -> PersonaError:
    """Turn what the kernel says into one line for the owner; the program's own errors pass as they are."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PersonaError):
            return cause
        innermost, cause = cause, cause.__cause__
    name = type(innermost).__name__
    return PersonaError(f"{error}; the last error was {name}: {innermost}", cure="the log has the details")
