"""Every file of a run is looked through for the words of somebody who opted out, from the first step to the pairs."""

from datetime import timedelta

import pytest

pytest.importorskip("detect_secrets", reason="needs the extra `prepare`: detect-secrets")
pytest.importorskip("phonenumbers", reason="needs the extra `prepare`: phonenumbers")

from persona.adapters.llama import LlamaSettings, check_model, llama_engine_factory
from persona.demo import demo_model_path
from persona.domain.consent import Choice
from persona.ports import Sampling
from pipelines.dataset import preparing
from pipelines.preferences.sampling import sample
from tests.pipelines.prepare_world import ANN, BEN, CAT, NOON, PERMITTED, entry, fill, preparer, reaction, said

WORD = "zanzibarquokka"
NAMES = ("north", "south", "east", "west", "up", "down", "in", "out", "over", "under")


def talk():
    """Cat is liked, answered, mentioned, quoted by reply and by hand: all the ways into somebody else's example."""
    messages, reactions = [], []
    for number in range(120):
        start = 1000 * number
        way = f"{NAMES[number % 10]} by {NAMES[number // 10 % 10]} {NAMES[number // 100]}"
        cats = said(CAT, f"my {WORD} went {way} this morning", seconds=start, mentions=[BEN])
        messages += [
            cats,
            said(ANN, f"did it really go {way} today?", seconds=start + 5, reply_to=cats.id, mentions=[CAT]),
            said(BEN, f"> my {WORD} went {way} this morning\nwell that is news", seconds=start + 200),
            said(ANN, f"and where is {way} on the map?", seconds=start + 400),
            said(BEN, f"just follow {way} and ask <@3> there", seconds=start + 405, mentions=[CAT]),
        ]
        liked = 5 if number % 8 == 0 else 2
        reactions += [reaction(message, liked) for message in (messages[-5:] if number % 3 else messages[-5:-1])]
    return messages, reactions


def database(path, *cat):
    messages, reactions = talk()
    return fill(path, messages, reactions=reactions, entries=[PERMITTED, entry(1), entry(2), *cat])


def holding(folder, *words):
    """Return the files that hold one of the words, in any case."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    return {
        str(file.relative_to(folder))
        for file in files
        if any(word.casefold().encode() in file.read_bytes().lower() for word in words)
    }


def everything(path, folder):
    """Prepare, then let the demo model answer: every file that comes before training."""
    prepared = preparer(path, folder, cap=1.0).prepare()
    settings = LlamaSettings(path=demo_model_path(), slots=4, threads=1)
    engine = llama_engine_factory(settings, check_model(settings))()
    try:
        sampled = sample(folder, engine, sampling=Sampling(temperature=0.9, max_tokens=24), seed=1, slots=4)
    finally:
        engine.close()
    return prepared, sampled


OPTED_OUT = [
    pytest.param([entry(3), entry(3, Choice.NO, at=NOON + timedelta(hours=1))], id="opted out"),
    pytest.param([], id="never opted in"),
]


@pytest.mark.parametrize("cat", OPTED_OUT)
def test_no_file_of_a_run_holds_the_words_of_somebody_who_opted_out(tmp_path, cat):
    prepared, sampled = everything(database(tmp_path / "a.db", *cat), tmp_path / "run")
    assert {"report.html", "manifest.json", "preferences/liked.jsonl", "preferences/replies.jsonl"} <= {
        str(file.relative_to(tmp_path / "run")) for file in (tmp_path / "run").rglob("*")
    }
    assert sum(sampled.pairs.values()) >= 5
    assert holding(tmp_path / "run", WORD) == set()
    assert holding(tmp_path / "run", "@cat", "cat:", "(to cat") == set()
    dropped = prepared.manifest["counts"]["dropped"]
    assert dropped == {
        "no consent of its author": 120,
        "repeats what somebody without consent said": 120,
    }
    assert holding(tmp_path / "run", "on the map?") >= {"report.html", "sft/train-00000.jsonl", "kto/train-00000.jsonl"}


def test_with_consent_the_same_words_are_in_all_of_those_files(tmp_path):
    """The test above looks where they would be."""
    everything(database(tmp_path / "a.db", entry(3)), tmp_path / "run")
    where = holding(tmp_path / "run", WORD)
    assert {"report.html", "sft/train-00000.jsonl", "kto/train-00000.jsonl", "preferences/liked.jsonl"} <= where
    assert "dpo/train.jsonl" in where


@pytest.mark.parametrize(
    ("place", "method"), [("Candidates", "write"), ("Writer", "write"), ("RunFolder", "write_manifest")]
)
def test_what_a_killed_run_leaves_behind_does_not_hold_them_either(tmp_path, monkeypatch, place, method):
    real = getattr(getattr(preparing, place), method)

    def stopping(*arguments, **options):
        real(*arguments, **options)
        raise KeyboardInterrupt

    path = database(tmp_path / "a.db")
    monkeypatch.setattr(getattr(preparing, place), method, stopping)
    with pytest.raises(KeyboardInterrupt):
        preparer(path, tmp_path / "run", cap=1.0).prepare()
    assert holding(tmp_path / "run", "on the map?")
    assert holding(tmp_path / "run", WORD) == set()
