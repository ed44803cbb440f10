"""Ranks a run's checkpoints: each becomes a GGUF file and is measured as the running bot would use it."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from persona.config import Settings
from persona.errors import PersonaError, UsageError
from pipelines.evaluation.asking import ModelFile, Watcher
from pipelines.evaluation.comparing import Verdict, compare
from pipelines.evaluation.judging import Judge, Judged
from pipelines.evaluation.measures import BY_KEY
from pipelines.evaluation.outcome import figures_json
from pipelines.evaluation.report.numbers import range_text, value_text
from pipelines.evaluation.running import FOLDER, Options, open_vectors, request_of, require_libraries
from pipelines.run import MANIFEST_FILE
from pipelines.train.base_model import require_same_base
from pipelines.train.checkpoints import find_checkpoints, step_of
from pipelines.train.plan import Method
from pipelines.train.stage_files import StageFiles

SHOWN = ("perplexity_character", "recognised", "energy", "relevance", "copied")
_ADAPTER = "adapter_model.safetensors"
_DECIDES, _THEN = "perplexity_character", "recognised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A stage of training at a step: `adapter` is its folder; step None is what the stage ended with."""

    method: Method
    step: int | None
    adapter: Path

    @property
    def name(self) -> str:
        """What it is called in the ranking."""
        return f"{self.method}, {'the end' if self.step is None else f'step {self.step}'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A place in the ranking: `level` when it is no worse than the first beyond noise."""

    judged: Judged
    level: bool


def checkpoints_of(run: Path) -> list[Checkpoint]:
    """Return what is there to be ranked: every whole checkpoint, and what each stage ended with."""
    found = []
    for method in Method:
        files = StageFiles(run, method)
        found += [
            Checkpoint(method=method, step=step_of(folder), adapter=folder)
            for folder in find_checkpoints(files.folder / "checkpoints")
            if (folder / _ADAPTER).is_file()
        ]
        if (files.adapter / _ADAPTER).is_file():
            found.append(Checkpoint(method=method, step=None, adapter=files.adapter))
    return found


def rank_checkpoints(run: Path, options: Options, settings: Settings, watcher: Watcher) -> list[Ranked]:
    """Measure all checkpoints on the validation part (never the test part, which the choice would spoil) and rank them.

    First comes the lowest perplexity per character; those that are no worse beyond noise follow by how seldom a
    classifier recognises them, then the rest.

    Raises:
        PersonaError: there are none, or one cannot be made into a model file.
    """
    require_libraries()
    run = run if run.is_dir() else settings.storage.runs / run
    found = checkpoints_of(run)
    if not found:
        raise UsageError(f"{run} has no checkpoints", cure=f"python -m pipelines train {run}")
    folder = run / FOLDER / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    watcher.step("making model files", len(found))
    models = []
    for number, checkpoint in enumerate(found):
        file = folder / f"{checkpoint.method}-{'end' if checkpoint.step is None else checkpoint.step}.gguf"
        _write(run, checkpoint, file)
        models.append(ModelFile(key=f"checkpoint {number}", path=file, name=checkpoint.name, voice=False))
        watcher.advanced()
    request = request_of(options, settings, run, tuple(models), split="validation", ranked=0)
    vectors = open_vectors(settings, letters=options.letters, noted=lambda _: None)
    try:
        judgement = Judge(request, vectors, watcher).judge()
    finally:
        vectors.close()
    ranked = rank(judgement.judged[: len(models)])
    shutil.rmtree(folder)  # 16 bits each: what they said and how likely they found replies is kept
    return ranked


def rank(judged: Sequence[Judged]) -> list[Ranked]:
    """Order models by what decides."""
    best = min(judged, key=lambda one: one.figures[_DECIDES].value)
    level: list[Judged] = []
    rest: list[Judged] = []
    for one in judged:
        (compared,) = compare(one.figures, best.figures, {}, measures=[BY_KEY[_DECIDES]])
        (rest if compared.verdict is Verdict.WORSE else level).append(one)
    level.sort(key=lambda one: one.figures[_THEN].value)
    rest.sort(key=lambda one: one.figures[_DECIDES].value)
    return [Ranked(judged=one, level=True) for one in level] + [Ranked(judged=one, level=False) for one in rest]


def print_ranking(ranked: Sequence[Ranked], *, as_json: bool) -> None:
    """Print the ranking."""
    if as_json:
        rows = [
            {"place": place, "name": one.judged.contender.name, "level": one.level, **_figures(one.judged)}
            for place, one in enumerate(ranked, start=1)
        ]
        print(json.dumps(rows))
        return
    from rich import box  # noqa: PLC0415 - only to print
    from rich.console import Console  # noqa: PLC0415 - only to print
    from rich.table import Table  # noqa: PLC0415 - only to print

    table = Table("", "checkpoint", *(BY_KEY[key].name for key in SHOWN), box=box.SIMPLE)
    for place, one in enumerate(ranked, start=1):
        table.add_row(str(place), one.judged.contender.name, *_cells(one.judged), style="" if one.level else "dim")
    console = Console()
    console.print(table)
    console.print("dim: worse than the first in perplexity beyond noise; measured on the validation part")


def _cells(judged: Judged) -> Iterator[str]:
    shown = figures_json(judged.figures)
    for key in SHOWN:
        percent = BY_KEY[key].percent
        yield f"{value_text(shown[key]['value'], percent=percent)} ({range_text(shown[key], percent=percent)})"


def _figures(judged: Judged) -> dict[str, object]:
    return {"figures": figures_json(judged.figures)}


def _write(run: Path, checkpoint: Checkpoint, file: Path) -> None:
    """Merge a checkpoint into its base and write it in 16 bits, unless it is there.

    Raises:
        PersonaError: the base is gone or is another one now, or a library is missing.
    """
    if file.is_file():
        return
    try:
        from pipelines.gguf.writing import write_gguf  # noqa: PLC0415 - an extra
        from pipelines.merge import merge_adapter  # noqa: PLC0415 - loads torch
    except ImportError as error:
        raise PersonaError(f"{error.name} is not installed", cure="pip install 'persona[train]'") from None
    config = json.loads((checkpoint.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    known = StageFiles(run, checkpoint.method).base_hash()
    base = require_same_base(Path(str(config["base_model_name_or_path"])), known, checkpoint.adapter)
    merged = file.with_suffix(".merged")
    merge_adapter(base, checkpoint.adapter, merged)
    manifest = run / MANIFEST_FILE
    told = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    write_gguf(merged, file, {"general.name": checkpoint.name, "persona.prompt_hash": str(told.get("prompt_hash", ""))})
    shutil.rmtree(merged)
