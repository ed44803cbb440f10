"""`persona memory rebuild` broken off by Ctrl-C or killed at any point: run again, memory and database agree."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from persona.adapters.sqlite import SqliteStore
from tests.fakes.talk import allowed_channel, chatter, rows_of

REPOSITORY = Path(__file__).resolve().parents[2]
MESSAGES = chatter(40_000, words_each=8)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The path of a database with a long history, made once."""
    path = tmp_path_factory.mktemp("store") / "persona.db"

    async def fill():
        store = SqliteStore(path)
        await store.open()
        await store.put_channels([allowed_channel(channel) for channel in {m.channel_id for m in MESSAGES}])
        await store.put_messages(MESSAGES)
        await store.close()

    asyncio.run(fill())
    return path


@pytest.fixture
def home(tmp_path, filled):
    """A folder with the settings and a copy of the database."""
    (tmp_path / "data").mkdir()
    for path in filled.parent.glob("persona.db*"):
        (tmp_path / "data" / path.name).write_bytes(path.read_bytes())
    settings = '[storage]\ndatabase = "data/persona.db"\nmemory = "data/memory.lance"\n[memory]\nembedding = ""\n'
    (tmp_path / "config.toml").write_text(settings)
    return tmp_path


def rebuild(home, *more):
    """Start the command in a group of its own, as a shell does."""
    command = [sys.executable, "-m", "persona", "memory", "rebuild", "--json", *more]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])}
    return subprocess.Popen(
        [*command, "--config", str(home / "config.toml")],
        cwd=home,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Tests that run in the background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )


def under_way(home, process):
    """Wait until the first rows have been written."""
    data = home / "data" / "memory.lance" / "messages.lance" / "data"
    until = time.monotonic() + 40
    while time.monotonic() < until and process.poll() is None and not (data.is_dir() and any(data.iterdir())):
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    assert data.is_dir(), "nothing was written in time"


def finished(home, *more):
    """Run the command to its end and compare the memory with the database."""
    with rebuild(home, *more) as process:
        out, errors = process.communicate(timeout=50)
    assert process.returncode == 0, errors
    assert json.loads(out)["messages"] == len(MESSAGES)
    ids = [row[0] for row in asyncio.run(rows_of(home / "data" / "memory.lance"))]
    assert ids == sorted(int(m.id) for m in MESSAGES)


def test_ctrl_c_ends_it_in_one_line_and_the_next_run_goes_on(home):
    with rebuild(home) as process:
        under_way(home, process)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert errors.strip().splitlines()[-1] == (
        "persona: interrupted; what was done stays, `persona memory rebuild --go-on` does the rest"
    )
    assert "Traceback" not in errors
    finished(home, "--go-on")


def test_killed_again_and_again_the_last_run_agrees_with_the_database(home):
    rng = random.Random(3)
    kills = 0
    for _ in range(3):
        with rebuild(home, "--go-on") as process:
            under_way(home, process)
            time.sleep(rng.uniform(0, 0.4))
            kills += process.poll() is None
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert kills, "no kill came in time: this run proves nothing"
    finished(home, "--go-on")
