"""The parts of training that need none of its libraries."""

import errno
import json
import signal
import xml.etree.ElementTree as ET
from dataclasses import replace
from io import StringIO

import pytest

from persona.config_tables import TrainingSection
from persona.errors import ConfigError, PersonaError
from pipelines.__main__ import build_parser, main
from pipelines.train import checkpoints, hardware
from pipelines.train.base_model import read_base, resolve_base
from pipelines.train.curve import loss_curve
from pipelines.train.estimate import advice, estimate
from pipelines.train.failures import explain, require_space
from pipelines.train.hardware import Card, choose_backend
from pipelines.train.metrics import MetricsLog, cut_back, read_metrics
from pipelines.train.plan import PRESETS, BackendName, Method, make_plan, preset_name, step_count
from pipelines.train.progress import Moment, TrainingScreen, duration
from pipelines.train.rows import class_weights, read_rows
from pipelines.train.stage_files import StageFiles
from pipelines.train.stopping import StopSwitch
from tests.pipelines.training_world import write_run

SETTINGS = TrainingSection()
CARD = Card(name="a card", memory_gib=23.6)
VERSIONS = {
    "torch": "2.13.0",
    "transformers": "5.17.0",
    "trl": "1.14.2",
    "peft": "0.21.2",
    "accelerate": "1.15.0",
    "datasets": "4.8.5",
    "bitsandbytes": "0.50.2",
    "unsloth": "2026.10.7",
}
QWEN_3B = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}


def plan(
    method=Method.SFT, *, backend=BackendName.HF_QLORA, preset="24gb", devices=1, settings=SETTINGS, examples=1000
):
    return make_plan(
        settings,
        method=method,
        backend=backend,
        preset=preset,
        devices=devices,
        examples=examples,
        validation_examples=100,
    )


def base(tmp_path, **changes):
    (tmp_path / "config.json").write_text(json.dumps({**QWEN_3B, **changes}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return read_base(tmp_path)


def test_the_defaults_are_those_of_the_recipe():
    first, second = plan(), plan(Method.DPO)
    assert (first.rank, first.alpha, first.dropout, first.epochs, first.learning_rate) == (64, 128, 0.05, 5, 1e-4)
    assert (first.batch, first.tokens, first.micro_batch * first.accumulation) == (32, 2048, 32)
    assert (second.beta, second.epochs, second.learning_rate) == (0.1, 2, 5e-5)


def test_a_preset_lowers_what_does_not_fit():
    assert plan(preset="8gb").tokens == 1024
    assert plan(preset="8gb").micro_batch == 1
    assert plan(preset="cpu", backend=BackendName.HF_CPU).optimizer == "adamw_torch"


@pytest.mark.parametrize(
    ("memory", "name"), [(None, "cpu"), (7.6, "8gb"), (11.6, "12gb"), (15.9, "12gb"), (23.6, "24gb"), (79.0, "24gb")]
)
def test_the_card_decides_the_preset(memory, name):
    assert preset_name(SETTINGS, memory) == name
    assert preset_name(SETTINGS.model_copy(update={"preset": "8gb"}), memory) == "8gb"


def test_several_devices_share_the_batch():
    assert plan(devices=4).accumulation == 2
    with pytest.raises(ConfigError, match="make it a multiple of 12"):
        plan(devices=3)


def test_kto_always_reads_two_rows_at_a_time():
    assert plan(Method.KTO, preset="8gb").micro_batch == 2


def test_steps_count_the_smaller_last_batch():
    assert step_count(48, 6, 4, 2, 1) == 36
    assert step_count(49, 1, 4, 2, 1) == 7
    assert step_count(1, 0.1, 4, 8, 1) == 1


def test_the_hash_changes_with_everything_that_decides_the_result():
    one = plan()
    known = one.config_hash(data="d", base="b")
    assert known == plan().config_hash(data="d", base="b")
    others = [
        one.config_hash(data="e", base="b"),
        one.config_hash(data="d", base="c"),
        replace(one, seed=8).config_hash(data="d", base="b"),
        replace(one, method=Method.DPO).config_hash(data="d", base="b"),
    ]
    assert len({known, *others}) == 5


@pytest.mark.parametrize(
    ("cards", "missing", "expected"),
    [
        ((CARD,), (), BackendName.UNSLOTH),
        ((CARD,), ("unsloth",), BackendName.HF_QLORA),
        ((), (), BackendName.HF_CPU),
        ((), ("unsloth", "bitsandbytes"), BackendName.HF_CPU),
    ],
)
def test_the_fastest_backend_that_can_run_is_chosen(cards, missing, expected):
    found = {name: version for name, version in VERSIONS.items() if name not in missing}
    assert choose_backend("auto", cards, found.get) is expected


@pytest.mark.parametrize(
    ("wanted", "cards", "changes", "message"),
    [
        ("hf-qlora", (), {}, "needs an NVIDIA GPU and there is none"),
        ("unsloth", (CARD,), {"unsloth": None}, "not installed: unsloth"),
        ("hf-cpu", (), {"trl": "1.15.0"}, r"needs trl 1\.14, installed is 1\.15\.0"),
        ("hf-cpu", (), {"transformers": "4.57.1"}, r"needs transformers 5\.17, installed is 4\.57\.1"),
        ("auto", (CARD,), {"torch": "2.13.0+cpu"}, "built for the CPU"),
        ("auto", (), {"torch": None, "peft": None}, "not installed: torch, peft"),
    ],
)
def test_what_cannot_run_is_refused_with_the_cure(wanted, cards, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        choose_backend(wanted, cards, {**VERSIONS, **changes}.get)
    assert caught.value.cure


def test_later_versions_will_do_where_nothing_else_is_known():
    assert choose_backend("hf-cpu", (), {**VERSIONS, "transformers": "5.18.0", "torch": "2.14"}.get) == "hf-cpu"


def test_the_probe_imports_none_of_what_it_looks_for(monkeypatch):
    import sys

    before = set(sys.modules)
    hardware.find_cards()
    hardware.version_list()
    assert not {"torch", "trl", "transformers", "unsloth", "peft"} & (set(sys.modules) - before)


def test_the_size_of_a_model_is_read_from_its_files(tmp_path):
    found = base(tmp_path)
    # Qwen2.5-3B has 3.09 billion parameters, 2.77 of them beside the embeddings, as its card says.
    assert found.parameters == pytest.approx(3.09e9, rel=0.01)
    assert found.parameters - found.embedding_parameters == pytest.approx(2.77e9, rel=0.01)
    assert found.adapter_parameters(64) == pytest.approx(119.7e6, rel=0.01)
    assert base(tmp_path, hidden_size=1024).fingerprint != found.fingerprint


def test_a_base_that_cannot_be_used_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="GPT2LMHeadModel"):
        base(tmp_path, architectures=["GPT2LMHeadModel"])
    base(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"no \*\.safetensors"):
        read_base(tmp_path)
    with pytest.raises(ConfigError, match="there is no folder"):
        resolve_base(str(tmp_path / "none"), pull=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="--pull"):
        resolve_base("nobody/never-pulled", pull=False)


def estimated(tmp_path, **changes):
    return estimate(plan(**changes), base(tmp_path), mean_tokens=300, flops=3e13)


def test_the_estimate_fits_the_presets_and_grows_with_the_work(tmp_path):
    for name, limit in (("8gb", 8), ("12gb", 12), ("24gb", 24)):
        found = estimated(tmp_path, preset=name)
        assert limit / 3 < found.memory_gib < limit, name
    once = estimated(tmp_path)
    assert estimated(tmp_path, examples=2000).seconds == pytest.approx(2 * once.seconds)
    assert estimated(tmp_path, method=Method.DPO).seconds / 2 > once.seconds / 5
    assert once.disk_bytes > 6e9  # the merged model alone


def test_a_training_of_days_names_how_many_examples_take_a_night(tmp_path):
    found = estimated(tmp_path, examples=310_585)
    # 310,585 examples, five times: 40 to 67 hours at three to five seconds a step.
    assert 24 < found.hours < 100
    text = advice(plan(examples=310_585), found)
    number = int(text.split()[1])
    assert estimated(tmp_path, examples=number).hours == pytest.approx(12, abs=0.2)
    assert advice(plan(), estimated(tmp_path)) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.pop("completion"), "completion is missing"),
        (lambda row: row["prompt"].pop(0), "does not begin with a system message"),
        (lambda row: row["completion"][0].update(role="user"), "not one assistant message"),
        (lambda row: row["completion"][0].update(content=None), "no chat message"),
    ],
)
def test_a_bad_line_is_named(tmp_path, change, message):
    run = write_run(tmp_path / "run", kinds=("sft",))
    file = run / "sft" / "train.jsonl"
    lines = file.read_text().splitlines()
    row = json.loads(lines[2])
    change(row)
    file.write_text("\n".join([*lines[:2], json.dumps(row), *lines[3:]]))
    with pytest.raises(PersonaError, match=f"train.jsonl:3: .*{message}"):
        read_rows(run, Method.SFT, "train")


def test_rows_are_counted_over_all_shards_and_hashed(tmp_path):
    run = write_run(tmp_path / "run", train=10)
    one = read_rows(run, Method.KTO, "train")
    assert one.count == 10
    assert one.liked + one.disliked == 10
    (run / "kto" / "train-1.jsonl").write_bytes((run / "kto" / "train.jsonl").read_bytes())
    two = read_rows(run, Method.KTO, "train")
    assert (two.count, two.mean_characters) == (20, one.mean_characters)
    assert two.sha256 != one.sha256
    assert read_rows(run, Method.ORPO, "train").files == read_rows(run, Method.DPO, "train").files
    assert read_rows(tmp_path, Method.SFT, "train").count == 0


def test_both_sides_of_kto_count_the_same():
    assert class_weights(60, 30) == (1.0, 2.0)
    assert class_weights(10, 40) == (4.0, 1.0)
    with pytest.raises(PersonaError, match="no disliked one"):
        class_weights(5, 0)


def sealed(folder, step, *, known="hash", stamped=True):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    for name in ("optimizer.pt", "scheduler.pt", "trainer_state.json", "adapter_model.safetensors", "rng_state.pth"):
        (checkpoint / name).write_text(f"{name} {step}")
    if stamped:
        checkpoints.stamp(checkpoint, known)
    return checkpoint


def test_the_newest_whole_checkpoint_is_taken_and_a_broken_off_one_removed(tmp_path):
    assert checkpoints.latest(tmp_path, "hash") is None
    sealed(tmp_path, 9)
    wanted = sealed(tmp_path, 100)
    broken = sealed(tmp_path, 200, stamped=False)
    assert checkpoints.latest(tmp_path, "hash") == wanted
    assert not broken.exists()
    assert checkpoints.step_of(wanted) == 100


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    sealed(tmp_path, 10, known="other")
    with pytest.raises(PersonaError, match=r"other settings, data or base model .*--fresh"):
        checkpoints.latest(tmp_path, "hash")


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"])
def test_a_checkpoint_without_state_is_refused(tmp_path, name):
    checkpoint = sealed(tmp_path, 10)
    (checkpoint / name).unlink()
    with pytest.raises(PersonaError, match=f"lacks {name}"):
        checkpoints.latest(tmp_path, "hash")


def test_a_checkpoint_that_never_had_an_optimizer_is_refused(tmp_path):
    checkpoint = sealed(tmp_path, 10, stamped=False)
    (checkpoint / "optimizer.pt").unlink()
    checkpoints.stamp(checkpoint, "hash")
    with pytest.raises(PersonaError, match=r"lacks optimizer\.pt"):
        checkpoints.latest(tmp_path, "hash")


def test_a_truncated_file_is_noticed(tmp_path):
    checkpoint = sealed(tmp_path, 10)
    (checkpoint / "optimizer.pt").write_text("op")
    with pytest.raises(PersonaError, match=r"lacks optimizer\.pt"):
        checkpoints.latest(tmp_path, "hash")


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    file = tmp_path / "metrics.jsonl"
    log = MetricsLog(file)
    for step in range(1, 6):
        log.write({"step": step, "loss": 1 / step})
    log.close()
    with file.open("a") as stream:
        stream.write('{"step": 6, "lo')
    assert [row["step"] for row in read_metrics(file)] == [1, 2, 3, 4, 5]
    cut_back(file, 3)
    assert [row["step"] for row in read_metrics(file)] == [1, 2, 3]
    assert file.read_text().endswith("\n")


def test_the_loss_curve_is_a_picture_with_every_line():
    rows = [{"step": n, "loss": 3 / n, "rewards/margins": n / 10} for n in range(1, 4000)]
    rows += [{"step": 2000, "eval_loss": 0.5}, {"step": 3999, "eval_loss": float("nan")}]
    picture = loss_curve(rows, "sft <b>")
    root = ET.fromstring(picture)  # noqa: S314 - our own text
    lines = [item for item in root if item.tag.endswith("polyline")]
    assert len(lines) == 4
    assert "&lt;b&gt;" in picture
    assert len(picture) < 150_000
    ET.fromstring(loss_curve([], "nothing"))  # noqa: S314 - as above


def test_the_screen_says_loss_speed_and_time_left():
    now = [0.0]
    stream = StringIO()
    screen = TrainingScreen(stream, name="sft", steps=100, clock=lambda: now[0])
    screen.start(40)
    for step in range(41, 61):
        now[0] += 2
        screen.show(Moment(step=step, loss=2.5, gpu_gib=7.25))
    assert screen.rate == pytest.approx(0.5)
    text = stream.getvalue()
    assert "going on after step 40, 100 steps" in text
    assert "loss 2.500  0.50 steps/s  " in text
    assert "GPU 7.2 GiB" in text
    assert text.count("step 5") == 1  # every half minute, not every step
    assert screen.describe(Moment(step=60, margin=0.25)) == "margin +0.250  0.50 steps/s  80 s left"
    screen.close()


def test_durations_read_like_a_person_says_them():
    assert [duration(s) for s in (40, 720, 12_000)] == ["40 s", "12 min", "3 h 20 min"]


def test_known_failures_become_one_line(tmp_path):
    gpu = explain(RuntimeError("CUDA out of memory. Tried to allocate"), tmp_path, memory_cure="take less")
    assert str(gpu) == "the GPU is out of memory; what was trained until the last checkpoint is kept (take less)"
    full = explain(OSError(errno.ENOSPC, "No space left on device"), tmp_path, memory_cure="")
    assert "is full" in str(full)
    assert explain(ValueError("something else"), tmp_path, memory_cure="") is None
    assert "the machine is out" in str(explain(MemoryError(), tmp_path, memory_cure=""))
    require_space(tmp_path, 1)
    with pytest.raises(PersonaError, match=r"this training needs about 1000000\.0 GB"):
        require_space(tmp_path, 10**15)


def test_a_finished_stage_is_only_believed_when_nothing_changed(tmp_path):
    files = StageFiles(tmp_path, Method.SFT)
    assert files.finished("hash") is None
    files.adapter.mkdir(parents=True)
    weights = files.adapter / "adapter_model.safetensors"
    weights.write_bytes(b"weights")
    files.finish({"config_hash": "hash", "steps": 5})
    assert files.finished("hash")["steps"] == 5
    with pytest.raises(PersonaError, match="other settings"):
        files.finished("another")
    weights.write_bytes(b"changed")
    with pytest.raises(PersonaError, match="not what was trained"):
        files.finished("hash")


def test_the_switch_remembers_a_signal_and_puts_the_handler_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopSwitch() as switch:
        assert not switch.asked
        signal.raise_signal(signal.SIGTERM)
        assert switch.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_command_is_there_and_names_a_missing_run(tmp_path, capsys):
    arguments = build_parser().parse_args(["train", "runs/x"])
    assert (arguments.method, arguments.module) == ("all", "pipelines.commands.train")
    assert main(["train", str(tmp_path / "none"), "--backend", "hf-cpu"]) == 2
    assert "there is no run folder" in capsys.readouterr().err


def test_presets_cover_what_can_be_chosen():
    names = {name for name in TrainingSection.model_fields["preset"].annotation.__args__ if name != "auto"}
    assert names == set(PRESETS)
