"""From a finished training to one checked GGUF file in the run folder, resumable at every step.

1. The adapter is merged into its base in 16 bits (SFT has done so already).
2. The merged model is written as GGUF in the precision it has, and compared with the model: tokens and logits.
3. That file is quantised and compared once more.
4. The record is written: from now on the export is done. What steps 1 and 2 left behind is removed.

Every step writes under another name first and is skipped where its result is there, so a killed export goes on with the
step it was at. The record holds the hashes of the adapter, the manifest and the prompts: where one of these is another,
it is exported anew, and so is a file that was never compared when a comparison is asked for.
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
from persona.errors import ConfigError, ModelFileError, PersonaError
from pipelines.gguf.trained import Trained, read_trained
from pipelines.train.failures import explain
from pipelines.train.files import write_json
from pipelines.train.plan import Method

EXPORT = "export"
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
    trained = read_trained(request.run, request.method)
    folder, method = request.run / EXPORT, trained.method
    made_of = {
        "method": str(method),
        "adapter_sha256": trained.adapter_sha256,
        "manifest_sha256": trained.manifest_sha256,
        "prompt_hash": trained.prompt_hash,
        "name": request.name or request.run.name,
    }
    wanted = {**made_of, "kind": request.kind}
    file, record = folder / f"{method}.gguf", folder / f"{method}.json"
    if request.fresh:
        shutil.rmtree(folder / f".{method}", ignore_errors=True)
        record.unlink(missing_ok=True)
    done = _done(record, file, wanted)
    if done is not None and (done.get("checks") or not request.check):
        return Exported(file=file, record=done, skipped=True)
    work = folder / f".{method}"
    work.mkdir(parents=True, exist_ok=True)
    with _explained(folder):
        told = _export(request, trained, _fresh(work, made_of), file, step)
    write_json(record, {**wanted, **told})
    shutil.rmtree(work)
    return Exported(file=file, record={**wanted, **told}, skipped=False)


def _export(request: ExportRequest, trained: Trained, work: Path, file: Path, step: Step) -> dict[str, Any]:
    # Heavy: torch, llama.cpp and gguf are loaded only where something is exported.
    from pipelines.gguf.parity import check_parity, reference_logits  # noqa: PLC0415
    from pipelines.gguf.quantizing import BITS, quantize  # noqa: PLC0415
    from pipelines.gguf.writing import write_gguf  # noqa: PLC0415

    with step("merging") as _:
        merged = _merged(trained, work)
    keys = _keys(request, trained, merged)
    whole = work / "whole.gguf"
    if not whole.is_file():
        with step("writing") as on_progress:
            write_gguf(merged, whole, keys, on_bytes=on_progress)
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


def _merged(trained: Trained, work: Path) -> Path:
    """Return the merged model of a stage, made here unless training has made it."""
    if (trained.files.merged / "config.json").is_file():
        return trained.files.merged
    merged = work / "merged"
    if not (merged / "config.json").is_file():
        from pipelines.merge import merge_adapter  # noqa: PLC0415 - loads torch

        merge_adapter(trained.checked_base(), trained.files.adapter, merged)
    return merged


def _keys(request: ExportRequest, trained: Trained, merged: Path) -> dict[str, str]:
    """Return what the file says of itself: the manifest it comes from and the prompts it was trained on.

    Raises:
        PersonaError: those prompts are not what this program writes; the bot would not be told if it were said here.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - an extra

    file = merged / "tokenizer.json"
    if not file.is_file():
        raise ModelFileError(f"there is no {file}", cure="the model folder is not whole: train it again")
    tokenizer = Tokenizer.from_file(str(file))
    ours = prompt_hash(lambda text: tokenizer.encode(text, add_special_tokens=False).ids)
    if trained.prompt_hash and trained.prompt_hash != ours:
        raise PersonaError(
            f"{request.run} was prepared with another version of the prompts, or another tokenizer than the model's",
            cure="make it anew: prepare --fresh, then train",
        )
    return {
        "general.name": request.name or request.run.name,
        "persona.manifest_sha256": trained.manifest_sha256,
        "persona.prompt_hash": ours,
        **trained.identity,
    }


def _precision(merged: Path) -> str:
    config = json.loads((merged / "config.json").read_text(encoding="utf-8"))
    named = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return {"bfloat16": "BF16", "float16": "F16"}.get(named, "F32")


def _done(record: Path, file: Path, wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the record of an export that was finished with the same adapter, kind and file."""
    if not record.is_file() or not file.is_file():
        return None
    told = _read(record)
    if told is None or any(told.get(key) != value for key, value in wanted.items()):
        return None
    return told if told.get("sha256") == hash_file(file) else None


def _fresh(work: Path, made_of: Mapping[str, Any]) -> Path:
    """Return the working folder, emptied where it holds what was made of something else."""
    note = work / "made_of.json"
    if _read(note) != made_of:
        shutil.rmtree(work)
        work.mkdir()
        write_json(note, made_of)
    return work


def _read(file: Path) -> dict[str, Any] | None:
    """Return what a record says; None when it is not there or damaged: then the work it stands for is done again."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn what goes wrong deep inside the libraries into one line with the cure."""
    try:
        yield
    except ImportError as error:
        cure = "install the extra `train`: see docs/training.md"
        raise ConfigError(f"exporting needs {error.name}, which is not installed", cure=cure) from None
    except Exception as error:
        known = explain(error, folder, memory_cure=_MEMORY_CURE) or _damaged(error)
        if known is None or known is error:
            raise
        raise known from error


def _damaged(error: Exception) -> PersonaError | None:
    """Return what to say of weights that cannot be read, which each library that reads them says in its own way."""
    from safetensors import SafetensorError  # noqa: PLC0415 - an extra

    if not isinstance(error, SafetensorError):
        return None
    return ModelFileError(f"a weight file is damaged: {error}", cure="train it again, or fetch the base model again")
