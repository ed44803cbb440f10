"""`persona model pull --embedding` against a hub over loopback."""

import pytest

from persona.cli.pull import pull_embedding
from persona.config import Settings
from persona.config_tables import MemorySection, StorageSection
from persona.errors import DownloadError, EmbedderError, UsageError
from persona.memory_setup import embedder_for, embedding_folder
from tests.fakes.model_hub import ModelHub
from tests.fakes.onnx_model import MODEL, write_model

REPO = "Qdrant/all-MiniLM-L6-v2-onnx"


@pytest.fixture
def files(tmp_path):
    folder = write_model(tmp_path / "source", ["cat", "soup"])
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def settings(tmp_path):
    return Settings(memory=MemorySection(embedding=MODEL), storage=StorageSection(models=tmp_path / "models"))


def serving(files):
    others = {name: content for name, content in files.items() if name != "model.onnx"}
    return ModelHub(files["model.onnx"], repo=REPO, file="model.onnx", others=others).serving()


def test_a_pulled_model_is_whole_and_is_what_the_bot_uses(files, settings, capsys):
    assert embedder_for(settings) is not None
    with pytest.raises(EmbedderError, match="persona model pull --embedding"):
        embedder_for(settings)()
    with serving(files) as hub:
        pull_embedding(settings, name="", endpoint=hub.endpoint)
        folder = embedding_folder(settings)
        assert {name: (folder / name).read_bytes() for name in files} == files
        assert "from its next start on" in capsys.readouterr().out
        hub.requests.clear()
        pull_embedding(settings, name="", endpoint=hub.endpoint)
        assert {method for method, path, _ in hub.requests if "model.onnx" in path} == {"HEAD"}
    assert embedder_for(settings)().dimensions == 384


def test_an_interrupted_pull_goes_on_where_it_stopped(files, settings):
    with serving(files) as hub:
        hub.others["config.json"], kept = b"{}", hub.others.pop("tokenizer.json")
        with pytest.raises(DownloadError, match=r"no file tokenizer.json \(check \[memory\] embedding"):
            pull_embedding(settings, name="", endpoint=hub.endpoint)
        hub.others["tokenizer.json"] = kept
        hub.cut_after = [0, 0, 1000]
        pull_embedding(settings, name="", endpoint=hub.endpoint)
    assert (embedding_folder(settings) / "model.onnx").read_bytes() == files["model.onnx"]


def test_files_that_only_some_models_have_may_be_missing(files, settings):
    with serving(files) as hub:
        del hub.others["special_tokens_map.json"]
        pull_embedding(settings, name="", endpoint=hub.endpoint)
    assert not (embedding_folder(settings) / "special_tokens_map.json").exists()


def test_another_model_than_the_configured_one_says_how_to_use_it(files, settings, capsys):
    other = settings.model_copy(update={"memory": MemorySection(embedding="BAAI/bge-small-en-v1.5")})
    with serving(files) as hub:
        pull_embedding(other, name=MODEL, endpoint=hub.endpoint)
    assert f'[memory]\nembedding = "{MODEL}"' in capsys.readouterr().out
    assert embedding_folder(other, MODEL).is_dir()
    assert not embedding_folder(other).exists()


def test_a_model_that_does_not_work_is_said_to(files, settings):
    files["model.onnx"] = b"this is no model" * 1000
    with serving(files) as hub, pytest.raises(EmbedderError, match="cannot be loaded"):
        pull_embedding(settings, name="", endpoint=hub.endpoint)


def test_what_names_no_model_is_refused(settings):
    with pytest.raises(EmbedderError, match="no model is called"):
        pull_embedding(settings, name="nobody/knows")
    nameless = settings.model_copy(update={"memory": MemorySection(embedding="")})
    assert embedder_for(nameless) is None
    with pytest.raises(UsageError, match="names no model"):
        pull_embedding(nameless, name="")
