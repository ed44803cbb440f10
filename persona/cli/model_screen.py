"""How `persona model` shows models: a table, JSON, and a bar while a file is verified."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from persona.adapters.models.registry import ModelRegistry
from persona.adapters.models.verifying import PromptFit
from persona.cli.import_screen import printable
from persona.domain.model_list import ModelEntry, ModelList

_PLAIN_WIDTH = 160
"""Of the table where no terminal says how wide it is."""


def print_models(
    models: ModelList, strangers: Sequence[Path], prompts: Mapping[str, PromptFit], registry: ModelRegistry
) -> None:
    """Print the models as a table, newest last, and below it what the owner should do."""
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    if not models.models and not strangers:
        console.print(f"There are no models in {registry.folder}.", markup=False, highlight=False)
        return
    table = Table("", "name", "size", "weights", "published", "made from", "prompts", box=None, pad_edge=False)
    for entry in models.models:
        state = "in use" if entry.name == models.current else "before" if entry == models.before else ""
        name = f"{entry.name} (marked)" if entry.mark else entry.name
        row = (state, name, _size(entry.size), entry.quantisation or "?", _day(entry.created), _origin(entry))
        table.add_row(*(Text(printable(cell)) for cell in (*row, prompts[entry.name])))
    for file in strangers:
        size = _size(file.stat().st_size)
        table.add_row("", Text(printable(file.stem)), size, "", "", "", "not in the list; `use` takes it in")
    console.print(table)
    for line in _advice(models, prompts):
        console.print(Text(printable(line)))


def models_json(
    models: ModelList, strangers: Sequence[Path], prompts: Mapping[str, PromptFit], registry: ModelRegistry
) -> dict[str, Any]:
    """Return the same for programs."""
    return {
        "folder": str(registry.folder),
        "current": models.current,
        "before": models.before.name if models.before else None,
        "undecided": models.undecided,
        "models": [
            {
                "name": entry.name,
                "path": str(registry.path_of(entry)),
                "sha256": entry.sha256,
                "size": entry.size,
                "created": entry.created.isoformat(),
                "quantisation": entry.quantisation,
                "run": entry.run,
                "base": entry.base,
                "prompts": prompts[entry.name],
                "mark": None if entry.mark is None else str(entry.mark),
            }
            for entry in models.models
        ],
        "not_in_the_list": [str(file) for file in strangers],
    }


def what_to_do(name: str) -> str:
    """Return what the owner should do about a marked model."""
    return f"train anew without it, choose that one (persona model use NAME), then persona model remove {name}"


@contextlib.contextmanager
def hashing_bar(name: str, size: int) -> Iterator[Callable[[int], None]]:
    """Show on standard error how far the verification of a file is; without a terminal there is no bar."""
    columns = (TextColumn("verifying {task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bars:
        task = bars.add_task(printable(name).replace("[", r"\["), total=size)
        yield lambda done: bars.update(task, completed=done)


def _advice(models: ModelList, prompts: Mapping[str, PromptFit]) -> Iterator[str]:
    for entry in models.models:
        if entry.mark is not None:
            yield f"{entry.name} {entry.mark}: {what_to_do(entry.name)}"
        if prompts[entry.name] is PromptFit.OTHER:
            yield f"{entry.name} was trained with another version of the prompts: train it again with this version"
        if prompts[entry.name] in {PromptFit.MISSING, PromptFit.DAMAGED}:
            yield f"{entry.name}: {prompts[entry.name]}; publish it again from its run, or persona model remove it"
    if models.undecided:
        yield "Which model was in use is not known: persona model use NAME"


def _origin(entry: ModelEntry) -> str:
    return ", ".join(part for part in (entry.run and f"run {entry.run}", entry.base) if part)


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"  # noqa: PLR2004 - where GB begin


def _day(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}"
