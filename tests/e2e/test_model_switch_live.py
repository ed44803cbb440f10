"""The program on Discord, while its owner chooses another model with `persona model use`."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime

from persona.adapters.models import ModelRegistry, Origin, publish
from persona.adapters.sqlite import SqliteStore
from persona.domain.lineage import LINEAGE_FILE, encode_lineage, lineage_of
from tests.fakes.discord import FakeDiscord
from tests.fakes.live import REPLY_SECONDS, ROOT, LiveProcess, eventually, id_of
from tests.fakes.tiny_gguf import TinyModel, write_tiny_gguf

OLD, NEW = "so says the old", "thus spake the new"


def persona(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PERSONA_", "DISCORD_"))}
    return subprocess.run(
        [sys.executable, "-m", "persona", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def models_in(folder):
    for name, words in (("old", OLD), ("new", NEW)):
        script = [f"{word} " for word in words.split()[:-1]] + [words.split()[-1]]
        source = write_tiny_gguf(folder / f"{name}.src", TinyModel(script=script))
        publish(source, folder / "models", name=name, use=name == "old")
    return ModelRegistry(folder / "models")


class Scene:
    """A server with the bot on it and a room for each of some people, so that they talk at the same time."""

    def __init__(self, folder, fake):
        self.world = fake.world
        self.guild = fake.world.add_guild("the night kitchen")
        self.people = [fake.world.add_member(self.guild, f"person{number}") for number in range(3)]
        self.rooms = [fake.world.add_channel(self.guild, f"room{number}") for number in range(3)]
        settings = {"memory": {"enabled": False}, "persona": {"name": "Pip"}, "model": {"style_card": "never"}}
        self.live = LiveProcess(folder, fake, channels=self.rooms, settings=settings)

    def mention(self, number):
        return self.world.say(self.rooms[number], self.people[number], f"<@{self.world.bot.id}> and now?")

    async def answer(self, message):
        found = await eventually(
            lambda: self.live.answers_to(message), seconds=REPLY_SECONDS, what="an answer", every=0.01
        )
        wanted = "SELECT outcome, model FROM replies WHERE message_id = ?"
        (row,) = await eventually(
            lambda: self.live.rows(wanted, id_of(message)), seconds=10, what="the bookkeeping", every=0.02
        )
        return [post.json["content"] for post in found], row


def test_the_owner_chooses_another_model_and_not_one_message_is_lost(tmp_path):
    async def main():
        registry = models_in(tmp_path)
        async with FakeDiscord(seed=0, heartbeat_seconds=1) as fake:
            here = Scene(tmp_path, fake)
            async with here.live:
                await here.live.start()
                said, stop = [], asyncio.Event()

                async def talk(number):
                    while not stop.is_set():
                        said.append(here.mention(number))
                        await here.answer(said[-1])

                talkers = [asyncio.create_task(talk(number)) for number in range(3)]
                await eventually(lambda: len(said) > 9, seconds=30, what="they talk")
                used = await asyncio.to_thread(persona, tmp_path, "model", "use", "new")
                assert used.returncode == 0, used.stderr
                assert "new is the model in use. The running persona takes it over within seconds" in used.stdout
                await eventually(lambda: here.live.events("model_switched"), seconds=20, what="the switch")
                now = len(said)
                await eventually(lambda: len(said) > now + 9, seconds=30, what="they talk on")
                stop.set()
                await asyncio.gather(*talkers)
                answers = [await here.answer(message) for message in said]
                assert all(len(texts) == 1 for texts, _ in answers), "every message has exactly one answer"
                assert {(texts[0], row[0]) for texts, row in answers} == {(OLD, "sent"), (NEW, "sent")}
                # The model in a reply's row is the one that answers when the reply is out: at the seam they may differ.
                rows = Counter((texts[0], row[1]) for texts, row in answers)
                assert rows[NEW, "old"] == 0
                assert rows[OLD, "new"] <= len(talkers)
                counts = Counter(texts[0] for texts, _ in answers[now + 3 :])
                assert set(counts) == {NEW}
                assert here.live.rows("SELECT count(*) FROM restarts") == [(0,)]

                back = await asyncio.to_thread(persona, tmp_path, "model", "rollback")
                assert "old is the model in use" in back.stdout
                await eventually(
                    lambda: len(here.live.events("model_switched")) == 2, seconds=20, what="the switch back"
                )
                texts, row = await here.answer(here.mention(0))
                assert (texts, row) == ([OLD], ("sent", "old"))
                assert registry.read().current == "old"
                assert await here.live.stop() == 0

    asyncio.run(main())


def test_a_model_that_cannot_be_loaded_is_named_by_status_and_the_old_one_goes_on(tmp_path):
    async def main():
        registry = models_in(tmp_path)
        whole = write_tiny_gguf(tmp_path / "whole", TinyModel(seed=3))
        (tmp_path / "broken").write_bytes(whole.read_bytes().replace(b"blk.1.attn_q.w", b"blk.1.attn_x.w"))
        publish(tmp_path / "broken", registry.folder, name="broken")
        async with FakeDiscord(seed=0, heartbeat_seconds=1) as fake:
            here = Scene(tmp_path, fake)
            boss = fake.world.owner
            fake.world.join(here.guild, boss)
            async with here.live:
                await here.live.start()
                assert persona(tmp_path, "model", "use", "broken").returncode == 0
                (failed,) = await eventually(
                    lambda: here.live.events("model_switch_failed"), seconds=20, what="the failure is logged"
                )
                assert (failed["model"], failed["stays"]) == ("broken", "old")
                assert (await here.answer(here.mention(1)))[0] == [OLD]
                asked = fake.world.say(here.rooms[0], boss, "!status")

                def shown():
                    replies = [post.json["content"] for post in here.live.answers_to(asked)]
                    return [text for text in replies if "**Model** old; broken was chosen" in text]

                await eventually(shown, seconds=10, what="status says so")
                assert await here.live.stop() == 0
                # A start cannot go on with an old model: it says what to do.
                ended = persona(tmp_path, "chat", "--json")
                assert ended.returncode == 78, (ended.stdout, ended.stderr)
                assert "broken.gguf" in ended.stderr
                assert persona(tmp_path, "model", "rollback").returncode == 0
                await here.live.start()
                assert (await here.answer(here.mention(2)))[0] == [OLD]

    asyncio.run(main())


def test_a_model_trained_on_other_prompts_is_refused_at_the_start_with_the_way_out(tmp_path):
    registry = models_in(tmp_path)
    (tmp_path / "config.toml").write_text("[memory]\nenabled = false\n", encoding="utf-8")
    foreign = write_tiny_gguf(tmp_path / "foreign.src", TinyModel(metadata={"persona.prompt_hash": "0" * 64}))
    publish(foreign, registry.folder, name="foreign", use=True)
    ended = persona(tmp_path, "chat", "--json")
    assert ended.returncode == 78, (ended.stdout, ended.stderr)
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "another version of the prompt renderer" in ended.stderr
    assert "persona model rollback" in ended.stderr
    assert persona(tmp_path, "model", "rollback").returncode == 0
    assert registry.read().current == "old"
    assert persona(tmp_path, "chat", "--json").returncode == 0


def test_forgetting_marks_the_model_and_the_owner_is_told(tmp_path):
    async def main():
        async with FakeDiscord(seed=0, heartbeat_seconds=1) as fake:
            here = Scene(tmp_path, fake)
            write_tiny_gguf(tmp_path / "model.src", TinyModel(script=["hm"]))
            async with here.live:
                await here.live.start()
                first = here.world.say(here.rooms[0], here.people[0], "I like plums")
                await eventually(lambda: id_of(first) in here.live.stored(), seconds=10, what="it is stored")
                assert await here.live.stop() == 0
        store = SqliteStore(here.live.database)
        await store.open()
        key = await store.ledger.lineage_key()
        await store.close()
        for name, ids in (("with-plums", [id_of(first)]), ("without", [1])):
            run = tmp_path / "runs" / name
            run.mkdir(parents=True)
            (run / LINEAGE_FILE).write_bytes(encode_lineage(lineage_of(key, datetime.now(UTC), ids, [])))
            source = write_tiny_gguf(tmp_path / f"{name}.src", TinyModel(script=["hm"], seed=len(name)))
            publish(source, tmp_path / "models", name=name, origin=Origin(run=run), use=True)
        forgot = persona(tmp_path, "forget", str(here.people[0].id), "--yes")
        assert forgot.returncode == 0, forgot.stderr
        assert "model with-plums holds forgotten things (1 messages" in forgot.stdout
        assert "model without" not in forgot.stdout
        listed = persona(tmp_path, "model", "list")
        assert "with-plums (marked)" in listed.stdout
        assert "with-plums contains words of somebody who asked to be forgotten (1 messages, 0 people): train anew" in (
            " ".join(listed.stdout.split())
        )
        used = persona(tmp_path, "model", "use", "with-plums")
        assert used.returncode == 0
        assert "asked to be forgotten" in used.stderr
        assert "asked to be forgotten" in persona(tmp_path, "model", "check").stdout

    asyncio.run(main())
