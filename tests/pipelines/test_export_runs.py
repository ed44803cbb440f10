# ruff: noqa: E402 - what these modules need may be missing
"""`pipelines export` over a run folder: one checked file, resumable, and never one that is not what was trained."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

for library in ("torch", "transformers", "peft", "gguf", "safetensors"):
    pytest.importorskip(library, reason=f"{library} is of the extra `train`, which is not installed")

from gguf import GGUFReader

from persona.adapters.checksum import hash_file
from persona.adapters.llama.loading import check_prompts
from persona.errors import EXIT_DONE, PersonaError, UsageError
from pipelines.__main__ import build_parser
from pipelines.gguf import parity
from pipelines.gguf.exporting import ExportRequest, export
from pipelines.train.plan import Method
from pipelines.train.stage_files import StageFiles
from tests.pipelines.gguf_world import write_model

pytestmark = [pytest.mark.training, pytest.mark.timeout(170)]
ROOT = Path(__file__).resolve().parents[2]


def add_adapter(run, method, base, *, seed=1):
    """Put an adapter there as training leaves it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.05)
    files = StageFiles(run, method)
    model.save_pretrained(files.adapter)
    files.finish({"steps": 1, "config_hash": "c", "base": str(base), "base_hash": "b"})
    return files


@pytest.fixture
def run(tmp_path):
    base = write_model(tmp_path / "base", "qwen2", dtype="bfloat16", hidden_size=256, num_hidden_layers=2)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"config": {}}))
    add_adapter(folder, Method.SFT, base)
    return folder


@contextmanager
def silent(_name):
    yield lambda _done, _total: None


def exported(run, **options):
    return export(ExportRequest(run=run, threads=1, **options), silent)


def call(run, *options):
    arguments = build_parser().parse_args(["export", str(run), "--threads", "1", *options])
    from pipelines.commands.export import run as command

    return command(arguments)


def test_what_was_trained_becomes_one_checked_file_that_the_bot_takes(run, capsys):
    assert call(run, "--quantization", "Q8_0", "--json") == EXIT_DONE
    told = json.loads(capsys.readouterr().out)
    file = run / "export" / "sft.gguf"
    assert (told["file"], told["sha256"], told["skipped"]) == (str(file), hash_file(file), False)
    assert [check["kind"] for check in told["checks"]] == ["BF16", "Q8_0"]
    assert sorted(path.name for path in (run / "export").iterdir()) == ["sft.gguf", "sft.json"]
    reader = GGUFReader(str(file))
    assert reader.get_field("persona.manifest_sha256").contents() == hash_file(run / "manifest.json")
    check_prompts(file, reader.get_field("persona.prompt_hash").contents())
    assert call(run, "--quantization", "Q8_0") == EXIT_DONE
    assert "was there already" in capsys.readouterr().out


def test_another_renderer_than_the_bots_is_refused_by_the_bot(run, monkeypatch):
    monkeypatch.setattr("pipelines.gguf.exporting.prompt_hash", lambda _tokenize: "0" * 64)
    file = exported(run, kind="none", check=False).file
    stated = GGUFReader(str(file)).get_field("persona.prompt_hash").contents()
    with pytest.raises(PersonaError, match="another version of the prompt renderer"):
        check_prompts(file, stated)


def test_an_adapter_trained_anew_and_another_kind_are_exported_anew(run, tmp_path):
    first = exported(run, kind="Q8_0", check=False)
    assert exported(run, kind="Q8_0", check=False).skipped
    assert not exported(run, kind="none", check=False).skipped
    add_adapter(run, Method.SFT, tmp_path / "base", seed=2)
    again = exported(run, kind="Q8_0", check=False)
    assert not again.skipped
    assert again.record["sha256"] != first.record["sha256"]
    assert exported(run, kind="Q8_0", check=False, fresh=True).record["sha256"] == again.record["sha256"]


def test_the_last_stage_is_exported_unless_another_one_is_named(run, tmp_path):
    add_adapter(run, Method.DPO, tmp_path / "base", seed=3)
    assert exported(run, kind="none", check=False).file.name == "dpo.gguf"
    assert exported(run, kind="none", check=False, method=Method.SFT).file.name == "sft.gguf"


def test_a_file_that_does_not_say_the_same_is_not_left_behind(run, monkeypatch):
    monkeypatch.setattr(parity, "_LIMITS", {"BF16": 1e-9})
    with pytest.raises(PersonaError, match="does not say what"):
        exported(run, kind="Q8_0")
    assert not (run / "export" / "sft.gguf").exists()


def test_killed_at_any_point_it_ends_with_the_same_file(run):
    expected = exported(run, kind="Q8_0", fresh=True).record["sha256"]
    command = [sys.executable, "-m", "pipelines", "export", str(run), "--quantization", "Q8_0", "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    began = time.monotonic()
    whole = subprocess.run([*command, "--fresh"], env=environment, cwd=run, capture_output=True, check=True)
    assert b"sft.gguf" in whole.stdout
    seconds = time.monotonic() - began
    rng = Random(5)
    (run / "export" / "sft.json").unlink()
    for _ in range(2):
        process = subprocess.Popen(
            command, env=environment, cwd=run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds * rng.uniform(0.5, 0.95))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = exported(run, kind="Q8_0")
    assert done.record["sha256"] == expected == hash_file(done.file)
    assert sorted(path.name for path in (run / "export").iterdir()) == ["sft.gguf", "sft.json"]


def test_what_cannot_be_exported_is_said_in_one_line(run, tmp_path):
    with pytest.raises(UsageError, match="there is no run folder"):
        exported(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds no finished training"):
        exported(run, method=Method.KTO)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="nothing was trained"):
        exported(empty)
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(PersonaError, match=r"base model .* is gone"):
        exported(run)
    with pytest.raises(SystemExit):
        call(run, "--quantization", "Q9")
