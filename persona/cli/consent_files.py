"""The ledger as a CSV or JSON file, to keep elsewhere or to bring along."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from persona.domain.chat import AuthorId, GuildId
from persona.domain.consent import Choice, Entry, Scope, Source
from persona.errors import PersonaError

COLUMNS = ("author_id", "guild_id", "scope", "choice", "at", "source", "recorded_by", "note")
_LARGEST_ID = (1 << 63) - 1


def as_record(entry: Entry) -> dict[str, str]:
    """Return an entry as text by column; ids are text, too, for spreadsheets round large numbers."""
    return {
        "author_id": str(entry.author_id),
        "guild_id": str(entry.guild_id),
        "scope": entry.scope.value,
        "choice": entry.choice.value,
        "at": entry.at.isoformat(),
        "source": entry.source.value,
        "recorded_by": "" if entry.recorded_by is None else str(entry.recorded_by),
        "note": entry.note,
    }


def ledger_text(entries: Sequence[Entry], *, as_json: bool) -> str:
    """Return the entries as CSV with a head line, or as a JSON list."""
    records = [as_record(entry) for entry in entries]
    if as_json:
        return json.dumps(records, ensure_ascii=False, indent=2) + "\n"
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def read_ledger(path: Path, *, now: datetime) -> list[Entry]:
    """Return the entries of a file that `ledger_text` wrote.

    Raises:
        PersonaError: the file cannot be read; or an entry is wrong: it is named, and nothing is returned.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        records = json.loads(text) if path.suffix.lower() == ".json" else list(_csv_records(text))
    except OSError as error:
        raise PersonaError(f"cannot read {path}: {error.strerror}", cure="check the name") from error
    except (ValueError, csv.Error) as error:
        raise PersonaError(
            f"{path} is neither CSV nor JSON: {error}", cure="export a ledger to see the format"
        ) from error
    if not isinstance(records, list):
        raise PersonaError(f"{path} is not a list of entries", cure="export a ledger to see the format")
    entries = []
    for number, record in enumerate(records, start=1):
        try:
            entries.append(_entry(record, now))
        except (ValueError, KeyError, TypeError) as error:
            cure = "mend it and import the file again; nothing was imported"
            raise PersonaError(f"{path}: entry {number}: {_reason(error)}", cure=cure) from error
    return entries


def _csv_records(text: str) -> Sequence[Mapping[str, str]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    missing = set(COLUMNS) - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"columns are missing: {', '.join(sorted(missing))}")
    return list(reader)


def _entry(record: Mapping[str, Any], now: datetime) -> Entry:
    at = datetime.fromisoformat(record["at"])
    if at.tzinfo is None:
        raise ValueError(f"the time {record['at']} has no time zone")
    if at > now:
        raise ValueError(f"the time {record['at']} is in the future")
    if not isinstance(record["note"], str):
        raise TypeError("the note is not text")
    return Entry(
        author_id=AuthorId(_number(record["author_id"], least=1)),
        guild_id=GuildId(_number(record["guild_id"], least=0)),
        scope=Scope(record["scope"]),
        choice=Choice(record["choice"]),
        at=at.astimezone(UTC),
        source=Source(record["source"]),
        recorded_by=AuthorId(_number(record["recorded_by"], least=1)) if record["recorded_by"] else None,
        note=record["note"],
    )


def _number(text: str, *, least: int) -> int:
    number = int(text)
    if not least <= number <= _LARGEST_ID:
        raise ValueError(f"{text} is not an id")
    return number


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
