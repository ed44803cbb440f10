"""Trains one stage from its last good checkpoint to its end; this is where torch and TRL are used."""

import gc
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from accelerate import PartialState
from transformers import set_seed
from transformers.utils.logging import disable_progress_bar

from persona.errors import PersonaError
from pipelines.train.backends import before_trainers, open_backend
from pipelines.train.checkpoints import latest, step_of
from pipelines.train.curve import loss_curve
from pipelines.train.failures import explain
from pipelines.train.files import flush_folder, write_text
from pipelines.train.metrics import MetricsLog, cut_back, read_metrics
from pipelines.train.plan import BackendName, Plan
from pipelines.train.progress import TrainingScreen
from pipelines.train.rows import Rows
from pipelines.train.stopping import StopSwitch

_MEMORY_CURE = "take a smaller preset, [training] micro_batch = 1, or a lower sft_tokens / preference_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageJob:
    """All that a stage needs: plan and hash, the base model's folder, the data, and the folder it writes into."""

    plan: Plan
    config_hash: str
    base: Path
    train: Rows
    validation: Rows | None
    folder: Path
    threads: int

    @property
    def metrics(self) -> Path:
        """The file of its metrics."""
        return self.folder / "metrics.jsonl"

    @property
    def adapter(self) -> Path:
        """The folder of the trained adapter."""
        return self.folder / "adapter"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """How a stage ended: the last step, what was left out as too long, and whether it was stopped by a signal."""

    steps: int
    too_long: int
    interrupted: bool


def train_stage(job: StageJob, *, stream: TextIO) -> StageOutcome:
    """Train, and leave the adapter, the metrics and the loss curve in the job's folder.

    Raises:
        PersonaError: memory or disk ran out, the data do not fit, or a checkpoint cannot be gone on from.
    """
    checkpoints = job.folder / "checkpoints"
    start = latest(checkpoints, job.config_hash)
    if job.threads:
        torch.set_num_threads(job.threads)
    try:
        return _train(job, checkpoints, start, stream)
    except Exception as error:
        known = explain(error, job.folder, memory_cure=_MEMORY_CURE)
        if known is None or known is error:
            raise
        raise known from error
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _train(job: StageJob, checkpoints: Path, start: Path | None, stream: TextIO) -> StageOutcome:
    plan = job.plan
    before_trainers(plan.backend, plan.method)
    # These two import TRL, which must come after Unsloth.
    from pipelines.train.trainers import build_trainer, load_split, require_rows  # noqa: PLC0415
    from pipelines.train.watching import Watcher  # noqa: PLC0415

    state = PartialState(cpu=plan.backend is BackendName.HF_CPU)
    disable_progress_bar()  # the screen is the one place for progress
    set_seed(plan.seed)  # before the model: the adapter's first weights are drawn
    backend = open_backend(plan.backend)
    loaded = backend.load(job.base, plan)
    cache = job.folder / "cache"
    with state.main_process_first():
        train, too_long = load_split(job.train, loaded, plan, limit=plan.examples, cache=cache)
        require_rows(train, too_long, plan)
        validation = None
        if job.validation is not None and plan.validation_examples:
            found, _ = load_split(job.validation, loaded, plan, limit=plan.validation_examples, cache=cache)
            validation = found if len(found) else None
    trainer = build_trainer(plan, backend, loaded, train=train, validation=validation, output=checkpoints)
    first = state.is_main_process
    if first:
        cut_back(job.metrics, step_of(start) if start is not None else 0)
    log = MetricsLog(job.metrics) if first else None
    screen = TrainingScreen(stream, name=str(plan.method), steps=plan.steps) if first else None
    with StopSwitch() as switch:
        watcher = Watcher(log=log, screen=screen, config_hash=job.config_hash, stop=lambda: switch.asked)
        trainer.add_callback(watcher)
        try:
            trainer.train(resume_from_checkpoint=str(start) if start is not None else None)
        finally:
            if log is not None and screen is not None:
                log.close()
                screen.close()
    if first:
        rows = read_metrics(job.metrics)
        write_text(job.folder / "loss.svg", loss_curve(rows, f"{plan.method} on {len(train)} examples"))
        if not watcher.stopped:
            _keep_adapter(trainer, job)
        shutil.rmtree(cache, ignore_errors=True)
    state.wait_for_everyone()
    return StageOutcome(steps=trainer.state.global_step, too_long=too_long, interrupted=watcher.stopped)


def _keep_adapter(trainer: Any, job: StageJob) -> None:
    """Save the adapter beside its place, then move it there as a whole."""
    draft = job.folder / ".adapter"
    shutil.rmtree(draft, ignore_errors=True)
    trainer.save_model(str(draft))
    for name in ("training_args.bin", "README.md"):  # a pickle and an empty card, both with paths of this machine
        (draft / name).unlink(missing_ok=True)
    flush_folder(draft)
    if not (draft / "adapter_model.safetensors").is_file():
        raise PersonaError(f"{draft} holds no adapter", cure="run with --fresh")
    shutil.rmtree(job.adapter, ignore_errors=True)
    draft.replace(job.adapter)
