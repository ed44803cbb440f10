"""The voice follows the model that answers: its name, and whether the style has to be described."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from actors.kernel import new_ref
from actors.replying.voice import VoiceCoach, VoiceSettings
from persona.adapters.sqlite import SqliteStore
from persona.domain.chat import Author, AuthorId, Channel, ChannelId, GuildId, Message, MessageId, snowflake_at
from persona.ports import Arrival, ModelInfo

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ROOM = Channel(id=ChannelId(5), guild_id=GuildId(1), name="general", guild_name="the attic", allowed=True)
BASE = ModelInfo(name="base", path="", sha256="", context_tokens=512, parameters=1, template="chatml")
TRAINED = replace(BASE, name="server-1", prompt_hash="f" * 64, persona_name="Pip")
TALK = ["anyone up for tetris tonight", "yep, after dinner", "lol ok", "brb soup", "that was quick", "it always is"]


def said(number):
    moment = NOW + timedelta(seconds=20 * number)
    author = Author(id=AuthorId(2 + number % 3), name=f"u{number % 3}", display_name=f"u{number % 3}")
    text = TALK[number % len(TALK)]
    message_id = MessageId(snowflake_at(moment))
    return Message(id=message_id, channel_id=ROOM.id, author=author, content=text, created_at=moment)


def test_another_model_changes_name_and_style_card_at_once(tmp_path):
    async def visible(channel_id):
        return {channel_id}

    async def main():
        store = SqliteStore(tmp_path / "persona.db")
        await store.open()
        try:
            await store.put_channels([ROOM])
            await store.put_messages([said(number) for number in range(120)])
            # Nobody is there to be asked: what it knows of the model is what it is told.
            coach = VoiceCoach(
                store=store, inference=new_ref("nobody"), settings=VoiceSettings(), visible_channels=visible
            )
            arrival = Arrival(message=said(9999), channel=ROOM, self_id=AuthorId(1))
            told = []
            for info in (BASE, TRAINED, BASE):
                coach.model_changed(info)
                voice = await coach.voice(arrival)
                told.append((coach.model_name, voice.identity.name, bool(voice.style), bool(voice.examples)))
            return told
        finally:
            await store.close()

    assert asyncio.run(main()) == [
        ("base", "Persona", True, True),
        ("server-1", "Pip", False, False),
        ("base", "Persona", True, True),
    ]
