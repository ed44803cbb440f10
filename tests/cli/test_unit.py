"""`persona unit`: systemd accepts what it prints, for every kind of installation."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from persona.cli.unit import inspect
from persona.cli.unit_text import Installation, quoted, readable_by_all, render
from persona.config import load_settings

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")

SHARED = Installation(
    python=Path("/usr/bin/env"),
    folder=Path("/opt"),
    config=Path("/opt/config.toml"),
    reads=(Path("/usr"),),
    writes=(Path("/opt/persona/data"),),
    owner="root",
    group="root",
    state={"PERSONA_STORAGE_DATABASE": "%S/persona/persona.db"},
)
AT_HOME = replace(
    SHARED,
    folder=Path("/home/ann/per sona"),
    reads=(Path("/usr"), Path("/home/ann/per sona"), Path("/home/ann/.local/share/uv/python/cpython")),
    writes=(Path("/home/ann/per sona/data"), Path("/srv/logs")),
    owner="daemon",
    group="daemon",
)
KINDS = {"shared": SHARED, "home": AT_HOME, "gpu": replace(SHARED, gpu=True), "no config": replace(SHARED, config=None)}


def analyze(*words: str, runtime: Path) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "SYSTEMD_PAGER": "", "LC_ALL": "C.UTF-8"}
    return subprocess.run([ANALYZE, *words], capture_output=True, text=True, env=environment, timeout=50, check=False)


def options(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if not line.startswith("#") and "=" in line:
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@needs_systemd
@pytest.mark.parametrize("user", [False, True], ids=["system", "user"])
@pytest.mark.parametrize("kind", KINDS)
def test_systemd_accepts_the_unit_without_a_word(kind: str, user: bool, tmp_path: Path) -> None:
    file = tmp_path / "persona.service"
    file.write_text(render(KINDS[kind], user=user))
    done = analyze("verify", "--man=no", *(["--user"] if user else []), str(file), runtime=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_systemd_accepts_odd_paths(tmp_path: Path) -> None:
    odd = tmp_path / "with space %h $HOME 'quote' \"double\" back\\slash"
    odd.mkdir()
    python = odd / "python"
    python.symlink_to(sys.executable)
    installation = replace(
        SHARED, python=python, folder=odd, config=odd / "config.toml", reads=(odd,), writes=(odd / "data",)
    )
    file = tmp_path / "persona.service"
    file.write_text(render(installation, user=False))
    done = analyze("verify", "--man=no", str(file), runtime=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_verify_would_notice_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "persona.service"
    file.write_text(render(SHARED, user=False).replace("WatchdogSec=60", "WatchdogSec=often"))
    assert "Failed to parse" in analyze("verify", "--man=no", str(file), runtime=tmp_path).stderr


@needs_systemd
@pytest.mark.parametrize(("kind", "user", "limit"), [("shared", False, 1.5), ("home", False, 2.0), ("home", True, 5.5)])
def test_the_sandbox_is_tight(
    kind: str,
    user: bool,
    limit: float,
    tmp_path: Path,
    record_property,
) -> None:
    file = tmp_path / "persona.service"
    file.write_text(render(KINDS[kind], user=user))
    words = ["security", "--offline=true", *(["--user"] if user else []), str(file)]
    done = analyze(*words, runtime=tmp_path)
    found = re.search(r"exposure level for persona\.service: ([\d.]+)", done.stdout)
    assert found, done.stderr
    record_property("exposure", found[1])
    assert float(found[1]) <= limit


@pytest.mark.parametrize("user", [False, True], ids=["system", "user"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_every_unit_promises(kind: str, user: bool) -> None:
    unit = render(KINDS[kind], user=user)
    given = options(unit)
    assert given["Type"] == ["notify"]
    assert given["StartLimitIntervalSec"] == ["0"]
    assert "78" in given["RestartPreventExitStatus"][0].split()
    assert given["NoNewPrivileges"] == ["yes"]
    assert given["ProtectSystem"] == ["strict"]
    assert given["LoadCredential"][0].startswith("DISCORD_TOKEN:")
    assert "ProcSubset" not in given
    assert all("TOKEN" not in value for value in given["Environment"]), "the token never goes into the environment"
    assert int(given["TimeoutStopSec"][0]) > KINDS[kind].drain_seconds
    if user:
        assert given["PrivateUsers"] == ["yes"]
        assert not {"DynamicUser", "PrivateDevices", "CapabilityBoundingSet", "User"} & given.keys()
        assert given["WantedBy"] == ["default.target"]
    assert ("PrivateDevices" in given) is (not user and not KINDS[kind].gpu)


def test_a_shared_installation_gets_a_user_and_a_state_folder_of_its_own() -> None:
    given = options(render(SHARED, user=False))
    assert given["DynamicUser"] == ["yes"]
    assert given["StateDirectory"] == ["persona"]
    assert given["ProtectHome"] == ["yes"]
    assert '"PERSONA_STORAGE_DATABASE=%S/persona/persona.db"' in given["Environment"]
    assert "User" not in given


def test_an_installation_at_home_sees_nothing_else_of_the_homes() -> None:
    unit = render(AT_HOME, user=False)
    given = options(unit)
    assert given["ProtectHome"] == ["tmpfs"]
    assert given["User"] == ["daemon"]
    assert "DynamicUser" not in given
    assert given["BindReadOnlyPaths"] == ['"/home/ann/per sona"', "/home/ann/.local/share/uv/python/cpython"]
    assert given["BindPaths"] == ['"/home/ann/per sona/data"']
    assert given["ReadWritePaths"] == ['"/home/ann/per sona/data" /srv/logs']
    assert "DynamicUser= is left out: /home/ann/per sona lies in a home folder" in unit


def test_files_that_others_cannot_read_rule_out_a_dynamic_user(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "config.toml").write_text("")
    assert not readable_by_all(private / "config.toml")
    assert readable_by_all(Path("/usr/bin/env"))
    given = options(render(replace(SHARED, reads=(private,)), user=False))
    assert "DynamicUser" not in given
    assert given["ProtectHome"] == ["yes"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/plain/path", "/plain/path"),
        ("/with space", '"/with space"'),
        ("/100%", '"/100%%"'),
        ('/a"b', '"/a\\"b"'),
        ("/a\\b", '"/a\\\\b"'),
    ],
)
def test_words_are_quoted_for_unit_files(text: str, expected: str) -> None:
    assert quoted(text) == expected


def test_this_installation_is_described(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[model]\ngpu_layers = -1\n[storage]\ndatabase = "d/p.db"\n[supervision]\ndrain_seconds = 33\n')
    installation = inspect(load_settings(config, {}), config)
    assert installation.python == Path(sys.executable)
    assert installation.config == config
    assert installation.gpu
    assert installation.drain_seconds == 33
    assert set(installation.writes) == {tmp_path / "d", tmp_path / "data", tmp_path / "runs"}
    assert any(Path(sys.base_prefix).is_relative_to(path) for path in installation.reads)
    assert any(config.is_relative_to(path) for path in installation.reads)


def test_models_that_lie_elsewhere_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "embedding").mkdir()
    (tmp_path / "own.gguf").touch()
    config = tmp_path / "home" / "config.toml"
    config.parent.mkdir()
    config.write_text('[model]\npath = "../own.gguf"\n[memory]\nembedding_path = "../embedding"\n')
    installation = inspect(load_settings(config, {}), config)
    for path in (tmp_path / "embedding", tmp_path / "own.gguf"):
        assert any(path.is_relative_to(shown.resolve()) for shown in installation.reads)


@needs_systemd
def test_the_command_prints_a_unit_that_verifies(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "persona", "unit", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    file = tmp_path / "persona.service"
    file.write_text(done.stdout)
    checked = analyze("verify", "--man=no", str(file), runtime=tmp_path)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == [config, file] or set(tmp_path.iterdir()) == {config, file}, "it only prints"
