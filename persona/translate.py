"""Translates config.toml into what the actors need."""

from actors.ingest import IngestSettings
from actors.reading.catch_up_round import CatchUpSettings
from actors.replying.settings import ReplySettings
from actors.replying.voice import VoiceSettings
from persona.config import Settings
from persona.domain.catching_up import Rules
from persona.domain.delivery import DeliveryLimits
from persona.domain.speaking import SpeakingRules
from persona.ports import Sampling


def reply_settings(settings: Settings) -> ReplySettings:
    """Return what the responder needs."""
    return ReplySettings(
        rules=speaking_rules(settings),
        limits=DeliveryLimits(
            max_burst=settings.reply.max_burst,
            characters_per_second=settings.reply.typing_characters_per_second,
        ),
        sampling=sampling(settings),
        window_messages=settings.reply.window_messages,
        deadline_seconds=settings.reply.deadline_seconds,
        memory_limit=settings.memory.limit if settings.memory.enabled else 0,
        memory_timeout_seconds=settings.memory.timeout_seconds,
        slots=settings.model.slots,
    )


def speaking_rules(settings: Settings) -> SpeakingRules:
    """Return when the persona speaks."""
    speaking = settings.speaking
    return SpeakingRules(
        enabled=speaking.enabled,
        rate=speaking.rate,
        active_rate=speaking.active_rate,
        active_minutes=speaking.active_minutes,
        cooldown_seconds=speaking.cooldown_seconds,
        max_age_seconds=speaking.max_age_seconds,
        mentions_only=speaking.mentions_only,
        names=(settings.persona.name, *settings.persona.nicknames),
        answer_everything_in_terminal=settings.terminal.answer_everything,
    )


def sampling(settings: Settings) -> Sampling:
    """Return how the next token is drawn."""
    wanted = settings.sampling
    return Sampling(
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        top_k=wanted.top_k,
        min_p=wanted.min_p,
        repetition_penalty=wanted.repetition_penalty,
        max_tokens=wanted.max_tokens,
        seed=None if wanted.seed < 0 else wanted.seed,
    )


def voice_settings(settings: Settings) -> VoiceSettings:
    """Return what the voice coach needs."""
    return VoiceSettings(
        name=settings.persona.name,
        server=settings.persona.server,
        style_card=settings.model.style_card,
        examples=settings.reply.examples,
    )


def ingest_settings(settings: Settings) -> IngestSettings:
    """Return what ingest needs."""
    discord = settings.discord
    return IngestSettings(
        fresh_seconds=settings.speaking.max_age_seconds,
        catch_up=CatchUpSettings(
            requests_per_second=discord.requests_per_second,
            rules=Rules(hours=discord.reconcile_hours, messages=discord.reconcile_messages),
        ),
    )
