"""The run folder: what went in, what came out, how far it came, and whose messages are in it."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from persona.domain.chat import AuthorId, MessageId
from persona.domain.lineage import LINEAGE_FILE, LineageKey, encode_digests
from persona.errors import PersonaError, UsageError
from persona.run_marks import MARK_FILE, read_mark
from pipelines.train.files import write_bytes, write_json

MANIFEST_FILE = "manifest.json"
_PLAN_FILE = "prepare.json"
_WORK = "work"
_STAGES = "stages"
_OURS = ("sft", "kto", "dpo", "preferences", "meta", _WORK, _STAGES, "train", "blindtest", "export", "evaluation")
_OUR_FILES = ("report.html", "timings.json", "pipeline.json", "published.json")


class LineageCollector:
    """Gathers what a run is made from: eight bytes a message, however often it is told of one."""

    def __init__(self, key: LineageKey) -> None:
        self._key = key
        self._messages = bytearray()
        self._authors: set[AuthorId] = set()

    def add(self, message_id: MessageId, author_id: AuthorId) -> None:
        """Take a message and who wrote it."""
        self._messages += self._key.message(message_id)
        self._authors.add(author_id)

    def encode(self, read_at: datetime) -> bytes:
        """Return the lineage file; `read_at` is when the messages were read."""
        authors = b"".join(sorted({self._key.author(author) for author in self._authors}))
        return encode_digests(self._key.fingerprint, read_at, _sorted_once(self._messages), authors)


def _sorted_once(digests: bytearray) -> bytes:
    """Return hashes of eight bytes in order, each of them once; sorts them where they are: there may be millions."""
    numbers = np.frombuffer(digests, dtype=np.uint64)
    if sys.byteorder == "little":  # bytes are compared from the first on
        numbers.byteswap(inplace=True)
    numbers.sort()
    first = np.ones(len(numbers), dtype=bool)
    np.not_equal(numbers[1:], numbers[:-1], out=first[1:])
    if sys.byteorder == "little":
        numbers.byteswap(inplace=True)
    return bytes(digests) if first.all() else numbers[first].tobytes()


class RunFolder:
    """A folder under `[storage] runs`. What a stage made is there as a whole or not at all."""

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        self.config = dict(config)
        self.config_sha256 = _hash(self.config)

    @property
    def work(self) -> Path:
        """Where stages leave what only the next stages need."""
        return self.path / _WORK

    def open(self, *, fresh: bool) -> None:
        """Make the folder, or go on with it; `fresh` throws away what is in it.

        Raises:
            UsageError: it was begun with other settings.
            PersonaError: something in it was forgotten since.
        """
        if fresh:
            self.clear()
        self.path.mkdir(parents=True, exist_ok=True)
        if read_mark(self.path) is not None:
            raise PersonaError(
                f"{self.path} holds messages that were forgotten since", cure="make it anew: the same with --fresh"
            )
        plan = self.path / _PLAN_FILE
        known = _read(plan)
        if known is not None and known.get("sha256") != self.config_sha256:
            changed = [key for key, value in self.config.items() if known.get("config", {}).get(key) != value]
            raise UsageError(
                f"{self.path} was begun with other settings ({', '.join(sorted(changed)) or 'fewer'})",
                cure="give another --name, or --fresh to make it anew",
            )
        if known is None:
            write_json(plan, {"sha256": self.config_sha256, "config": self.config})
        self.work.mkdir(exist_ok=True)
        (self.path / _STAGES).mkdir(exist_ok=True)

    def clear(self) -> None:
        """Remove everything that a run writes; anything else in the folder stays."""
        for name in _OURS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (MANIFEST_FILE, _PLAN_FILE, *_OUR_FILES, LINEAGE_FILE, MARK_FILE):
            (self.path / name).unlink(missing_ok=True)

    def stage(self, name: str, do: Callable[[], Mapping[str, Any]]) -> tuple[Mapping[str, Any], bool]:
        """Do a stage unless it was done before; return what it told, and whether it was done now.

        `do` writes files and returns what later stages and the manifest need of it. Killed within, it begins anew.
        """
        known = self.done(name)
        if known is not None:
            return known, False
        told = json.loads(json.dumps(dict(do())))
        write_json(self.path / _STAGES / f"{name}.json", told)
        return told, True

    def done(self, name: str) -> Mapping[str, Any] | None:
        """Return what a stage told; None when it is not done."""
        return _read(self.path / _STAGES / f"{name}.json")

    def begin_anew(self) -> None:
        """Let every stage be done again."""
        shutil.rmtree(self.path / _STAGES)
        (self.path / _STAGES).mkdir()

    def write_lineage(self, lineage: bytes) -> None:
        """Write whose messages are in the run: before any file that holds words of theirs."""
        write_bytes(self.path / LINEAGE_FILE, lineage)

    def write_manifest(self, content: Mapping[str, Any], outputs: Iterable[Path]) -> Path:
        """Write the manifest with the sha256 of every output; the same run gives the same bytes."""
        listed = {
            str(file.relative_to(self.path)): {"sha256": file_sha256(file), "bytes": file.stat().st_size}
            for file in sorted(outputs)
        }
        file = self.path / MANIFEST_FILE
        write_json(
            file,
            {
                "about": "What this data set was made from, and how. See lineage.bin for whose messages are in it.",
                "version": 1,
                "config": self.config,
                "config_sha256": self.config_sha256,
                "outputs": listed,
                "versions": versions(),
                **content,
            },
        )
        return file


def versions() -> dict[str, str]:
    """Return the versions of what has a say in the result."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("persona", "detect-secrets", "phonenumbers", "llama-cpp-python", "tokenizers", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def file_sha256(file: Path) -> str:
    """Return the sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(file: Path) -> dict[str, Any] | None:
    """Return what a file says; None when it is not there or says nothing that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None
