"""Checkpoints are found, made into model files, and ranked by what decides."""

import json

import numpy as np
import pytest

from pipelines.evaluation.checkpoints import Checkpoint, checkpoints_of, rank
from pipelines.evaluation.heldout import read_split
from pipelines.evaluation.judging import Judged
from pipelines.evaluation.measures import Contender
from pipelines.evaluation.resampling import figure
from pipelines.train.plan import Method
from tests.pipelines.evaluation.run_world import write_run

CHANCE = np.random.default_rng(1)
HARD = CHANCE.normal(0, 0.5, size=200)


def judged(name, perplexity, recognised, *, noise=0.01):
    values = perplexity + HARD + CHANCE.normal(0, noise, size=200)
    values[0] = perplexity
    return Judged(
        contender=Contender(key=name, name=name, about="", replies=()),
        figures={"perplexity_character": figure(values), "recognised": figure(np.full(200, recognised))},
        habits=(),
    )


def test_first_comes_what_people_are_least_surprising_to_then_who_is_recognised_least():
    early, middle, late = judged("early", 6.0, 0.6), judged("middle", 4.001, 0.7), judged("late", 4.0, 0.8)
    ranked = rank([early, late, middle])
    assert [one.judged.contender.name for one in ranked] == ["middle", "late", "early"]
    assert [one.level for one in ranked] == [True, True, False]


def test_only_whole_checkpoints_are_found(tmp_path):
    stage = tmp_path / "train" / "sft"
    for name in ("checkpoints/checkpoint-20", "checkpoints/checkpoint-100", "adapter"):
        (stage / name).mkdir(parents=True)
        (stage / name / "adapter_model.safetensors").write_bytes(b"x")
    (stage / "checkpoints" / "checkpoint-120").mkdir()
    assert checkpoints_of(tmp_path) == [
        Checkpoint(method=Method.SFT, step=20, adapter=stage / "checkpoints" / "checkpoint-20"),
        Checkpoint(method=Method.SFT, step=100, adapter=stage / "checkpoints" / "checkpoint-100"),
        Checkpoint(method=Method.SFT, step=None, adapter=stage / "adapter"),
    ]
    assert [one.name for one in checkpoints_of(tmp_path)] == ["sft, step 20", "sft, step 100", "sft, the end"]


@pytest.mark.training
@pytest.mark.timeout(180)
def test_adapters_become_model_files_and_are_ranked_on_the_validation_part(tmp_path, capsys):
    torch = pytest.importorskip("torch", reason="needs the extra `train`: torch")
    peft = pytest.importorskip("peft", reason="needs the extra `train`: peft")
    transformers = pytest.importorskip("transformers", reason="needs the extra `train`: transformers")
    pytest.importorskip("sklearn", reason="needs the extra `evaluate`: scikit-learn")
    from pipelines.__main__ import main
    from tests.pipelines.training_world import write_tiny_qwen2

    run = write_run(tmp_path / "runs" / "attic", conversations=14, training=10)
    (run / "sft" / "test-00000.jsonl").unlink()  # the choice must not look at it
    base = write_tiny_qwen2(tmp_path / "base")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    tuned.save_pretrained(run / "train" / "sft" / "checkpoints" / "checkpoint-10")
    optimizer = torch.optim.AdamW([each for each in tuned.parameters() if each.requires_grad], lr=1e-2)
    torch.set_num_threads(1)
    for context in read_split(run, "train")[:60]:
        ids = torch.tensor([tokenizer.encode(f"{context.reply}<|im_end|>\n")])
        tuned(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tuned.save_pretrained(run / "train" / "sft" / "checkpoints" / "checkpoint-20")
    (tmp_path / "config.toml").write_text("[sampling]\nmax_tokens = 8\n", encoding="utf-8")
    arguments = ["evaluate", "--checkpoints", str(run), "--config", str(tmp_path / "config.toml"), "--letters"]
    assert main([*arguments, "--contexts", "24", "--samples", "1", "--draws", "100", "--threads", "1", "--json"]) == 0
    ranked = json.loads(capsys.readouterr().out)
    perplexities = [one["figures"]["perplexity_character"]["value"] for one in ranked]
    assert perplexities[0] < perplexities[1]
    assert [(one["place"], one["name"], one["level"]) for one in ranked] == [
        (1, "sft, step 20", True),
        (2, "sft, step 10", False),
    ]
    assert not (run / "evaluation" / "checkpoints").exists()
    (run / "train" / "sft" / "result.json").write_text('{"base_hash": "another"}', encoding="utf-8")
    assert main(arguments) == 1
    assert "is another one now" in capsys.readouterr().err
