"""The list of models on the disk: whole for readers, one writer at a time, mended when it is damaged."""

import multiprocessing
import os
import threading

import pytest

from persona.adapters.models import REGISTRY_FILE, ModelRegistry, Origin, publish
from persona.adapters.models.verifying import PromptFit, how_prompts_fit, verified
from persona.domain.model_list import ModelMark
from persona.errors import ModelFileError, RegistryError
from tests.fakes.tiny_gguf import TinyModel, write_tiny_gguf


@pytest.fixture
def models(tmp_path):
    """A folder with two published models, the second in use after the first."""
    for number, name in enumerate(("one", "two")):
        source = write_tiny_gguf(tmp_path / f"{name}.src", TinyModel(seed=number))
        publish(source, tmp_path / "models", name=name, origin=Origin(base="qwen"), use=True)
    return ModelRegistry(tmp_path / "models")


def test_without_a_folder_the_list_is_empty(tmp_path):
    registry = ModelRegistry(tmp_path / "nowhere")
    assert registry.read().models == ()
    assert registry.mend() is None
    assert registry.strangers(registry.read()) == []
    assert not (tmp_path / "nowhere").exists()


def test_writers_that_come_at_once_lose_nothing(models):
    def mark(number):
        for turn in range(10):
            models.change(lambda known, name=("one", "two")[(number + turn) % 2]: known.using(name))

    before = models.read().chosen
    threads = [threading.Thread(target=mark, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert models.read().chosen == before + 40


def _use_often(folder, times):
    registry = ModelRegistry(folder)
    for _ in range(times):
        registry.change(lambda known: known.using("one"))


def test_so_do_other_processes_and_readers_always_see_a_whole_list(models):
    before = models.read().chosen
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_use_often, args=(models.folder, 15)) for _ in range(2)]
    for other in others:
        other.start()
    while any(other.is_alive() for other in others):
        assert len(models.read().models) == 2
    assert [other.exitcode for other in others] == [0, 0]
    assert models.read().chosen == before + 30


def test_a_change_that_changes_nothing_writes_nothing(models):
    stamp = models.file.stat().st_mtime_ns
    models.change(lambda known: known.marked({}))
    assert models.file.stat().st_mtime_ns == stamp


def test_a_damaged_list_is_set_aside_and_made_anew_with_all_it_knew(models):
    models.change(lambda known: known.marked({"one": ModelMark(at=known.models[0].created, messages=3)}))
    models.change(lambda known: known.using("one").using("two"))  # the copy of the list before has everything
    good = models.read()
    models.file.write_bytes(b'{"version": 1, "models": [')
    with pytest.raises(RegistryError, match=r"registry\.json is damaged.*persona model list"):
        models.read()
    with pytest.raises(RegistryError):
        models.change(lambda known: known)
    mended = models.mend()
    assert mended.aside.read_bytes() == b'{"version": 1, "models": ['
    assert "in use is two" in str(mended)
    found = models.read()
    assert found.models == good.models
    assert found.find("one").mark.messages == 3
    assert (found.current, found.undecided) == ("two", False)
    assert models.mend() is None


def test_without_any_copy_it_is_made_from_the_files_and_says_what_it_cannot_know(models):
    kept = {entry.name: entry.sha256 for entry in models.read().models}
    models.file.write_text("not JSON")
    (models.folder / ".registry.json.before").write_text("nor this")
    (models.folder / "broken.gguf").write_bytes(b"GGUF")
    mended = models.mend()
    assert mended.undecided
    assert "persona model use NAME" in str(mended)
    found = models.read()
    assert {entry.name: entry.sha256 for entry in found.models} == kept
    assert (found.current, found.undecided) == (None, True)
    assert not models.change(lambda known: known.using("one")).undecided


def test_what_the_copy_knows_of_but_is_gone_is_left_out(models):
    models.change(lambda known: known.using("one").using("two"))
    (models.folder / "two.gguf").unlink()
    models.file.write_bytes(b"")
    models.mend()
    found = models.read()
    assert [entry.name for entry in found.models] == ["one"]
    assert (found.current, found.undecided) == (None, True)


def test_files_put_there_by_hand_are_seen_and_can_be_taken_in(models):
    stray = write_tiny_gguf(models.folder / "my model (new).gguf", TinyModel(seed=5))
    (models.folder / "page.gguf").write_text("<!doctype html>")
    assert models.strangers(models.read()) == [stray]
    entry = models.adopt(stray)
    assert (entry.name, entry.file) == ("my-model-new", "my model (new).gguf")
    assert models.strangers(models.read()) == []
    assert verified(models, entry).path == stray


def test_a_file_that_is_not_what_was_published_is_refused(models):
    entry = models.read().find("one")
    path = models.path_of(entry)
    seen = []
    assert verified(models, entry, on_bytes=seen.append).sha256 == entry.sha256
    assert seen[-1] == entry.size
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"one\.gguf is damaged or another file.*publish it again"):
        verified(models, entry)
    path.write_bytes(data[:-50])
    with pytest.raises(ModelFileError, match="cut off"):
        verified(models, entry)
    assert how_prompts_fit(models, entry) is PromptFit.DAMAGED
    path.unlink()
    with pytest.raises(ModelFileError, match="the file of one is missing"):
        verified(models, entry)
    assert how_prompts_fit(models, entry) is PromptFit.MISSING


def test_models_trained_on_other_prompts_are_told_apart(models, tmp_path):
    from persona.adapters.llama import LlamaSettings
    from persona.adapters.llama.native import api, load_model
    from persona.adapters.llama.vocabulary import Vocabulary
    from persona.domain.prompt import prompt_hash

    model = load_model(LlamaSettings(path=models.folder / "one.gguf"), only_vocabulary=True)
    ours = prompt_hash(Vocabulary(model).tokenize)
    api.llama_model_free(model)
    found = {}
    for name, value in (("ours", ours), ("older", "0" * 64)):
        source = write_tiny_gguf(tmp_path / name, TinyModel(metadata={"persona.prompt_hash": value}))
        entry = publish(source, models.folder, name=name)
        assert entry.prompt_hash == value
        found[name] = how_prompts_fit(models, entry)
    assert found == {"ours": PromptFit.FITS, "older": PromptFit.OTHER}
    assert how_prompts_fit(models, models.read().find("one")) is PromptFit.NOT_OURS
    assert verified(models, models.read().find("ours"))
    with pytest.raises(ModelFileError, match=r"another version of the prompt renderer.*train it again"):
        verified(models, models.read().find("older"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(models):
    models.folder.chmod(0o500)
    try:
        with pytest.raises(RegistryError, match=r"models cannot be written|cannot lock"):
            models.change(lambda known: known.using("one"))
    finally:
        models.folder.chmod(0o700)
    assert models.read().current == "two"


def test_the_list_is_called_registry_json(models):
    assert models.file == models.folder / REGISTRY_FILE
    assert REGISTRY_FILE == "registry.json"
