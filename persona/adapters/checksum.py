"""Checksums of files, and the name of the file beside a file that states one."""

import hashlib
from collections.abc import Callable
from pathlib import Path

CHECKSUM_SUFFIX = ".sha256"

_PIECE = 1 << 20


def hash_file(path: Path, *, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Return the sha256 of a file in hexadecimal; `on_bytes` is called with how many bytes were read so far.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    piece, done = memoryview(bytearray(_PIECE)), 0
    with path.open("rb", buffering=0) as stream:
        while length := stream.readinto(piece):
            digest.update(piece[:length])
            done += length
            on_bytes(done)
    return digest.hexdigest()
