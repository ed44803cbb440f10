"""What a model is trained on and what it reads when the persona runs are the same tokens for the same conversation."""

import asyncio
from datetime import timedelta
from random import Random
from types import SimpleNamespace

import pytest
import structlog

pytest.importorskip("detect_secrets", reason="needs the extra `prepare`: detect-secrets")
pytest.importorskip("phonenumbers", reason="needs the extra `prepare`: phonenumbers")

from actors.replying.lanes import Lane
from actors.replying.voice import Voice
from actors.replying.writer import ReplyWriter
from persona.demo import demo_model_path
from persona.domain.chat import Channel, ChannelId
from persona.domain.prompt import Identity, render, to_chatml
from persona.domain.speaking import ChannelState
from persona.ports import Arrival
from pipelines.dataset.tokens import open_tokens
from tests.pipelines.prepare_world import GENERAL, NOON, PERMITTED, entry, fill, opened, person, preparer, rows_in, said

WINDOW = 12
PERSONA = person(9, "regular")
WORDS = (  # noqa: SIM905
    "soup \N{EARTH GLOBE EUROPE-AFRICA} e\N{COMBINING ACUTE ACCENT}t\N{COMBINING ACUTE ACCENT} lol <:leek:5> "
    "WHAT https://example.org/a `code` **bold** <#500> <#501> haha"
).split()
OTHER = Channel(id=ChannelId(501), guild_id=GENERAL.guild_id, name="kitchen", guild_name="the greenhouse", allowed=True)
PEOPLE = (PERSONA, person(1, "Ann"), person(2, "ann"), person(3, "B: en\N{RIGHT-TO-LEFT OVERRIDE}"), person(4, "Dan"))


def random_talk(seed):
    rng = Random(seed)
    messages, at = [], 0
    for number in range(rng.randint(8, 60)):
        at += rng.choice((1, 5, 20, 100, 400))
        author = rng.choice(PEOPLE)
        mentions = rng.sample(PEOPLE, rng.randint(0, 2)) if rng.random() < 0.3 else []
        text = " ".join(["so"] + rng.choices(WORDS, k=rng.randint(1, 8)) + [f"<@{each.id}>" for each in mentions])
        if rng.random() < 0.15:
            text += "\nsecond line"
        reply_to = rng.choice(messages).id if messages and rng.random() < 0.25 else None
        messages.append(said(author, text, seconds=at, reply_to=reply_to, mentions=mentions, sequence=number))
    return messages


async def live_tokens(database, messages, answered, tokens):
    """Let the persona's own code read the talk up to a message, in a database, and return its prompt."""
    async with opened(database) as store:
        coach = SimpleNamespace(channel_names=lambda _: _names(store))
        writer = ReplyWriter(store=store, inference=None, retriever=None, coach=coach, log=structlog.get_logger())
        talk = [message for message in messages if message.id <= answered.id][-WINDOW:]
        lane = Lane(state=ChannelState(), talk=talk)
        arrival = Arrival(message=answered, channel=GENERAL, self_id=PERSONA.id, addressed=False)
        voice = Voice(identity=Identity(id=PERSONA.id, name="Pip", server="the greenhouse"))
        scene = await writer._scene(lane, arrival, voice, ())
        return tokens.tokenize(to_chatml(render(scene)))


async def _names(store):
    return {channel.id: channel.name for channel in await store.channels()}


def answered_by(messages, place):
    reply = messages[place].reply_to
    target = next((m for m in messages[:place] if m.id == reply), None)
    return target if target is not None and target.author.id != PERSONA.id else messages[place - 1]


def test_training_prompts_are_live_prompts_token_for_token(tmp_path):
    tokens = open_tokens(demo_model_path())
    compared = 0
    for seed in range(12):
        messages = random_talk(seed)
        database = tmp_path / f"{seed}.db"
        consent = [PERMITTED, *(entry(each.id) for each in PEOPLE)]
        fill(database, messages, channels=(GENERAL, OTHER), entries=consent)
        folder = tmp_path / "runs" / str(seed)
        preparer(database, folder, tokens=20_000, window=WINDOW, cap=1.0, short_copies=10_000, copies=10_000).prepare()
        rows = rows_in(folder / "sft")
        prompts = {}
        for row in rows:
            text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in row["prompt"])
            prompts.setdefault(tuple(tokens.tokenize(text + "<|im_start|>assistant\n")), []).append(row)
        # Every reply of the persona's that begins a burst and answers somebody else must be among the examples.
        for place in range(1, len(messages)):
            message, before = messages[place], messages[place - 1]
            if message.author.id != PERSONA.id or before.author.id == PERSONA.id:
                continue
            answered = answered_by(messages, place)
            if messages.index(answered) < place - WINDOW:
                continue
            live = asyncio.run(live_tokens(database, messages, answered, tokens))
            assert tuple(live) in prompts, f"seed {seed}, message {place}"
            compared += 1
    assert compared > 40


def test_what_follows_a_reply_in_a_prompt_is_what_was_learned(tmp_path):
    """The words that are learned are the words that a later prompt shows as the persona's own."""
    messages = [
        said(PEOPLE[1], "anyone for soup?", seconds=0),
        said(PERSONA, "always <:leek:5>", seconds=5),
        said(PERSONA, "with bread", seconds=9),
        said(PEOPLE[4], "me too", seconds=20),
        said(PERSONA, "then come over", seconds=30),
    ]
    fill(tmp_path / "a.db", messages, entries=[PERMITTED, *(entry(each.id) for each in PEOPLE)])
    preparer(tmp_path / "a.db", tmp_path / "run", cap=1.0).prepare()
    rows = rows_in(tmp_path / "run" / "sft")
    first = next(row for row in rows if len(row["prompt"]) == 2 and "bread" in row["completion"][0]["content"])
    later = next(row for row in rows if row["completion"][0]["content"] == "then come over")
    assert first["completion"] == [{"role": "assistant", "content": "always :leek:\nwith bread"}]
    assert later["prompt"][2] == first["completion"][0]
    assert NOON + timedelta(seconds=30) == messages[-1].created_at
