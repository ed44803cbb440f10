import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from persona.errors import EXIT_INTERRUPTED, AlreadyRunningError, UsageError
from pipelines.whole.journal import JOURNAL_FILE, Journal, Step, run_steps, sha256_of
from pipelines.whole.process import StepFailedError, locked, run_process
from pipelines.whole.working import steps_from

REPO = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    (tmp_path / "data.txt").write_text("one")
    return tmp_path


def two_steps(run, setting=1):
    """Return a step that reads data.txt and writes a folder, and one that reads that folder."""
    first = Step(
        name="first",
        command=["first", "x"],
        inputs=[run / "data.txt"],
        outputs=[run / "made"],
        settings={"a": setting},
        fresh=("--fresh",),
    )
    return first, replace(first, name="second", inputs=[run / "made"], outputs=[run / "end.txt"], fresh=())


def work(run, calls):
    def do(step, more):
        calls.append((step.name, *more))
        if step.name == "first":
            (run / "made").mkdir(exist_ok=True)
            (run / "made" / "a.txt").write_text((run / "data.txt").read_text() * 2)
        else:
            (run / "end.txt").write_text((run / "made" / "a.txt").read_text() + "!")

    return do


def go(run, *, steps=None, anew=()):
    calls = []
    run_steps(steps or two_steps(run), Journal(run), work(run, calls), anew=anew)
    return calls


def test_each_step_is_done_once(run):
    assert go(run) == [("first",), ("second",)]
    assert go(run) == []
    assert (run / "end.txt").read_text() == "oneone!"


def test_a_changed_input_does_its_step_and_those_that_read_it_again(run):
    go(run)
    (run / "data.txt").write_text("two")
    assert go(run) == [("first",), ("second",)]


def test_the_same_input_written_again_changes_nothing(run):
    go(run)
    os.utime(run / "data.txt", (1, 1))
    assert go(run) == []


def test_a_step_whose_result_is_the_same_does_not_trouble_the_next(run):
    go(run)
    (run / "made" / "a.txt").unlink()
    assert go(run) == [("first",)]


def test_other_settings_are_another_step(run):
    go(run)
    assert go(run, steps=two_steps(run, setting=2)) == [("first",), ("second",)]


def test_an_output_that_somebody_changed_is_made_again(run):
    go(run)
    (run / "end.txt").write_text("changed")
    assert go(run) == [("second",)]
    assert (run / "end.txt").read_text() == "oneone!"


def test_a_step_that_failed_is_not_done(run):
    def failing(step, more):
        if step.name == "second":
            raise StepFailedError("second", 78)
        work(run, [])(step, more)

    with pytest.raises(StepFailedError) as caught:
        run_steps(two_steps(run), Journal(run), failing)
    assert caught.value.exit_code == 78
    assert go(run) == [("second",)]


def test_done_anew_with_its_option_for_that(run):
    go(run)
    assert go(run, anew=("first", "second")) == [("first", "--fresh"), ("second",)]
    assert go(run) == []


def test_what_was_to_be_done_anew_and_was_stopped_is_gone_on_with(run):
    go(run)

    def stopped(step, more):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_steps(two_steps(run), Journal(run), stopped, anew=("first", "second"))
    assert go(run)[0] == ("first",)  # not thrown away a second time


def test_a_step_that_always_looks_for_itself_is_always_asked(run):
    first, second = two_steps(run)
    steps = (replace(first, always=True), second)
    go(run, steps=steps)
    assert go(run, steps=steps) == [("first",)]


def test_the_next_step_is_made_when_the_last_one_is_done(run):
    def steps():
        first, second = two_steps(run)
        yield first
        assert (run / "made" / "a.txt").is_file()
        yield second

    assert go(run, steps=steps()) == [("first",), ("second",)]


def test_the_journal_says_what_went_in_and_out(run):
    go(run)
    told = json.loads((run / JOURNAL_FILE).read_text())["steps"]["first"]
    assert told["inputs"] == {"data.txt": sha256_of(run / "data.txt")}
    assert told["outputs"] == {"made": sha256_of(run / "made")}
    assert len(told["outputs"]["made"]) == 64
    assert told["command"] == ["first", "x"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"steps": 3}', '{"steps": {"first": 3, "second": null}}'])
def test_a_damaged_journal_only_means_that_every_step_looks_again(run, text):
    go(run)
    (run / JOURNAL_FILE).write_text(text)
    assert go(run) == [("first",), ("second",)]
    assert go(run) == []


def test_a_folder_is_its_files_by_name_and_content(run):
    (run / "f").mkdir()
    assert sha256_of(run / "f") == sha256_of(run / "nowhere") == "missing"
    (run / "f" / "a").write_text("x")
    one = sha256_of(run / "f")
    (run / "f" / "a").rename(run / "f" / "b")
    other = sha256_of(run / "f")
    (run / "f" / "b").write_text("y")
    assert len({one, other, sha256_of(run / "f")}) == 3


def test_from_a_step_means_that_one_and_all_that_follow():
    assert steps_from(None) == ()
    assert steps_from("export") == ("export", "gate", "publish")
    with pytest.raises(UsageError, match=r"no step 'train' \(one of prepare, sft"):
        steps_from("train")


def test_a_run_is_worked_on_by_one_at_a_time(run):
    with locked(run), pytest.raises(AlreadyRunningError, match="another process works on"), locked(run):
        pass
    with locked(run):
        pass


def test_a_failed_command_ends_it_with_its_own_exit_code(run, monkeypatch, capfd):
    monkeypatch.chdir(run)
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    with locked(run) as held, pytest.raises(StepFailedError, match="sft ended with exit code 2") as caught:
        run_process("sft", ["train", "nowhere"], held)
    assert caught.value.exit_code == 2
    assert "there is no run folder" in capfd.readouterr().err


def test_a_stop_is_passed_on_and_what_outlives_its_parent_still_holds_the_run(run):
    """The step is one that waits; its parent is first stopped politely, then another is killed."""
    waiting = run / "pipelines" / "__main__.py"
    waiting.parent.mkdir()
    waiting.write_text(
        "import signal, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('saved').touch(), sys.exit(130)))\n"
        "pathlib.Path('begun').touch(); time.sleep(30)\n"
    )
    (waiting.parent / "__init__.py").touch()
    program = (
        f"import sys; sys.path.insert(0, {str(REPO)!r})\n"
        "from pathlib import Path\n"
        "from pipelines.whole.process import locked, run_process\n"
        "with locked(Path('run')) as held:\n"
        "    try: run_process('sft', [], held)\n"
        "    except Exception as error: print(error); sys.exit(error.exit_code)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(run)}

    def start():
        (run / "begun").unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", program], cwd=run, env=environment, stdout=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 20
        while not (run / "begun").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process

    polite = start()
    polite.send_signal(signal.SIGINT)
    out, _ = polite.communicate(timeout=20)
    assert polite.returncode == EXIT_INTERRUPTED
    assert "stopped in sft" in out
    assert (run / "saved").exists()
    killed = start()
    children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children")
    (child,) = map(int, children.read_text().split()) if children.exists() else (0,)
    killed.kill()
    killed.communicate(timeout=20)
    if child:
        with pytest.raises(AlreadyRunningError), locked(run / "run"):
            pass
        os.kill(child, signal.SIGTERM)
