"""One process per data folder: a lock file that the operating system releases when its holder ends, however it ends."""

import os
import sys
from pathlib import Path
from typing import NoReturn, Self

from persona.errors import AlreadyRunningError, PersonaError

_MAX_PID_BYTES = 32
_LOCK_OFFSET = 1 << 30
"""Windows locks ranges and keeps others from reading them: lock a byte far behind the process number."""


class InstanceLock:
    """Holds `path` locked while it is open; the file stays behind, for deleting it would let a second process in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock and write this process's number into the file.

        Raises:
            AlreadyRunningError: another process holds it.
            PersonaError: the folder or file cannot be made or locked.
        """
        if self._descriptor is not None:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = self._locked()
        except OSError as error:
            cure = "check that the folder exists and may be written"
            raise PersonaError(f"cannot lock {self._path}: {error.strerror}", cure=cure) from error

    def release(self) -> None:
        """Give the lock back; safe to call twice."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _locked(self) -> int:
        """Open and lock the file; again when somebody replaced it in between, for then the lock is worth nothing."""
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if not _try_lock(descriptor):
                    self._refuse(descriptor)
                if _same_file(self._path, descriptor):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"{os.getpid()}\n".encode())
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _refuse(self, descriptor: int) -> NoReturn:
        os.lseek(descriptor, 0, os.SEEK_SET)
        text = os.read(descriptor, _MAX_PID_BYTES).decode("ascii", "replace").strip()
        who = f"process {text}" if text.isdigit() else "another process"
        cure = "stop that one, or use another data folder"
        raise AlreadyRunningError(f"Persona is already running on {self._path.parent} ({who})", cure=cure)


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, _LOCK_OFFSET, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        """Take an exclusive flock; it belongs to the open file, so it also keeps out a second one in this process."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
