import argparse
import json
import subprocess
import sys
from random import Random

import pytest

from persona.adapters.llama import LlamaSettings, check_model, llama_engine_factory
from persona.demo import demo_model_path
from persona.errors import PersonaError
from persona.ports import Sampling
from pipelines.commands import sample as command
from pipelines.demo.conversations import make_conversation
from pipelines.preferences import Liked, as_json
from pipelines.preferences.sampling import LIKED_FILE, REPLIES_FILE, sample, turns

SAMPLING = Sampling(temperature=0.9, max_tokens=60)


def write_liked(run, number, *, splits=("train", "train", "validation")):
    chance = Random(3)
    records = []
    for place in range(number):
        talk = make_conversation(chance)
        prompt = tuple({"role": str(turn.role), "content": turn.text} for turn in talk.turns)
        records.append(
            Liked(example_id=f"e{place}", split=splits[place % len(splits)], prompt=prompt, chosen=f"human {place}")
        )
    (run / "preferences").mkdir(parents=True, exist_ok=True)
    (run / LIKED_FILE).write_text("".join(as_json(record) + "\n" for record in records), encoding="utf-8")
    return records


@pytest.fixture
def engine():
    settings = LlamaSettings(path=demo_model_path(), slots=3, threads=1)
    opened = llama_engine_factory(settings, check_model(settings))()
    yield opened
    opened.close()


def rows(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_every_liked_prompt_gets_a_reply_and_both_make_a_pair(tmp_path, engine):
    records = {record.chosen: record for record in write_liked(tmp_path, 9)}
    done = []
    sampled = sample(tmp_path, engine, sampling=SAMPLING, seed=1, slots=3, advanced=done.append)
    assert (sampled.prompts, sampled.before, sampled.written, len(done)) == (9, 0, 9, 9)
    assert sampled.refused == 0
    assert 7 <= sum(sampled.pairs.values()) <= 9
    for split in ("train", "validation"):
        pairs = rows(tmp_path / "dpo" / f"{split}.jsonl")
        assert len(pairs) == sampled.pairs[split] > 0
        for pair in pairs:
            liked = records[pair["chosen"][0]["content"]]
            assert liked.split == split
            assert pair["prompt"] == list(liked.prompt)
            assert pair["rejected"][0]["content"] not in {"", liked.chosen}
            assert "<|" not in pair["rejected"][0]["content"]


def test_turns_keep_every_character_of_the_prompt():
    prompt = ({"role": "system", "content": "You are Pip.\n\n  x "}, {"role": "user", "content": ""})
    assert [(str(turn.role), turn.text) for turn in turns(prompt)] == [(m["role"], m["content"]) for m in prompt]


def test_it_goes_on_after_being_killed_in_the_middle_of_a_line(tmp_path, engine):
    write_liked(tmp_path, 8)
    sample(tmp_path, engine, sampling=SAMPLING, seed=1, slots=1)
    whole = rows(tmp_path / REPLIES_FILE)
    kept = [json.dumps(row, ensure_ascii=False) for row in whole[:4]]
    (tmp_path / REPLIES_FILE).write_text("\n".join(kept) + '\n{"example_id": "e4", "te', encoding="utf-8")
    resumed = []
    again = sample(tmp_path, engine, sampling=SAMPLING, seed=1, slots=1, resumed=resumed.append)
    assert (again.before, again.written, resumed) == (4, 4, [4])
    assert rows(tmp_path / REPLIES_FILE) == whole
    third = sample(tmp_path, engine, sampling=SAMPLING, seed=1, slots=1)
    assert (third.before, third.written, third.pairs) == (8, 0, again.pairs)


@pytest.mark.parametrize("change", ["seed", "sampling", "liked"])
def test_other_settings_or_prompts_start_anew(tmp_path, engine, change):
    write_liked(tmp_path, 4)
    sample(tmp_path, engine, sampling=SAMPLING, seed=1, slots=3)
    if change == "liked":
        write_liked(tmp_path, 5)
    seed = 2 if change == "seed" else 1
    sampling = Sampling(temperature=0.5, max_tokens=60) if change == "sampling" else SAMPLING
    again = sample(tmp_path, engine, sampling=sampling, seed=seed, slots=3)
    assert again.before == 0
    assert again.written == again.prompts == len(rows(tmp_path / REPLIES_FILE))


def test_a_prompt_that_does_not_fit_makes_no_pair_and_stops_nothing(tmp_path, engine):
    records = write_liked(tmp_path, 2)
    long = Liked(
        example_id="long",
        split="train",
        prompt=({"role": "system", "content": "word " * 9_000}, {"role": "user", "content": "hi"}),
        chosen="x",
    )
    text = "".join(as_json(record) + "\n" for record in (records[0], long, records[1]))
    (tmp_path / LIKED_FILE).write_text(text, encoding="utf-8")
    sampled = sample(tmp_path, engine, sampling=SAMPLING, seed=1, slots=2)
    assert (sampled.written, sampled.refused) == (3, 1)
    assert sum(sampled.pairs.values()) <= 2


def test_a_reply_to_a_shortened_prompt_makes_no_pair(tmp_path, engine):
    lines = "\n".join(f"Ann: line {number} about the tea" for number in range(200))
    cut = Liked(
        example_id="cut",
        split="train",
        prompt=({"role": "system", "content": "You are Pip."}, {"role": "user", "content": lines}),
        chosen="x",
    )
    (tmp_path / "preferences").mkdir()
    (tmp_path / LIKED_FILE).write_text(as_json(cut) + "\n", encoding="utf-8")
    sampled = sample(tmp_path, engine, sampling=SAMPLING, seed=1, slots=2)
    (reply,) = rows(tmp_path / REPLIES_FILE)
    assert reply["text"]
    assert reply["ended"] is False
    assert sum(sampled.pairs.values()) == 0


def test_a_run_without_liked_replies_is_refused_with_the_cure(tmp_path, engine):
    with pytest.raises(PersonaError, match=r"liked.jsonl is missing \(make the data first"):
        sample(tmp_path, engine, sampling=SAMPLING, seed=1, slots=1)


def test_a_damaged_line_is_named(tmp_path, engine):
    write_liked(tmp_path, 2)
    with (tmp_path / LIKED_FILE).open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(PersonaError, match=r"liked.jsonl:3: 'example_id' is missing"):
        sample(tmp_path, engine, sampling=SAMPLING, seed=1, slots=1)


def test_the_command_samples_and_says_so_as_json(tmp_path):
    write_liked(tmp_path, 3)
    program = (
        "import argparse, sys; from pipelines.commands import sample; p = argparse.ArgumentParser(); "
        "sample.add_parser(p.add_subparsers()); a = p.parse_args(); sys.exit(sample.run(a))"
    )
    options = ["sample", str(tmp_path), "--model", str(demo_model_path()), "--threads", "1", "--json"]
    ended = subprocess.run([sys.executable, "-c", program, *options], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["prompts"], found["before"], found["written"]) == (3, 0, 3)
    assert sum(found["pairs"].values()) == sum(len(rows(file)) for file in (tmp_path / "dpo").glob("*.jsonl"))


def test_the_command_loads_nothing_heavy_to_be_parsed():
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["sample", "x", "--model", "m.gguf"])
    assert (arguments.module, arguments.slots) == ("pipelines.commands.sample", 4)
    program = (
        "import sys; import pipelines.commands.sample; sys.exit('llama_cpp' in sys.modules or 'rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
