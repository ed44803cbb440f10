import pytest

from persona.config_tables import TrainingSection
from persona.errors import PersonaError
from pipelines.__main__ import build_parser
from pipelines.commands import all as command
from pipelines.train.plan import Method
from pipelines.whole.journal import Journal, run_steps
from pipelines.whole.steps import NAMES, Course, preference_method, steps, why_none
from pipelines.whole.working import Worker, published_as, summary


def course(run, *, preference="auto", batch=4, **more):
    training = TrainingSection(preference=preference, batch=batch)
    options = {"config": [], "prepare": ["prepare"], "train": [], "export": [], "sample": [], "evaluate": []}
    return Course(run=run, training=training, model="", **options, **more)


def write(file, lines=1):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}\n" * lines)


def working(run, *, liked=0, pairs=0, kto=0):
    """Return what does the steps: each leaves the files that the real one leaves; and the commands it was given."""
    commands = []

    def do(step, more):
        commands.append([*step.command, *more])
        match step.name:
            case "prepare":
                for name in ("manifest.json", "lineage.bin", "sft/train-00000.jsonl"):
                    write(run / name)
                if liked:
                    write(run / "preferences" / "liked.jsonl", liked)
                if kto:
                    write(run / "kto" / "train-00000.jsonl", kto)
            case "sample":
                write(run / "preferences" / "replies.jsonl", liked)
                write(run / "dpo" / "train.jsonl", pairs)
            case "sft" | "preference" | "export-sft" | "export" | "gate" | "publish":
                for output in step.outputs:
                    write(output if output.suffix else output / "weights.bin")

    return do, commands


def names(run, what, **found):
    do, commands = working(run, **found)
    return run_steps(steps(what), Journal(run), do), commands


def test_without_reactions_it_is_prepare_train_export_publish(tmp_path):
    found, commands = names(tmp_path, course(tmp_path))
    assert found == ["prepare", "sft", "export", "publish"]
    assert commands[2][:4] == ["export", str(tmp_path), "--method", "sft"]
    assert commands[3] == ["publish", str(tmp_path), str(tmp_path / "export" / "sft.gguf")]


def test_with_liked_replies_the_model_answers_them_and_is_trained_on_the_pairs(tmp_path):
    found, commands = names(tmp_path, course(tmp_path, gate=True), liked=9, pairs=8, kto=50)
    assert found == list(NAMES)
    assert commands[3] == ["sample", str(tmp_path), "--model", str(tmp_path / "export" / "sft.gguf")]
    assert commands[4] == ["train", str(tmp_path), "--method", "dpo"]
    assert commands[5][3] == "dpo"
    assert commands[6][:5] == ["evaluate", str(tmp_path / "export" / "dpo.gguf"), "--run", str(tmp_path), "--gate"]
    assert commands[7][2] == str(tmp_path / "export" / "dpo.gguf")


def test_too_few_pairs_leave_kto_and_too_few_of_those_leave_nothing(tmp_path):
    found, commands = names(tmp_path / "kto", course(tmp_path / "kto"), liked=9, pairs=3, kto=50)
    assert commands[4] == ["train", str(tmp_path / "kto"), "--method", "kto"]
    assert found[-1] == "publish"
    what = course(tmp_path / "none")
    found, commands = names(tmp_path / "none", what, liked=9, pairs=3, kto=2)
    assert found == ["prepare", "sft", "export-sft", "sample", "export", "publish"]
    assert why_none(what.run, what.training) == "too few reactions: 3 pairs and 2 rows, one step takes 4"
    assert "too few reactions" in summary(what, Journal(what.run))


def test_the_settings_can_choose(tmp_path):
    for wanted, expected in (
        ("none", ["prepare", "sft", "export"]),
        ("kto", ["prepare", "sft", "preference", "export"]),
        ("orpo", ["prepare", "sft", "export-sft", "sample", "preference", "export"]),
    ):
        run = tmp_path / wanted
        found, _ = names(run, course(run, preference=wanted, publish=False), liked=9, pairs=8, kto=50)
        assert found == expected
    assert preference_method(tmp_path / "orpo", TrainingSection(preference="orpo")) is Method.ORPO
    assert "preference = none" in why_none(tmp_path / "none", TrainingSection(preference="none"))


def test_only_what_changed_is_done_again(tmp_path):
    names(tmp_path, course(tmp_path), liked=9, pairs=8)
    assert names(tmp_path, course(tmp_path), liked=9, pairs=8)[0] == ["prepare"]
    write(tmp_path / "preferences" / "liked.jsonl", 7)
    do, _ = working(tmp_path, pairs=6)
    assert run_steps(steps(course(tmp_path)), Journal(tmp_path), do)[:3] == ["prepare", "sample", "preference"]
    write(tmp_path / "sft" / "train-00000.jsonl", 5)
    do, _ = working(tmp_path, pairs=6)
    lines = []

    def keeping(step, more):
        if step.name != "prepare":
            do(step, more)

    run_steps(steps(course(tmp_path)), Journal(tmp_path), keeping, said=lines.append)
    assert any(line.startswith("sft: python -m pipelines train") for line in lines)


def test_the_report_is_printed_once(tmp_path):
    _, commands = names(tmp_path, course(tmp_path))
    assert commands[0] == ["prepare"]
    _, commands = names(tmp_path, course(tmp_path))
    assert commands[0] == ["prepare", "--quiet"]


def test_a_run_in_which_somebody_was_forgotten_is_not_gone_on_with(tmp_path):
    (tmp_path / "forgotten.json").write_text("{}")
    what = course(tmp_path)
    do, _ = working(tmp_path)
    worker = Worker(course=what, held=0, stream=None)

    def first_prepared(step, more):
        (do if step.name == "prepare" else worker.do)(step, more)

    with pytest.raises(PersonaError, match=r"forgotten since \(the same with --from prepare"):
        run_steps(steps(what), Journal(tmp_path), first_prepared)


def test_the_options_reach_the_steps(tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("[training]\nbatch = 8\n")
    monkeypatch.chdir(tmp_path)
    options = ["--name", "x", "--cap", "0.3", "--base", "b", "--preset", "8gb", "--train-examples", "50", "--pull"]
    arguments = build_parser().parse_args(["all", *options, "--threads", "2", "--model", "m", "--quantization", "Q8_0"])
    from persona.config import load_settings

    what = command._course(arguments, load_settings(None))
    assert {"--cap=0.3", "--base=b", "--pull", "--name=x"} <= set(what.prepare)
    assert {"--base=b", "--preset=8gb", "--max-examples=50", "--threads=2", "--pull"} == set(what.train)
    assert what.export == ["--quantization=Q8_0"]
    assert (what.training.max_examples, what.training.batch, what.model) == (50, 8, "m")
    build_parser().parse_args(what.prepare)
    for step in steps(what):
        build_parser().parse_args([*step.command, *step.fresh])
        if step.name == "publish":
            assert step.command[-2:] == ["--model", "m"]


def test_the_end_says_what_was_published(tmp_path):
    names(tmp_path, course(tmp_path))
    assert published_as(tmp_path) == {}
    (tmp_path / "published.json").write_text('{"name": "server-1"}')
    assert summary(course(tmp_path), Journal(tmp_path)).endswith("; published as server-1")
