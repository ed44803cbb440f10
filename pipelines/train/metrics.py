"""The metrics of a stage as JSON lines: appended while it runs, cut back to the checkpoint when it goes on."""

import json
from pathlib import Path
from typing import Any

from pipelines.train.files import write_text


class MetricsLog:
    """Appends a line for each step; every line is flushed at once."""

    def __init__(self, file: Path) -> None:
        self._stream = file.open("a", encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """Append one line."""
        self._stream.write(json.dumps(values, sort_keys=True) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file; a line that was cut off by a kill is left out."""
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # only ever the last one: it will be written again
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def cut_back(file: Path, step: int) -> None:
    """Drop what was logged after a step: those steps are taken again."""
    kept = [row for row in read_metrics(file) if row["step"] <= step]
    write_text(file, "".join(json.dumps(row, sort_keys=True) + "\n" for row in kept))
