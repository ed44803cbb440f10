"""Reads the blind test that is asked on the server, and takes out of it what was forgotten."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

from persona.domain.quiz import Quiz, QuizError, read_quiz, without, write_quiz
from persona.errors import PersonaError

_MOST_BYTES = 20_000_000


async def load_quiz(path: Path) -> Quiz:
    """Return the quiz in a file.

    Raises:
        QuizError: there is none, it cannot be read, or it is damaged.
    """
    return await asyncio.to_thread(_load, path)


def forget_in_quiz(path: Path, gone: Collection[str]) -> None:
    """Write a quiz file anew without the questions that show a message with one of these marks, if there are any.

    Raises:
        PersonaError: it cannot be read or written: what it holds of the forgotten stays.
    """
    if not path.exists():
        return
    quiz = _load(path)
    left = without(quiz, gone)
    if left == quiz:
        return
    try:
        _write(path, write_quiz(left) + "\n")
    except OSError as error:
        reason = error.strerror or str(error)
        raise PersonaError(f"{path} cannot be written anew: {reason}", cure="delete it, or let it be written") from None


def _write(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _load(path: Path) -> Quiz:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise QuizError("the quiz file is larger than any quiz", cure="make it: python -m pipelines blindtest make")
        return read_quiz(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise QuizError(
            "there is no quiz yet",
            cure=f"make one with python -m pipelines blindtest make, and copy its quiz.json to {path.name} in the "
            "data folder ([storage] quiz in config.toml)",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        # Whoever gave the command reads this: they need not know where it lies.
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise QuizError(
            f"the quiz file cannot be read: {reason}", cure="look at [storage] quiz in config.toml"
        ) from None
