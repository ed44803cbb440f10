"""Where a stage keeps its things inside the run folder, and the record that says that it is done."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from persona.errors import PersonaError
from pipelines.train.files import write_json
from pipelines.train.metrics import read_metrics
from pipelines.train.plan import Method

_WEIGHTS = "adapter_model.safetensors"


class StageFiles:
    """The files of one stage: `<run>/train/<method>/`."""

    def __init__(self, run: Path, method: Method) -> None:
        self.folder = run / "train" / method
        self.adapter = self.folder / "adapter"
        self.merged = self.folder / "merged"
        self._method = method
        self._record = self.folder / "result.json"

    def metrics_rows(self) -> list[dict[str, Any]]:
        """Return what was logged."""
        return read_metrics(self.folder / "metrics.jsonl")

    def finished(self, config_hash: str) -> dict[str, Any] | None:
        """Return the record of a finished stage; None when it is not finished.

        Raises:
            PersonaError: it was finished with other settings, data or base, or its adapter has changed since.
        """
        if not self._record.is_file():
            return None
        try:
            record = dict(json.loads(self._record.read_text(encoding="utf-8")))
        except ValueError:
            raise PersonaError(f"{self._record} cannot be read", cure="run with --fresh") from None
        if record.get("config_hash") != config_hash:
            raise PersonaError(
                f"{self.folder} was trained with other settings, data or base model",
                cure="run with --fresh to train anew, or put them back as they were",
            )
        if not self.adapter.is_dir() or record.get("adapter_sha256") != self.adapter_sha256():
            raise PersonaError(f"{self.adapter} is not what was trained", cure="run with --fresh to train anew")
        return record

    def base_hash(self) -> str:
        """Return the fingerprint of the model that a finished stage began with; empty where that is not known."""
        try:
            return str(json.loads(self._record.read_text(encoding="utf-8")).get("base_hash", ""))
        except (OSError, ValueError, AttributeError):
            return ""

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write the record; from now on the stage is done."""
        write_json(self._record, {**record, "method": self._method, "adapter_sha256": self.adapter_sha256()})

    def adapter_sha256(self) -> str:
        """Return the hash of the adapter's weights; empty while there are none."""
        return _sha256(self.adapter / _WEIGHTS)


def _sha256(file: Path) -> str:
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
