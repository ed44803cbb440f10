"""Publishing a model: whole or not at all, also when the program is killed at any step of it."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from persona.adapters.models import ModelRegistry, Origin, publish
from persona.domain.lineage import LINEAGE_FILE, LineageKey, encode_lineage, lineage_of
from persona.errors import ModelFileError, PersonaError, UsageError
from persona.run_marks import MARK_FILE
from tests.fakes.tiny_gguf import TinyModel, write_tiny_gguf

ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def source(tmp_path):
    return write_tiny_gguf(tmp_path / "export.gguf", TinyModel(seed=3, metadata={"persona.run": "from-header"}))


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "server"
    folder.mkdir(parents=True)
    lineage = lineage_of(LineageKey(secret=b"k" * 32), NOON, [1, 2, 3], [7])
    (folder / LINEAGE_FILE).write_bytes(encode_lineage(lineage))
    return folder


def test_a_published_model_is_in_the_folder_and_the_list(source, run, tmp_path):
    seen = []
    origin = Origin(run=run, base="Qwen/Qwen2.5-3B-Instruct", manifest="f" * 64)
    entry = publish(source, tmp_path / "models", name="server-1", origin=origin, on_bytes=seen.append, now=lambda: NOON)
    registry = ModelRegistry(tmp_path / "models")
    assert registry.read().models == (entry,)
    assert registry.read().current is None, "a new model is not used unless that is asked for"
    assert (entry.file, entry.run, entry.base, entry.manifest) == ("server-1.gguf", "server", origin.base, "f" * 64)
    assert (entry.size, entry.created, seen[-1]) == (source.stat().st_size, NOON, entry.size)
    assert registry.path_of(entry).read_bytes() == source.read_bytes()
    beside = registry.path_of(entry).with_name(entry.lineage_file)
    assert beside.read_bytes() == (run / LINEAGE_FILE).read_bytes()
    assert source.exists()


def test_publishing_again_changes_nothing_and_can_choose(source, run, tmp_path):
    models = tmp_path / "models"
    first = publish(source, models, name="a", origin=Origin(run=run))
    text = (models / "registry.json").read_bytes()
    assert publish(source, models, name="a", origin=Origin(run=run)) == first
    assert (models / "registry.json").read_bytes() == text
    publish(source, models, name="a", origin=Origin(run=run), use=True)
    assert ModelRegistry(models).read().current == "a"


def test_what_the_caller_does_not_say_comes_from_the_header(source, tmp_path):
    entry = publish(source, tmp_path / "models", name="a")
    assert (entry.run, entry.base) == ("from-header", "")


def test_where_links_cannot_be_made_it_is_copied(source, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    entry = publish(source, tmp_path / "models", name="a")
    copy = tmp_path / "models" / "a.gguf"
    assert copy.read_bytes() == source.read_bytes()
    assert copy.stat().st_ino != source.stat().st_ino
    assert entry.size == copy.stat().st_size


def test_a_full_disk_is_named_before_it_is_full(source, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(PersonaError, match=r"has 0\.0 GB left.*free some space"):
        publish(source, tmp_path / "models", name="a")
    assert ModelRegistry(tmp_path / "models").read().models == ()
    assert list((tmp_path / "models").glob("*.gguf")) == []


def test_another_model_of_that_name_is_never_replaced(source, tmp_path):
    models = tmp_path / "models"
    publish(source, models, name="a")
    other = write_tiny_gguf(tmp_path / "other.gguf", TinyModel(seed=4))
    before = (models / "a.gguf").read_bytes()
    with pytest.raises(UsageError, match=r"a\.gguf is another model.*another name"):
        publish(other, models, name="a")
    assert (models / "a.gguf").read_bytes() == before


@pytest.mark.parametrize("name", ["", "../x", ".x", "a b"])
def test_names_that_will_not_do_are_refused(source, tmp_path, name):
    with pytest.raises(UsageError, match="will not do"):
        publish(source, tmp_path / "models", name=name)
    assert not (tmp_path / "models").exists()


def test_a_file_that_is_no_model_or_not_the_one_meant_is_refused(source, tmp_path):
    models = tmp_path / "models"
    with pytest.raises(ModelFileError, match="sha256"):
        publish(source, models, name="a", sha256="0" * 64)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="cut off"):
        publish(broken, models, name="a")
    with pytest.raises(PersonaError, match="cannot be published"):
        publish(tmp_path / "missing.gguf", models, name="a")
    assert [path.name for path in models.iterdir() if not path.name.endswith(".lock")] == []


def test_a_model_inherits_the_mark_of_its_run(source, run, tmp_path):
    (run / MARK_FILE).write_text(
        json.dumps({"at": NOON.isoformat(), "messages": 2, "authors": 1, "problem": ""}), encoding="utf-8"
    )
    entry = publish(source, tmp_path / "models", name="a", origin=Origin(run=run))
    assert (entry.mark.messages, entry.mark.authors) == (2, 1)
    assert "asked to be forgotten" in str(ModelRegistry(tmp_path / "models").read().find("a").mark)


@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_step_nothing_is_half_published_and_the_next_call_finishes(source, run, tmp_path, others):
    before = tmp_path / "models"
    for number in range(others):
        other = write_tiny_gguf(tmp_path / f"{number}.src", TinyModel(seed=number + 20))
        publish(other, before, name=f"old-{number}", use=True)
    program = subprocess.run(
        [sys.executable, "-m", "tests.fakes.publish_program", str(source), str(run), str(before)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert program.returncode == 0, program.stderr
    told = [json.loads(line) for line in program.stdout.splitlines()]
    old = [f"old-{number}" for number in range(others)]
    assert len(told) > 20, "it was killed at every step"
    assert told[-1]["code"] == 0
    for one in told:
        after, then = one["after"], one["then"]
        assert sorted(after["models"]) in (old, ["new", *old])
        assert after["current"] == ("new" if "new" in after["models"] else old[-1] if old else None)
        assert after["whole"]
        assert one["again"] == 0
        assert sorted(then["models"]) == ["new", *old]
        assert (then["current"], then["whole"]) == ("new", True)
        assert then["hidden"] == [], "what a dead program left is cleared away by the next one"
    assert {"new" in one["after"]["models"] for one in told} == {True, False}
