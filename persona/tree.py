"""The supervision tree: who exists, who talks to whom, who restarts whom."""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from actors.gateway import GatewayActor
from actors.health import Lifecycle, Limits
from actors.heartbeat import HeartbeatActor, HeartbeatSettings
from actors.inference import InferenceActor
from actors.ingest import IngestActor
from actors.kernel import Actor, ActorRef, ActorSystem, Backoff, ChildSpec, Escalated, Hung, SupervisorSpec
from actors.replying.settings import ReplySettings
from actors.replying.voice import VoiceCoach
from actors.responder import ResponderActor
from actors.retriever import RetrieverActor, RetrieverSettings, VisibleChannels
from persona.adapters.systemd import SdNotify
from persona.config import Settings
from persona.domain.chat import Channel, ChannelId
from persona.errors import ConfigError
from persona.memory_setup import memory_for
from persona.model_slot import ModelSlot
from persona.options import Home
from persona.ports import Embedder, EmbeddingCache, History, Memory, MessageStore, ReplyJournal, Transport
from persona.running import Refs, RestartJournal, Tree

_MODEL_STOP_SECONDS = 25.0
"""A step of the model cannot be interrupted; reading a large piece of prompt may take this long."""

_SEARCH_SHARE = 0.9
"""Of the time that the responder waits for memory: the retriever should give up first, and say why."""


Mutes = Callable[[], Awaitable[Mapping[ChannelId, datetime]]]
"""Gives the channels that are muted, and until when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the tree is made of: the same actors talk in the terminal and on Discord, over other transports.

    `ingest` and `commands` build those two actors, which differ most; without `commands` there are none. `journal`
    and `history` are None where nothing outlives the process. `embedder` builds the embedding model (on a thread, not
    loaded yet), `vectors` keeps what it made; without them the memory goes by words alone. `memory_patience` is how
    long the start waits for the memory, `send_seconds` how long the end waits for what is being sent.
    """

    store: MessageStore
    model: ModelSlot
    coach: VoiceCoach
    transport: Transport
    ended: Callable[[], None]
    reply_settings: Callable[[], ReplySettings]
    visible_channels: VisibleChannels
    ingest: Callable[[], IngestActor]
    commands: Callable[[], Actor] | None = None
    journal: ReplyJournal | None = None
    history: History | None = None
    mutes: Mutes | None = None
    allowed: Callable[[Channel], bool] = lambda channel: channel.allowed
    embedder: Callable[[], Embedder] | None = None
    vectors: EmbeddingCache | None = None
    memory_patience: float = 0.0
    send_seconds: float = 5.0


def build_tree(settings: Settings, home: Home, refs: Refs, parts: Parts) -> Tree:
    """Wire everything up; the heartbeat starts first and stops last, the gateway the other way round."""
    root = _supervisor(
        settings,
        "root",
        _heartbeat(settings, refs, parts),
        _supervisor(settings, "engine", *_engine(settings, home, refs, parts)),
        _supervisor(settings, "chat", *_chat(refs, parts)),
    )
    journal = RestartJournal(parts.store)
    return Tree(ActorSystem(root, fatal=(ConfigError, Escalated, Hung), on_restart=journal.note), refs)


def _supervisor(settings: Settings, name: str, *children: ChildSpec | SupervisorSpec) -> SupervisorSpec:
    supervision = settings.supervision
    return SupervisorSpec(
        name=name,
        children=children,
        intensity=supervision.intensity,
        period=supervision.period_seconds,
        backoff=Backoff(base=supervision.backoff_seconds),
    )


def _heartbeat(settings: Settings, refs: Refs, parts: Parts) -> ChildSpec:
    beat = settings.heartbeat
    lifecycle = Lifecycle()
    coach = parts.coach

    def make() -> HeartbeatActor:
        return HeartbeatActor(
            targets=_watched(settings, refs, parts),
            store=parts.store,
            notifier=SdNotify(),
            lifecycle=lifecycle,
            stalled_seconds=parts.model.stalled_seconds,
            activity=lambda: f"model {coach.model_name}" if coach.model_name else "",
            settings=HeartbeatSettings(
                interval_seconds=beat.interval_seconds,
                ping_timeout_seconds=beat.ping_timeout_seconds,
                limits=Limits(stall_seconds=beat.stall_seconds),
            ),
        )

    return ChildSpec(ref=refs.heartbeat, factory=make)


def _watched(settings: Settings, refs: Refs, parts: Parts) -> list[ActorRef]:
    """Return every actor that exists beside the heartbeat."""
    optional = [(refs.retriever, settings.memory.enabled), (refs.commands, parts.commands is not None)]
    return [refs.inference, refs.ingest, refs.responder, refs.gateway, *(ref for ref, there in optional if there)]


def _engine(settings: Settings, home: Home, refs: Refs, parts: Parts) -> tuple[ChildSpec, ...]:
    def inference() -> InferenceActor:
        return InferenceActor(parts.model.make, switch=parts.model, stall_seconds=settings.heartbeat.stall_seconds)

    def memory() -> Memory:
        return memory_for(settings, home.memory, parts.store)  # takes seconds to load, so on the retriever's thread

    def retriever() -> RetrieverActor:
        return RetrieverActor(
            memory_factory=memory,
            store=parts.store,
            visible_channels=parts.visible_channels,
            embedder_factory=parts.embedder,
            cache=parts.vectors,
            settings=RetrieverSettings(
                budget=_SEARCH_SHARE * settings.memory.timeout_seconds, patience=parts.memory_patience
            ),
        )

    start = settings.supervision.start_timeout_seconds
    model = ChildSpec(ref=refs.inference, factory=inference, start_timeout=start, stop_timeout=_MODEL_STOP_SECONDS)
    if not settings.memory.enabled:
        return (model,)
    return (model, ChildSpec(ref=refs.retriever, factory=retriever, start_timeout=start))


def _chat(refs: Refs, parts: Parts) -> tuple[ChildSpec, ...]:
    late: deque[object] = deque()  # what waits for the responder outlives a crash of the gateway

    def responder() -> ResponderActor:
        return ResponderActor(
            store=parts.store,
            inference=refs.inference,
            retriever=refs.retriever,
            gateway=refs.gateway,
            coach=parts.coach,
            settings=parts.reply_settings,
            journal=parts.journal,
            history=parts.history,
            mutes=parts.mutes,
            allowed=parts.allowed,
        )

    def gateway() -> GatewayActor:
        return GatewayActor(
            transport=parts.transport,
            ingest=refs.ingest,
            responder=refs.responder,
            ended=parts.ended,
            commands=refs.commands if parts.commands else None,
            journal=parts.journal,
            late=late,
        )

    children = [
        ChildSpec(ref=refs.ingest, factory=parts.ingest),
        ChildSpec(ref=refs.responder, factory=responder),
    ]
    if parts.commands is not None:
        children.append(ChildSpec(ref=refs.commands, factory=parts.commands))
    return (*children, ChildSpec(ref=refs.gateway, factory=gateway, stop_timeout=parts.send_seconds))
