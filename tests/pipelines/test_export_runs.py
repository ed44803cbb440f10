# ruff: noqa: E402 - what these modules need may be missing
"""`pipelines export` over a run folder: one checked file, resumable, and never one that is not what was trained."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

for library in ("torch", "transformers", "peft", "gguf", "safetensors"):
    pytest.importorskip(library, reason=f"{library} is of the extra `train`, which is not installed")

from gguf import GGUFReader

from persona.adapters.checksum import hash_file
from persona.adapters.llama.loading import check_prompts
from persona.errors import EXIT_DONE, ConfigError, PersonaError, UsageError
from pipelines.__main__ import build_parser
from pipelines.dataset.tokens import hash_of_prompts, open_tokens
from pipelines.gguf import parity, quantizing
from pipelines.gguf.exporting import ExportRequest, export
from pipelines.train.base_model import read_base
from pipelines.train.plan import Method
from pipelines.train.stage_files import StageFiles
from tests.pipelines.gguf_world import edit_json, write_model

pytestmark = [pytest.mark.training, pytest.mark.timeout(170)]
ROOT = Path(__file__).resolve().parents[2]
OTHER_ROPE = {"rope_type": "default", "rope_theta": 500.0}


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
    files.finish({"steps": 1, "config_hash": "c", "base": str(base), "base_hash": read_base(base).fingerprint})
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


@contextmanager
def stopped_before_quantising():
    """Stop an export between the whole file and the quantised one."""

    def stop(*_arguments, **_options):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizing, "quantize", stop)
        with pytest.raises(KeyboardInterrupt):
            yield


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


def test_a_data_set_of_other_prompts_is_not_passed_off_as_one_of_ours(run, tmp_path):
    edit_json(run / "manifest.json", prompt_hash="0" * 64)
    with pytest.raises(PersonaError, match=r"another version of the prompts.*prepare --fresh"):
        exported(run, kind="none", check=False)
    assert not (run / "export" / "sft.gguf").exists()
    ours = hash_of_prompts(open_tokens(tmp_path / "base"))
    edit_json(run / "manifest.json", prompt_hash=ours)
    file = exported(run, kind="none", check=False).file
    assert GGUFReader(str(file)).get_field("persona.prompt_hash").contents() == ours


def test_another_base_in_the_place_of_the_one_trained_on_is_refused(run, tmp_path):
    shutil.rmtree(tmp_path / "base")
    write_model(tmp_path / "base", dtype="bfloat16", hidden_size=256, num_hidden_layers=2, rope_parameters=OTHER_ROPE)
    with pytest.raises(PersonaError, match="is another one now"):
        exported(run, kind="none")
    assert not (run / "export" / "sft.gguf").exists()


def test_a_base_that_lost_its_tokenizer_is_refused(run, tmp_path):
    (tmp_path / "base" / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"is not whole: .*no tokenizer\.json"):
        exported(run, kind="none")


@pytest.mark.parametrize("how", ["changed", "cut off"])
def test_an_adapter_that_is_not_what_was_trained_is_refused(run, how):
    adapter = StageFiles(run, Method.SFT).adapter / "adapter_model.safetensors"
    content = adapter.read_bytes()
    adapter.write_bytes(content[:-1000] + bytes(1000 if how == "changed" else 0))
    with pytest.raises(PersonaError, match=r"adapter_model\.safetensors is not what was trained"):
        exported(run, kind="none")


def test_a_file_that_was_never_compared_is_compared_when_asked_for(run):
    assert exported(run, kind="none", check=False).record["checks"] == []
    compared = exported(run, kind="none")
    assert not compared.skipped
    assert [check["kind"] for check in compared.record["checks"]] == ["BF16"]
    assert exported(run, kind="none", check=False).skipped


def test_a_file_always_tells_of_the_manifest_as_it_is(run):
    with stopped_before_quantising():
        exported(run, kind="Q8_0", check=False)
    assert (run / "export" / ".sft" / "whole.gguf").is_file()
    for note in ("after the stop", "after the end"):
        edit_json(run / "manifest.json", note=note)
        done = exported(run, kind="Q8_0", check=False)
        assert not done.skipped
        stated = GGUFReader(str(done.file)).get_field("persona.manifest_sha256").contents()
        assert stated == hash_file(run / "manifest.json")
    assert exported(run, kind="Q8_0", check=False, name="Another").record["name"] == "Another"


@pytest.mark.parametrize("name", ["train/sft/result.json", "manifest.json"])
def test_a_damaged_record_is_named_in_one_line(run, name):
    (run / name).write_text("{")
    with pytest.raises(PersonaError, match="is damaged") as caught:
        exported(run, kind="none", check=False)
    assert str(run / name) in caught.value.problem
    assert "\n" not in str(caught.value)


def test_a_damaged_export_record_means_exporting_again(run):
    first = exported(run, kind="none", check=False)
    (run / "export" / "sft.json").write_text("{")
    again = exported(run, kind="none", check=False)
    assert not again.skipped
    assert again.record["sha256"] == first.record["sha256"]


def test_a_disk_that_takes_no_more_is_said_in_one_line_and_it_goes_on_when_there_is_room(run):
    """A limit on the size of files stands for the disk."""
    resource = pytest.importorskip("resource", reason="limits of a process exist on Unix only")
    with stopped_before_quantising():
        exported(run, kind="Q8_0", check=False)
    whole = run / "export" / ".sft" / "whole.gguf"
    size = whole.stat().st_size
    whole.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 100_000, limits[1]))
    try:
        with pytest.raises(PersonaError, match=r"the disk of .*export is full") as caught:
            exported(run, kind="Q8_0", check=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in whole.parent.iterdir()) == ["made_of.json", "merged"]
    assert hash_file(exported(run, kind="Q8_0", check=False).file)


def test_merged_weights_that_were_cut_off_are_named_in_one_line(run):
    with stopped_before_quantising():
        exported(run, kind="Q8_0", check=False)
    weights = run / "export" / ".sft" / "merged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(PersonaError, match="weight file is damaged"):
        exported(run, kind="Q8_0")


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


def test_killed_after_each_step_it_goes_on_with_the_next_and_ends_with_the_same_file(run):
    expected = exported(run, kind="Q8_0").record
    shutil.rmtree(run / "export")
    work = run / "export" / ".sft"
    made: dict[str, int] = {}
    for name in ("made_of.json", "merged/config.json", "whole.gguf", "quantised.gguf"):
        kill_when_there(run, work / name)
        assert not (run / "export" / "sft.json").exists()
        for earlier, inode in made.items():  # was kept, not made again
            assert (work / earlier).stat().st_ino == inode, f"{earlier} was made twice"
        made[name] = (work / name).stat().st_ino
    done = exported(run, kind="Q8_0")
    assert not done.skipped
    assert dict(done.record) == dict(expected)
    assert hash_file(done.file) == expected["sha256"]
    assert sorted(path.name for path in (run / "export").iterdir()) == ["sft.gguf", "sft.json"]


def kill_when_there(run, file):
    """Run the command as a process of its own and kill it the moment a file is there."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "pipelines", "export", str(run), "--quantization", "Q8_0", "--threads", "1"]
    process = subprocess.Popen(command, env=environment, cwd=run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not file.exists():
            assert process.poll() is None, f"it ended before {file.name} was there"
            time.sleep(0.0005)
    finally:
        process.kill()
        process.wait()


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
