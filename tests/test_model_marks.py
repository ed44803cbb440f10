"""Forgetting marks published models through the lineage that lies beside them."""

from datetime import UTC, datetime, timedelta

import pytest

from persona.adapters.models import ModelRegistry, Origin, publish
from persona.domain.lineage import LINEAGE_FILE, LineageKey, encode_lineage, lineage_of
from persona.model_marks import mark_models
from persona.run_marks import RunMark
from tests.fakes.tiny_gguf import TinyModel, write_tiny_gguf

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=1)
KEY = LineageKey(secret=b"k" * 32)


@pytest.fixture
def models(tmp_path):
    """Two trained models, of messages 1 to 3 and of 4, and one that was downloaded."""
    for number, (name, ids) in enumerate({"a": [1, 2, 3], "b": [4]}.items()):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        (run / LINEAGE_FILE).write_bytes(encode_lineage(lineage_of(KEY, NOON, ids, [number])))
        source = write_tiny_gguf(tmp_path / f"{name}.gguf", TinyModel(seed=number))
        publish(source, tmp_path / "models", name=name, origin=Origin(run=run), use=True)
    publish(write_tiny_gguf(tmp_path / "q.gguf", TinyModel(seed=8)), tmp_path / "models", name="q")
    return ModelRegistry(tmp_path / "models")


def mark(models, messages=(), authors=None, at=LATER):
    digests = {KEY.message(each) for each in messages}
    people = {KEY.author(author): when for author, when in (authors or {}).items()}
    return mark_models(models.folder, key=KEY.fingerprint, messages=digests, authors=people, at=at)


def marks(models):
    return {entry.name: entry.mark and (entry.mark.messages, entry.mark.authors) for entry in models.read().models}


def test_only_models_that_hold_something_forgotten_are_marked_and_stay_in_use(models):
    assert mark(models, [2, 9]) == (RunMark(run="a", at=LATER, messages=1, kind="model"),)
    assert marks(models) == {"a": (1, 0), "b": None, "q": None}
    assert models.read().current == "b"
    text = models.file.read_bytes()
    assert mark(models, [2, 9], at=LATER + timedelta(days=1))[0].messages == 1
    assert models.file.read_bytes() == text, "doing it twice changes nothing"
    mark(models, [1, 2, 4], {1: NOON + timedelta(hours=1)})
    assert marks(models) == {"a": (2, 0), "b": (1, 1), "q": None}


def test_the_run_may_be_deleted_the_model_is_still_known(models, tmp_path):
    import shutil

    shutil.rmtree(tmp_path / "runs")
    mark(models, [1])
    assert marks(models)["a"] == (1, 0)


def test_where_nobody_can_tell_a_model_is_marked(models):
    (models.folder / "a.gguf.lineage.bin").unlink()
    (models.folder / "b.gguf.lineage.bin").write_bytes(b"something else")
    mark(models, [99])
    problems = {entry.name: entry.mark.problem for entry in models.read().models if entry.mark}
    assert "nobody can tell whose words are in it" in problems["a"]
    assert "cannot be read" in problems["b"]
    assert "q" not in problems


def test_without_anything_forgotten_or_a_list_nothing_happens(models, tmp_path):
    assert mark(models) == ()
    assert mark(ModelRegistry(tmp_path / "missing"), [1]) == ()
    assert not (tmp_path / "missing").exists()


def test_nothing_is_locked_or_written_where_there_is_nothing_to_mark(models):
    """A service that may only read the models can forget whoever is in none of them."""
    (models.folder / ".registry.lock").unlink()
    assert mark(models, [99]) == ()
    assert not (models.folder / ".registry.lock").exists()
