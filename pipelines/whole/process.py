"""Runs one step as a process of its own: what it took of memory, on a card, too, is given back when it ends."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from persona.errors import EXIT_DONE, EXIT_INTERRUPTED, AlreadyRunningError, PersonaError
from pipelines.train.stopping import StopSwitch

LOCK_FILE = ".lock"

_PATIENCE_SECONDS = 0.5


class StepFailedError(PersonaError):
    """A step ended with another exit code than 0; what was wrong stands in its own lines."""

    def __init__(self, name: str, code: int) -> None:
        """Take over the exit code of the step."""
        super().__init__(
            f"{name} ended with exit code {code}",
            cure=f"see the line above; the same command goes on from here, with --from {name} it begins here anew",
        )
        self.exit_code = code if 0 < code < 256 else 1  # noqa: PLR2004 - what a process can end with


class StoppedError(PersonaError):
    """A signal asked to stop; the step at hand has saved what it did."""

    exit_code = EXIT_INTERRUPTED


@contextmanager
def locked(run: Path) -> Iterator[int]:
    """Hold a run folder; yields what a step inherits, so that it stays held while a step outlives its parent.

    Raises:
        AlreadyRunningError: another process works on it.
    """
    run.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _try_lock(descriptor):
            raise AlreadyRunningError(f"another process works on {run}", cure="wait for it, or stop it")
        yield descriptor
    finally:
        os.close(descriptor)


def run_process(name: str, arguments: Sequence[str], held: int) -> None:
    """Run `python -m pipelines ARGUMENTS`; what it prints goes to standard error.

    A stop (SIGINT, SIGTERM) is passed on, and the step gets the time to save. `held` comes from `locked`.

    Raises:
        StepFailedError: it ended with an error.
        StoppedError: a signal came.
    """
    command = [sys.executable, "-m", "pipelines", *arguments]
    with StopSwitch() as switch:
        inherited = () if sys.platform == "win32" else (held,)
        process = subprocess.Popen(  # noqa: S603 - this program itself
            command, stdout=sys.stderr, start_new_session=True, pass_fds=inherited
        )
        told = False
        while True:
            try:
                code = process.wait(timeout=_PATIENCE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if switch.asked and not told:
                    process.terminate()
                    told = True
    if switch.asked:
        raise StoppedError(f"stopped in {name}", cure="the same command goes on from here")
    if code != EXIT_DONE:
        raise StepFailedError(name, code)


if sys.platform == "win32":

    def _try_lock(descriptor: int) -> bool:
        """Windows cannot hand a lock on to a child: nothing is locked."""
        return descriptor >= 0

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        """Take an exclusive flock: it belongs to the open file, which a child inherits."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
