"""Marks published models that hold something forgotten, in the list of models."""

from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path

import structlog

from persona.adapters.models.registry import ModelRegistry
from persona.domain.model_list import ModelEntry, ModelList, ModelMark
from persona.errors import PersonaError
from persona.run_marks import RunMark, judge_lineage

log = structlog.get_logger(__name__)


def mark_models(
    folder: Path, *, key: str, messages: Collection[bytes], authors: Mapping[bytes, datetime], at: datetime
) -> tuple[RunMark, ...]:
    """Mark every model of the list whose lineage holds one of these hashes; return all marks, by name.

    Arguments as those of `run_marks.mark_runs`. A model that was trained here but has no lineage file is marked with
    the problem. Call it after the runs were marked: a model published meanwhile inherits the mark of its run.

    Raises:
        PersonaError: the list is damaged or cannot be written, or a lineage cannot be read; the others are done.
    """
    registry = ModelRegistry(folder)
    if not registry.file.exists() or not (messages or authors):
        return ()
    failures: list[str] = []
    marks: dict[str, RunMark] = {}

    def judge(entry: ModelEntry) -> RunMark | None:
        file = folder / entry.lineage_file
        if not file.exists():
            problem = f"{file.name} is missing: nobody can tell whose words are in it" if entry.run else ""
            return RunMark(run=entry.name, at=at, kind="model", problem=problem) if problem else None
        try:
            return judge_lineage(file, entry.name, key=key, messages=messages, authors=authors, at=at, kind="model")
        except OSError as error:
            failures.append(f"{file}: {error.strerror or error}")
            return None

    def step(models: ModelList) -> ModelList:
        marks.update({entry.name: mark for entry in models.models if (mark := judge(entry)) is not None})
        return models.marked({name: _of_list(mark) for name, mark in marks.items()})

    # The usual case needs no lock, and no right to write: `publish` looks for marks on the run once more afterwards.
    written = registry.read()
    if step(written) != written:
        marks.clear()
        written = registry.change(step)
    if failures:
        raise PersonaError(f"a model cannot be judged: {failures[0]}", cure="make the file readable and try again")
    found = tuple(marks[entry.name] for entry in written.models if entry.name in marks)
    if found:
        log.info("models_marked", models=[mark.run for mark in found])
    return found


def _of_list(mark: RunMark) -> ModelMark:
    return ModelMark(at=mark.at, messages=mark.messages, authors=mark.authors, problem=mark.problem)
