"""The folder that tables lie in: which are ours, and where an unusable one goes."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from persona.adapters.lance.table import TABLE, is_ours

_ASIDE_KEPT = timedelta(days=7)
_ASIDE_TIME = "%Y%m%dT%H%M%S%fZ"
_UNUSABLE = "unusable"
_FOREIGN = "foreign"


def table_path(folder: Path, name: str = TABLE) -> Path:
    """Return where LanceDB keeps a table."""
    return folder / f"{name}.lance"


def table_names(folder: Path) -> list[str]:
    """Return the tables in a folder that have a name of ours, the one written last first."""
    paths = [path for path in folder.glob(f"{TABLE}*.lance") if is_ours(path.name.removesuffix(".lance"))]
    return [path.name.removesuffix(".lance") for path in sorted(paths, key=_written_at, reverse=True)]


def _written_at(path: Path) -> float:
    newest = path / "_versions"
    return (newest if newest.is_dir() else path).stat().st_mtime


def move_aside(folder: Path, name: str, *, foreign: bool, now: datetime) -> Path:
    """Rename the table's folder so that it is a table no longer, and return its new name. Nothing is deleted.

    Raises:
        OSError: the file system does not allow it.
    """
    kind = _FOREIGN if foreign else _UNUSABLE
    target = folder / f"{name}.{kind}-{now.astimezone(UTC).strftime(_ASIDE_TIME)}"
    table_path(folder, name).rename(target)
    return target


def sweep_aside(folder: Path, *, now: datetime) -> int:
    """Delete our own tables that were moved aside over a week ago, and return how many.

    They hold what people said, so they must not outlive a request to be forgotten for long. Foreign ones stay.

    Raises:
        OSError: one cannot be deleted.
    """
    swept = 0
    for path in folder.glob(f"{TABLE}*.{_UNUSABLE}-*"):
        try:
            moved = datetime.strptime(path.name.rpartition("-")[2], _ASIDE_TIME).replace(tzinfo=UTC)
        except ValueError:
            continue
        if now - moved > _ASIDE_KEPT:
            _delete(path)
            swept += 1
    return swept


def remove_asides(folder: Path) -> None:
    """Delete our own tables that were moved aside, however young: they may hold what was forgotten.

    Raises:
        OSError: one cannot be deleted.
    """
    for path in folder.glob(f"{TABLE}*.{_UNUSABLE}-*"):
        _delete(path)


def remove_all(folder: Path) -> None:
    """Delete our tables and those moved aside; the next start makes a new one. Nothing else in the folder is touched.

    Raises:
        OSError: one cannot be deleted.
    """
    remove_asides(folder)
    for name in table_names(folder):
        _delete(table_path(folder, name))


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
