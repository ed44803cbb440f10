"""The program as a whole, with the demo model, from pipe and signal to exit code."""

import json
import signal
import sqlite3

import pytest

from tests.fakes.onnx_model import MODEL, write_model

QUESTIONS = "alice: hey, who are you?\nbob: what did alice just ask?\n"


def test_two_lines_from_a_pipe_give_two_replies_as_json(installed):
    code, out, err = installed.run("--json", typed=QUESTIONS)
    assert code == 0, err
    replies = [json.loads(line) for line in out.splitlines()]
    assert [reply["answers"] for reply in replies] == ["alice", "bob"]
    assert all(reply["text"] and reply["error"] is None for reply in replies)
    assert {"recall", "generate", "send"} <= replies[0]["stage_ms"].keys()
    assert err == ""


def test_the_demo_answers_in_character_and_follows_the_talk(installed):
    installed.config("[sampling]\ntemperature = 0\n")
    code, out, _ = installed.run("--json", typed=QUESTIONS)
    first, second = (json.loads(line)["text"].lower() for line in out.splitlines())
    assert code == 0
    assert "pip" in first or "bot" in first
    assert "alice" in second
    assert "who i am" in second


def test_plain_text_and_why(installed):
    code, out, err = installed.run(typed="hi pip\n/why\n/quit\nnever read\n")
    assert code == 0, err
    assert out.startswith("Pip: ")
    assert "It speaks because" in out
    assert "time: " in out
    assert out.count("Pip: ") <= 3  # one burst at most: nothing after /quit was answered


def test_an_empty_pipe_ends_at_once(installed):
    assert installed.run("--json", typed="")[:2] == (0, "")


def test_typed_lines_are_not_stored_and_replies_are_counted(installed):
    installed.run("--json", typed="secretword is my word\n")
    stored = b"".join(path.read_bytes() for path in installed.folder.rglob("*") if path.is_file())
    assert b"secretword" not in stored
    with sqlite3.connect(installed.folder / "data/demo/persona.db") as database:
        assert database.execute("SELECT count(*) FROM replies").fetchone() == (1,)
    database.close()


def test_the_same_seed_gives_the_same_reply(installed):
    installed.config("[sampling]\nseed = 5\n")
    texts = [json.loads(installed.run("--json", typed="do you like soup?\n")[1])["text"] for _ in range(2)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_ends_with_0(installed, number):
    process = installed.start("--json")
    process.stdin.write("hi\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["text"]
    process.send_signal(number)
    assert process.wait(timeout=20) == 0
    process.communicate()


def test_a_second_instance_is_refused_with_75(installed):
    first = installed.start("--json")
    first.stdin.write("hi\n")
    first.stdin.flush()
    first.stdout.readline()
    code, _, err = installed.run("--json", typed="hi\n")
    assert code == 75
    assert len(err.strip().splitlines()) == 1
    first.communicate(timeout=20)
    assert first.returncode == 0


def test_a_reader_that_goes_away_does_no_harm(installed):
    process = installed.start()
    process.stdout.close()
    process.stdin.write("hi\nhello\n")
    process.stdin.close()
    assert process.wait(timeout=30) in {0, 1}
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_kill_9_in_the_middle_and_the_next_start_works(installed):
    process = installed.start("--json")
    process.stdin.write("hi\n" * 50)
    process.stdin.flush()
    process.stdout.readline()
    process.kill()
    process.communicate()
    assert installed.run("--json", typed="hi\n")[0] == 0


def test_history_that_was_imported_comes_to_mind(installed):
    rows = [
        {
            "id": str(1_400_000_000_000_000_000 + number * (1 << 22)),
            "channel_id": "5",
            "channel_name": "help",
            "author_id": str(number % 3 + 10),
            "author_name": ("dana", "eric", "fay")[number % 3],
            "bot": False,
            "content": text,
            "timestamp": f"2024-10-01T10:00:{number:02d}+00:00",
            "reply_to": None,
            "reactions": [],
        }
        for number, text in enumerate(
            ["has anyone tried the zanzibar theme", "the zanzibar theme breaks my terminal", "mine is fine", "ok then"]
        )
    ]
    (installed.folder / "export.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = installed.run("import", "export.jsonl", "--json")
    assert code == 0, err
    assert json.loads(out)["stored"] == 4
    code, out, _ = installed.run("--json", typed="ann: what about the zanzibar theme?\n/why\n")
    reply, why = (json.loads(line) for line in out.splitlines())
    assert code == 0
    assert {found["author"] for found in reply["remembered"]} >= {"dana", "eric"}
    assert any("zanzibar" in line for line in why["why"])
    words = ["zanzibar", "theme", "terminal", "anyone", "breaks", "fine", "island"]
    write_model(installed.folder / "embedding", words, alike=[("zanzibar", "island")])
    installed.config(f'[memory]\nembedding = "{MODEL}"\nembedding_path = "embedding"\n')
    assert installed.run("memory", "rebuild")[0] == 0
    code, out, err = installed.run("--json", typed="ann: an island?\n")
    assert (code, err) == (0, "")
    assert any("zanzibar" in found["text"] for found in json.loads(out)["remembered"])


class TestTheModelThreadDies:
    CONFIG = "[sampling]\ntemperature = 0\n[supervision]\nbackoff_seconds = 0.05\n"

    def crashing(self, installed, crashes, typed):
        installed.config(self.CONFIG)
        process = installed.start("config.toml", str(crashes), module="tests.fakes.crash_program")
        out, err = process.communicate(typed, timeout=50)
        return process.returncode, [json.loads(line) for line in out.splitlines()], err

    def test_the_reply_is_tried_once_more_without_a_word(self, installed):
        code, replies, err = self.crashing(installed, 1, "ann: boom, who are you?\nben: hi pip\n")
        assert code == 0, err
        assert [reply["retries"] for reply in replies] == [1, 0]
        assert all(reply["text"] and reply["error"] is None for reply in replies)

    def test_two_deaths_cost_that_reply_and_the_next_message_is_answered(self, installed):
        code, replies, err = self.crashing(installed, 2, "ann: boom\nben: hi pip\n")
        assert code == 0, err
        assert replies[0]["text"] == ""
        assert "crashed twice" in replies[0]["error"]
        assert replies[1]["text"]

    def test_five_deaths_within_the_window_end_the_process_with_1_and_one_line(self, installed):
        code, replies, err = self.crashing(installed, 1000, "ann: boom\n" * 20)
        assert code == 1
        assert len(replies) == 2  # two tries each: the fifth death is the first try of the third
        last = err.strip().splitlines()[-1]
        assert last.startswith("persona: engine ")
        assert "Traceback" not in err
        with sqlite3.connect(installed.folder / "data/demo/persona.db") as database:
            assert database.execute("SELECT count(*) FROM restarts").fetchone() == (4,)
        database.close()


def test_a_model_that_hangs_ends_the_process_with_1_and_one_line(installed):
    installed.config("[heartbeat]\nstall_seconds = 1\n[supervision]\ndrain_seconds = 1\n")
    process = installed.start("config.toml", module="tests.fakes.hanging_program")
    _, err = process.communicate("ann: hi\nann: boom\nann: hi\n", timeout=50)
    assert process.returncode == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("persona: ")
    assert "Traceback" not in err
