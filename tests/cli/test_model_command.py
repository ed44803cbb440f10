"""`persona model list | use | rollback | remove | check` on a real folder of models."""

import json

import pytest

from persona.__main__ import main
from persona.adapters.models import ModelRegistry, publish
from persona.domain.model_list import ModelMark
from persona.instance_lock import InstanceLock
from tests.fakes.tiny_gguf import TinyModel, write_tiny_gguf


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An installation with three models: `server-1` in use, `server-2`, and one that was trained on other prompts."""
    monkeypatch.chdir(tmp_path)
    metadata = {"server-3": {"persona.prompt_hash": "0" * 64}}
    for number, name in enumerate(("server-1", "server-2", "server-3")):
        source = write_tiny_gguf(tmp_path / f"{name}.src", TinyModel(seed=number, metadata=metadata.get(name, {})))
        publish(source, tmp_path / "models", name=name, use=name == "server-1")
    return tmp_path


def call(capsys, *arguments):
    code = main(["model", *arguments])
    out, err = capsys.readouterr()
    return code, " ".join(out.split()), err


def current(folder):
    return ModelRegistry(folder / "models").read().current


def test_the_list_shows_what_there_is_and_what_to_do(folder, capsys):
    code, out, err = call(capsys, "list")
    assert (code, err) == (0, "")
    assert "in use server-1 0.5 MB" in out
    assert "server-3 was trained with another version of the prompts: train it again" in out
    code, out, _ = call(capsys, "list", "--json")
    told = json.loads(out)
    assert (told["current"], told["before"]) == ("server-1", None)
    assert {one["name"]: one["prompts"] for one in told["models"]} == {
        "server-1": "not trained here",
        "server-2": "not trained here",
        "server-3": "another version",
    }


def test_without_any_models_the_list_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, "list")
    assert code == 0
    assert "There are no models in" in out
    assert "the built-in demo" in out
    assert list(tmp_path.iterdir()) == []


def test_use_verifies_chooses_and_rollback_goes_back(folder, capsys):
    code, out, _ = call(capsys, "use", "server-2")
    assert (code, current(folder)) == (0, "server-2")
    assert "server-2 is the model in use. The persona speaks with it from its next start on." in out
    assert "before server-1" in call(capsys, "list")[1]
    code, out, _ = call(capsys, "rollback", "--json")
    assert (code, json.loads(out), current(folder)) == (0, {"current": "server-1"}, "server-1")
    code, _, err = call(capsys, "rollback")
    assert code == 1
    assert "no model was in use before" in err


def test_a_running_persona_is_said_to_follow(folder, capsys):
    with InstanceLock(folder / "data" / "persona.lock"):
        _, out, _ = call(capsys, "use", "server-2")
    assert "The running persona takes it over within seconds" in out


def test_where_config_names_a_model_that_wins_and_is_said(folder, capsys):
    (folder / "config.toml").write_text(f'[model]\npath = "{folder / "server-1.src"}"\n')
    code, _, err = call(capsys, "use", "server-2")
    assert code == 0
    assert "server-1.src ([model] path), and that wins" in err
    code, out, _ = call(capsys, "check")
    assert "server-1.src is a whole model file" in out


def test_check_looks_at_the_model_in_use(folder, capsys):
    code, out, _ = call(capsys, "check")
    assert code == 0
    assert "models/server-1.gguf is a whole model file" in out
    path = folder / "models" / "server-1.gguf"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + b"!")
    code, _, err = call(capsys, "check")
    assert code == 78
    assert "persona model rollback, or persona model use another one" in err


@pytest.mark.parametrize(
    ("name", "says", "code"),
    [
        ("sever-2", "did you mean server-2", 2),
        ("zzz", "persona model list shows them", 2),
        ("server-3", "another version of the prompt renderer", 78),
        ("\x1b[31mred", "there is no model \ufffd[31mred", 2),
    ],
)
def test_what_cannot_be_used_is_explained_and_changes_nothing(folder, capsys, name, says, code):
    before = (folder / "models" / "registry.json").read_bytes()
    got, _, err = call(capsys, "use", name)
    assert got == code
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert (folder / "models" / "registry.json").read_bytes() == before


def test_a_missing_or_damaged_file_is_refused(folder, capsys):
    path = folder / "models" / "server-2.gguf"
    data = path.read_bytes()
    path.unlink()
    code, _, err = call(capsys, "use", "server-2")
    assert code == 78
    assert "the file of server-2 is missing" in err
    assert "server-2: file missing; publish it again" in call(capsys, "list")[1]
    path.write_bytes(data[:-4] + b"\0\1\2\3")
    code, _, err = call(capsys, "use", "server-2")
    assert code == 78
    assert "damaged or another file" in err
    assert current(folder) == "server-1"


def test_a_damaged_list_is_mended_and_that_is_said(folder, capsys):
    (folder / "models" / "registry.json").write_text('{"version": 1,')
    code, out, err = call(capsys, "list")
    assert code == 0
    assert "the list of models was damaged; it lies in" in err
    assert "in use server-1" in out
    aside = list((folder / "models").glob("registry.json.damaged-*"))
    assert [file.read_text() for file in aside] == ['{"version": 1,']


def test_after_a_list_was_lost_for_good_nothing_is_guessed(folder, capsys):
    (folder / "models" / "registry.json").write_text("{")
    (folder / "models" / ".registry.json.before").write_text("{")
    code, out, _ = call(capsys, "list")
    assert code == 0
    assert "Which model was in use is not known" in out
    code, _, err = call(capsys, "check")
    assert code == 78
    assert "which one was in use is not known" in err
    assert call(capsys, "use", "server-1")[0] == 0
    assert call(capsys, "check")[0] == 0


def test_a_file_put_there_by_hand_is_shown_and_can_be_used(folder, capsys):
    write_tiny_gguf(folder / "models" / "qwen.gguf", TinyModel(seed=9))
    assert "qwen 0.5 MB not in the list; `use` takes it in" in call(capsys, "list")[1]
    assert call(capsys, "use", "qwen.gguf")[0] == 0
    assert current(folder) == "qwen"


def test_marked_models_are_shown_with_what_to_do_and_can_be_removed(folder, capsys):
    registry = ModelRegistry(folder / "models")
    mark = ModelMark(at=registry.read().models[0].created, messages=4, authors=1)
    registry.change(lambda models: models.marked({"server-1": mark}))
    says = "server-1 contains words of somebody who asked to be forgotten (4 messages, 1 people): train anew"
    assert says in call(capsys, "list")[1]
    assert says in call(capsys, "check")[1]
    code, _, err = call(capsys, "remove", "server-1")
    assert code == 2
    assert "server-1 is in use" in err
    call(capsys, "use", "server-2")
    code, _, err = call(capsys, "rollback")
    assert code == 0
    assert "asked to be forgotten" in err, "going back to a marked model is said"
    call(capsys, "use", "server-2")
    assert call(capsys, "remove", "server-1")[:2] == (0, "server-1 is gone.")
    assert not (folder / "models" / "server-1.gguf").exists()
    assert [entry.name for entry in registry.read().models] == ["server-2", "server-3"]


@pytest.mark.parametrize("arguments", [("use",), ("remove",), ("list", "server-1"), ("rollback", "server-1")])
def test_names_belong_to_some_actions_only(folder, capsys, arguments):
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert "name" in err
