"""Turns what goes wrong deep inside the libraries into one line that says what to do."""

import errno
import shutil
from pathlib import Path

from persona.errors import PersonaError

_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")
_DISK_SIGNS = ("no space left", "disk quota", "os error 28", "unexpected pos", "failed writing file")
_FEW_BYTES = 64 * 2**20


def explain(error: BaseException, folder: Path, *, memory_cure: str) -> PersonaError | None:
    """Return the error an owner should see, or None when it is nothing known: then the original must be raised."""
    if isinstance(error, PersonaError):
        return error
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(sign in text for sign in _MEMORY_SIGNS):
        where = "the GPU" if "cuda" in text else "the machine"
        return PersonaError(
            f"{where} is out of memory; what was trained until the last checkpoint is kept", cure=memory_cure
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or (any(sign in text for sign in _DISK_SIGNS) and shutil.disk_usage(folder).free < _FEW_BYTES):
        cure = "free some space and give the same command again: it goes on where it was"
        return PersonaError(f"the disk of {folder} is full", cure=cure)
    return None


def require_space(folder: Path, needed: int) -> None:
    """Refuse to start what cannot be saved.

    Raises:
        PersonaError: the disk has less room than the stage will take.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PersonaError(
            f"{folder} has {free / 1e9:.1f} GB of space, this training needs about {needed / 1e9:.1f} GB",
            cure="free some space, or put [storage] runs on another disk",
        )
