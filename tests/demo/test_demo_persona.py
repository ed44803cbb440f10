"""The shipped demo: a small whole model, a history that imports, and answers that fit."""

import asyncio
import hashlib

from persona.adapters.exports import find_exports
from persona.adapters.llama import LlamaSettings, check_model
from persona.adapters.sqlite import SqliteStore
from persona.demo import MODEL_SHA256, PERSONA_NAME, SERVER_NAME, demo_history_path, demo_model_path
from persona.importing import import_files
from pipelines.demo.history import write_history
from pipelines.demo.score import score

SEED = 7


def test_the_model_is_small_and_says_what_it_is():
    checked = check_model(LlamaSettings(path=demo_model_path()))
    assert demo_model_path().stat().st_size < 10_000_000
    assert (checked.persona_name, checked.server_name) == (PERSONA_NAME, SERVER_NAME)
    assert checked.prompt_hash
    assert checked.header.text("general.license") == "CC0-1.0"


def test_the_model_is_the_one_that_was_scored():
    assert hashlib.sha256(demo_model_path().read_bytes()).hexdigest() == MODEL_SHA256


def test_the_model_answers_fresh_conversations():
    verdicts = score(demo_model_path(), conversations=60, seed=4, threads=1)
    assert sum(v.well_formed for v in verdicts) >= 57
    assert sum(v.right_intent for v in verdicts) >= 42


def test_the_history_is_what_the_recipe_writes(tmp_path):
    count = write_history(tmp_path / "history.jsonl", SEED)
    assert (tmp_path / "history.jsonl").read_bytes() == demo_history_path().read_bytes()
    assert 200 <= count <= 500


def test_the_history_imports_without_a_complaint(tmp_path):
    async def main():
        store = SqliteStore(tmp_path / "persona.db")
        await store.open()
        try:
            (report,) = await import_files(store, find_exports([demo_history_path()]).files, allow=True)
            return report, await store.count(), [c.name for c in await store.channels(allowed_only=True)]
        finally:
            await store.close()

    report, count, channels = asyncio.run(main())
    assert report.problems == ()
    assert count == report.read > 200
    assert channels == ["kitchen", "late-games"]
