"""From a finished training to one checked GGUF file in the run folder, resumable at every step.

1. The adapter is merged into its base in 16 bits (SFT has done so already).
2. The merged model is written as GGUF in the precision it has, and compared with the model: tokens and logits.
3. That file is quantised and compared once more.
4. The record is written: from now on the export is done. What steps 1 and 2 left behind is removed.

Every step writes under another name first and is skipped where its result is there, so a killed export goes on with the
step it was at. The record holds the hash of the adapter: an adapter trained anew is exported anew.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona.adapters.checksum import hash_file
from persona.domain.prompt import prompt_hash
from persona.errors import ConfigError, PersonaError, UsageError
from persona.run_marks import read_mark
from pipelines.run import MANIFEST_FILE
from pipelines.train.failures import explain
from pipelines.train.files import write_json
from pipelines.train.plan import Method
from pipelines.train.stage_files import StageFiles

EXPORT = "export"
_LATEST_FIRST = (Method.DPO, Method.KTO, Method.ORPO, Method.SFT)
_MEMORY_CURE = "exporting takes the model in 32 bits once: add swap, or use a machine with more memory"

OnProgress = Callable[[int, int | None], None]
Step = Callable[[str], AbstractContextManager[OnProgress]]
"""Shows a step by its name; gives what is called with bytes done and bytes in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What to export: a run's stage (None: its last), to which kind, with how many threads (0: all).

    `check` compares with the model itself, which takes it into memory once more.
    """

    run: Path
    method: Method | None = None
    kind: str = "Q4_K_M"
    threads: int = 0
    fresh: bool = False
    check: bool = True
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A finished export: the file, its record, and whether it was there already."""

    file: Path
    record: Mapping[str, Any]
    skipped: bool


def export(request: ExportRequest, step: Step) -> Exported:
    """Export a stage to `<run>/export/<method>.gguf`.

    Raises:
        UsageError: nothing was trained in this run.
        PersonaError: something is missing, damaged or forgotten, the disk or the memory is full, or the file does not
            say what the model says.
    """
    run = request.run
    if not run.is_dir():
        raise UsageError(f"there is no run folder {run}", cure="make one: python -m pipelines prepare")
    if read_mark(run) is not None:
        cure = "make it anew: prepare --fresh, then train"
        raise PersonaError(f"{run} holds messages that were forgotten since", cure=cure)
    method = request.method or _last_stage(run)
    files = StageFiles(run, method)
    adapter = files.adapter / "adapter_model.safetensors"
    if not (files.folder / "result.json").is_file() or not adapter.is_file():
        raise UsageError(f"{files.folder} holds no finished training", cure=f"python -m pipelines train {run}")
    folder = run / EXPORT
    wanted = {"method": str(method), "kind": request.kind, "adapter_sha256": hash_file(adapter)}
    file, record = folder / f"{method}.gguf", folder / f"{method}.json"
    if request.fresh:
        shutil.rmtree(folder / f".{method}", ignore_errors=True)
        record.unlink(missing_ok=True)
    done = _done(record, file, wanted)
    if done is not None:
        return Exported(file=file, record=done, skipped=True)
    work = folder / f".{method}"
    work.mkdir(parents=True, exist_ok=True)
    with _explained(folder):
        told = _export(request, files, _fresh(work, wanted), file, step)
    write_json(record, {**wanted, **told})
    shutil.rmtree(work)
    return Exported(file=file, record={**wanted, **told}, skipped=False)


def _export(request: ExportRequest, files: StageFiles, work: Path, file: Path, step: Step) -> dict[str, Any]:
    # Heavy: torch, llama.cpp and gguf are loaded only where something is exported.
    from pipelines.gguf.parity import check_parity, reference_logits  # noqa: PLC0415
    from pipelines.gguf.quantizing import BITS, quantize  # noqa: PLC0415
    from pipelines.gguf.writing import write_gguf  # noqa: PLC0415

    with step("merging") as _:
        merged = _merged(files, work)
    whole = work / "whole.gguf"
    if not whole.is_file():
        with step("writing") as on_progress:
            write_gguf(merged, whole, _keys(request, merged), on_bytes=on_progress)
    told: dict[str, Any] = {"checks": []}
    expected = None
    if request.check:
        with step("comparing with the model") as _:
            expected = reference_logits(merged)
            told["checks"].append(check_parity(merged, whole, _precision(merged), expected=expected).to_json())
    draft = whole
    if request.kind in BITS:
        draft = work / "quantised.gguf"
        size = int(whole.stat().st_size * BITS[request.kind] / (32 if _precision(merged) == "F32" else 16))
        with step(f"quantising to {request.kind}") as on_progress:
            quantize(whole, draft, request.kind, threads=request.threads, on_bytes=lambda done: on_progress(done, size))
        if expected is not None:
            with step("comparing once more") as _:
                told["checks"].append(check_parity(merged, draft, request.kind, expected=expected).to_json())
    with step("hashing") as _:
        told |= {"sha256": hash_file(draft), "bytes": draft.stat().st_size}
    draft.replace(file)
    return told


def _merged(files: StageFiles, work: Path) -> Path:
    """Return the merged model of a stage, made here unless training has made it."""
    if (files.merged / "config.json").is_file():
        return files.merged
    merged = work / "merged"
    if not (merged / "config.json").is_file():
        from pipelines.merge import merge_adapter  # noqa: PLC0415 - loads torch

        result = json.loads((files.folder / "result.json").read_text(encoding="utf-8"))
        base = Path(str(result["base"]))
        if not (base / "config.json").is_file():
            raise PersonaError(f"the base model {base} that {files.folder} was trained on is gone", cure="put it back")
        merge_adapter(base, files.adapter, merged)
    return merged


def _keys(request: ExportRequest, merged: Path) -> dict[str, str]:
    """Return what the file says of itself: the manifest it comes from and the renderer it was trained with."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - an extra

    tokenizer = Tokenizer.from_file(str(merged / "tokenizer.json"))
    manifest = request.run / MANIFEST_FILE
    identity = _identity(manifest)
    return {
        "general.name": request.name or request.run.name,
        "persona.manifest_sha256": hash_file(manifest) if manifest.is_file() else "",
        "persona.prompt_hash": prompt_hash(lambda text: tokenizer.encode(text, add_special_tokens=False).ids),
        **identity,
    }


def _identity(manifest: Path) -> dict[str, str]:
    """Return the name it was trained to answer to and the server's, where the manifest tells."""
    if not manifest.is_file():
        return {}
    config = json.loads(manifest.read_text(encoding="utf-8")).get("config", {})
    found = {"persona.name": config.get("persona_name"), "persona.server": config.get("server")}
    return {key: str(value) for key, value in found.items() if value}


def _precision(merged: Path) -> str:
    config = json.loads((merged / "config.json").read_text(encoding="utf-8"))
    named = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return {"bfloat16": "BF16", "float16": "F16"}.get(named, "F32")


def _last_stage(run: Path) -> Method:
    for method in _LATEST_FIRST:
        if (StageFiles(run, method).folder / "result.json").is_file():
            return method
    raise UsageError(f"nothing was trained in {run}", cure=f"python -m pipelines train {run}")


def _done(record: Path, file: Path, wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the record of an export that was finished with the same adapter, kind and file."""
    if not record.is_file() or not file.is_file():
        return None
    told: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    if any(told.get(key) != value for key, value in wanted.items()) or told.get("sha256") != hash_file(file):
        return None
    return told


def _fresh(work: Path, wanted: Mapping[str, Any]) -> Path:
    """Return the working folder, emptied where it holds what was made of another adapter."""
    note = work / "adapter.json"
    made_of = {"adapter_sha256": wanted["adapter_sha256"]}
    known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else None
    if known != made_of:
        shutil.rmtree(work)
        work.mkdir()
        write_json(note, made_of)
    return work


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn what goes wrong deep inside the libraries into one line with the cure."""
    try:
        yield
    except ImportError as error:
        cure = "install the extra `train`: see docs/training.md"
        raise ConfigError(f"exporting needs {error.name}, which is not installed", cure=cure) from None
    except Exception as error:
        known = explain(error, folder, memory_cure=_MEMORY_CURE)
        if known is None or known is error:
            raise
        raise known from error
