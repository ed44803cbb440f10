"""What a run has to export: its finished training, and proof that its files are still those that were trained."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona.adapters.checksum import hash_file
from persona.errors import PersonaError, UsageError
from persona.run_marks import read_mark
from pipelines.run import MANIFEST_FILE
from pipelines.train.base_model import require_same_base
from pipelines.train.plan import Method
from pipelines.train.stage_files import StageFiles

_LATEST_FIRST = (Method.DPO, Method.KTO, Method.ORPO, Method.SFT)
_RESULT = "result.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A finished stage of a run.

    `prompt_hash` is that of the prompts it was trained on, `identity` the names that it was trained with; both are
    empty where the manifest does not tell.
    """

    method: Method
    files: StageFiles
    adapter_sha256: str
    manifest_sha256: str
    prompt_hash: str
    identity: Mapping[str, str]
    base: Path
    base_hash: str

    def checked_base(self) -> Path:
        """Return the folder of the model that the adapter was trained on.

        Raises:
            ConfigError: its files are not whole.
            PersonaError: it is gone, or another model is in its place: an adapter fits any model of the same shape.
        """
        return require_same_base(self.base, self.base_hash, self.files.folder)


def read_trained(run: Path, method: Method | None) -> Trained:
    """Read a stage of a run (None: the last one that is finished).

    Raises:
        UsageError: nothing was trained, or that stage is not finished.
        PersonaError: a file is damaged, the adapter is not the one that was trained, or somebody was forgotten since.
    """
    if not run.is_dir():
        raise UsageError(f"there is no run folder {run}", cure="make one: python -m pipelines prepare")
    if read_mark(run) is not None:
        cure = "make it anew: prepare --fresh, then train"
        raise PersonaError(f"{run} holds messages that were forgotten since", cure=cure)
    method = method or _last_stage(run)
    files = StageFiles(run, method)
    adapter = files.adapter / "adapter_model.safetensors"
    if not (files.folder / _RESULT).is_file() or not adapter.is_file():
        raise UsageError(f"{files.folder} holds no finished training", cure=f"python -m pipelines train {run}")
    retrain = f"python -m pipelines train {run} --method {method} --fresh"
    result = _json(files.folder / _RESULT, cure=retrain)
    found = hash_file(adapter)
    if result.get("adapter_sha256") != found:
        raise PersonaError(f"{adapter} is not what was trained", cure=f"put it back, or train again: {retrain}")
    file = run / MANIFEST_FILE
    manifest = _json(file, cure="make the run anew: prepare --fresh, then train") if file.is_file() else {}
    config = manifest.get("config", {})
    names = {"persona.name": config.get("persona_name"), "persona.server": config.get("server")}
    return Trained(
        method=method,
        files=files,
        adapter_sha256=found,
        manifest_sha256=hash_file(file) if file.is_file() else "",
        prompt_hash=str(manifest.get("prompt_hash") or ""),
        identity={key: str(value) for key, value in names.items() if value},
        base=Path(str(result.get("base", ""))),
        base_hash=str(result.get("base_hash", "")),
    )


def _last_stage(run: Path) -> Method:
    for method in _LATEST_FIRST:
        if (StageFiles(run, method).folder / _RESULT).is_file():
            return method
    raise UsageError(f"nothing was trained in {run}", cure=f"python -m pipelines train {run}")


def _json(file: Path, *, cure: str) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise PersonaError(f"{file} is damaged", cure=cure)
    return content
