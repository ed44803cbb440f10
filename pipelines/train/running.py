"""Runs one method or all of them on a run folder: plans, says what it will cost, trains, merges, records."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from persona.config_tables import TrainingSection
from persona.errors import PersonaError, UsageError
from pipelines.train.backends import prepare_environment
from pipelines.train.base_model import BaseModel, read_base, resolve_base
from pipelines.train.estimate import Estimate, advice, estimate
from pipelines.train.failures import explain, require_space
from pipelines.train.files import write_json
from pipelines.train.hardware import Card, choose_backend, find_cards, version_list
from pipelines.train.plan import BackendName, Method, Plan, make_plan, preset_name
from pipelines.train.progress import duration
from pipelines.train.rows import KINDS, Rows, data_files, read_rows
from pipelines.train.stage_files import StageFiles
from pipelines.train.stopping import StopSwitch

_CHARACTERS_PER_TOKEN = 3.2
"""Chat in a vocabulary of 150,000, names and frame included; only the estimate of time uses it."""

_CARD_FLOPS, _CORE_FLOPS = 3e13, 2e10
"""What a card of the 3090 class and one core reach in training; the time left is measured once it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the command asks for; `launch` is how the same command is started again for several GPUs."""

    run: Path
    method: str
    settings: TrainingSection
    fresh: bool
    pull: bool
    dry: bool
    threads: int
    launch: Callable[[Method], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """What became of a stage: its model folder and figures; `skipped` when it was finished before."""

    method: Method
    folder: Path
    steps: int
    loss: float | None
    skipped: bool
    interrupted: bool


def train(request: Request, *, stream: TextIO) -> tuple[StageReport, ...]:
    """Train what is asked for and return a report for each stage; stops early when a signal came.

    Raises:
        PersonaError: something is missing, does not fit, or failed; names the place and the cure.
    """
    if not request.run.is_dir():
        raise UsageError(f"there is no run folder {request.run}", cure="make one: python -m pipelines prepare")
    prepare_environment(pull=request.pull)
    cards = find_cards() if request.settings.backend != "hf-cpu" else ()
    backend = choose_backend(request.settings.backend, cards)
    reports: list[StageReport] = []
    for method in _methods(request):
        report = _Stage(request, method, backend, cards, stream).run()
        if report is None:
            continue
        reports.append(report)
        if report.interrupted:
            break
    return tuple(reports)


def is_worker() -> bool:
    """Whether this process is one of several that accelerate started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _methods(request: Request) -> list[Method]:
    if request.method != "all":
        return [Method(request.method)]
    wanted = request.settings.preference
    if wanted == "auto":
        wanted = next((m for m in ("dpo", "kto") if data_files(request.run, Method(m), "train")), "none")
    return [Method.SFT] if wanted == "none" else [Method.SFT, Method(wanted)]


class _Stage:
    """One stage of a request, from its data to its record."""

    def __init__(
        self, request: Request, method: Method, backend: BackendName, cards: Sequence[Card], stream: TextIO
    ) -> None:
        self._request, self._method, self._backend, self._cards = request, method, backend, cards
        self._stream = stream
        self._files = StageFiles(request.run, method)

    def run(self) -> StageReport | None:
        """Train the stage, or say that it is done already; None after a dry run."""
        base = self._base()
        rows = self._rows("train")
        validation = read_rows(self._request.run, self._method, "validation")
        plan = self._plan(rows, validation)
        digest = hashlib.sha256(f"{rows.sha256} {validation.sha256}".encode()).hexdigest()
        config_hash = plan.config_hash(data=digest, base=self._base_identity(base))
        if self._request.fresh and not is_worker():
            shutil.rmtree(self._files.folder, ignore_errors=True)
        done = self._files.finished(config_hash)
        if done is not None:
            self._say(f"{self._method}: done already, {done['steps']} steps ({self._files.adapter})")
            if self._method is Method.SFT and not (self._files.merged / "config.json").is_file():
                self._merge(base)
            return self._report(done, skipped=True)
        found = self._announce(plan, base, rows)
        if self._request.dry:
            return None
        self._files.folder.mkdir(parents=True, exist_ok=True)
        require_space(self._files.folder, found.disk_bytes)
        if plan.devices > 1 and not is_worker():
            return self._launch(plan, base, config_hash)
        return self._train(plan, base, rows, validation, config_hash)

    def _base(self) -> BaseModel:
        """Return what the stage starts from: the base, or for preferences what SFT made of it, merged."""
        sft = StageFiles(self._request.run, Method.SFT)
        if self._method is not Method.SFT and sft.adapter.is_dir():
            if not (sft.merged / "config.json").is_file():
                raise PersonaError(f"{sft.merged} is missing", cure="run `train --method sft` again: it merges")
            return read_base(sft.merged)
        if self._method is not Method.SFT:
            self._say(f"{self._method}: no SFT in this run, starting from {self._request.settings.base}")
        return read_base(resolve_base(self._request.settings.base, pull=self._request.pull))

    def _base_identity(self, base: BaseModel) -> str:
        """Return what tells this base from others: a fingerprint knows shapes alone, so SFT's adapter counts, too."""
        sft = StageFiles(self._request.run, Method.SFT)
        if self._method is Method.SFT or not sft.adapter.is_dir():
            return base.fingerprint
        return f"{base.fingerprint} {sft.adapter_sha256()}"

    def _rows(self, split: str) -> Rows:
        rows = read_rows(self._request.run, self._method, split)
        if not rows.count:
            place = self._request.run / KINDS[self._method]
            cure = "python -m pipelines prepare makes it, from reactions for dpo, kto and orpo"
            raise PersonaError(f"{place} holds no {split} data for {self._method}", cure=cure)
        return rows

    def _plan(self, rows: Rows, validation: Rows) -> Plan:
        settings = self._request.settings
        count = min(len(self._cards), settings.gpus or len(self._cards))
        # A multi-process run on CPUs exists only inside accelerate's launcher.
        devices = max(count, 1) if self._backend is not BackendName.HF_CPU else int(os.environ.get("WORLD_SIZE", "1"))
        memory = min((card.memory_gib for card in self._cards), default=None)
        return make_plan(
            settings,
            method=self._method,
            backend=self._backend,
            preset="cpu" if self._backend is BackendName.HF_CPU else preset_name(settings, memory),
            devices=devices,
            examples=rows.count,
            validation_examples=validation.count,
        )

    def _announce(self, plan: Plan, base: BaseModel, rows: Rows) -> Estimate:
        """Say what will be done and what it will take."""
        on_card = self._backend is not BackendName.HF_CPU
        threads = self._request.threads or os.cpu_count() or 1
        flops = _CARD_FLOPS * plan.devices if on_card else _CORE_FLOPS * threads
        tokens = min(float(plan.tokens), rows.mean_characters / _CHARACTERS_PER_TOKEN)
        found = estimate(plan, base, mean_tokens=tokens, flops=flops)
        where = ", ".join(card.name for card in self._cards[: plan.devices]) if on_card else f"CPU, {threads} threads"
        self._say(
            f"{self._method}: {plan.examples} examples, {plan.epochs:g} epochs, {plan.steps} steps of {plan.batch} on "
            f"{where} ({self._backend}); base {base.folder.name}, {base.parameters / 1e6:,.1f} M parameters\n"
            f"{self._method}: about {duration(found.seconds)}, {found.memory_gib:.1f} GiB of memory, "
            f"{found.disk_bytes / 1e9:.1f} GB on disk (an estimate; the time is measured once it runs)"
        )
        smallest = min((card.memory_gib for card in self._cards), default=0.0)
        if on_card and found.memory_gib > smallest:
            self._say(f"{self._method}: the card has only {smallest:.1f} GiB: expect it to run out of memory")
        more = advice(plan, found)
        if more:
            self._say(f"{self._method}: {more}")
        return found

    def _train(self, plan: Plan, base: BaseModel, rows: Rows, validation: Rows, config_hash: str) -> StageReport:
        from pipelines.train.stage import StageJob, train_stage  # noqa: PLC0415 - loads torch

        if not is_worker():
            self._record_plan(plan, base, config_hash)
        job = StageJob(
            plan=plan,
            config_hash=config_hash,
            base=base.folder,
            train=rows,
            validation=validation if validation.count else None,
            folder=self._files.folder,
            threads=self._request.threads,
        )
        outcome = train_stage(job, stream=self._stream)
        result = {"steps": outcome.steps, "too_long": outcome.too_long}
        if outcome.interrupted:
            self._say(f"{self._method}: stopped after step {outcome.steps}; the same command goes on from here")
            return self._report(result, interrupted=True)
        if outcome.too_long:
            self._say(f"{self._method}: {outcome.too_long} examples of more than {plan.tokens} tokens were left out")
        if is_worker():
            return self._report(result)
        return self._finish(base, config_hash, result)

    def _launch(self, plan: Plan, base: BaseModel, config_hash: str) -> StageReport:
        """Train on several GPUs: accelerate starts this command once for each; merging is done here, once."""
        self._record_plan(plan, base, config_hash)
        shutil.rmtree(self._files.adapter, ignore_errors=True)
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines=1"]
        options = [f"--num_processes={plan.devices}", "--mixed_precision=no", "--dynamo_backend=no", "-m"]
        with StopSwitch() as switch:
            code = _follow([*launcher, *options, *self._request.launch(self._method)], switch)
        last = self._files.metrics_rows()
        result = {"steps": last[-1]["step"] if last else 0}
        if self._files.adapter.is_dir() and code == 0:
            return self._finish(base, config_hash, result)
        if switch.asked:
            return self._report(result, interrupted=True)
        raise PersonaError(f"training on {plan.devices} GPUs ended with exit code {code}", cure="see the lines above")

    def _record_plan(self, plan: Plan, base: BaseModel, config_hash: str) -> None:
        content = {"base": str(base.folder), "config_hash": config_hash, "plan": plan.to_json()}
        write_json(self._files.folder / "plan.json", {**content, "versions": version_list()})

    def _finish(self, base: BaseModel, config_hash: str, result: Mapping[str, Any]) -> StageReport:
        """Merge after SFT, then write the record that makes the stage count as done."""
        if self._method is Method.SFT:
            self._merge(base)
        record = {**result, "config_hash": config_hash, "base": str(base.folder), "base_hash": base.fingerprint}
        self._files.finish(record)
        return self._report(record)

    def _merge(self, base: BaseModel) -> None:
        from pipelines.merge import merge_adapter  # noqa: PLC0415 - loads torch

        self._say(f"{self._method}: merging into {self._files.merged}")
        try:
            merge_adapter(base.folder, self._files.adapter, self._files.merged)
        except (OSError, RuntimeError, MemoryError) as error:
            known = explain(error, self._files.folder, memory_cure="merging takes the model in 32 bits: add swap")
            if known is None:
                raise
            raise known from error

    def _report(self, result: Mapping[str, Any], *, skipped: bool = False, interrupted: bool = False) -> StageReport:
        losses = [row["loss"] for row in self._files.metrics_rows() if "loss" in row]
        return StageReport(
            method=self._method,
            folder=self._files.folder,
            steps=int(result["steps"]),
            loss=losses[-1] if losses else None,
            skipped=skipped,
            interrupted=interrupted,
        )

    def _say(self, text: str) -> None:
        if not is_worker():
            print(text, file=self._stream, flush=True)


def _follow(command: Sequence[str], switch: StopSwitch) -> int:
    """Run a command to its end and return its exit code; a stop is passed on, and it gets the time to save."""
    process = subprocess.Popen(command)  # noqa: S603 - this program itself, through accelerate
    told = False
    while True:
        try:
            return process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            if switch.asked and not told:
                process.terminate()
                told = True


def encode_report(reports: Sequence[StageReport]) -> str:
    """Return the reports as one JSON object."""
    stages = [
        {"method": r.method, "folder": str(r.folder), "steps": r.steps, "loss": r.loss, "skipped": r.skipped,
         "interrupted": r.interrupted}
        for r in reports
    ]  # fmt: skip
    return json.dumps({"stages": stages})
