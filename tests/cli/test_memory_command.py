"""`persona memory` as it is called: stats, search with reasons, rebuild, and its refusals."""

import json

import pytest

from persona.cli.parser import build_parser
from persona.errors import UsageError
from tests.fakes.onnx_model import MODEL, write_model

LINES = [
    {"id": "1105182650912358401", "text": "the kettle is broken again"},
    {"id": "1105182650912358402", "text": "who painted the garden shed green"},
]


@pytest.fixture
def persona(tmp_path, capsys):
    """Run a command over a small history; give back its exit code and what it printed."""
    config = tmp_path / "config.toml"
    config.write_text('[storage]\ndatabase = "data/persona.db"\nmemory = "data/memory.lance"\n')
    history = tmp_path / "history.jsonl"
    history.write_text(
        "".join(
            json.dumps(
                {
                    "id": line["id"],
                    "channel_id": "77",
                    "channel_name": "kitchen",
                    "author_id": "5",
                    "author_name": "ann",
                    "content": line["text"],
                    "timestamp": "2023-05-08T12:00:00+00:00",
                }
            )
            + "\n"
            for line in LINES
        )
    )

    def run(*words):
        arguments = build_parser().parse_args([*words, "--config", str(config)])
        code = arguments.run(arguments)
        return code, capsys.readouterr().out

    run.config = config

    assert run("import", str(history))[0] == 0
    return run


def test_stats_rebuild_and_search_with_reasons(persona):
    code, out = persona("memory", "stats", "--json")
    assert (code, json.loads(out)["messages"]) == (0, 2)
    code, out = persona("memory", "rebuild", "--json")
    rebuilt = json.loads(out)
    assert (code, rebuilt["messages"], rebuilt["waiting"]) == (0, 2, 0)
    assert rebuilt["seconds"] > 0
    code, out = persona("memory", "search", "broken", "kettle", "--json", "--why")
    (match,) = json.loads(out)
    assert code == 0
    assert match["recollection"]["text"] == "the kettle is broken again"
    assert match["word_rank"] == 1
    assert match["vector_rank"] is None
    code, out = persona("memory", "search", "kettle", "--why")
    assert "BM25" in out
    assert "#1" in out


def test_with_an_embedding_model_what_means_the_same_is_found(persona, tmp_path):
    alike = [("kettle", "teapot"), ("painted", "coloured")]
    words = ["kettle", "teapot", "broken", "again", "painted", "coloured", "garden", "shed", "green", "who"]
    write_model(tmp_path / "model", words, alike=alike)
    with persona.config.open("a") as config:
        config.write(f'[memory]\nembedding = "{MODEL}"\nembedding_path = "model"\n')
    assert persona("memory", "search", "teapot", "--json") == (0, "[]\n")
    code, out = persona("memory", "rebuild", "--json")
    rebuilt = json.loads(out)
    assert (code, rebuilt["waiting"], rebuilt["space"]["dimensions"]) == (0, 0, 384)
    code, out = persona("memory", "search", "teapot", "--json")
    (nearest,) = [match for match in json.loads(out) if match["vector_rank"] == 1]
    assert (nearest["recollection"]["text"], nearest["word_rank"]) == (LINES[0]["text"], None)
    (tmp_path / "model").rename(tmp_path / "gone")
    assert persona("memory", "search", "teapot", "--json") == (0, "[]\n")
    code, out = persona("memory", "rebuild", "--json")
    assert json.loads(out)["space"] == rebuilt["space"]
    assert json.loads(out)["waiting"] == 0


def test_a_search_needs_words_and_a_channel_that_is_there(persona):
    with pytest.raises(UsageError, match="nothing to search for"):
        persona("memory", "search")
    with pytest.raises(UsageError, match="no allowed channel is called 'attic'"):
        persona("memory", "search", "kettle", "--channel", "attic")
    assert "Nothing comes to mind" in persona("memory", "search", "spaceship")[1]
