"""Streaming readers for chat exports: memory stays flat, bad records are counted and never raise."""

from collections.abc import Callable, Iterator

from persona.adapters.exports.dce import read_dce
from persona.adapters.exports.discovery import Discovery, ExportFile, ExportFormat, NotRecognised, find_exports
from persona.adapters.exports.jsonl import read_jsonl
from persona.adapters.exports.package import read_package
from persona.adapters.exports.problems import Problem, Problems
from persona.adapters.exports.records import Batch
from persona.adapters.exports.streams import ignore_progress, read_text

__all__ = [
    "Batch",
    "Discovery",
    "ExportFile",
    "ExportFormat",
    "NotRecognised",
    "Problem",
    "Problems",
    "find_exports",
    "read_export",
]


def read_export(
    file: ExportFile, problems: Problems, progress: Callable[[int], None] = ignore_progress
) -> Iterator[Batch]:
    """Yield a file's messages in batches of up to a thousand.

    What cannot be read goes into `problems`; `progress` is told how many bytes of the file were read.
    """
    if file.format is ExportFormat.PACKAGE:
        return read_package(file.path, problems, progress)
    pieces = read_text(file.path, problems, progress)
    match file.format:
        case ExportFormat.DCE:
            return read_dce(pieces, file.path.name, problems)
        case ExportFormat.JSONL:
            return read_jsonl(pieces, problems)
