"""Another model while the old one answers: real kernel, real llama.cpp, a real list of models on the disk."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from actors.inference import InferenceActor
from actors.kernel import ActorSystem, Backoff, ChildSpec, Escalated, Hung, SupervisorSpec, new_ref
from actors.messages import DescribeModel, Generate, Ping
from persona.adapters.llama import llama_engine_factory
from persona.adapters.models import ModelRegistry, publish
from persona.config import Settings
from persona.config_tables import ModelSection, StorageSection
from persona.domain.model_list import ModelMark
from persona.domain.prompt import Role, Turn
from persona.errors import ModelFileError
from persona.model_choice import choose_model
from persona.model_following import ModelFollower
from persona.model_slot import ModelSlot
from persona.ports import ChatRequest, Sampling
from tests.fakes.tiny_gguf import TinyModel, write_tiny_gguf

SCRIPTS = {"old": ["so ", "says ", "the ", "old"], "new": ["thus ", "spake ", "the ", "new"]}
SAYS = {name: "".join(script) for name, script in SCRIPTS.items()}


def request(line="ann: hey", tokens=12):
    turns = (Turn(role=Role.SYSTEM, lines=("You are Pip.",)), Turn(role=Role.USER, lines=(line,)))
    return ChatRequest(turns=turns, sampling=Sampling(temperature=0, repetition_penalty=1, max_tokens=tokens))


@pytest.fixture
def folder(tmp_path):
    """A models folder with two models that can be told apart, the old one in use."""
    for name, script in SCRIPTS.items():
        source = write_tiny_gguf(tmp_path / f"{name}.src", TinyModel(script=script))
        publish(source, tmp_path / "models", name=name, use=name == "old")
    return tmp_path / "models"


class Life:
    """A tree with an inference actor that follows the list of a folder."""

    def __init__(self, folder, *, fits):
        self.registry = ModelRegistry(folder)
        self.settings = Settings(model=ModelSection(threads=1), storage=StorageSection(models=folder))
        follower = ModelFollower(self.settings, fits=lambda *_: fits)
        self.infos, self.restarts = [], []
        engine = llama_engine_factory(choose_model(self.settings).llama)
        self.slot = ModelSlot(engine, follower=follower, on_model=self.infos.append)
        self.ref = new_ref("inference")

    def make(self):
        self.actor = InferenceActor(self.slot.make, switch=self.slot, watch_seconds=0.02, switch_seconds=0.02)
        return self.actor

    @contextlib.asynccontextmanager
    async def running(self):
        root = SupervisorSpec(
            name="root",
            children=(ChildSpec(ref=self.ref, factory=self.make, stop_timeout=20.0),),
            backoff=Backoff(base=0.01),
        )
        self.system = system = ActorSystem(
            root, fatal=(Hung, ModelFileError), on_restart=lambda _, error: self.restarts.append(error)
        )
        await system.start()
        try:
            yield self
        finally:
            await system.stop()

    def choose(self, name):
        self.registry.change(lambda models: models.using(name))

    async def say(self, line="ann: hey", **fields):
        return (await self.ref.ask(Generate(request=request(line, **fields)), timeout=20)).text

    async def described(self, part):
        async with asyncio.timeout(20):
            while part not in self.slot.describe():
                await asyncio.sleep(0.01)


def living(folder, scenario, *, fits=True):
    async def main():
        async with Life(folder, fits=fits).running() as life:
            return await scenario(life)

    return asyncio.run(main())


@pytest.mark.parametrize("fits", [True, False])
def test_everything_asked_during_a_switch_is_answered_and_later_by_the_new_model(folder, fits):
    async def scenario(life):
        answers, stop = [], asyncio.Event()

        async def ask_on(number):
            while not stop.is_set():
                answers.append(await life.say(f"u{number}: hey"))

        askers = [asyncio.create_task(ask_on(number)) for number in range(5)]
        async with asyncio.timeout(20):
            while len(answers) < 20:
                await asyncio.sleep(0.01)
        life.choose("new")
        await life.described("new")
        seen = len(answers)
        async with asyncio.timeout(20):
            while len(answers) < seen + 20:
                await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*askers)
        info = await life.ref.ask(DescribeModel(), timeout=5)
        return SimpleNamespace(answers=answers, seen=seen, info=info, life=life)

    told = living(folder, scenario, fits=fits)
    assert set(told.answers[:20]) == {SAYS["old"]}
    # Each of the five askers had at most one answer begun by the old model when the new one came.
    assert told.answers[told.seen :].count(SAYS["old"]) <= 5
    assert set(told.answers[-5:]) == {SAYS["new"]}
    assert set(told.answers) == set(SAYS.values()), "no answer is empty, cut off or mixed of both"
    assert told.info.name == "new"
    assert [info.name for info in told.life.infos] == ["old", "new"]
    assert told.life.restarts == []


@pytest.mark.parametrize("fits", [True, False])
def test_a_long_reply_is_finished_by_the_model_that_began_it(folder, tmp_path, fits):
    source = write_tiny_gguf(tmp_path / "endless", TinyModel(script=["on ", "and "], endless=True))
    publish(source, folder, name="endless", use=True)

    async def scenario(life):
        long = asyncio.create_task(life.say(tokens=700))
        while "1 running" not in await life.ref.ask(Ping(), timeout=5):
            await asyncio.sleep(0.001)
        life.choose("new")
        servings = life.actor._servings
        async with asyncio.timeout(10):
            while servings._admits.is_set() and not servings._retiring:
                await asyncio.sleep(0)
        assert not long.done()
        begun = asyncio.create_task(life.say("ben: and now?"))
        long_text, begun_text = await asyncio.gather(long, begun)
        await life.described("new")
        return long_text, begun_text, await life.say()

    long_text, begun_text, after = living(folder, scenario, fits=fits)
    assert long_text.replace("on and ", "") in {"", "on "}
    assert len(long_text) > 2000
    assert begun_text == SAYS["new"]
    assert after == SAYS["new"]


def unloadable(folder, tmp_path):
    """Publish a file that is a whole GGUF file with the right hash, which llama.cpp cannot load."""
    from persona.adapters.llama.gguf_header import read_header

    whole = write_tiny_gguf(tmp_path / "whole", TinyModel(seed=3))
    data = whole.read_bytes().replace(b"blk.1.attn_q.weight", b"blk.1.attn_x.weight")
    assert data != whole.read_bytes()
    (tmp_path / "broken").write_bytes(data)
    assert read_header(tmp_path / "broken").tensors
    publish(tmp_path / "broken", folder, name="broken")


@pytest.mark.parametrize("fits", [True, False])
def test_a_model_that_cannot_be_loaded_leaves_the_old_one_and_is_not_tried_again(folder, tmp_path, fits):
    unloadable(folder, tmp_path)

    async def scenario(life):
        life.choose("broken")
        asked = [asyncio.create_task(life.say(f"u{number}: hey")) for number in range(4)]
        await life.described("broken was chosen")
        texts = [await task for task in asked]
        before = life.slot.describe()
        models = len(life.infos)
        await asyncio.sleep(0.3)
        state = await life.ref.ask(Ping(), timeout=5)
        tried_again = len(life.infos) - models
        life.choose("old")
        async with asyncio.timeout(10):
            while life.slot.describe() != "old":
                await asyncio.sleep(0.01)
        life.choose("new")
        await life.described("new")
        return SimpleNamespace(texts=texts, before=before, state=state, again=tried_again, after=await life.say())

    told = living(folder, scenario, fits=fits)
    assert set(told.texts) == {SAYS["old"]}
    assert told.before.startswith("old; broken was chosen, but cannot be used: llama.cpp cannot load")
    assert (told.state, told.again) == ("idle", 0)
    assert told.after == SAYS["new"]


def test_when_not_even_the_old_model_can_be_loaded_again_the_tree_ends_and_says_why(folder, tmp_path):
    unloadable(folder, tmp_path)

    async def scenario(life):
        (folder / "old.gguf").unlink()
        life.choose("broken")
        with pytest.raises((ModelFileError, Escalated)) as caught:
            async with asyncio.timeout(20):
                await life.system.wait()
        return caught.value

    error = living(folder, scenario, fits=False)
    while error.__cause__ is not None:
        error = error.__cause__
    assert "old.gguf" in str(error)


def test_a_model_trained_on_other_prompts_or_damaged_is_refused_while_the_old_one_answers(folder, tmp_path):
    foreign = write_tiny_gguf(tmp_path / "foreign", TinyModel(metadata={"persona.prompt_hash": "0" * 64}))
    publish(foreign, folder, name="foreign")
    damaged = folder / "new.gguf"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.unlink()
    damaged.write_bytes(data)

    async def scenario(life):
        told = []
        for name in ("foreign", "new"):
            life.choose(name)
            await life.described(f"{name} was chosen")
            told.append((life.slot.describe(), await life.say()))
        return told

    (foreign_says, first), (damaged_says, second) = living(folder, scenario, fits=False)
    assert "another version of the prompt renderer" in foreign_says
    assert "damaged or another file" in damaged_says
    assert first == second == SAYS["old"]


def test_after_a_crash_the_new_model_comes_back_not_the_old_one(folder):
    async def scenario(life):
        life.choose("new")
        await life.described("new")
        for model in list(life.slot._made):
            model._host._request_stop()
            model._host._die(RuntimeError("gone"))
        async with asyncio.timeout(10):
            while len(life.infos) < 3:
                await asyncio.sleep(0.01)
        return [info.name for info in life.infos], await life.say(), len(life.restarts)

    names, text, restarts = living(folder, scenario)
    assert names == ["old", "new", "new"]
    assert (text, restarts) == (SAYS["new"], 1)


def test_a_persona_that_began_with_the_demo_takes_the_first_model_chosen(folder):
    registry = ModelRegistry(folder)
    registry.file.unlink()

    async def scenario(life):
        began_with = life.infos[0].name
        registry.adopt(folder / "new.gguf")
        life.choose("new")
        await life.described("new")
        return began_with, await life.say()

    began_with, text = living(folder, scenario)
    assert began_with.startswith("Persona demo")
    assert text == SAYS["new"]


def test_a_damaged_list_changes_nothing_until_it_is_mended(folder):
    async def scenario(life):
        good = life.registry.file.read_bytes()
        life.registry.file.write_bytes(b"{")
        await asyncio.sleep(0.2)
        during = await life.say()
        life.registry.file.write_bytes(good)
        life.choose("new")
        await life.described("new")
        return during, await life.say()

    assert living(folder, scenario) == (SAYS["old"], SAYS["new"])


def test_a_mark_on_the_running_model_is_told(folder):
    async def scenario(life):
        entry = life.registry.read().in_use
        mark = ModelMark(at=entry.created, messages=3, authors=1)
        life.registry.change(lambda models: models.marked({"old": mark}))
        await life.described("asked to be forgotten")
        return life.slot.describe(), len(life.infos)

    text, models = living(folder, scenario)
    assert text.startswith("old; contains words of somebody who asked to be forgotten (3 messages, 1 people)")
    assert models == 1
