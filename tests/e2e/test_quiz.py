"""A whole quiz on the fake Discord: the card, the questions each for one pair of eyes, a restart, and the result."""

import asyncio
import hashlib

from persona.domain.chat import MessageId
from persona.domain.quiz import Quiz, QuizQuestion, write_quiz
from tests.fakes.command_stage import HISTORY, Stage
from tests.fakes.discord import FakeDiscord
from tests.fakes.live import LiveFolder, eventually, id_of
from tests.fakes.live_tree import living_tree

QUESTIONS = 3
RATER = "configured id"
LONG_AGO = "message number 0 of long ago"


async def write_file(here, life):
    """Write the quiz that `blindtest make` would: about the messages in the kitchen, the person always on the left."""
    key = await life.store.ledger.lineage_key()
    said = [message for message in here.world.messages(here.kitchen) if message["content"].startswith("message number")]
    questions = tuple(
        QuizQuestion(
            context=(f"ann: {said[number]['content']}",),
            left=(f"person {number} @everyone",),
            right=(f"machine {number}", f"<@{id_of(here.people['member'])}>"),
            human="left",
            marks=(key.message(MessageId(id_of(said[number]))).hex(),),
        )
        for number in range(QUESTIONS)
    )
    quiz = Quiz(test_id=hashlib.sha256(b"quiz").hexdigest(), questions=questions)
    (here.folder.folder / "data" / "quiz.json").write_text(write_quiz(quiz), encoding="utf-8")


def buttons_of(message):
    """Return the ids of a message's buttons by label."""
    return {one["label"]: one["custom_id"] for row in message["components"] for one in row["components"]}


async def press(here, who, message, label, says):
    """Press a button until its answer `says` so; return the message that shows it."""
    handle = here.world.click(here.people[who], message, buttons_of(message)[label])
    await handle.wait_for(lambda it: says in it.text, 10)
    assert handle.ephemeral
    assert not any(shown.get("pings") for shown in handle.messages)
    return handle.messages[-1]


def counts(here):
    """Return who answered how many questions, and how many rightly."""
    return here.folder.rows("SELECT author_id, count(*), sum(is_right) FROM quiz_answers GROUP BY 1 ORDER BY 1")


def staged(tmp_path, fake, gguf):
    """A server and a persona's folder on it."""
    here = Stage(fake)
    settings = {
        "persona": {"name": "Pip"},
        "model": {"path": str(gguf)},
        "memory": {"enabled": False},
        "discord": here.config,
    }
    here.folder = LiveFolder(tmp_path, fake, channels=[here.kitchen], settings=settings)
    return here


def lived(tmp_path, gguf, play, *, prepare=lambda here: None):
    """Live once, with a quiz file about the history, and play."""

    async def main():
        async with FakeDiscord(seed=0, heartbeat_seconds=1) as fake:
            here = staged(tmp_path, fake, gguf)
            prepare(here)
            async with living_tree(here.folder) as life:
                await eventually(lambda: len(here.folder.stored()) >= HISTORY, seconds=10, what="the history is read")
                await write_file(here, life)
                boss = here.people["server owner"].id
                await play(here, here.fake.interactions.invoke(boss, here.kitchen.id, "quizcard", {}))

    asyncio.run(main())


def test_a_quiz_from_its_card_over_a_restart_to_the_result(tmp_path, scripted_gguf):
    async def main():
        async with FakeDiscord(seed=0, heartbeat_seconds=1) as fake:
            here = staged(tmp_path, fake, scripted_gguf)
            async with living_tree(here.folder) as life:
                await eventually(lambda: len(here.folder.stored()) >= HISTORY, seconds=10, what="the history is read")
                card = await first_life(here, life)
            async with living_tree(here.folder):
                await second_life(here, card)

    async def first_life(here, life):
        boss = here.people["server owner"].id
        none = here.fake.interactions.invoke(boss, here.kitchen.id, "quizcard", {})
        await none.wait_for(lambda it: "There is no quiz yet" in it.text, 10)
        await write_file(here, life)
        posted = here.fake.interactions.invoke(boss, here.kitchen.id, "quizcard", {"hours": 5})
        await posted.wait_for(lambda it: "Can you tell Pip from a person?" in it.text, 10)
        assert not posted.ephemeral
        (card,) = posted.messages
        question = await press(here, RATER, card, "Take part", "**1 of 3.**")
        # The next question takes the place of the last: one message, seen by one person.
        again = await press(here, RATER, question, "A is the person", "**2 of 3.**")
        assert again["id"] == question["id"]
        await press(here, "Manage Server", card, "Take part", "**1 of 3.**")
        # Whoever wrote the replies knows them.
        await press(here, "member", card, "Take part", "None of its questions can be shown")
        assert counts(here) == [(id_of(here.people[RATER]), 1, 1)]
        # What only buttons give is not offered to be filled in.
        assert here.fake.interactions.commands.find(here.guild.id, "quiz", 1)["options"] == []
        return card

    async def second_life(here, card):
        question = await press(here, RATER, card, "Take part", "**2 of 3.**")
        question = await press(here, RATER, question, "B is the person", "**3 of 3.**")
        await press(here, RATER, question, "A is the person", "thank you")
        ann = id_of(here.people[RATER])
        assert counts(here) == [(ann, 3, 2)]
        boss = here.people["server owner"].id
        stopped = here.fake.interactions.invoke(boss, here.kitchen.id, "quizcard", {"action": "stop"})
        await stopped.wait_for(lambda it: "1 person gave 3 answers" in it.text, 10)
        assert "**67%**" in stopped.text
        await press(here, RATER, card, "Take part", "You: 2 of 3.")
        stood = here.world.messages(here.kitchen)
        assert not any("of 3.**" in message.content for message in stood if not message["flags"] & 64)
        here.fake.interactions.invoke(here.people[RATER].id, here.kitchen.id, "forget", {"confirm": True})
        await eventually(lambda: not counts(here), seconds=10, what="answers of the forgotten are gone")

    asyncio.run(main())


def test_the_past_of_a_channel_is_not_shown_to_whoever_may_not_read_it(tmp_path, scripted_gguf):
    def prepare(here):  # as servers do in channels for venting: who was not there shall not read it later
        here.world.deny(here.kitchen, "read_message_history", role=here.guild)
        here.world.allow(here.kitchen, "read_message_history")

    async def play(_here, posted):
        await posted.wait_for(lambda it: "None of the questions may be shown here" in it.text, 10)

    lived(tmp_path, scripted_gguf, play, prepare=prepare)


def test_no_word_of_the_forgotten_stays_in_the_data_folder(tmp_path, scripted_gguf):
    def left(here):
        files = (here.folder.folder / "data").rglob("*")
        return [file.name for file in files if file.is_file() and LONG_AGO.encode() in file.read_bytes()]

    async def play(here, posted):
        await posted.wait_for(lambda it: "Can you tell Pip" in it.text, 10)
        assert "quiz.json" in left(here)
        gone = here.fake.interactions.invoke(here.people["member"].id, here.kitchen.id, "forget", {"confirm": True})
        await gone.wait_for(lambda it: "Done" in it.text, 10)
        await eventually(lambda: not left(here), seconds=20, what="files are written anew")

    lived(tmp_path, scripted_gguf, play)
