"""Checksums of files, and the name of the file beside a file that states one."""

import hashlib
from pathlib import Path

CHECKSUM_SUFFIX = ".sha256"


def hash_file(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
