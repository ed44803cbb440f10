"""Who the persona is and how it should sound: from the model where that was trained, else from the store."""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from actors.kernel import ActorCrashed, ActorRef, ActorStopped, AskTimeout
from actors.messages import DescribeModel
from actors.retriever import VisibleChannels
from persona.domain.chat import AuthorId, ChannelId, Message, MessageId
from persona.domain.prompt import Exchange, Identity
from persona.domain.style import choose_examples, style_card
from persona.errors import PersonaError
from persona.ports import Arrival, MessageStore, ModelInfo

_SAMPLE_MESSAGES = 3000
_REFRESH_SECONDS = 24 * 3600.0
_DESCRIBE_TIMEOUT_SECONDS = 30.0
_LESSONS_KEPT = 16
_GONE_KEPT = 10_000
_LEAST_SHARE = 0.5
"""A lesson from at least this share of the channels that a reader may see will do: a new thread changes little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """What the prompt says about the persona; `style` and `examples` are empty for a model trained on this server."""

    identity: Identity
    style: str = ""
    examples: tuple[Exchange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceSettings:
    """Names from the settings win over the model's; `style_card` is auto, always or never."""

    name: str = ""
    server: str = ""
    style_card: str = "auto"
    examples: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    """What was learned from the history of some channels."""

    channels: frozenset[ChannelId]
    learned_at: float
    style: str
    examples: tuple[Exchange, ...]

    def shows(self, message_ids: Collection[MessageId]) -> bool:
        """Say whether one of the messages stands in an example."""
        return any(message_id in message_ids for example in self.examples for message_id in example.message_ids)


class VoiceCoach:
    """Prepares the voice once a day from a sample of the store and keeps it in between.

    What it learns for a channel comes only from channels that everybody who reads that one may read, too. It outlives
    the actors that ask it: `self_id` is the persona's own account as soon as one of them has met it.
    """

    def __init__(
        self,
        *,
        store: MessageStore,
        inference: ActorRef,
        settings: VoiceSettings,
        visible_channels: VisibleChannels,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.self_id: AuthorId | None = None
        self._store = store
        self._inference = inference
        self._settings = settings
        self._visible_channels = visible_channels
        self._monotonic = monotonic
        self._model: ModelInfo | None = None
        self._lessons: list[_Lesson] = []
        self._gone: dict[MessageId, None] = {}
        self._forgettings = 0

    @property
    def model_name(self) -> str:
        """The model's name; empty until it was asked."""
        return self._model.name if self._model else ""

    @property
    def name(self) -> str:
        """The persona's name: from the settings, else from the model, as soon as that was asked."""
        return self._settings.name or (self._model and self._model.persona_name) or "Persona"

    async def voice(self, arrival: Arrival) -> Voice:
        """Return the voice for a reply in the arrival's channel."""
        model = await self._describe()
        identity = Identity(
            id=arrival.self_id,
            name=self.name,
            server=self._settings.server
            or arrival.channel.guild_name
            or (model and model.server_name)
            or "this server",
        )
        if not self._wants_card(model):
            return Voice(identity=identity)
        lesson = await self._lesson(await self._visible(arrival.channel.id), arrival.self_id)
        return Voice(identity=identity, style=lesson.style, examples=lesson.examples)

    async def channel_names(self, channel_id: ChannelId) -> Mapping[ChannelId, str]:
        """Return the names of the channels that everybody who reads a channel may read, too."""
        visible = await self._visible(channel_id)
        return {channel.id: channel.name for channel in await self._store.channels() if channel.id in visible}

    def model_changed(self, info: ModelInfo) -> None:
        """Speak with this model from now on: it may need a style card, or none any more, and have another name."""
        self._model = info

    def forget_person(self) -> None:
        """Let go of everything that was learned: somebody's words must not be part of it any more."""
        self._forgettings += 1
        self._lessons.clear()

    def forget_messages(self, message_ids: Collection[MessageId]) -> None:
        """Never show these messages as they were: they are deleted or edited, which the store learns a little later."""
        self._gone.update(dict.fromkeys(message_ids))
        for old in list(self._gone)[:-_GONE_KEPT]:
            del self._gone[old]
        self._lessons = [lesson for lesson in self._lessons if not lesson.shows(message_ids)]

    def _wants_card(self, model: ModelInfo | None) -> bool:
        if self._settings.style_card == "auto":
            return model is not None and model.prompt_hash is None
        return self._settings.style_card == "always"

    async def _describe(self) -> ModelInfo | None:
        """Ask the model once who it is; a crash in between only costs this reply the answer."""
        if self._model is None:
            try:
                self._model = await self._inference.ask(DescribeModel(), timeout=_DESCRIBE_TIMEOUT_SECONDS)
            except (AskTimeout, ActorCrashed, ActorStopped):
                return None
        return self._model

    async def _visible(self, channel_id: ChannelId) -> frozenset[ChannelId]:
        """Return what may be shown in a channel; nothing while nobody can say."""
        try:
            return frozenset(await self._visible_channels(channel_id))
        except PersonaError:
            return frozenset()

    async def _lesson(self, visible: frozenset[ChannelId], self_id: AuthorId) -> _Lesson:
        """Return what is known for an audience; learn it where that is nothing, too little or too old."""
        now = self._monotonic()
        self._lessons = [lesson for lesson in self._lessons if now - lesson.learned_at <= _REFRESH_SECONDS]
        fit = [
            lesson
            for lesson in self._lessons
            if lesson.channels <= visible and len(lesson.channels) >= _LEAST_SHARE * len(visible)
        ]
        if fit:
            return max(fit, key=lambda lesson: len(lesson.channels))
        lesson, forgettings = None, -1
        while lesson is None or forgettings != self._forgettings:  # somebody was forgotten meanwhile: once more
            forgettings = self._forgettings
            lesson = await self._learn(visible, self_id, now)
        self._lessons = [*self._lessons, lesson][-_LESSONS_KEPT:]
        return lesson

    async def _learn(self, channels: frozenset[ChannelId], self_id: AuthorId, now: float) -> _Lesson:
        sample = await self._store.sample(_SAMPLE_MESSAGES, channel_ids=channels) if channels else ()
        shown = [message for message in sample if message.id not in self._gone]
        style, examples = await asyncio.to_thread(_study, shown, self_id, self._settings.examples)
        kept = tuple(example for example in examples if self._gone.keys().isdisjoint(example.message_ids))
        return _Lesson(channels=channels, learned_at=now, style=style, examples=kept)


def _study(sample: list[Message], self_id: AuthorId, limit: int) -> tuple[str, tuple[Exchange, ...]]:
    """Return the style card and the examples; on a thread, as it takes a noticeable part of a second."""
    # A fixed seed: the same history gives the same prompt, so the model's cache of it stays valid.
    chance = random.Random(0)  # noqa: S311
    examples = choose_examples(sample, self_id=self_id, limit=limit, chance=chance)
    return (style_card(sample).text if sample else "", tuple(examples))
