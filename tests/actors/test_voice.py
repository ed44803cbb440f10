"""Where the persona's voice comes from: the model that was trained on the server, or the server's own history."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from actors.kernel import Actor, ActorSystem, ChildSpec, SupervisorSpec, new_ref
from actors.messages import DescribeModel
from actors.replying.voice import VoiceCoach, VoiceSettings
from persona.adapters.sqlite import SqliteStore
from persona.domain.chat import (
    Author,
    AuthorId,
    Channel,
    ChannelId,
    GuildId,
    Message,
    MessageId,
    Tombstone,
    TombstoneReason,
    snowflake_at,
)
from persona.errors import TransportError
from persona.ports import Arrival, ModelInfo

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PEOPLE = [Author(id=AuthorId(n), name=name, display_name=name) for n, name in ((2, "ann"), (3, "ben"), (4, "cleo"))]
GENERAL = Channel(id=ChannelId(5), guild_id=GuildId(1), name="general", guild_name="the attic", allowed=True)
SECRET = Channel(id=ChannelId(6), guild_id=GuildId(1), name="secret", guild_name="the attic", allowed=True)
WHISPERS = ["the surprise party is friday", "who bakes it", "cleo does", "not a word", "of course", "my lips are shut"]
TALK = ["anyone up for tetris tonight", "yep, after dinner", "lol ok", "brb soup", "that was quick", "it always is"]
UNTRAINED = ModelInfo(name="base", path="", sha256="", context_tokens=512, parameters=1, template="chatml")


class Model(Actor):
    def __init__(self, info):
        self.info = info

    async def receive(self, message):
        return self.info if isinstance(message, DescribeModel) else None


@contextlib.asynccontextmanager
async def school(tmp_path, info=UNTRAINED, settings=None, *, visible=None, monotonic=lambda: 0.0):
    """Yield a coach and its store; `visible` gives the channels that the readers of a channel may read."""

    async def own_channel(channel_id):
        return {channel_id}

    store, inference = SqliteStore(tmp_path / "persona.db"), new_ref("inference")
    await store.open()
    child = ChildSpec(ref=inference, factory=lambda: Model(info))
    system = ActorSystem(SupervisorSpec(name="root", children=(child,)))
    await system.start()
    try:
        await store.put_channels([GENERAL, SECRET])
        yield (
            VoiceCoach(
                store=store,
                inference=inference,
                settings=settings or VoiceSettings(),
                visible_channels=visible or own_channel,
                monotonic=monotonic,
            ),
            store,
        )
    finally:
        await system.stop()
        await store.close()


def voices(tmp_path, info, settings, *, times=1, monotonic=lambda: 0.0):
    """Return the voices that the coach gives, one after the other, with more history before each further one."""

    async def main():
        given = []
        async with school(tmp_path, info, settings, monotonic=monotonic) as (coach, store):
            for number in range(times):
                await store.put_messages([said(number * 1000 + n, TALK[n % len(TALK)]) for n in range(120)])
                given.append(await coach.voice(heard_in(GENERAL)))
        return given

    return asyncio.run(main())


def heard_in(channel):
    return Arrival(message=said(9999, "hi", channel), channel=channel, self_id=AuthorId(1))


def words_of(voice):
    return {line.partition(": ")[2] for exchange in voice.examples for line in exchange.lines}


def said(number, text, channel=GENERAL):
    moment = NOW + timedelta(seconds=20 * number)
    return Message(
        id=MessageId(snowflake_at(moment)),
        channel_id=channel.id,
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


def test_it_shows_only_words_from_channels_that_the_readers_may_read(tmp_path):
    async def visible(channel_id):
        return {GENERAL.id} if channel_id == GENERAL.id else {GENERAL.id, SECRET.id}

    async def main():
        async with school(tmp_path, visible=visible) as (coach, store):
            await store.put_messages([said(n, WHISPERS[n % len(WHISPERS)], SECRET) for n in range(120)])
            inside = await coach.voice(heard_in(SECRET))
            assert words_of(inside) & set(WHISPERS)
            assert words_of(await coach.voice(heard_in(GENERAL))) == set()
            await store.put_messages([said(1000 + n, TALK[n % len(TALK)]) for n in range(120)])
            coach.forget_person()
            outside = await coach.voice(heard_in(GENERAL))
            assert words_of(outside)
            assert words_of(outside) <= set(TALK)
            assert not set(WHISPERS) & {word.strip() for word in outside.style.splitlines()}

    asyncio.run(main())


def test_nothing_is_shown_while_nobody_can_say_who_reads_a_channel(tmp_path):
    async def visible(channel_id):
        raise TransportError("not connected")

    async def main():
        async with school(tmp_path, visible=visible) as (coach, store):
            await store.put_messages([said(n, TALK[n % len(TALK)]) for n in range(120)])
            voice = await coach.voice(heard_in(GENERAL))
            assert (voice.style, voice.examples) == ("", ())

    asyncio.run(main())


def test_what_is_deleted_or_forgotten_is_not_shown_any_more(tmp_path):
    async def main():
        async with school(tmp_path) as (coach, store):
            messages = [said(n, TALK[n % len(TALK)]) for n in range(120)]
            await store.put_messages(messages)
            before = await coach.voice(heard_in(GENERAL))
            shown = {i for example in before.examples for i in example.message_ids}
            coach.forget_messages(shown)  # the store does not know yet
            after = await coach.voice(heard_in(GENERAL))
            assert after.examples
            assert shown.isdisjoint(i for example in after.examples for i in example.message_ids)
            gone = {"channel_id": GENERAL.id, "reason": TombstoneReason.DELETED, "at": NOW}
            await store.bury([Tombstone(message_id=message.id, **gone) for message in messages])
            coach.forget_person()
            assert (await coach.voice(heard_in(GENERAL))).examples == ()

    asyncio.run(main())


def test_it_knows_the_names_of_channels_that_may_be_named(tmp_path):
    async def main():
        async with school(tmp_path) as (coach, _):
            assert await coach.channel_names(GENERAL.id) == {GENERAL.id: "general"}

    asyncio.run(main())
