"""Replies through the live engine: the same seeds give the same words, and nothing is written twice."""

import json

import pytest

from persona.adapters.llama import LlamaSettings, check_model, llama_engine_factory
from persona.domain.prompt import Role, Turn
from persona.errors import PersonaError
from persona.ports import Sampling
from pipelines.evaluation.heldout import Context, read_split
from pipelines.evaluation.prompting import as_trained, learn_voice, with_voice
from pipelines.evaluation.replies import Written, as_sent, write_replies
from tests.pipelines.evaluation.run_world import write_split

SAMPLING = Sampling(max_tokens=12)


@pytest.fixture
def contexts(tmp_path):
    write_split(tmp_path, "test", conversations=3, replies=3)
    return read_split(tmp_path, "test")


@pytest.fixture
def engine(babbling_gguf):
    settings = LlamaSettings(path=babbling_gguf, threads=1, slots=3)
    engine = llama_engine_factory(settings, check_model(settings))()
    yield engine
    engine.close()


def written(contexts, engine, cache, *, rounds=2, seed=7, prompt=as_trained, sampling=SAMPLING):
    told = []
    found = write_replies(
        contexts,
        engine,
        cache=cache,
        prompt=prompt,
        sampling=sampling,
        rounds=rounds,
        seed=seed,
        slots=3,
        advanced=lambda: told.append(1),
    )
    return found, len(told)


def lines_in(file):
    return file.read_text(encoding="utf-8").splitlines()


def test_every_round_answers_every_context_and_the_seeds_decide(contexts, engine, tmp_path):
    first, told = written(contexts, engine, tmp_path / "a.jsonl")
    again, _ = written(contexts, engine, tmp_path / "b.jsonl")
    other, _ = written(contexts, engine, tmp_path / "c.jsonl", seed=8)
    assert [len(once) for once in first] == [9, 9]
    assert told == 18
    assert first == again != other
    assert first[0] != first[1]


def test_what_is_there_is_not_written_again_even_after_a_kill(contexts, engine, tmp_path):
    cache = tmp_path / "cache.jsonl"
    whole, _ = written(contexts, engine, cache)
    kept = lines_in(cache)
    cache.write_text("\n".join(kept[:5]) + "\n" + kept[5][:30], encoding="utf-8")  # killed while it wrote the sixth
    again, told = written(contexts, engine, cache)
    assert again == whole
    assert told == 18
    assert lines_in(cache)[:5] == kept[:5]
    assert sorted(lines_in(cache)) == sorted(kept)
    before = cache.read_bytes()
    assert written(contexts, engine, cache)[0] == whole
    assert cache.read_bytes() == before


def test_another_prompt_or_sampling_is_another_reply(contexts, engine, tmp_path):
    cache = tmp_path / "cache.jsonl"
    written(contexts, engine, cache, rounds=1)
    written(contexts, engine, cache, rounds=1, sampling=Sampling(max_tokens=12, temperature=0.1))
    voice = with_voice(learn_voice(contexts, seed=1))
    written(contexts, engine, cache, rounds=1, prompt=voice)
    assert len(lines_in(cache)) == 27


def test_a_damaged_cache_is_named(contexts, engine, tmp_path):
    cache = tmp_path / "cache.jsonl"
    cache.write_text('{"no": "key"}\n', encoding="utf-8")
    with pytest.raises(PersonaError, match=r"cache\.jsonl:1 cannot be read"):
        written(contexts, engine, cache)


def test_a_prompt_that_does_not_fit_is_silence_and_the_others_go_on(contexts, engine, tmp_path):
    long = "x1 " * 5000

    def prompt(context):
        turns = as_trained(context)
        return turns if context is not contexts[0] else (turns[0], type(turns[1])(role=turns[1].role, lines=(long,)))

    (once,), _ = written(contexts, engine, tmp_path / "cache.jsonl", rounds=1, prompt=prompt)
    assert once[0] == Written(text="", ended=False, refused=True)
    assert sum(one.refused for one in once) == 1
    row = json.loads(lines_in(tmp_path / "cache.jsonl")[0])
    assert row["refused"] is True


def test_a_draft_is_measured_as_it_would_be_sent(contexts):
    context = contexts[0]
    speaker = context.said[0].split(":")[0]
    draft = Written(text=f"Pip: sure thing\nok then\n{speaker}: and now somebody else", ended=True)
    assert as_sent(context, draft).messages == ("sure thing", "ok then")
    assert as_sent(context, Written(text="", ended=False, refused=True)).messages == ("",)


def test_the_style_card_and_examples_stand_in_front_of_the_same_talk(tmp_path):
    write_split(tmp_path, "train", conversations=40)
    training = read_split(tmp_path, "train", brief=True)
    voice = learn_voice(training, seed=1)
    turns = with_voice(voice)(training[0])
    assert turns[1:] == training[0].turns[1:]
    assert "You are Pip, a regular of the attic, in #general." in turns[0].lines[0]
    assert "People here write" in turns[0].text
    assert {channel: len(examples) for channel, examples in voice.examples.items()} == {"general": 3}
    assert turns[0].text.count("How people here talk:") == 3
    assert learn_voice(training, seed=1) == voice


def test_examples_are_of_the_channel_that_is_answered_in():
    def context(number, said, reply, channel):
        first = f"You are Pip, a regular of home, in #{channel}."
        turns = (Turn(role=Role.SYSTEM, lines=(first,)), Turn(role=Role.USER, lines=(said,)))
        where = {"context_id": f"{number:04x}", "conversation_id": str(number), "created_at": None, "split": "train"}
        return Context(**where, reply=reply, turns=turns)

    secret = [context(n, f"Ann: who of team {n} goes?", f"all of team {n}, do not tell", "layoffs") for n in range(30)]
    open_ = [context(100 + n, f"Ann: what is for lunch {n}?", f"soup number {n} again", "kitchen") for n in range(30)]
    prompt = with_voice(learn_voice([*secret, *open_], seed=1))
    asked = prompt(context(999, "Bob: hungry?", "yes", "kitchen"))[0].text
    assert "soup number" in asked
    assert "do not tell" not in asked
    assert "do not tell" in prompt(context(998, "Bob: and?", "no", "layoffs"))[0].text
    assert "How people here talk:" not in prompt(context(997, "Bob: hi", "hi", "elsewhere"))[0].text
