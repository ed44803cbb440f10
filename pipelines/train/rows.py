"""The data of a run folder: which files each method reads, and a check of every line before training starts."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona.errors import PersonaError
from pipelines.train.plan import Method

KINDS: Mapping[Method, str] = {Method.SFT: "sft", Method.DPO: "dpo", Method.KTO: "kto", Method.ORPO: "dpo"}
"""The folder of each method inside the run; the files are train*.jsonl and validation*.jsonl."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "sft": ("prompt", "completion"),
    "dpo": ("prompt", "chosen", "rejected"),
    "kto": ("prompt", "completion", "label"),
}

_CURE = "make the data again: python -m pipelines prepare"
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The files of one method and split, the number of rows, characters a row on average, and a hash of it all."""

    files: tuple[Path, ...]
    columns: tuple[str, ...]
    count: int
    mean_characters: float
    sha256: str
    liked: int = 0
    disliked: int = 0


def data_files(run: Path, method: Method, split: str) -> tuple[Path, ...]:
    """Return the files of a split (`train` or `validation`) in order, empty ones left out; () when there are none."""
    return tuple(sorted(file for file in (run / KINDS[method]).glob(f"{split}*.jsonl") if file.stat().st_size))


def read_rows(run: Path, method: Method, split: str) -> Rows:
    """Read every line of a split once and check it.

    Raises:
        PersonaError: a line is not what the method needs; names file, line and cure.
    """
    columns = COLUMNS[KINDS[method]]
    files = data_files(run, method, split)
    digest = hashlib.sha256()
    count = characters = liked = 0
    for file in files:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                digest.update(line)
                try:
                    row = json.loads(line)
                    characters += _check(row, columns)
                except ValueError as error:
                    raise PersonaError(f"{file}:{number}: {error}", cure=_CURE) from None
                count += 1
                liked += row.get("label") is True
        digest.update(b"\0")
    return Rows(
        files=files,
        columns=columns,
        count=count,
        mean_characters=characters / count if count else 0.0,
        sha256=digest.hexdigest(),
        liked=liked,
        disliked=count - liked if "label" in columns else 0,
    )


def class_weights(liked: int, disliked: int) -> tuple[float, float]:
    """Return the weights of liked and disliked rows that make both sides count the same; the larger side keeps 1.

    KTO wants (weight x number) of the two sides within a ratio of 1 to 4/3 (Ethayarajh et al. 2024, section 4.2).

    Raises:
        PersonaError: one side is empty.
    """
    if not liked or not disliked:
        which = "liked" if not liked else "disliked"
        raise PersonaError(f"KTO needs liked and disliked replies; no {which} one was found", cure="use dpo, or none")
    return (1.0, liked / disliked) if liked >= disliked else (disliked / liked, 1.0)


def _check(row: Any, columns: tuple[str, ...]) -> int:
    """Return the characters of a row.

    Raises:
        ValueError: a column is missing or has the wrong shape, or the prompt has no system message.
    """
    if not isinstance(row, dict):
        raise ValueError("is not an object")  # noqa: TRY004 - one kind of error for every bad line
    characters = 0
    for column in columns:
        value = row.get(column)
        if column == "label":
            if not isinstance(value, bool):
                raise ValueError("label is neither true nor false")
            continue
        characters += _message_characters(column, value)
    # Without a system message Qwen's template puts one of its own in front: "You are Qwen ...".
    if row["prompt"][0]["role"] != "system":
        raise ValueError("the prompt does not begin with a system message")
    for column in columns[1:]:
        if column != "label" and [message["role"] for message in row[column]] != ["assistant"]:
            raise ValueError(f"{column} is not one assistant message")
    return characters


def _message_characters(column: str, value: Any) -> int:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{column} is missing or empty")
    for message in value:
        if (
            not isinstance(message, dict)
            or message.get("role") not in _ROLES
            or not isinstance(message.get("content"), str)
        ):
            raise ValueError(f"{column} holds something that is no chat message")
    return sum(len(message["content"]) for message in value)
