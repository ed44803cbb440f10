"""Real trainings of a tiny model on the CPU: they learn, and a killed one ends like one that was left alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipelines.training_world import write_run, write_tiny_qwen2

for library in ("torch", "transformers", "trl", "peft", "datasets", "accelerate"):
    pytest.importorskip(library, reason=f"{library} is of the extra `train`, which is not installed")

pytestmark = [pytest.mark.training, pytest.mark.timeout(170)]

SETTINGS = """[training]
base = "{base}"
backend = "hf-cpu"
lora_rank = 8
lora_alpha = 16
lora_dropout = 0.1
batch = 8
micro_batch = 4
sft_epochs = 6
sft_learning_rate = 0.01
preference_learning_rate = 0.005
preference_epochs = 4
save_steps = 4
patience = 3
"""
TIMES = ("_runtime", "_per_second")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny base model and a config.toml."""
    folder = tmp_path_factory.mktemp("training")
    write_tiny_qwen2(folder / "base")
    (folder / "config.toml").write_text(SETTINGS.format(base=folder / "base"), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def whole(world):
    """A run that was left alone."""
    run = write_run(world / "whole")
    done = finish(world, run, "all")
    assert done.returncode == 0, done.stderr
    return run


def start(world: Path, run: Path, method: str, *more: str):
    repo = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pipelines", "train", str(run), "--method", method, "--threads", "1"]
    return subprocess.Popen(
        [*command, "--config", str(world / "config.toml"), "--json", *more],
        cwd=world,
        env={**os.environ, "PYTHONPATH": str(repo)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(world, run, method, *more):
    process = start(world, run, method, *more)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def stop_at(world, run, method, *, stage, step, how):
    """Start, send a signal once a step was logged, and return the exit code and the last step that was logged."""
    process = start(world, run, method)
    file = run / "train" / stage / "metrics.jsonl"
    deadline = time.monotonic() + 100
    while not any(row["step"] >= step for row in metrics(file)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(how)
    process.communicate(timeout=60)
    return process.returncode, metrics(file)[-1]["step"]


def metrics(file: Path):
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return [{key: value for key, value in row.items() if not key.endswith(TIMES)} for row in rows]


def weights(run, stage):
    return (run / "train" / stage / "adapter" / "adapter_model.safetensors").read_bytes()


def series(run, stage, key):
    return [row[key] for row in metrics(run / "train" / stage / "metrics.jsonl") if key in row]


def test_losses_fall_and_the_margin_rises(whole):
    losses = series(whole, "sft", "loss")
    assert len(losses) == 36
    assert sum(losses[-6:]) / 6 < 0.9 * sum(losses[:6]) / 6
    preferences, margins = series(whole, "dpo", "loss"), series(whole, "dpo", "rewards/margins")
    assert preferences[-1] < 0.95 * preferences[0]
    assert abs(margins[0]) < 0.05
    assert margins[-1] > margins[0] + 0.1


def test_a_finished_run_holds_what_the_next_step_needs(whole):
    merged = whole / "train" / "sft" / "merged"
    assert json.loads((merged / "config.json").read_text())["dtype"] == "bfloat16"
    assert (merged / "model.safetensors").stat().st_size > 100_000
    assert (merged / "tokenizer.json").is_file()
    assert "<polyline" in (whole / "train" / "sft" / "loss.svg").read_text()
    record = json.loads((whole / "train" / "dpo" / "result.json").read_text())
    assert record["base"] == str(merged)
    assert not (whole / "train" / "sft" / "cache").exists()


def test_killed_trainings_go_on_as_if_nothing_had_happened(world, whole):
    run = write_run(world / "killed")
    code, step = stop_at(world, run, "all", stage="sft", step=14, how=signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert step < 36
    code, step = stop_at(world, run, "all", stage="dpo", step=10, how=signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert step < 24
    done = finish(world, run, "all")
    assert done.returncode == 0, done.stderr
    assert "going on after step" in done.stderr
    for stage in ("sft", "dpo"):
        assert weights(run, stage) == weights(whole, stage)
        assert (
            metrics(run / "train" / stage / "metrics.jsonl")[:-1]
            == metrics(whole / "train" / stage / "metrics.jsonl")[:-1]
        )


def test_a_polite_stop_saves_the_step_at_hand_and_goes_on_equally(world, whole):
    run = write_run(world / "stopped", kinds=("sft",))
    code, step = stop_at(world, run, "sft", stage="sft", step=9, how=signal.SIGTERM)
    assert code == 130
    assert (run / "train" / "sft" / "checkpoints" / f"checkpoint-{step}" / "persona.json").is_file()
    done = finish(world, run, "sft")
    assert done.returncode == 0, done.stderr
    assert f"going on after step {step}" in done.stderr
    assert weights(run, "sft") == weights(whole, "sft")


@pytest.fixture(scope="module")
def others(world):
    """KTO, ORPO and an early stop, one after the other in one process: most of the time goes into imports."""
    text = (
        (world / "config.toml")
        .read_text(encoding="utf-8")
        .replace("sft_learning_rate = 0.01", "sft_learning_rate = 0.5")
    )
    (world / "sft.toml").write_text(text.replace("patience = 3", "patience = 1"), encoding="utf-8")
    for method in ("kto", "orpo"):
        shutil.copy(world / "config.toml", world / f"{method}.toml")
    runs = {
        "kto": write_run(world / "kto", kinds=("kto",)),
        "orpo": write_run(world / "orpo", kinds=("dpo",)),
        "sft": write_run(world / "early", kinds=("sft",)),
    }
    commands = [
        ["train", str(run), "--method", method, "--threads", "1", "--json", "--config", str(world / f"{method}.toml")]
        for method, run in runs.items()
    ]
    script = "import json, sys; from pipelines.__main__ import main; sys.exit(max(map(main, json.loads(sys.argv[1]))))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", script, json.dumps(commands)]
    done = subprocess.run(command, cwd=world, env=environment, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stderr
    return runs, done


def test_kto_learns_which_replies_are_liked(others):
    runs, done = others
    losses = series(runs["kto"], "kto", "loss")
    assert sum(losses[-4:]) < sum(losses[:4])
    assert "no SFT in this run" in done.stderr


def test_orpo_runs_on_the_pairs_of_dpo(others):
    losses = series(others[0]["orpo"], "orpo", "loss")
    assert losses[-1] < losses[0]


def test_early_stopping_ends_a_training_that_no_longer_helps(others):
    steps = [json.loads(line)["stages"][0]["steps"] for line in others[1].stdout.splitlines()]
    assert steps[2] < 36
    assert metrics(others[0]["sft"] / "train" / "sft" / "metrics.jsonl")[-1]["step"] == steps[2]


def test_what_is_done_is_not_done_again_and_other_settings_are_refused(world, whole):
    again = finish(world, whole, "all")
    assert again.returncode == 0, again.stderr
    assert [stage["skipped"] for stage in json.loads(again.stdout)["stages"]] == [True, True]
    other = finish(world, whole, "sft", "--max-examples", "20")
    assert other.returncode == 1
    assert "other settings" in other.stderr
    assert "--fresh" in other.stderr


def test_preferences_of_another_sft_do_not_count_as_done(world, whole):
    run = world / "retrained"
    shutil.copytree(whole, run)
    adapter = run / "train" / "sft" / "adapter" / "adapter_model.safetensors"
    weights = bytearray(adapter.read_bytes())
    weights[-1] ^= 1
    adapter.write_bytes(weights)
    stale = finish(world, run, "dpo")
    assert stale.returncode == 1
    assert "was trained with other settings, data or base model" in stale.stderr
