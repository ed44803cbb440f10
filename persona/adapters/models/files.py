"""Writes files so that they are there as a whole or not at all, also after a power cut."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from persona.errors import AlreadyRunningError, PersonaError
from persona.instance_lock import InstanceLock

_PAUSE_SECONDS = 0.05


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name, then rename it.

    Raises:
        OSError: it cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            if os.name == "posix":
                os.fchmod(stream.fileno(), 0o644)  # the bot may run as another user than whoever trains
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)


def clear_away(folder: Path, name: str) -> None:
    """Remove what programs that were killed while they wrote files of this name (a pattern) have left."""
    for left in folder.glob(f".{name}.*.new"):
        left.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Make sure that what is in a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make sure that names in a folder outlive a power cut, where the system can do that."""
    if os.name == "posix":
        sync_file(folder)


@contextlib.contextmanager
def locked(file: Path, *, seconds: float, what: str, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold a lock file; wait for another holder, but not longer than `seconds`. A holder that is killed lets go.

    Raises:
        PersonaError: somebody else holds it for too long, or the folder cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = InstanceLock(file)
    ends = time.monotonic() + seconds
    while True:
        try:
            lock.acquire()
            break
        except AlreadyRunningError:
            if time.monotonic() >= ends:
                raise PersonaError(
                    f"another program has been {what} for {seconds:.0f} s", cure="wait until it is done"
                ) from None
        sleep(_PAUSE_SECONDS)
    try:
        yield
    finally:
        lock.release()
