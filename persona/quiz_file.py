"""Reads the blind test that is asked on the server."""

import asyncio
from pathlib import Path

from persona.domain.quiz import Quiz, QuizError, read_quiz

_MOST_BYTES = 20_000_000


async def load_quiz(path: Path) -> Quiz:
    """Return the quiz in a file.

    Raises:
        QuizError: there is none, it cannot be read, or it is damaged.
    """
    return await asyncio.to_thread(_load, path)


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
