"""Marks run folders whose dataset or model holds something forgotten: a `forgotten.json` beside the lineage."""

import contextlib
import json
import os
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from persona.domain.lineage import LINEAGE_FILE, decode_lineage
from persona.errors import PersonaError

MARK_FILE = "forgotten.json"
_CURE = "check that this user may read and write the runs; what is left to do is done at the next try"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMark:
    """What was forgotten of a run: messages and people in it; `problem` says why nobody can tell, then it counts, too.

    `at` is when the mark last changed; `kind` is "model" for a published model, then `run` is its name.
    """

    run: str
    at: datetime
    messages: int = 0
    authors: int = 0
    problem: str = ""
    kind: str = "run"


def mark_runs(
    runs: Path, *, key: str, messages: Collection[bytes], authors: Mapping[bytes, datetime], at: datetime
) -> tuple[RunMark, ...]:
    """Mark every folder in `runs` with a lineage file that holds one of these hashes; return all marks, by name.

    `key` is the fingerprint of the key that the hashes were made with; a lineage of another key, or one that cannot
    be read, is marked with the problem: nobody can say that it does not hold them. A mark that says the same already
    is left as it is, so doing this twice changes nothing; a mark is never taken away.

    Raises:
        PersonaError: a run cannot be read or marked; the others are done.
    """
    found: list[RunMark] = []
    failures: list[str] = []
    for file in sorted(runs.glob(f"*/{LINEAGE_FILE}")):
        try:
            run = file.parent.name
            mark = judge_lineage(file, run, key=key, messages=messages, authors=authors, at=at)
            if mark is not None:
                found.append(_write(file.parent, mark))
        except OSError as error:
            failures.append(f"{file.parent}: {error.strerror or error}")
    if failures:
        more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        raise PersonaError(f"a run cannot be marked: {failures[0]}{more}", cure=_CURE)
    return tuple(found)


def read_mark(run: Path) -> RunMark | None:
    """Return the mark on a run folder; None when nothing in it was forgotten. A mark that cannot be read is one, too.

    Raises:
        OSError: the file is there but cannot be read.
    """
    file = run / MARK_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        data = json.loads(text)
        return RunMark(
            run=run.name,
            at=datetime.fromisoformat(data["at"]),
            messages=int(data["messages"]),
            authors=int(data["authors"]),
            problem=str(data["problem"]),
        )
    except (ValueError, KeyError, TypeError):
        at = datetime.fromtimestamp(file.stat().st_mtime).astimezone()
        return RunMark(run=run.name, at=at, problem=f"{MARK_FILE} cannot be read")


def judge_lineage(
    file: Path,
    run: str,
    *,
    key: str,
    messages: Collection[bytes],
    authors: Mapping[bytes, datetime],
    at: datetime,
    kind: str = "run",
) -> RunMark | None:
    """Return the mark that a run or model of this name and lineage file gets; None when it holds nothing forgotten.

    Raises:
        OSError: the file cannot be read.
    """
    if not messages and not authors:
        return None
    try:
        lineage = decode_lineage(file.read_bytes())
    except ValueError as error:
        return RunMark(run=run, at=at, kind=kind, problem=f"{LINEAGE_FILE} cannot be read: {error}")
    if lineage.key != key:
        return RunMark(run=run, at=at, kind=kind, problem=f"{LINEAGE_FILE} was made with another database")
    held, people = lineage.messages_among(messages), lineage.authors_among(authors)
    return RunMark(run=run, at=at, kind=kind, messages=held, authors=people) if held or people else None


def _write(run: Path, mark: RunMark) -> RunMark:
    known = read_mark(run)
    if known is not None and (known.messages, known.authors, known.problem) == (
        mark.messages,
        mark.authors,
        mark.problem,
    ):
        return known
    data = {
        "about": "This run holds messages that people asked to be forgotten. Delete it, or train anew without them.",
        "at": mark.at.isoformat(),
        "messages": mark.messages,
        "authors": mark.authors,
        "problem": mark.problem,
    }
    handle, name = tempfile.mkstemp(prefix=f".{MARK_FILE}.", dir=run)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(data, stream, indent=2)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(run / MARK_FILE)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    return mark
