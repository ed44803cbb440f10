"""`persona import` as an owner uses it: what it prints, stores, counts, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from persona.__main__ import main
from persona.adapters.lance import LanceMemory
from persona.ports import MemoryQuery
from persona.projection import open_memory, project
from tests.fakes.exported import CHANNEL, dce_document, dce_message, jsonl_record, write
from tests.fakes.stores import execute, query, with_store

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("PERSONA_SHARED_DATA", ROOT.parent / "shared" / "data"))
needs_shared = pytest.mark.skipif(not (SHARED / "dce").is_dir(), reason=f"no shared data at {SHARED}")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a config.toml that keeps everything inside it, without the memory (it takes seconds to load)."""
    (tmp_path / "config.toml").write_text("[memory]\nenabled = false\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    """Run the command; return its exit code, its JSON (or text) and its errors."""
    code = main(["import", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if "--json" in arguments else captured.out, captured.err


def numbers(report):
    return {key: report[key] for key in ("read", "stored", "updated", "unchanged", "refused", "skipped")}


def test_a_folder_is_imported_once_however_often_it_is_given(home, capsys):
    exports = home / "exports"
    exports.mkdir()
    records = [dce_message(n, f"n{n}", mentions=[{"id": "3", "name": "ben"}]) for n in range(5)]
    write(exports / "a [part 1].json.gz", dce_document(*records[:3]))
    write(exports / "a [part 2].json", dce_document(*records[3:]))
    write(exports / "same.jsonl", [jsonl_record(n, f"n{n}") for n in range(5)])
    (exports / "notes.txt").write_text("not chat")
    code, report, errors = run(capsys, exports, "--json")
    assert (code, errors) == (0, "")
    assert numbers(report) == {"read": 10, "stored": 5, "updated": 0, "unchanged": 5, "refused": 0, "skipped": 0}
    assert [(Path(item["path"]).name, item["reason"]) for item in report["not_recognised"]] == [
        ("notes.txt", "not a chat export")
    ]
    code, again, _ = run(capsys, exports, "--json")
    assert code == 0
    assert numbers(again) == {"read": 10, "stored": 0, "updated": 0, "unchanged": 10, "refused": 0, "skipped": 0}
    assert query(home / "data" / "persona.db", "SELECT id, name, allowed FROM channels") == [(CHANNEL, "general", 1)]


def test_a_richer_export_fills_in_a_poorer_one_and_then_nothing_changes(home, capsys):
    poor = write(home / "a.jsonl", [jsonl_record(1, "hi @ben")])
    rich = write(home / "b.json", dce_document(dce_message(1, "hi @ben", mentions=[{"id": "3", "name": "ben"}])))
    assert numbers(run(capsys, poor, rich, "--json")[1])["updated"] == 1
    assert numbers(run(capsys, poor, rich, "--json")[1]) == {
        "read": 2,
        "stored": 0,
        "updated": 0,
        "unchanged": 2,
        "refused": 0,
        "skipped": 0,
    }


def test_channels_can_be_left_off_the_allow_list(home, capsys):
    export = write(home / "a.json", dce_document(dce_message(1)))
    assert run(capsys, export, "--no-allow", "--json")[0] == 0
    assert query(home / "data" / "persona.db", "SELECT allowed FROM channels") == [(0,)]
    assert query(home / "data" / "persona.db", "SELECT * FROM memory_outbox") == []
    run(capsys, export, "--json")
    assert query(home / "data" / "persona.db", "SELECT allowed FROM channels") == [(1,)]
    assert query(home / "data" / "persona.db", "SELECT op FROM memory_outbox") == [("put",)]


def test_people_get_a_table_with_every_problem_named(home, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    write(home / "bad [x].json", dce_document(dce_message(1), {"id": "?"}, {"id": "?"}, dce_message(2, "x" * 5000)))
    code, printed, errors = run(capsys, home / "bad [x].json", home / "config.toml")
    assert (code, errors) == (0, "")
    assert "bad [x].json" in printed
    assert "2 x no valid message id (first: message 2)" in printed
    assert "1 x text longer than 4000 characters, cut (first: message 4), message kept" in printed
    assert "Not recognised (1):" in printed
    assert "config.toml: not a chat export" in printed
    assert "\x1b" not in printed


def test_nothing_to_read_is_exit_code_1_and_makes_no_database(home, capsys):
    code, report, errors = run(capsys, home / "missing", home / "config.toml", "--json")
    assert code == 1
    assert report["read"] == 0
    assert {item["reason"] for item in report["not_recognised"]} == {"does not exist", "not a chat export"}
    assert errors == "persona: nothing could be read from what was named\n"
    assert not (home / "data").exists()


def test_an_export_without_one_good_record_is_exit_code_1(home, capsys):
    code, report, _ = run(capsys, write(home / "a.json", dce_document({"id": "?"}, None)), "--json")
    assert code == 1
    assert (report["read"], report["skipped"]) == (0, 2)


def test_hostile_and_truncated_files_do_not_stop_the_good_ones(home, capsys):
    good = write(home / "good.json", dce_document(dce_message(1, "kept")))
    cut = write(home / "cut.json", good.read_bytes()[:-400])
    deep = write(home / "deep.jsonl", "[" * 100_000)
    code, report, _ = run(capsys, cut, deep, good, "--json")
    assert code == 0
    assert numbers(report) == {"read": 1, "stored": 1, "updated": 0, "unchanged": 0, "refused": 0, "skipped": 2}
    assert [file["skipped"] for file in report["files"]] == [1, 1, 0]


def test_a_wrong_setting_is_exit_code_78_and_nothing_is_written(home, capsys):
    (home / "config.toml").write_text("[storage]\ndatabse = 'x'\n")
    export = write(home / "a.json", dce_document(dce_message(1)))
    code = main(["import", str(export)])
    assert code == 78
    assert "databse" in capsys.readouterr().err
    assert not (home / "data").exists()


def test_a_foreign_database_is_exit_code_78_and_stays_as_it_is(home, capsys):
    (home / "data").mkdir()
    execute(home / "data" / "persona.db", "CREATE TABLE notes (text)")
    before = (home / "data" / "persona.db").read_bytes()
    code = main(["import", str(write(home / "a.json", dce_document(dce_message(1))))])
    assert code == 78
    assert "another program" in capsys.readouterr().err
    assert (home / "data" / "persona.db").read_bytes() == before


def test_without_paths_it_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["import"])
    assert caught.value.code == 2
    assert "PATH" in capsys.readouterr().err


def test_imported_messages_are_findable(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export = write(tmp_path / "a.json", dce_document(dce_message(1, "the boiler makes a noise"), dce_message(2, "ok")))
    code, report, _ = run(capsys, export, "--json")
    assert (code, report["indexed"]) == (0, 2)
    assert query(tmp_path / "data" / "persona.db", "SELECT * FROM memory_outbox") == []

    async def search(store):
        memory = LanceMemory(tmp_path / "data" / "memory.lance")
        assert await open_memory(store, memory)
        assert await project(store, memory) == 0
        found = await memory.search(MemoryQuery(text="noisy boiler", channel_ids=frozenset({CHANNEL})))
        await memory.close()
        return [one.text for one in found]

    assert with_store(tmp_path / "data" / "persona.db", search) == ["the boiler makes a noise"]


def test_interrupted_it_keeps_what_was_stored_and_a_second_run_goes_on(home, capsys):
    record, template = json.dumps(dce_message(1, "w" * 50)), dce_message(1)["id"]
    texts = ",".join(record.replace(template, str(10**17 + n)) for n in range(150_000))
    export = write(home / "big.json", json.dumps(dce_document()).replace("[]", f"[{texts}]"))
    database = home / "data" / "persona.db"
    process = subprocess.Popen(
        [sys.executable, "-m", "persona", "import", str(export)],
        cwd=home,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stderr=subprocess.PIPE,
        text=True,
        # Started in the background by a shell, the tests ignore Ctrl-C, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )
    while process.poll() is None and not (database.exists() and query(database, "SELECT count(*) FROM messages")[0][0]):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "what was stored stays" in errors
    ((stored,),) = query(database, "SELECT count(*) FROM messages")
    assert 0 < stored < 150_000
    assert stored % 1000 == 0
    code, report, _ = run(capsys, export, "--json")
    assert code == 0
    assert numbers(report)["stored"] == 150_000 - stored


@needs_shared
def test_shared_chats_in_two_formats_are_the_same_messages(home, capsys):
    stripe = [next((SHARED / "dce").glob("*/*stripe*")), SHARED / "jsonl" / "irc-commons.stripe.jsonl.gz"]
    trees = [next((SHARED / "dce").glob("*/*trees*")), SHARED / "jsonl" / "oasst-reactions.assistant-trees.jsonl.gz"]
    code, report, _ = run(capsys, *stripe, *trees, "--json")
    assert code == 0
    assert numbers(report) == {
        "read": 2 * (3600 + 595),
        "stored": 3600 + 595,
        "updated": 0,
        "unchanged": 3600 + 595,
        "refused": 0,
        "skipped": 0,
    }
    assert query(home / "data" / "persona.db", "SELECT sum(count) FROM reactions") == [(1081,)]
