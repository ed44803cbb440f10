"""Checkpoints that can be trusted: complete, of the same plan and data, with the optimizer's and scheduler's state."""

import json
import shutil
from pathlib import Path

from persona.errors import PersonaError
from pipelines.train.files import flush_folder, write_json

STAMP = "persona.json"
_NEEDED = ("optimizer.pt", "scheduler.pt", "trainer_state.json", "adapter_model.safetensors")
_FRESH = "run with --fresh to begin this stage anew"


def stamp(checkpoint: Path, config_hash: str) -> None:
    """Mark a checkpoint as complete, once everything in it is on disk; written last, so a kill leaves none."""
    flush_folder(checkpoint)
    sizes = {file.name: file.stat().st_size for file in sorted(checkpoint.iterdir()) if file.is_file()}
    write_json(checkpoint / STAMP, {"config_hash": config_hash, "files": sizes})


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was written, from its name."""
    return int(checkpoint.name.rpartition("-")[2])


def find_checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoint folders, oldest first."""
    return sorted((p for p in folder.glob("checkpoint-*") if p.name.rpartition("-")[2].isdecimal()), key=step_of)


def latest(folder: Path, config_hash: str) -> Path | None:
    """Return the newest complete checkpoint; those whose writing was interrupted are removed. None: begin anew.

    Raises:
        PersonaError: the newest complete one is of other settings, data or base, or it has lost a file.
    """
    for checkpoint in reversed(find_checkpoints(folder)):
        if not (checkpoint / STAMP).is_file():
            shutil.rmtree(checkpoint)
            continue
        _check(checkpoint, config_hash)
        return checkpoint
    return None


def _check(checkpoint: Path, config_hash: str) -> None:
    try:
        content = json.loads((checkpoint / STAMP).read_text(encoding="utf-8"))
        known, sizes = content["config_hash"], dict(content["files"])
    except (ValueError, KeyError, TypeError):
        raise PersonaError(f"{checkpoint / STAMP} cannot be read", cure=_FRESH) from None
    if known != config_hash:
        raise PersonaError(
            f"{checkpoint} belongs to other settings, data or base model",
            cure=f"put them back as they were to go on, or {_FRESH}",
        )
    names = sorted({*_NEEDED, *sizes})
    lost = [n for n in names if not (checkpoint / n).is_file() or (checkpoint / n).stat().st_size != sizes.get(n)]
    if not any(name.startswith("rng_state") for name in sizes):
        lost.append("rng_state.pth")
    if lost:
        raise PersonaError(f"{checkpoint} lacks {', '.join(lost)}: going on would train something else", cure=_FRESH)
