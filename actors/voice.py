"""Who the persona is and how it should sound: from the model where that was trained, else from the store."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from actors.kernel import ActorCrashed, ActorRef, ActorStopped, AskTimeout
from actors.messages import DescribeModel
from persona.domain.prompt import Exchange, Identity
from persona.domain.style import choose_examples, style_card
from persona.ports import Arrival, MessageStore, ModelInfo

_SAMPLE_MESSAGES = 3000
_REFRESH_SECONDS = 24 * 3600.0
_DESCRIBE_TIMEOUT_SECONDS = 30.0


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


class VoiceCoach:
    """Prepares the voice once a day from a sample of the store and keeps it in between."""

    def __init__(
        self,
        *,
        store: MessageStore,
        inference: ActorRef,
        settings: VoiceSettings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._inference = inference
        self._settings = settings
        self._monotonic = monotonic
        self._model: ModelInfo | None = None
        self._learned: tuple[str, tuple[Exchange, ...]] = ("", ())
        self._learned_at: float | None = None

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
        style, examples = await self._learn(arrival)
        return Voice(identity=identity, style=style, examples=examples)

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

    async def _learn(self, arrival: Arrival) -> tuple[str, tuple[Exchange, ...]]:
        now = self._monotonic()
        if self._learned_at is None or now - self._learned_at > _REFRESH_SECONDS:
            channels = [channel.id for channel in await self._store.channels(allowed_only=True)]
            sample = await self._store.sample(_SAMPLE_MESSAGES, channel_ids=channels) if channels else ()
            # A fixed seed: the same history gives the same prompt, so the model's cache of it stays valid.
            chosen = choose_examples(
                sample,
                self_id=arrival.self_id,
                limit=self._settings.examples,
                chance=random.Random(0),  # noqa: S311
            )
            card = style_card(sample) if sample else None
            self._learned = (card.text if card else "", tuple(chosen))
            self._learned_at = now
        return self._learned
