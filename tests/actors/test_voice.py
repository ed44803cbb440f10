"""Where the persona's voice comes from: the model that was trained on the server, or the server's own history."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from actors.kernel import Actor, ActorSystem, ChildSpec, SupervisorSpec, new_ref
from actors.messages import DescribeModel
from actors.voice import VoiceCoach, VoiceSettings
from persona.adapters.sqlite import SqliteStore
from persona.domain.chat import Author, AuthorId, Channel, ChannelId, GuildId, Message, MessageId, snowflake_at
from persona.ports import Arrival, ModelInfo

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PEOPLE = [Author(id=AuthorId(n), name=name, display_name=name) for n, name in ((2, "ann"), (3, "ben"), (4, "cleo"))]
GENERAL = Channel(id=ChannelId(5), guild_id=GuildId(1), name="general", guild_name="the attic", allowed=True)
TALK = ["anyone up for tetris tonight", "yep, after dinner", "lol ok", "brb soup", "that was quick", "it always is"]
UNTRAINED = ModelInfo(name="base", path="", sha256="", context_tokens=512, parameters=1, template="chatml")


class Model(Actor):
    def __init__(self, info):
        self.info = info

    async def receive(self, message):
        return self.info if isinstance(message, DescribeModel) else None


def voices(tmp_path, info, settings, *, times=1, monotonic=lambda: 0.0):
    """Return the voices that the coach gives, one after the other, with more history before each further one."""

    async def main():
        store, inference = SqliteStore(tmp_path / "persona.db"), new_ref("inference")
        await store.open()
        child = ChildSpec(ref=inference, factory=lambda: Model(info))
        system = ActorSystem(SupervisorSpec(name="root", children=(child,)))
        await system.start()
        coach = VoiceCoach(store=store, inference=inference, settings=settings, monotonic=monotonic)
        given = []
        try:
            await store.put_channels([GENERAL])
            for number in range(times):
                await store.put_messages([said(number * 1000 + n, TALK[n % len(TALK)]) for n in range(120)])
                given.append(await coach.voice(Arrival(message=said(9999, "hi"), channel=GENERAL, self_id=AuthorId(1))))
        finally:
            await system.stop()
            await store.close()
        return given

    return asyncio.run(main())


def said(number, text):
    moment = NOW + timedelta(seconds=20 * number)
    return Message(
        id=MessageId(snowflake_at(moment)),
        channel_id=GENERAL.id,
        author=PEOPLE[number % 3],
        content=text,
        created_at=moment,
    )


def test_an_untrained_model_gets_a_style_card_and_real_exchanges(tmp_path):
    (voice,) = voices(tmp_path, UNTRAINED, VoiceSettings(examples=2))
    assert voice.style
    assert 1 <= len(voice.examples) <= 2
    lines = [line for exchange in voice.examples for line in exchange.lines]
    assert all(line.partition(": ")[2] in TALK for line in lines)
    assert (voice.identity.name, voice.identity.server) == ("Persona", "the attic")


def test_a_trained_model_needs_neither(tmp_path):
    trained = replace(UNTRAINED, prompt_hash="x", persona_name="Pip", server_name="the night kitchen")
    (voice,) = voices(tmp_path, trained, VoiceSettings())
    assert (voice.style, voice.examples) == ("", ())
    assert voice.identity.name == "Pip"


@pytest.mark.parametrize(("choice", "info"), [("never", UNTRAINED), ("always", replace(UNTRAINED, prompt_hash="x"))])
def test_the_owner_may_decide(tmp_path, choice, info):
    (voice,) = voices(tmp_path, info, VoiceSettings(style_card=choice))
    assert bool(voice.style) is (choice == "always")


def test_names_in_the_settings_win(tmp_path):
    trained = replace(UNTRAINED, persona_name="Pip", server_name="the night kitchen")
    (voice,) = voices(tmp_path, trained, VoiceSettings(name="Nib", server="the cellar"))
    assert (voice.identity.name, voice.identity.server) == ("Nib", "the cellar")


def test_the_voice_is_kept_for_a_day_and_then_learned_again(tmp_path):
    times = iter([0.0, 3600.0, 90_000.0])
    first, same, fresh = voices(tmp_path, UNTRAINED, VoiceSettings(), times=3, monotonic=lambda: next(times))
    assert first == same
    assert fresh.style
