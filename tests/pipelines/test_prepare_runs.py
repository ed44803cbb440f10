import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("detect_secrets", reason="needs the extra `prepare`: detect-secrets")
pytest.importorskip("phonenumbers", reason="needs the extra `prepare`: phonenumbers")

from persona.demo import demo_model_path
from persona.domain.chat import AuthorId, Channel, ChannelId, ChannelKind
from persona.domain.consent import Choice
from persona.errors import EXIT_CONFIG, EXIT_DONE, EXIT_USAGE, PersonaError, UsageError
from pipelines.dataset import preparing
from pipelines.dataset.writing import Shards
from pipelines.preferences import liked_from_json
from tests.fakes.stores import open_store
from tests.pipelines.prepare_world import (
    ANN,
    BEN,
    CAT,
    GENERAL,
    GUILD,
    NOON,
    PERMITTED,
    entry,
    fill,
    opened,
    person,
    preparer,
    reaction,
    rows_in,
    said,
)

THREAD = Channel(
    id=ChannelId(510), guild_id=GUILD, name="plants", kind=ChannelKind.THREAD, parent_id=GENERAL.id, allowed=True
)
PEOPLE = tuple(person(number, f"person{number}") for number in range(1, 13))
NOT_THE_SAME = {"lineage.bin", "timings.json"}  # when it was made, and how long that took


def spelt(number):
    """Return a number in words: texts that differ in digits alone are copies of one another."""
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return "-".join(names[int(digit)] for digit in str(number))


def busy_server(seed=3, messages=600):
    rng = Random(seed)
    at, talk = 0, []
    for number in range(messages):
        at += rng.choice((5, 30, 60, 7200))
        author = PEOPLE[min(int(rng.expovariate(0.35)), 11)]
        text = f"{rng.choice(('so', 'well', 'ok'))} thing {rng.randrange(10_000)} of {number}"
        channel = GENERAL if number % 7 else THREAD
        talk.append(said(author, text, seconds=at, channel=channel, sequence=number))
    liked = [reaction(message, rng.randrange(1, 9)) for message in talk if rng.random() < 0.1]
    return talk, liked


def write_server(path, **options):
    talk, liked = busy_server(**options)
    consent = [PERMITTED, *(entry(each.id) for each in PEOPLE)]
    return fill(path, talk, channels=(GENERAL, THREAD), reactions=liked, entries=consent)


def contents(folder):
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name not in NOT_THE_SAME)
    # The marker of the first step says when it was.
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.name != "read.json"}


def test_the_same_input_settings_and_seed_give_the_same_bytes(tmp_path):
    database = write_server(tmp_path / "a.db")
    preparer(database, tmp_path / "1" / "x").prepare()
    preparer(database, tmp_path / "2" / "x").prepare()
    first, second = contents(tmp_path / "1" / "x"), contents(tmp_path / "2" / "x")
    assert {"manifest.json", "report.html", "sft/train-00000.jsonl", "meta/train-00000.jsonl"} <= first.keys()
    assert first == second


def test_another_seed_draws_others(tmp_path):
    database = write_server(tmp_path / "a.db")
    preparer(database, tmp_path / "1", seed=1).prepare()
    preparer(database, tmp_path / "2", seed=2).prepare()
    one, two = rows_in(tmp_path / "1" / "meta"), rows_in(tmp_path / "2" / "meta")
    assert len(one) == len(two)
    assert {row["example_id"] for row in one} != {row["example_id"] for row in two}


def test_nobody_has_more_than_the_effective_cap(tmp_path):
    database = write_server(tmp_path / "a.db")
    prepared = preparer(database, tmp_path / "run", cap=0.15).prepare()
    train = prepared.manifest["counts"]["balance"]["train"]
    assert train["effective_cap"] == 0.15
    assert sum(author.available for author in prepared.figures.authors) > train["taken"]
    for author in prepared.figures.authors:
        assert author.taken <= 0.15 * train["taken"]
    assert len(rows_in(tmp_path / "run" / "sft")) == sum(prepared.manifest["counts"]["splits"].values())


def test_splits_are_whole_conversations_in_time(tmp_path):
    database = write_server(tmp_path / "a.db", messages=1500)
    preparer(database, tmp_path / "run", cap=1.0).prepare()
    of = {
        split: [row for file in sorted((tmp_path / "run" / "meta").glob(f"{split}*")) for row in _rows(file)]
        for split in ("train", "validation", "test")
    }
    total = sum(map(len, of.values()))
    assert 0.83 < len(of["train"]) / total < 0.87
    assert 0.08 < len(of["validation"]) / total < 0.12
    conversations = {split: {row["conversation_id"] for row in rows} for split, rows in of.items()}
    assert not conversations["train"] & conversations["validation"]
    assert not conversations["validation"] & conversations["test"]
    ends = [max(row["created_at"] for row in of["train"]), max(row["created_at"] for row in of["validation"])]
    begins = [min(row["created_at"] for row in of["validation"]), min(row["created_at"] for row in of["test"])]
    # A conversation may still go on in one channel when the first of the next split begins in another.
    for end, begin in zip(ends, begins, strict=True):
        assert end[:10] <= begin[:10]


def test_what_people_may_be_asked_about_can_be_found_in_the_database_and_nowhere_else(tmp_path):
    database = write_server(tmp_path / "a.db", messages=1500)
    preparer(database, tmp_path / "run", cap=1.0).prepare()

    async def known():
        async with open_store(database) as store:
            key = await store.ledger.lineage_key()
            ids = [message_id async for page in store.quizzes.message_ids() for message_id in page]
            stored = await store.messages_by_id(ids)
            return {key.message(message_id).hex(): stored[message_id].content for message_id in ids}

    texts = asyncio.run(known())
    for split in ("validation", "test"):
        (meta,) = (tmp_path / "run" / "meta").glob(f"{split}*")
        (sft,) = (tmp_path / "run" / "sft").glob(f"{split}*")
        for told, row in zip(_rows(meta), _rows(sft), strict=True):
            said_there = "\n".join(texts[mark] for mark in told["marks"])
            assert len(told["marks"]) == told["messages"] + told["context_messages"]
            assert all(line in said_there for line in row["completion"][0]["content"].split("\n"))
    assert all("marks" not in row for file in (tmp_path / "run" / "meta").glob("train*") for row in _rows(file))


def _rows(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def test_copies_are_counted_and_capped(tmp_path):
    talk = []
    for number in range(40):
        talk.append(said(ANN, f"question {spelt(number)} is different, you know", seconds=1000 * number))
        text = "Buy my wonderful plants now!!" if number % 2 else "lol"
        talk.append(said(BEN, text, seconds=1000 * number + 5))
    fill(tmp_path / "a.db", talk, entries=[PERMITTED, entry(1), entry(2)])
    prepared = preparer(tmp_path / "a.db", tmp_path / "run", cap=1.0, copies=3, short_copies=10).prepare()
    learned = [row["completion"][0]["content"] for row in rows_in(tmp_path / "run" / "sft")]
    assert learned.count("Buy my wonderful plants now!!") == 3
    assert learned.count("lol") == 10
    assert prepared.manifest["counts"]["copies"] == 27


def test_at_most_so_many_examples(tmp_path):
    database = write_server(tmp_path / "a.db")
    preparer(database, tmp_path / "run", most=100).prepare()
    assert 90 <= len(rows_in(tmp_path / "run" / "sft")) <= 100


def test_threads_are_conversations_of_their_own(tmp_path):
    talk = [
        said(ANN, "in general"),
        said(BEN, "in the thread", seconds=1, channel=THREAD),
        said(CAT, "back", seconds=2),
        said(ANN, "thread too", seconds=3, channel=THREAD),
    ]
    fill(tmp_path / "a.db", talk, channels=(GENERAL, THREAD), entries=[PERMITTED, *(entry(n) for n in (1, 2, 3))])
    preparer(tmp_path / "a.db", tmp_path / "run", cap=1.0).prepare()
    prompts = {row["completion"][0]["content"]: row["prompt"] for row in rows_in(tmp_path / "run" / "sft")}
    assert prompts["back"][-1]["content"] == "ann: in general"
    assert prompts["thread too"][-1]["content"] == "ben: in the thread"
    assert prompts["thread too"][0]["content"].endswith("in #plants.")


def test_what_was_liked_more_than_usual_becomes_preference_data(tmp_path):
    talk, liked = [], []
    for number in range(200):
        talk.append(said(ANN, f"and what about number {spelt(number)}?", seconds=1000 * number))
        talk.append(said(BEN, f"number {spelt(number)} is a very good number", seconds=1000 * number + 5))
        liked.append(reaction(talk[-1], 5 if number % 10 == 0 else 1))
    fill(tmp_path / "a.db", talk, reactions=liked, entries=[PERMITTED, entry(1), entry(2)])
    prepared = preparer(tmp_path / "a.db", tmp_path / "run", cap=1.0).prepare()
    lines = (tmp_path / "run" / "preferences" / "liked.jsonl").read_text(encoding="utf-8").split("\n")
    found = [liked_from_json(line) for line in lines if line]
    assert {each.split for each in found} == {"train", "validation"}
    assert all(each.chosen.split()[1].endswith("zero") for each in found)
    assert prepared.manifest["counts"]["preferences"]["liked"] == len(found) == 19  # the newest is for the test
    sft = {json.dumps(row["prompt"]) for row in rows_in(tmp_path / "run" / "sft")}
    assert all(json.dumps(list(each.prompt)) in sft for each in found)
    assert not (tmp_path / "run" / "kto").exists()  # everything else had its one reaction: nothing to tell apart


def test_of_what_nobody_reacted_to_no_more_is_a_negative_than_there_is_praise(tmp_path):
    talk, liked = [], []
    for number in range(300):
        talk.append(said(ANN, f"and what about number {spelt(number)}?", seconds=1000 * number))
        talk.append(said(BEN, f"number {spelt(number)} is a very good number", seconds=1000 * number + 5))
        if number % 3:
            liked.append(reaction(talk[-1], 5 if number % 10 == 0 else 2))
    fill(tmp_path / "a.db", talk, reactions=liked, entries=[PERMITTED, entry(1), entry(2)])
    prepared = preparer(tmp_path / "a.db", tmp_path / "run", cap=1.0).prepare()
    told = prepared.manifest["counts"]["preferences"]
    assert told["ignored where reactions are usual"] > 4 * told["liked"] > 40
    labels = {
        split: [row["label"] for file in (tmp_path / "run" / "kto").glob(f"{split}-*") for row in _rows(file)]
        for split in ("train", "validation")
    }
    for split, found in labels.items():
        assert found.count(False) == found.count(True) > 0
        assert told[f"rows for KTO, {split}"] == len(found)
    assert sum(map(len, labels.values())) == 2 * told["liked"]
    prompts = [row["prompt"][-1]["content"] for row in rows_in(tmp_path / "run" / "kto")]
    assert len(set(prompts)) == len(prompts)
    preparer(tmp_path / "a.db", tmp_path / "other", cap=1.0, seed=8).prepare()
    assert [row["prompt"][-1]["content"] for row in rows_in(tmp_path / "other" / "kto")] != prompts


def test_thumbs_on_the_personas_own_replies_become_labels(tmp_path):
    bot = person(99, "Pip", bot=True)
    talk, reactions, sent = [], [], []
    for number in range(20):
        asked = said(ANN, f"question {number}", seconds=10_000 * number)
        own = said(bot, f"an answer to number {number}", seconds=10_000 * number + 5, reply_to=asked.id)
        talk += [
            asked,
            own,
            said(BEN, "thanks", seconds=10_000 * number + 900),
            said(ANN, "yes", seconds=10_000 * number + 910),
        ]
        reactions.append(reaction(own, 3, "\N{THUMBS UP SIGN}" if number % 2 else "\N{THUMBS DOWN SIGN}"))
        sent.append((own.id, asked.id))
    fill(tmp_path / "a.db", talk, reactions=reactions, entries=[PERMITTED, entry(1), entry(2)])
    note_sent(tmp_path / "a.db", sent)
    preparer(tmp_path / "a.db", tmp_path / "run", cap=1.0).prepare()
    kto = rows_in(tmp_path / "run" / "kto")
    assert len(kto) >= 15
    for row in kto:
        number = int(row["completion"][0]["content"].rsplit(" ", 1)[1])
        assert row["label"] is bool(number % 2)
        assert row["prompt"][-1] == {"role": "user", "content": f"ann: question {number}"}
    assert "an answer" not in json.dumps(rows_in(tmp_path / "run" / "sft"))


def note_sent(database, pairs):
    import sqlite3

    connection = sqlite3.connect(database)
    with connection:
        connection.executemany("INSERT INTO sent_messages (id, message_id, number) VALUES (?,?,1)", pairs)
    connection.close()


def test_edits_are_applied_and_what_was_deleted_is_gone(tmp_path):
    import asyncio

    from persona.domain.chat import Edit, Tombstone, TombstoneReason

    talk = [
        said(ANN, "tea?"),
        said(BEN, "yse", seconds=5),
        said(ANN, "oops", seconds=9),
        said(BEN, "what?", seconds=12),
    ]
    database = fill(tmp_path / "a.db", talk, entries=[PERMITTED, entry(1), entry(2)])

    async def change():
        async with opened(database) as store:
            edit = Edit(message_id=talk[1].id, channel_id=GENERAL.id, content="yes", edited_at=NOON + timedelta(1))
            gone = Tombstone(
                message_id=talk[2].id, channel_id=GENERAL.id, reason=TombstoneReason.DELETED, at=NOON + timedelta(1)
            )
            await store.apply_edits([edit])
            await store.bury([gone])

    asyncio.run(change())
    preparer(database, tmp_path / "run", cap=1.0).prepare()
    text = json.dumps(rows_in(tmp_path / "run" / "sft"))
    assert '"yes' in text
    assert "yse" not in text
    assert "oops" not in text


@pytest.mark.parametrize("stage", ["read", "candidates", "write", "finish"])
def test_a_run_goes_on_where_it_was_stopped(tmp_path, monkeypatch, stage):
    database = write_server(tmp_path / "a.db")
    preparer(database, tmp_path / "whole" / "x").prepare()
    place = {
        "read": (preparing.Reader, "_conversations"),
        "candidates": (preparing.Candidates, "write"),
        "write": (Shards, "write"),
        "finish": (preparing, "page"),
    }[stage]
    real, calls = getattr(*place), []

    def stopping(*arguments, **options):
        calls.append(1)
        if len(calls) == (200 if stage == "write" else 1):
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(*place, stopping)
        with pytest.raises(KeyboardInterrupt):
            preparer(database, tmp_path / "cut" / "x").prepare()
    assert (tmp_path / "cut" / "x" / "lineage.bin").is_file() or stage == "read"
    done = {file.stem: file.stat().st_mtime_ns for file in (tmp_path / "cut" / "x" / "stages").iterdir()}
    preparer(database, tmp_path / "cut" / "x").prepare()
    assert contents(tmp_path / "cut" / "x") == contents(tmp_path / "whole" / "x")
    for name, at in done.items():
        assert (tmp_path / "cut" / "x" / "stages" / f"{name}.json").stat().st_mtime_ns == at


def test_words_are_on_disk_only_after_the_lineage(tmp_path, monkeypatch):
    database = write_server(tmp_path / "a.db")

    def stopping(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.dataset.reading.GapLearner", stopping)
    with pytest.raises(KeyboardInterrupt):
        preparer(database, tmp_path / "run").prepare()
    assert (tmp_path / "run" / "lineage.bin").stat().st_size > 600 * 8


def test_somebody_who_opts_out_in_the_middle_is_not_in_it(tmp_path, monkeypatch):
    database = write_server(tmp_path / "a.db")

    def stopping(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparing.Candidates, "write", stopping)
        with pytest.raises(KeyboardInterrupt):
            preparer(database, tmp_path / "run").prepare()
    fill(database, [], entries=[entry(1, Choice.NO, at=NOON + timedelta(days=1))])
    prepared = preparer(database, tmp_path / "run").prepare()
    assert "person1" not in {author.name for author in prepared.figures.authors}
    assert prepared.manifest["counts"]["dropped"]["no consent of its author"] > 20
    fill(database, [], entries=[entry(2, Choice.NO, at=NOON + timedelta(days=2))])
    with pytest.raises(PersonaError, match="changed their mind"):
        preparer(database, tmp_path / "run").prepare()


def test_a_folder_belongs_to_its_settings(tmp_path):
    database = write_server(tmp_path / "a.db")
    preparer(database, tmp_path / "run").prepare()
    with pytest.raises(UsageError, match=r"other settings \(seed\)"):
        preparer(database, tmp_path / "run", seed=8).prepare()
    preparer(database, tmp_path / "run", seed=8).prepare(fresh=True)


def test_what_is_not_ours_in_a_folder_stays(tmp_path):
    database = write_server(tmp_path / "a.db")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    preparer(database, tmp_path / "run").prepare(fresh=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_the_manifest_tells_what_went_in_and_out(tmp_path):
    from pipelines.run import file_sha256

    database = write_server(tmp_path / "a.db")
    prepared = preparer(database, tmp_path / "run").prepare()
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["inputs"]["messages"]["count"] == 600
    assert manifest["inputs"]["tokenizer"]["sha256"] == file_sha256(demo_model_path())
    assert len(manifest["prompt_hash"]) == 64
    assert manifest["seed"] == 7
    assert manifest["versions"]["detect-secrets"] != "not installed"
    assert manifest["outputs"].keys() == {
        str(file.relative_to(tmp_path / "run"))
        for file in (tmp_path / "run").rglob("*")
        if file.suffix in {".jsonl", ".html"}
    }
    for name, told in manifest["outputs"].items():
        assert file_sha256(tmp_path / "run" / name) == told["sha256"]
    assert not (tmp_path / "run" / "work").exists()
    assert prepared.figures.steps[0] == ("messages read", 600)


def test_another_input_has_another_hash(tmp_path):
    hashes = set()
    for name, text in (("a", "x"), ("b", "y")):
        talk, _ = busy_server()
        talk[5] = replace(talk[5], content=text)
        consent = [PERMITTED, *(entry(each.id) for each in PEOPLE)]
        database = fill(tmp_path / f"{name}.db", talk, channels=(GENERAL, THREAD), entries=consent)
        hashes.add(preparer(database, tmp_path / name).prepare().manifest["inputs"]["messages"]["sha256"])
    assert len(hashes) == 2


def test_ids_of_people_and_messages_are_in_no_file_but_as_hashes(tmp_path):
    author = person(123_456_789_012_345, "ann")
    talk = [said(author if number % 2 else BEN, f"word {number}", seconds=number) for number in range(50)]
    fill(tmp_path / "a.db", talk, entries=[PERMITTED, entry(author.id), entry(2)])
    preparer(tmp_path / "a.db", tmp_path / "run", cap=1.0).prepare()
    for file in (tmp_path / "run").rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        assert str(AuthorId(author.id)).encode() not in data, file
        assert not any(str(message.id).encode() in data for message in talk), file


# The command


def command(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-m", "pipelines", "prepare", "--tokenizer", str(demo_model_path()), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def home(tmp_path):
    (tmp_path / "config.toml").write_text('[persona]\nname = "Pip"\n')
    (tmp_path / "data").mkdir()
    return tmp_path


def test_the_command_prints_the_report_and_ends_with_0(home):
    write_server(home / "data" / "persona.db")
    done = command(home, "--tokens", "512", "--name", "garden")
    assert done.returncode == EXIT_DONE, done.stderr
    assert "examples after balancing" in done.stdout
    assert (home / "runs" / "garden" / "report.html").is_file()
    told = command(home, "--tokens", "512", "--name", "garden", "--json")
    assert json.loads(told.stdout)["persona_name"] == "Pip"


def test_the_command_refuses_without_a_permission_with_78(home):
    talk, _ = busy_server()
    fill(home / "data" / "persona.db", talk, channels=(GENERAL, THREAD))
    done = command(home)
    assert done.returncode == EXIT_CONFIG
    assert done.stderr.startswith("pipelines: Discord's Developer Policy")
    assert done.stderr.count("\n") == 1


def test_the_command_says_what_is_missing(home):
    done = command(home)
    assert done.returncode == 1
    assert "there is no database" in done.stderr
    write_server(home / "data" / "persona.db")
    done = command(home, "--tokenizer", "nowhere.gguf")
    assert done.returncode == EXIT_CONFIG
    assert "no vocabulary at nowhere.gguf" in done.stderr
    assert not (home / "runs").exists()
    for options in (["--cap", "much"], ["--cap", "0"], ["--cap", "1.5"], ["--tokens", "9"], ["--copies", "-1"]):
        done = command(home, *options)
        assert done.returncode == EXIT_USAGE
        assert f"argument {options[0]}" in done.stderr


def test_a_killed_run_goes_on_to_the_same_bytes(home):
    database = write_server(home / "data" / "persona.db", messages=3000)
    whole = preparer(database, home / "whole" / "x").prepare()
    assert whole.figures.steps[0][1] == 3000
    script = (
        "import sys; from pathlib import Path; from tests.pipelines.prepare_world import preparer;"
        "preparer(Path(sys.argv[1]), Path(sys.argv[2])).prepare()"
    )
    root = Path(__file__).parents[2]
    folder = home / "cut" / "x"
    process = subprocess.Popen([sys.executable, "-c", script, str(database), str(folder)], cwd=root)
    deadline = time.monotonic() + 40
    while not (folder / "sft").is_dir() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() in {-signal.SIGKILL, 0}
    preparer(database, folder).prepare()
    assert contents(folder) == contents(home / "whole" / "x")
