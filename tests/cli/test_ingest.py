"""`persona ingest`: what it shows, and what its exit code says."""

import io
import json

import pytest

import persona.app
from actors.messages import FetchStatus
from persona.__main__ import main
from persona.cli.ingest_screen import IngestScreen, summary, time_left

DONE = FetchStatus(running=False, channels_done=3, channels_total=3, messages=1200, added=1100, requests=14)


@pytest.fixture
def ingest(tmp_path, monkeypatch, capsys):
    """Run the command over a made-up life on the other side; returns exit code, stdout and stderr."""
    config = tmp_path / "config.toml"
    config.write_text("", encoding="utf-8")
    monkeypatch.setenv("DISCORD_TOKEN", "t0ken")

    def run(*arguments, status=DONE, error=None):
        def run_ingest(settings, token, on_status, *, debug=False):
            assert token == "t0ken"  # noqa: S105 - not a secret
            assert settings.storage.database == tmp_path / "data" / "persona.db"
            on_status(FetchStatus(running=True))
            on_status(FetchStatus(running=True, channels_done=1, channels_total=3, messages=5, seconds_left=70.0))
            if error is not None:
                raise error
            return status

        monkeypatch.setattr(persona.app, "run_ingest", run_ingest)
        code = main(["ingest", "--config", str(config), *arguments])
        return code, *capsys.readouterr()

    return run


def test_it_says_what_came_of_it(ingest):
    code, out, err = ingest()
    assert code == 0
    assert out.startswith("3 channels, 1,200 messages read, 1,100 of them new, in ")
    assert out.endswith("14 requests)\n")
    assert err == ""


def test_a_program_reads_one_object(ingest):
    code, out, _ = ingest("--json")
    assert code == 0
    told = json.loads(out)
    assert told.pop("seconds") >= 0
    assert told == {"channels": 3, "messages": 1200, "added": 1100, "requests": 14, "troubles": []}


def test_a_channel_that_could_not_be_read_is_named_and_fails_the_run(ingest):
    trouble = "#general: reading its history is not permitted"
    code, out, err = ingest("--json", status=FetchStatus(running=False, troubles=(trouble,)))
    assert code == 1
    assert json.loads(out)["troubles"] == [trouble]
    assert err == f"persona: {trouble}\n"


def test_ctrl_c_leaves_what_is_stored(ingest):
    code, out, err = ingest(error=KeyboardInterrupt())
    assert (code, out) == (130, "")
    assert "run it again to go on" in err


def test_without_a_token_it_says_what_to_set(ingest, monkeypatch):
    monkeypatch.delenv("DISCORD_TOKEN")
    code, out, err = ingest()
    assert (code, out) == (78, "")
    assert "DISCORD_TOKEN is not set" in err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_shows_channels_rate_and_time_left(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    screen = Terminal()
    with IngestScreen(screen) as bar:
        bar.show(
            FetchStatus(
                running=True,
                channels_done=7,
                channels_total=20,
                messages=12_345,
                messages_per_second=1890,
                seconds_left=95,
            )
        )
        bar._progress.refresh()
    shown = screen.getvalue()
    for part in ("7/20", "12,345 messages, 1,890 a second", "1 min 35 s left"):
        assert part in shown


def test_without_a_terminal_there_is_no_bar():
    stream = io.StringIO()
    with IngestScreen(stream) as bar:
        bar.show(FetchStatus(running=True, channels_done=7, channels_total=20))
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (100_900, "1 d 4 h")],
)
def test_durations_have_two_units(seconds, text):
    assert time_left(seconds) == text


def test_a_run_without_time_has_no_rate():
    assert "(0 a second" in summary(DONE, 0.0)
