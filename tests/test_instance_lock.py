"""One process per data folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from persona.errors import EXIT_TEMPORARY, AlreadyRunningError, PersonaError
from persona.instance_lock import InstanceLock

HOLDER = """
import sys, time
from pathlib import Path
from persona.instance_lock import InstanceLock
with InstanceLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold_elsewhere(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_process_is_kept_out_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "data" / "persona.lock"
    holder = hold_elsewhere(path)
    try:
        with pytest.raises(AlreadyRunningError, match=rf"already running on .*data \(process {holder.pid}\)") as caught:
            InstanceLock(path).acquire()
        assert caught.value.exit_code == EXIT_TEMPORARY
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        with InstanceLock(path):
            assert path.read_text() == f"{os.getpid()}\n"
    finally:
        holder.kill()
        holder.communicate()


def test_a_second_lock_in_the_same_process_is_kept_out_and_release_lets_it_in(tmp_path: Path) -> None:
    path = tmp_path / "persona.lock"
    first, second = InstanceLock(path), InstanceLock(path)
    first.acquire()
    first.acquire()
    with pytest.raises(AlreadyRunningError):
        second.acquire()
    first.release()
    first.release()
    with second, pytest.raises(AlreadyRunningError):
        first.acquire()
    assert path.exists(), "the file stays: deleting it would let two processes lock two files"


def test_a_child_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "persona.lock"
    with InstanceLock(path):
        program = "import time; print('up', flush=True); time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", program], close_fds=False, stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"  # until its exec is through, it shares the lock
    try:
        with InstanceLock(path):
            assert child.poll() is None
    finally:
        child.kill()
        child.communicate()


def test_a_lock_file_that_was_replaced_while_waiting_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "persona.lock"
    real, opened = os.open, []

    def open_then_lose_it(name, flags, mode=0o777):
        descriptor = real(name, flags, mode)
        opened.append(descriptor)
        if len(opened) == 1:
            path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", open_then_lose_it)
    with InstanceLock(path), pytest.raises(AlreadyRunningError):
        InstanceLock(path).acquire()
    assert len(opened) == 3


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder")
    with pytest.raises(PersonaError, match=r"cannot lock .*persona\.lock: .* \(check that the folder"):
        InstanceLock(tmp_path / "data" / "persona.lock").acquire()


def test_taking_the_lock_is_quick(tmp_path: Path) -> None:
    began = time.perf_counter()
    for _ in range(100):
        with InstanceLock(tmp_path / "persona.lock"):
            pass
    descriptors = len(list(Path("/dev/fd").iterdir()))
    assert time.perf_counter() - began < 5
    assert descriptors < 100, "every lock file is closed again"
