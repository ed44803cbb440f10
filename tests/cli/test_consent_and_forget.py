"""`persona consent` and `persona forget` as an owner uses them: the real program on a real database."""

import asyncio
import csv
import json
import os
import pty
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from persona.__main__ import main
from persona.adapters.lance import LanceMemory
from persona.adapters.sqlite.ledger import SqliteLedger
from persona.domain.chat import Author, AuthorId
from persona.domain.lineage import LINEAGE_FILE, encode_lineage, lineage_of
from persona.errors import EXIT_DONE, EXIT_FAILED, EXIT_TEMPORARY, EXIT_USAGE
from persona.instance_lock import InstanceLock
from persona.projection import open_memory, project
from persona.run_marks import read_mark
from tests.fakes.stores import open_store, query
from tests.fakes.talk import ANN, BEN, KITCHEN, NOON, allowed_channel, said

REPOSITORY = Path(__file__).resolve().parents[2]
CANARY = "zanzibarcanary"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with settings, a small history, its memory, and a run that was made from it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text('[discord]\ncontact = "the moderators"\n', encoding="utf-8")
    hers = [said(number, f"{CANARY} number {number} of ann") for number in range(3)]
    his = [said(number, f"ben says number {number}", author=BEN) for number in range(3, 6)]

    async def fill():
        async with open_store(tmp_path / "data" / "persona.db") as store:
            await store.put_channels([allowed_channel(KITCHEN)])
            await store.put_messages([*hers, *his])
            memory = LanceMemory(tmp_path / "data" / "memory.lance")
            await open_memory(store, memory)
            await project(store, memory)
            await memory.close()
            return await SqliteLedger(store.database).lineage_key()

    key = asyncio.run(fill())
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    lineage = lineage_of(key, NOON, [message.id for message in hers], [ANN.id])
    (run / LINEAGE_FILE).write_bytes(encode_lineage(lineage))
    return tmp_path


def call(capsys, *arguments):
    """Run the program in this process; return exit code, output and errors."""
    capsys.readouterr()
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as ending:
        code = ending.code
    out, err = capsys.readouterr()
    return code, out, err


def holds(folder, text):
    return [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and text.encode() in path.read_bytes()]


def test_an_empty_ledger_says_what_holds(home, capsys):
    code, out, _ = call(capsys, "consent", "list")
    assert code == EXIT_DONE
    assert "nobody is trained on" in out


def test_a_choice_is_recorded_listed_and_shown(home, capsys):
    code, out, _ = call(
        capsys, "consent", "record", "ann", "--scope", "train", "--choice", "yes", "--note", "said so in #general"
    )
    assert code == EXIT_DONE
    assert "train yes" in out
    call(capsys, "consent", "record", ANN.id, "--scope", "store", "--choice", "no", "--guild", 1)
    _, out, _ = call(capsys, "consent", "list", "--json")
    assert [(each["scope"], each["choice"], each["guild_id"]) for each in json.loads(out)["in_force"]] == [
        ("train", "yes", "0"),
        ("store", "no", "1"),
    ]
    _, out, _ = call(capsys, "consent", "show", "Ann", "--json")
    shown = json.loads(out)
    assert shown["standing"] == {
        "everywhere": {"store": True, "train": True},
        "server 1": {"store": False, "train": False},
    }
    assert shown["messages"] == {f"channel-{KITCHEN}": 3}
    _, out, _ = call(capsys, "consent", "show", "ann")
    assert "server 1: not stored, not trained on" in out
    assert "stored: 3 messages" in out


def test_recording_for_everywhere_names_servers_that_stay_different(home, capsys):
    call(capsys, "consent", "record", "ann", "--scope", "store", "--choice", "yes", "--guild", 1)
    _, out, _ = call(capsys, "consent", "record", "ann", "--scope", "store", "--choice", "no")
    assert "server 1 has an entry of its own" in out
    assert "persona forget 2" in out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["consent", "record", "ann", "--scope", "train", "--choice", "yes"], "--note"),
        (["consent", "record", "nobody", "--scope", "store", "--choice", "no"], "nobody called 'nobody'"),
        (["consent", "record", "0", "--scope", "store", "--choice", "no"], "not a user id"),
        (["consent", "record", "ann", "--scope", "store", "--choice", "no", "--guild", "-4"], "not a server id"),
        (["consent"], "ACTION"),
        (["forget"], "whom or what"),
        (["forget", "ann", "--message", "5", "--yes"], "whom or what"),
        (["forget", "--message", "-5", "--yes"], "message ids"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error_in_one_line(home, capsys, arguments, reason):
    code, _, err = call(capsys, *arguments)
    assert code == EXIT_USAGE
    assert reason in err.splitlines()[-1]
    assert query(home / "data" / "persona.db", "SELECT count(*) FROM consent") == [(0,)]
    assert query(home / "data" / "persona.db", "SELECT count(*) FROM messages") == [(6,)]


def test_a_name_of_several_people_is_asked_about(home, capsys):
    async def add():
        twin = Author(id=AuthorId(77), name="ann", display_name="another")
        async with open_store(home / "data" / "persona.db") as store:
            await store.put_messages([said(9, "me too", author=twin)])

    asyncio.run(add())
    code, _, err = call(capsys, "forget", "ann", "--yes")
    assert code == EXIT_USAGE
    assert "2 (ann)" in err
    assert "77 (ann)" in err


@pytest.mark.parametrize("name", ["ledger.csv", "ledger.json"])
def test_the_ledger_goes_out_and_comes_back(home, capsys, name):
    note = 'with "quotes", commas\nand lines'
    call(capsys, "consent", "record", "ann", "--scope", "train", "--choice", "yes", "--note", note)
    call(capsys, "consent", "record", "ben", "--scope", "store", "--choice", "no")
    before = query(home / "data" / "persona.db", "SELECT * FROM consent")
    code, out, _ = call(capsys, "consent", "export", name)
    assert (code, "2 entries" in out) == (EXIT_DONE, True)
    assert (home / name).stat().st_mode & 0o077 == 0
    _, out, _ = call(capsys, "consent", "import", name)
    assert out == "0 entries added, 2 known already\n"
    (home / "data" / "persona.db").unlink()

    async def anew():
        async with open_store(home / "data" / "persona.db"):
            pass

    asyncio.run(anew())
    _, out, _ = call(capsys, "consent", "import", name)
    assert out == "2 entries added, 0 known already\n"
    assert query(home / "data" / "persona.db", "SELECT * FROM consent") == before


def test_the_ledger_is_csv_on_the_terminal(home, capsys):
    call(capsys, "consent", "record", "ben", "--scope", "store", "--choice", "no")
    _, out, _ = call(capsys, "consent", "export")
    (row,) = csv.DictReader(out.splitlines())
    assert (row["author_id"], row["choice"], row["source"]) == ("3", "no", "owner")


LINE = "2,0,store,no,2026-05-01T12:00:00+00:00,owner,,\n"
HEAD = "author_id,guild_id,scope,choice,at,source,recorded_by,note\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("author_id,scope\n1,store\n", "columns are missing"),
        (HEAD + LINE + LINE.replace("store", "sell"), "entry 2"),
        (HEAD + LINE.replace("2026", "2926"), "in the future"),
        (HEAD + LINE.replace("+00:00", ""), "no time zone"),
        (HEAD + LINE.replace("2,0", "0,0"), "not an id"),
        (HEAD + LINE.replace("2,0", "x,0"), "entry 1"),
        (HEAD + "2,0\n", "entry 1"),
    ],
)
def test_a_ledger_with_a_wrong_entry_is_not_imported_at_all(home, capsys, text, reason):
    (home / "ledger.csv").write_text(text, encoding="utf-8")
    code, _, err = call(capsys, "consent", "import", "ledger.csv")
    assert code == EXIT_FAILED
    assert reason in err
    assert query(home / "data" / "persona.db", "SELECT count(*) FROM consent") == [(0,)]


def test_a_json_ledger_that_is_no_list_is_refused(home, capsys):
    (home / "ledger.json").write_text('{"entries": []}', encoding="utf-8")
    code, _, err = call(capsys, "consent", "import", "ledger.json")
    assert (code, "not a list" in err) == (EXIT_FAILED, True)


def test_a_person_is_exported_as_they_would_see_it_themselves(home, capsys):
    code, out, _ = call(capsys, "consent", "export-person", "ann")
    assert (code, out) == (EXIT_DONE, "3 messages written to 2.json\n")
    found = json.loads((home / "2.json").read_text(encoding="utf-8"))
    assert found["about"]["whom_to_ask"] == "the moderators"
    assert [each["text"] for each in found["messages"]] == [f"{CANARY} number {number} of ann" for number in range(3)]


def test_forgetting_a_person_leaves_no_trace_and_marks_the_run(home, capsys):
    assert holds(home / "data", CANARY)
    code, out, _ = call(capsys, "forget", "ann", "--yes")
    assert code == EXIT_DONE
    assert "3 messages were forgotten" in out
    assert "run first" in out
    assert holds(home, CANARY) == []
    assert read_mark(home / "runs" / "first").messages == 3
    assert query(home / "data" / "persona.db", "SELECT count(*) FROM messages") == [(3,)]
    assert query(home / "data" / "persona.db", "SELECT * FROM forgetting") == []
    assert query(home / "data" / "persona.db", "SELECT * FROM memory_outbox") == []
    code, out, _ = call(capsys, "forget", ANN.id, "--yes", "--json")
    assert (code, json.loads(out)["messages"]) == (EXIT_DONE, 0)


def test_single_messages_are_forgotten(home, capsys):
    ids = [said(number, "").id for number in range(3)]
    code, out, _ = call(capsys, "forget", "--message", ids[0], "--message", ids[1], "--yes", "--json")
    assert code == EXIT_DONE
    assert json.loads(out) == {
        "messages": 2,
        "marked_runs": [{"run": "first", "messages": 2, "authors": 0, "problem": ""}],
        "marked_models": [],
    }
    assert len(holds(home / "data", f"{CANARY} number 0")) == 0
    assert query(home / "data" / "persona.db", "SELECT count(*) FROM messages") == [(4,)]


def test_without_memory_an_old_index_is_deleted(home, capsys):
    (home / "config.toml").write_text("[memory]\nenabled = false\n", encoding="utf-8")
    code, _, _ = call(capsys, "forget", "ann", "--yes")
    assert code == EXIT_DONE
    assert holds(home, CANARY) == []
    assert not (home / "data" / "memory.lance" / "messages.lance").exists()
    assert query(home / "data" / "persona.db", "SELECT * FROM forgetting") == []


def test_while_the_persona_runs_it_says_what_to_use_instead(home, capsys):
    with InstanceLock(home / "data" / "persona.lock"):
        code, _, err = call(capsys, "forget", "ann", "--yes")
    assert code == EXIT_TEMPORARY
    assert "use /forget on the server" in err
    assert query(home / "data" / "persona.db", "SELECT count(*) FROM messages") == [(6,)]


def test_a_wrong_config_makes_no_database(home, capsys):
    (home / "other").mkdir()
    (home / "other" / "config.toml").write_text("", encoding="utf-8")
    for arguments in (["forget", "ann", "--yes"], ["consent", "list"]):
        code, _, err = call(capsys, *arguments, "--config", home / "other" / "config.toml")
        assert (code, "no database" in err) == (EXIT_FAILED, True)
    assert [path.name for path in (home / "other").iterdir()] == ["config.toml"]


def test_a_step_that_fails_is_named_and_finished_later(home, capsys):
    mark = home / "runs" / "first" / "forgotten.json"
    mark.mkdir()
    code, _, err = call(capsys, "forget", "ann", "--yes")
    assert code == EXIT_FAILED
    assert "forget --finish" in err
    assert query(home / "data" / "persona.db", "SELECT count(*) FROM messages") == [(3,)]
    mark.rmdir()
    code, out, _ = call(capsys, "forget", "--finish")
    assert (code, "run first" in out) == (EXIT_DONE, True)
    assert holds(home, CANARY) == []


def ask(home, answer):
    """Run the program on a terminal of its own and type an answer."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "persona", "--config", str(home / "config.toml"), "forget", "ann"]
    with subprocess.Popen(
        program, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY, text=True
    ) as process:
        os.close(theirs)
        os.write(ours, answer)
        out, err = process.communicate()
    os.close(ours)
    return process.returncode, out, err


def test_it_asks_before_it_forgets(home):
    code, out, err = ask(home, b"yes\n")
    assert (code, "Nothing was forgotten" in err) == (EXIT_FAILED, True)
    assert f"3 messages of 2 are stored: 3 in channel-{KITCHEN}" in out
    assert query(home / "data" / "persona.db", "SELECT count(*) FROM messages") == [(6,)]
    code, out, _ = ask(home, b"forget\n")
    assert (code, "3 messages were forgotten" in out) == (EXIT_DONE, True)
    assert query(home / "data" / "persona.db", "SELECT count(*) FROM messages") == [(3,)]


def test_without_a_terminal_it_does_not_guess(home):
    program = [sys.executable, "-m", "persona", "--config", str(home / "config.toml"), "forget", "ann"]
    done = subprocess.run(program, cwd=REPOSITORY, capture_output=True, text=True, input="forget\n", check=False)
    assert (done.returncode, "--yes" in done.stderr) == (EXIT_USAGE, True)
    assert query(home / "data" / "persona.db", "SELECT count(*) FROM messages") == [(6,)]


def test_what_is_said_after_being_forgotten_is_new(home, capsys):
    call(capsys, "forget", "ann", "--yes")

    async def later():
        async with open_store(home / "data" / "persona.db") as store:
            again = await store.put_messages([said(0, f"{CANARY} again")])
            new = await store.put_messages([said(1, "a new start", at=NOON + timedelta(days=3650))])
            return again.refused, new.added

    assert asyncio.run(later()) == (1, 1)
