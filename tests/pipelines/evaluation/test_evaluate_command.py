"""`pipelines evaluate` from the command line, with a real model: the page, its twin, the gate, going on."""

import html
import json
import re
import shutil
from datetime import UTC, datetime

import pytest

pytest.importorskip("sklearn", reason="needs the extra `evaluate`: scikit-learn")
pytest.importorskip("detect_secrets", reason="needs the extra `prepare`: detect-secrets")
pytest.importorskip("phonenumbers", reason="needs the extra `prepare`: phonenumbers")

from persona.domain.model_list import ModelEntry, ModelList, encode_models
from persona.domain.quiz import read_quiz
from persona.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE
from pipelines.__main__ import main
from pipelines.evaluation.published import published_model
from pipelines.evaluation.report import page
from pipelines.run import file_sha256
from tests.pipelines.evaluation.run_world import write_run
from tests.pipelines.prepare_world import ANN, PERMITTED, fill, said

FEW = ["--contexts", "24", "--samples", "2", "--ranked", "4", "--draws", "100", "--threads", "1", "--letters"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    write_run(folder / "runs" / "attic", conversations=14, training=20)
    fill(folder / "persona.db", [said(ANN, "hello there")], entries=[PERMITTED])
    (folder / "config.toml").write_text(
        '[storage]\ndatabase = "persona.db"\nruns = "runs"\nmodels = "models"\n[sampling]\nmax_tokens = 12\n',
        encoding="utf-8",
    )
    return folder


def evaluate(world, *arguments):
    return main(["evaluate", *map(str, arguments), "--config", str(world / "config.toml"), *FEW])


def report_folder(world):
    (folder,) = (world / "runs" / "attic" / "evaluation").glob("babbling-*")
    return folder


@pytest.fixture(scope="module")
def report(world, babbling_gguf, tmp_path_factory):
    """A copy of the report: other tests evaluate the same model, in any order, and write over theirs."""
    assert evaluate(world, babbling_gguf, "--run", "attic", "--base", babbling_gguf) == EXIT_DONE
    return shutil.copytree(report_folder(world), tmp_path_factory.mktemp("report") / "copy")


@pytest.fixture(scope="module")
def twin(report):
    return json.loads((report / "report.json").read_text(encoding="utf-8"))


def test_the_twin_holds_every_contender_and_figure_with_its_range(twin):
    assert [one["key"] for one in twin["contenders"]] == ["model", "base", "copy", "random", "people"]
    model, *_, people = twin["contenders"]
    assert {measure["key"] for measure in twin["measures"]} - set(model["figures"]) <= {"language"}
    for found in model["figures"].values():
        assert found["low"] <= found["value"] <= found["high"]
    assert "recognised" in model["worse_than_people"]
    assert people["figures"]["recognised"]["low"] < 0.6
    assert "relevance_model" in people["figures"]
    assert twin["contexts"] == 24
    assert all(seconds >= 0 for seconds in twin["seconds"].values())


def test_the_targets_say_what_they_measure(twin):
    met = {target["name"]: target["met"] for target in twin["targets"]}
    assert met["recognised by people"] is None
    assert met["perplexity"] is False
    assert all(len(target["about"]) > 40 for target in twin["targets"])


def test_the_page_needs_no_network_runs_nothing_and_shows_everything(report, twin):
    text = (report / "report.html").read_text(encoding="utf-8")
    assert page(json.loads((report / "report.json").read_text(encoding="utf-8"))) == text
    assert not re.search(r"<script|https?://(?!www\.w3\.org/2000/svg)|src=|url\(", text)
    assert "default-src 'none'" in text
    for one in twin["measures"]:
        assert html.escape(one["name"]) in text
    assert text.count("<svg") >= 7


def test_what_people_wrote_cannot_break_out_of_the_page(twin):
    nasty = "</div><script>alert(1)</script>\u202e<img src=x>"
    sample = {"context": [nasty], "replies": [{"name": nasty, "messages": [nasty]}]}
    leak = {"kind": "copy", "source": nasty, "words": 9, "text": nasty, "context_id": nasty}
    text = page({**twin, "samples": [sample], "leaks": [leak], "leak_count": 1, "notes": [nasty]})
    assert "<script" not in text
    assert "<img" not in text
    assert "\u202e" not in text


def test_what_was_written_and_scored_is_kept(world, babbling_gguf):
    again = [babbling_gguf, "--run", "attic", "--base", babbling_gguf]
    assert evaluate(world, *again) == EXIT_DONE
    report = report_folder(world)
    kept = {file: file.read_bytes() for file in report.parent.glob("*.jsonl")}
    before = (report / "report.json").read_bytes()
    assert len(kept) >= 2
    assert evaluate(world, *again) == EXIT_DONE
    assert {file: file.read_bytes() for file in report.parent.glob("*.jsonl")} == kept
    now = json.loads((report / "report.json").read_bytes())
    then = json.loads(before)
    for told in (now, then):
        del told["seconds"], told["made_at"], told["seconds_per_100_contexts"]
    assert now == then


def publish(world, model):
    models = world / "models"
    models.mkdir(exist_ok=True)
    shutil.copyfile(model, models / "published.gguf")
    entry = ModelEntry(
        name="published", file="published.gguf", sha256=file_sha256(model), size=1, created=datetime.now(UTC)
    )
    (models / "registry.json").write_bytes(encode_models(ModelList(models=(entry,)).using("published")))
    return models


def test_the_gate_is_open_without_a_published_model_and_for_the_same_one(world, babbling_gguf, capsys):
    shutil.rmtree(world / "models", ignore_errors=True)
    assert evaluate(world, babbling_gguf, "--gate", "--json", "--run", "attic", "--samples", "1") == EXIT_DONE
    assert "no model is published yet" in " ".join(json.loads(capsys.readouterr().out)["notes"])
    assert published_model(publish(world, babbling_gguf)) == world / "models" / "published.gguf"
    assert evaluate(world, babbling_gguf, "--gate", "--json", "--run", "attic", "--samples", "1") == EXIT_DONE
    assert "the same model" in " ".join(json.loads(capsys.readouterr().out)["notes"])


@pytest.mark.timeout(120)
def test_the_gate_is_shut_for_a_model_that_is_worse(world, babbling_gguf, scripted_gguf, capsys):
    publish(world, babbling_gguf)
    assert evaluate(world, scripted_gguf, "--gate", "--json", "--run", "attic", "--samples", "1") == EXIT_FAILED
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert "repeated" in told["gate"]  # it always says the same
    assert "gate: worse than" in printed.err
    assert [one["verdict"] for one in told["against"]["against"] if one["measure"] == "repeated"] == ["worse"]


def test_what_is_wrong_is_said_in_one_line(world, babbling_gguf, capsys):
    for arguments, problem in [
        ([], "either MODEL or --checkpoints"),
        ([babbling_gguf, "--run", "nowhere"], "there is no run folder nowhere"),
        (["--checkpoints", "attic"], "has no checkpoints"),
    ]:
        assert evaluate(world, *arguments) == EXIT_USAGE
        printed = capsys.readouterr().err
        assert problem in printed
        assert printed.count("\n") == 1


def test_too_little_held_out_is_refused_with_the_cure(world, babbling_gguf, capsys):
    write_run(world / "runs" / "tiny", conversations=4, training=3)
    assert evaluate(world, babbling_gguf, "--run", "tiny") == EXIT_FAILED
    assert "too few to tell anything" in capsys.readouterr().err
    shutil.rmtree(world / "runs" / "tiny")


def test_a_blind_test_is_made_and_its_score_stands_beside_the_target(world, babbling_gguf, capsys, tmp_path):
    config = ["--config", str(world / "config.toml")]
    made = ["blindtest", "make", str(babbling_gguf), "--run", "attic", "--questions", "6", "--threads", "1", *config]
    assert main(made) == EXIT_DONE
    folder = world / "runs" / "attic" / "blindtest"
    assert "the attic" in (folder / "test.html").read_text(encoding="utf-8")
    key = json.loads((folder / "key.json").read_text(encoding="utf-8"))
    assert len(key["human"]) == 6
    quiz = read_quiz((folder / "quiz.json").read_text(encoding="utf-8"))
    assert (quiz.test_id, [one.human for one in quiz.questions]) == (key["test"], key["human"])
    assert all(len(one.marks) == 2 for one in quiz.questions)
    assert f"copy {folder / 'quiz.json'}" in " ".join(capsys.readouterr().out.split("\n"))
    answers = {"format": key["format"], "test": key["test"], "rater": "ann", "answers": key["human"]}
    (tmp_path / "ann.json").write_text(json.dumps(answers), encoding="utf-8")
    capsys.readouterr()
    scored = ["blindtest", "score", str(folder / "key.json"), str(tmp_path / "ann.json")]
    assert main(scored) == EXIT_DONE
    assert "overall: 100% (61% to 100%) right" in capsys.readouterr().out
    assert main([*scored, "--json"]) == EXIT_DONE
    (tmp_path / "score.json").write_text(capsys.readouterr().out, encoding="utf-8")
    assert (
        evaluate(
            world, babbling_gguf, "--run", "attic", "--json", "--samples", "1", "--blindtest", tmp_path / "score.json"
        )
        == EXIT_DONE
    )
    targets = {target["name"]: target for target in json.loads(capsys.readouterr().out)["targets"]}
    assert targets["recognised by people"]["met"] is False
    assert targets["recognised by people"]["found"]["value"] == 1.0
