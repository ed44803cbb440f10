"""Publishes a model: it is in the models folder and in the list as a whole, or not at all, even when this is killed.

1. The file is linked (else copied) into the folder under a hidden name, synced, hashed, compared and looked into.
2. Its lineage is written beside where it will be: from now on it can be told whose words are in it.
3. The file gets its name; a file of that name with other contents is never replaced.
4. The list is replaced by one that has the model.

Killed before 4, nothing knows the model; the same call again finishes the work. What was left under a hidden name is
removed by the next call.
"""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from persona.adapters.llama.model_file import ModelFile, check_model_file
from persona.adapters.models.describing import describe
from persona.adapters.models.files import clear_away, locked, sync_file, sync_folder, write_whole
from persona.adapters.models.registry import ModelRegistry
from persona.domain.lineage import LINEAGE_FILE
from persona.domain.model_list import LINEAGE_SUFFIX, ModelEntry, ModelList, ModelMark, is_model_name
from persona.errors import PersonaError, UsageError
from persona.run_marks import read_mark

_LOCK = ".publish.lock"
_LOCK_SECONDS = 900.0
_PART = ".publishing"
_SPARE_BYTES = 64 << 20
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EACCES}

OnBytes = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a model comes from: its run folder (with `lineage.bin`), base model, and the manifest's sha256."""

    run: Path | None = None
    base: str = ""
    manifest: str = ""


def publish(
    source: Path,
    models: Path,
    *,
    name: str,
    origin: Origin | None = None,
    sha256: str = "",
    use: bool = False,
    on_bytes: OnBytes = lambda _: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ModelEntry:
    """Put a finished GGUF file into the models folder and the list; return its entry. Doing it again changes nothing.

    Args:
        source: the file; it stays, and must not be written to any more (it may become a second name of the same file).
        models: the models folder (`[storage] models`).
        name: what the model is called; its file becomes `NAME.gguf`.
        origin: where it comes from.
        sha256: what `source` must hash to, where the caller knows.
        use: also make it the model in use: a running bot takes it over within seconds.
        on_bytes: called with how many bytes were hashed so far.
        now: the time, aware.

    Raises:
        UsageError: the name will not do, or belongs to another model.
        ModelFileError: the file is no whole language model, or has another hash.
        RegistryError: the list cannot be written.
        PersonaError: the disk is full, or another program is publishing for too long.
    """
    if not is_model_name(name):
        raise UsageError(f"{name!r} will not do as a model's name", cure="letters, digits, '.', '_' and '-'")
    where = origin or Origin()
    registry = ModelRegistry(models, now=now)
    try:
        with locked(models / _LOCK, seconds=_LOCK_SECONDS, what="publishing a model"):
            registry.mend()
            file = _placed(source, models / f"{name}.gguf", where, sha256=sha256, on_bytes=on_bytes)
            return _listed(registry, file, name, where, use=use, now=now)
    except OSError as error:
        raise PersonaError(
            f"{source} cannot be published in {models}: {error.strerror or error}", cure="make room and try again"
        ) from error


def _placed(source: Path, target: Path, origin: Origin, *, sha256: str, on_bytes: OnBytes) -> ModelFile:
    """Bring the file under its name, checked; return it."""
    for left in target.parent.glob(f".*{_PART}"):
        left.unlink()
    clear_away(target.parent, f"*{LINEAGE_SUFFIX}")
    part = target.with_name(f".{target.name}{_PART}")
    try:
        _link_or_copy(source, part)
        sync_file(part)
        checked = check_model_file(part, sha256=sha256, on_bytes=on_bytes)
        if target.exists():
            _check_same(target, checked)
        else:
            _write_lineage(origin, target)
            part.replace(target)
            sync_folder(target.parent)
        return replace(checked, path=target)
    finally:
        part.unlink(missing_ok=True)


def _link_or_copy(source: Path, part: Path) -> None:
    """Make `part` the same file as `source` where the file system can do that, else a copy."""
    try:
        os.link(source, part)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        needed, free = source.stat().st_size, shutil.disk_usage(part.parent).free
        if needed + _SPARE_BYTES > free:
            raise PersonaError(
                f"the disk of {part.parent} has {free / 1e9:.1f} GB left, the model needs {needed / 1e9:.1f} GB",
                cure="free some space or set [storage] models to another disk",
            ) from None
        shutil.copyfile(source, part)


def _check_same(target: Path, checked: ModelFile) -> None:
    """Refuse to replace a model by another one: a running bot may have it in use, and the list says what it is."""
    if check_model_file(target).sha256 != checked.sha256:
        raise UsageError(f"{target} is another model", cure="publish this one under another name")


def _write_lineage(origin: Origin, target: Path) -> None:
    beside = target.with_name(target.name + LINEAGE_SUFFIX)
    lineage = None if origin.run is None else origin.run / LINEAGE_FILE
    if lineage is not None and lineage.is_file():
        write_whole(beside, lineage.read_bytes())
    else:
        beside.unlink(missing_ok=True)  # of a model that was removed


def _listed(
    registry: ModelRegistry,
    file: ModelFile,
    name: str,
    origin: Origin,
    *,
    use: bool,
    now: Callable[[], datetime],
) -> ModelEntry:
    run = "" if origin.run is None else origin.run.name
    fresh = describe(
        file,
        name=name,
        created=now().astimezone(UTC).replace(microsecond=0),
        run=run,
        base=origin.base,
        manifest=origin.manifest,
    )

    def step(models: ModelList) -> ModelList:
        known = models.find(name)
        entry = replace(fresh, mark=_mark_of(origin.run), created=known.created if known else fresh.created)
        if known is None or replace(entry, mark=known.mark) != known:
            models = models.with_model(entry)
        return models.using(name) if use and models.current != name else models

    registry.change(step)
    # Whoever forgets marks runs first, then the models that are in the list: look again now that this one is.
    mark = _mark_of(origin.run)
    return _found(registry.change(lambda models: models.marked({name: mark}) if mark else models), name)


def _found(models: ModelList, name: str) -> ModelEntry:
    entry = models.find(name)
    if entry is None:
        raise PersonaError(f"the model {name} was taken from the list meanwhile", cure="publish it again")
    return entry


def _mark_of(run: Path | None) -> ModelMark | None:
    """Return the mark that a model inherits from its run."""
    mark = None if run is None else read_mark(run)
    if mark is None:
        return None
    return ModelMark(at=mark.at, messages=mark.messages, authors=mark.authors, problem=mark.problem)
