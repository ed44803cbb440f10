"""What was planted in training is found: a small model is trained on a run with canaries, exported and audited."""

import json
import random

import pytest

pytest.importorskip("torch", reason="needs the extra `train`: torch")
pytest.importorskip("tokenizers", reason="needs the extra `train`: tokenizers")

import torch

from persona.adapters.llama import LlamaSettings, check_model
from persona.adapters.llama.scoring import ReplyScorer
from pipelines.demo.export import write_gguf
from pipelines.demo.model import Qwen2, Shape
from pipelines.demo.tokenizer import END_OF_TEXT, new_tokenizer
from pipelines.evaluation.canaries import CANARY_FILE, PLANTED_FILE, audit, plant, read_canaries
from pipelines.evaluation.heldout import read_split
from tests.pipelines.evaluation.run_world import write_run

pytestmark = pytest.mark.training

PASSES, BATCH = 8, 24


def rows_of(run):
    files = sorted((run / "sft").glob("train*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def framed(row):
    """Return a row as ChatML: what is read, and what is learned."""
    prompt = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in row["prompt"])
    return f"{prompt}<|im_start|>assistant\n", f"{row['completion'][0]['content']}<|im_end|>\n"


def trained(run, path):
    """Train a small Qwen2 on the replies of a run, from nothing, and write it as a GGUF file."""
    texts = [framed(row) for row in rows_of(run)]
    tokenizer = new_tokenizer((prompt + reply for prompt, reply in texts), vocabulary=512)
    torch.manual_seed(3)
    torch.set_num_threads(1)
    shape = Shape(vocabulary=tokenizer.get_vocab_size(), hidden=128, layers=3, heads=4, feed_forward=256, context=256)
    model = Qwen2(shape)
    steps = PASSES * (len(texts) // BATCH + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    encoded = [tuple(tokenizer.encode(part).ids for part in pair) for pair in texts]
    padding = tokenizer.token_to_id(END_OF_TEXT)
    chance = random.Random(5)
    for _ in range(PASSES):
        chance.shuffle(encoded)
        for start in range(0, len(encoded), BATCH):
            batch = encoded[start : start + BATCH]
            width = max(len(prompt) + len(reply) for prompt, reply in batch)
            ids, weights = torch.full((len(batch), width), padding), torch.zeros(len(batch), width)
            for place, (prompt, reply) in enumerate(batch):
                ids[place, : len(prompt) + len(reply)] = torch.tensor(prompt + reply)
                weights[place, len(prompt) : len(prompt) + len(reply)] = 1.0
            loss = model.loss(ids, weights)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    write_gguf(path, shape, weights, tokenizer, recipe="canaries")
    return path


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("canaries")
    run = write_run(folder / "run", conversations=4, training=40)
    planted = plant(run, read_split(run, "train"), [0, 1, 10, 100], seed=4)
    settings = LlamaSettings(path=trained(run, folder / "model.gguf"), threads=1)
    with ReplyScorer(settings, check_model(settings)) as scorer:
        return planted, {each.times: each for each in audit(read_canaries(run), scorer, seed=1)}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("times", [1, 10, 100])
def test_a_planted_message_is_found(found, times):
    _, audited = found
    assert audited[times].known, audited
    assert audited[times].rank <= 3


@pytest.mark.timeout(180)
def test_what_was_never_planted_is_not_found(found):
    _, audited = found
    assert not audited[0].known
    assert audited[0].exposure < audited[1].exposure


def test_planting_is_a_file_that_can_be_taken_away(tmp_path):
    run = write_run(tmp_path / "run", conversations=4, training=4)
    before = len(rows_of(run))
    planted = plant(run, read_split(run, "train"), [0, 1, 10], seed=4)
    assert len(rows_of(run)) == before + 11
    assert read_canaries(run) == planted
    assert len({canary.text for canary in planted}) == 3
    assert sum(planted[1].text in json.dumps(row) for row in rows_of(run)) == 1
    (run / PLANTED_FILE).unlink()
    (run / CANARY_FILE).unlink()
    assert len(rows_of(run)) == before
    assert read_canaries(run) == []
