"""The whole way on a CPU with a tiny model: a history in the store, one command, a model that the live engine runs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from persona.adapters.llama import LlamaSettings, check_model, llama_engine_factory
from persona.adapters.models import ModelRegistry
from persona.domain.prompt import Role, Turn
from persona.errors import ModelFileError
from persona.ports import ChatRequest, Finished, FinishReason, Sampling, TextDelta
from persona.run_marks import read_mark
from pipelines.run import file_sha256
from tests.pipelines.whole_world import write_garden, write_talking_qwen2

for library in ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "gguf"):
    pytest.importorskip(library, reason=f"{library} is of the extra `train`, which is not installed")
for library in ("detect_secrets", "phonenumbers"):
    pytest.importorskip(library, reason=f"{library} is of the extra `prepare`, which is not installed")

pytestmark = [pytest.mark.training, pytest.mark.timeout(400)]

REPO = Path(__file__).parents[2]
SETTINGS = """[persona]
name = "Pip"
[reply]
window_messages = 3
[training]
base = "{base}"
backend = "hf-cpu"
lora_rank = 8
lora_alpha = 16
batch = 8
micro_batch = 4
sft_epochs = 5
sft_learning_rate = 0.01
sft_tokens = 256
preference_learning_rate = 0.001
preference_epochs = 3
preference_tokens = 256
eval_examples = 16
"""
ALL = [
    "all",
    "--name",
    "garden",
    "--cap",
    "1.0",
    "--copies",
    "50",
    "--quantization",
    "Q8_0",
    "--threads",
    "1",
    "--json",
]


def start(world, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines", *arguments],
        cwd=world,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(world, *arguments):
    process = start(world, *arguments)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out, err


def persona(home, *arguments, said=""):
    done = subprocess.run(
        [sys.executable, "-m", "persona", *arguments],
        input=said,
        cwd=home,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A home with a history, a base model and a config.toml."""
    home = tmp_path_factory.mktemp("home")
    (home / "data").mkdir()
    write_garden(home / "data" / "persona.db")
    write_talking_qwen2(home / "base")
    (home / "config.toml").write_text(SETTINGS.format(base=home / "base"), encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def whole(world):
    """A run that was stopped once, in the middle of SFT, and ended by the same command."""
    process = start(world, *ALL)
    metrics = world / "runs" / "garden" / "train" / "sft" / "metrics.jsonl"
    deadline = time.monotonic() + 100
    while not metrics.exists() or metrics.read_text().count("\n") < 20:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    out, err = finish(world, *ALL)
    return json.loads(out), err


@pytest.fixture(scope="module")
def published(world, whole):
    """The file of the model that was published and is in use."""
    entry = ModelRegistry(world / "models").read().in_use
    assert entry is not None
    return world / "models" / entry.file


def series(world, stage, key):
    file = world / "runs" / "garden" / "train" / stage / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [row[key] for row in rows if key in row]


def test_every_step_is_done_and_what_was_stopped_is_gone_on_with(world, whole):
    told, err = whole
    assert told["done"] == ["prepare", "sft", "export-sft", "sample", "preference", "export", "publish"]
    assert "going on after step" in err
    assert (world / "runs" / "garden" / "dpo" / "train.jsonl").read_text().count("\n") >= 8


def test_the_loss_falls(world, whole):
    losses = series(world, "sft", "loss")
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])
    held_out = series(world, "sft", "eval_loss")
    assert held_out[-1] < held_out[0]


def test_the_margin_rises(world, whole):
    margins = series(world, "dpo", "rewards/margins")
    assert abs(margins[0]) < 0.1
    assert sum(margins[-4:]) / 4 > sum(margins[:4]) / 4 + 0.1


def test_done_once_it_is_not_done_again(world, whole, published):
    before = published.stat().st_mtime_ns, file_sha256(published)
    out, _ = finish(world, *ALL)
    assert json.loads(out)["done"] == ["prepare"]  # which looks for itself, and found everything done
    assert (published.stat().st_mtime_ns, file_sha256(published)) == before


def test_the_published_model_is_that_of_the_run(world, published):
    entry = ModelRegistry(world / "models").read().in_use
    assert entry.run == "garden"
    assert entry.base == "base"
    assert entry.manifest == file_sha256(world / "runs" / "garden" / "manifest.json")
    assert entry.prompt_hash == json.loads((world / "runs" / "garden" / "manifest.json").read_text())["prompt_hash"]
    lineage = (world / "runs" / "garden" / "lineage.bin").read_bytes()
    assert (world / "models" / entry.lineage_file).read_bytes() == lineage


def test_the_exported_files_say_what_the_models_said(world, whole):
    for method in ("sft", "dpo"):
        record = json.loads((world / "runs" / "garden" / "export" / f"{method}.json").read_text())
        assert record["sha256"] == file_sha256(world / "runs" / "garden" / "export" / f"{method}.gguf")
        exact, packed = record["checks"]
        assert (exact["kind"], packed["kind"]) == ("BF16", "Q8_0")
        assert exact["agreement"] > 0.95  # a model this small is undecided in many places
        assert packed["agreement"] > 0.85
        assert 0 <= exact["divergence"] < packed["divergence"] + 0.01 < 0.1


def test_the_live_engine_answers_with_the_published_model(published):
    settings = LlamaSettings(path=published, slots=1, threads=1)
    engine = llama_engine_factory(settings, check_model(settings))()
    try:
        turns = (
            Turn(role=Role.SYSTEM, lines=("You are Pip, a regular of the greenhouse, in #general.",)),
            Turn(role=Role.USER, lines=("ann: what about tea and figs?",)),
        )
        engine.submit(1, ChatRequest(turns=turns, sampling=Sampling(temperature=0.0, max_tokens=40)))
        text = ""
        for _ in range(200):
            for _, event in engine.step():
                match event:
                    case TextDelta(text=more):
                        text += more
                    case Finished(reason=reason):
                        assert reason in {FinishReason.END, FinishReason.STOP}
                        assert len(text.strip()) > 5
                        assert "<|" not in text
                        return
                    case Exception() as error:
                        raise error
    finally:
        engine.close()
    pytest.fail("no end of the reply")


def test_the_bot_answers_with_the_published_model(world, published):
    talk = persona(world, "chat", "--json", said="what about tea and figs?\n")
    replies = [json.loads(line) for line in talk.stdout.splitlines()]
    assert [reply["error"] for reply in replies] == [None], talk.stderr
    assert replies[0]["text"].strip()


def test_a_model_of_another_prompt_renderer_is_refused(published, tmp_path):
    data = published.read_bytes()
    found = re.findall(rb"persona\.prompt_hash.{12}([0-9a-f]{64})", data, re.DOTALL)
    assert len(found) == 1
    other = tmp_path / "other.gguf"
    other.write_bytes(data.replace(found[0], b"0" * 64))
    settings = LlamaSettings(path=other, slots=1, threads=1)
    with pytest.raises(ModelFileError, match="another version of the prompt renderer"):
        llama_engine_factory(settings, check_model(settings))()


def test_kto_runs_on_what_the_same_command_prepared(world, whole):
    finish(world, "train", "garden", "--method", "kto", "--threads", "1")
    losses = series(world, "kto", "loss")
    assert sum(losses[-4:]) < sum(losses[:4])


def test_forgetting_somebody_marks_run_and_model_and_ends_the_run(world, published, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(world, home)
    persona(home, "forget", "2", "--yes")
    mark = read_mark(home / "runs" / "garden")
    assert mark.authors == 1
    assert mark.messages > 20
    entry = ModelRegistry(home / "models").read().in_use
    assert (entry.mark.authors, entry.mark.messages) == (1, mark.messages)
    assert "marked" in persona(home, "model", "list").stdout
    process = start(home, *ALL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "forgotten since" in err
