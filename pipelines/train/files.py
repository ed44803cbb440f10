"""Small files that are either written whole or not at all."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any


def write_text(file: Path, text: str) -> None:
    """Write a file as `write_bytes` does, in UTF-8."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, data: bytes) -> None:
    """Write a file under another name, make sure that it is on disk, then give it its name."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with draft.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        raise


def write_json(file: Path, content: Any) -> None:
    """Write JSON as `write_text` does; the same content gives the same bytes."""
    write_text(file, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def flush_folder(folder: Path) -> None:
    """Make sure that every file of a folder is on disk."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
