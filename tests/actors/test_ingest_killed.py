"""Killed at any point, again and again, under an unsteady connection: nothing lost, nothing stale, nothing twice."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes.stores import query

PROGRAM = Path(__file__).resolve().parents[1] / "fakes" / "ingest_program.py"
KILLS = 5


def start(database, seed, stage, *more):
    command = [sys.executable, str(PROGRAM), str(database), str(seed), str(stage), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_lost_however_often_it_is_killed(tmp_path, seed):
    database = tmp_path / "persona.db"
    rng = random.Random(seed)
    for stage in range(KILLS):
        with start(database, seed, stage) as process:
            assert process.stdout.readline() == "started\n"
            time.sleep(rng.uniform(0.0, 0.7))
            process.kill()
    with start(database, seed, KILLS, "last") as process:
        out, _ = process.communicate(timeout=40)
    assert process.returncode == 0
    result = json.loads(out.splitlines()[-1])
    assert len(result["truth"]) > 1200
    missing = result["truth"].keys() - result["held"].keys()
    undeleted = result["held"].keys() - result["truth"].keys()
    assert (len(missing), len(undeleted)) == (0, 0)
    stale = [key for key, text in result["truth"].items() if result["held"][key] != text]
    assert stale == []
    assert query(database, "PRAGMA integrity_check") == [("ok",)]
