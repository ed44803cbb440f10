"""What was done in a run, and with what: a step whose inputs are the same as then is not done again."""

import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.run import file_sha256
from pipelines.train.files import write_json

JOURNAL_FILE = "pipeline.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of `python -m pipelines`, with what it depends on.

    Attributes:
        name: what it is called in the journal and with `--from`.
        command: its arguments, from the name of the pipeline on.
        inputs: files and folders it reads.
        settings: what else has a say in its result.
        outputs: files and folders it leaves; where one is missing or changed, it is done again.
        always: it finds out for itself, and quickly, what of it is done already.
        fresh: options that make it throw away what it did before.
    """

    name: str
    command: Sequence[str]
    inputs: Sequence[Path]
    outputs: Sequence[Path]
    settings: Mapping[str, Any]
    always: bool = False
    fresh: Sequence[str] = ()


class Journal:
    """The file `pipeline.json` of a run folder.

    It stands beside the manifest, not in it: the manifest says what the data set is, the same input gives the same
    bytes, and a model carries its hash.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._file = run / JOURNAL_FILE
        self._steps: dict[str, Any] = {}
        if self._file.is_file():
            try:
                self._steps = dict(json.loads(self._file.read_text(encoding="utf-8"))["steps"])
            except (ValueError, KeyError, TypeError):
                self._steps = {}  # then every step looks for itself what is done already

    def done(self, step: Step) -> bool:
        """Whether a step was done with these inputs and settings, and what it left is still there as it was."""
        known = self._steps.get(step.name)
        if not isinstance(known, dict) or known.get("inputs") != self._inputs(step):
            return False
        return known.get("settings") == _plain(step.settings) and known.get("outputs") == self._hashes(step.outputs)

    def note(self, step: Step, *, seconds: float) -> None:
        """Write down that a step is done."""
        self._steps[step.name] = {
            "command": list(step.command),
            "inputs": self._inputs(step),
            "settings": _plain(step.settings),
            "outputs": self._hashes(step.outputs),
            "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
        }
        self._write()

    def forget(self, name: str) -> None:
        """Let a step be done again."""
        if self._steps.pop(name, None) is not None:
            self._write()

    def seconds(self) -> Mapping[str, float]:
        """Return what each step took."""
        return {name: known["seconds"] for name, known in self._steps.items()}

    def _write(self) -> None:
        about = "What was done in this run, with the sha256 of what went in and what came out."
        write_json(self._file, {"about": about, "steps": self._steps})

    def _inputs(self, step: Step) -> dict[str, str]:
        return self._hashes(step.inputs)

    def _hashes(self, paths: Sequence[Path]) -> dict[str, str]:
        return {self._named(path): sha256_of(path) for path in paths}

    def _named(self, path: Path) -> str:
        return str(path.relative_to(self._run)) if path.is_relative_to(self._run) else str(path)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, or of the names and hashes of all files in a folder; "missing" where there is none.

    A folder without files is missing, too.
    """
    if path.is_file():
        return file_sha256(path)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else []
    if not files:
        return "missing"
    lines = "".join(f"{file.relative_to(path)} {file_sha256(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def run_steps(
    steps: Iterable[Step],
    journal: Journal,
    do: Callable[[Step, Sequence[str]], None],
    *,
    anew: Collection[str] = (),
    said: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Do the steps that are not done; return the names of those that were done now.

    The next step is only asked for when the last one is done: what comes next may depend on what came out. `do` does a
    step, with more options for its command; `anew` names those that are done again from their beginning; `said` hears
    what happens.
    """
    worked: list[str] = []
    for step in steps:
        if step.name in anew:
            journal.forget(step.name)
        elif not step.always and journal.done(step):
            said(f"{step.name}: done already")
            continue
        said(f"{step.name}: python -m pipelines {' '.join(step.command)}")
        began = clock()
        do(step, step.fresh if step.name in anew else ())
        journal.note(step, seconds=clock() - began)
        worked.append(step.name)
    return worked


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they come back from a file."""
    return dict(json.loads(json.dumps(settings, sort_keys=True, default=str)))
