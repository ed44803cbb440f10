"""Finds the chat exports among files and folders, by what is in them and not by what they are called."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from persona.adapters.exports.package import is_package_file, is_package_side_file
from persona.adapters.exports.problems import Problems
from persona.adapters.exports.scanner import lenient_decoder
from persona.adapters.exports.streams import read_text

_HEAD_LINES = 20
_DCE_START = re.compile(r'\{\s*"(guild|channel|dateRange|exportedAt|messages|messageCount)"\s*:')
_LINE_FIELDS = {"id", "channel_id", "author_id"}
_LINE_ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
_DIGITS = re.compile(r"([0-9]+)")


class ExportFormat(StrEnum):
    """A format that can be read."""

    DCE = "DiscordChatExporter"
    JSONL = "JSON lines"
    PACKAGE = "Discord data package"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFile:
    """A file that can be read, with its size on disk in bytes."""

    path: Path
    format: ExportFormat
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRecognised:
    """A file that is no chat export, or cannot be looked at, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What was found, in the order it was given; folders in the natural order of their names."""

    files: tuple[ExportFile, ...]
    not_recognised: tuple[NotRecognised, ...]


def find_exports(paths: Iterable[Path]) -> Discovery:
    """Look through files and folders (with what is in them, each real file and folder once)."""
    files: list[ExportFile] = []
    others: list[NotRecognised] = []
    seen: set[tuple[int, int]] = set()
    for path in paths:
        for found in _walk(path, seen):
            if isinstance(found, NotRecognised):
                others.append(found)
            else:
                files.append(found)
    return Discovery(files=tuple(files), not_recognised=tuple(others))


def detect(head: str, file_name: str) -> ExportFormat | None:
    """Return the format of a text by its beginning; the file's name decides only where that says nothing."""
    start = head.lstrip()
    if _DCE_START.match(start):
        return ExportFormat.DCE
    decoder = lenient_decoder()
    for line in start.split("\n", _HEAD_LINES)[:_HEAD_LINES]:
        try:
            record = decoder.decode(line)
        except (json.JSONDecodeError, RecursionError):
            continue
        if isinstance(record, dict) and record.keys() >= _LINE_FIELDS:
            return ExportFormat.JSONL
    if start.startswith("{") and '"messages"' in start and '"channel"' in start:
        return ExportFormat.DCE
    return ExportFormat.JSONL if start and file_name.lower().endswith(_LINE_ENDINGS) else None


def _walk(path: Path, seen: set[tuple[int, int]]) -> Iterator[ExportFile | NotRecognised]:
    if is_package_side_file(path):
        return
    try:
        status = path.stat()
        if (status.st_dev, status.st_ino) in seen:  # linked twice, or a folder that holds itself
            return
        seen.add((status.st_dev, status.st_ino))
        inside = sorted(path.iterdir(), key=_natural) if path.is_dir() else None
    except FileNotFoundError:
        yield NotRecognised(path=path, reason="does not exist")
    except OSError as error:
        yield NotRecognised(path=path, reason=f"cannot be read: {error.strerror or error}")
    else:
        if inside is None:
            yield _look(path, status)
        else:
            for entry in inside:
                yield from _walk(entry, seen)


def _look(path: Path, status: os.stat_result) -> ExportFile | NotRecognised:
    if not path.is_file():
        return NotRecognised(path=path, reason="not a file")
    if is_package_file(path):
        return ExportFile(path=path, format=ExportFormat.PACKAGE, size=status.st_size)
    problems = Problems()
    pieces = read_text(path, problems)
    head = next(pieces, "")
    pieces.close()
    found = detect(head, path.name)
    if found is not None:
        return ExportFile(path=path, format=found, size=status.st_size)
    if not head.strip():
        told = problems.listed()
        return NotRecognised(path=path, reason=told[0].reason if told else "empty")
    return NotRecognised(path=path, reason="not a chat export")


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort "part 2" before "part 10"."""
    parts = _DIGITS.split(path.name.lower())
    return [(0, int(part[:18]), part) if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts]
