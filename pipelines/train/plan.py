"""What a training will do, as one frozen plan: settings, the card's preset and the data, with a hash over all of it."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from persona.config_tables import TrainingSection
from persona.errors import ConfigError


class Method(StrEnum):
    """How to train."""

    SFT = "sft"
    DPO = "dpo"
    KTO = "kto"
    ORPO = "orpo"


class BackendName(StrEnum):
    """What trains."""

    UNSLOTH = "unsloth"
    HF_QLORA = "hf-qlora"
    HF_CPU = "hf-cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """What fits a card: rows at a time, the longest example in tokens, whether to recompute activations."""

    micro_batch: int
    token_limit: int
    checkpointing: bool
    optimizer: str


PRESETS: Mapping[str, Preset] = {
    "8gb": Preset(micro_batch=1, token_limit=1024, checkpointing=True, optimizer="paged_adamw_8bit"),
    "12gb": Preset(micro_batch=1, token_limit=2048, checkpointing=True, optimizer="paged_adamw_8bit"),
    "24gb": Preset(micro_batch=4, token_limit=2048, checkpointing=True, optimizer="adamw_8bit"),
    "cpu": Preset(micro_batch=2, token_limit=2048, checkpointing=False, optimizer="adamw_torch"),
}
"""For a model of 3 billion parameters in 4 bits; the estimate says how tight it is for another."""

_LARGEST_FOR = ((22.0, "24gb"), (11.0, "12gb"), (0.0, "8gb"))
"""From so many GiB on (a card sold as 24 GB reports a little less)."""

_SAVES_PER_RUN = 20
_MOST_STEPS_BETWEEN_SAVES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One stage, complete: the same plan on the same data and base gives the same adapter.

    `batch` is the number of examples in one step over all devices; `tokens` the longest example; `beta` is unused by
    SFT; `patience` is in evaluations, 0 never stops early.
    """

    method: Method
    backend: BackendName
    epochs: float
    learning_rate: float
    warmup: float
    batch: int
    micro_batch: int
    accumulation: int
    devices: int
    tokens: int
    beta: float
    rank: int
    alpha: int
    dropout: float
    train_embeddings: bool
    optimizer: str
    checkpointing: bool
    examples: int
    validation_examples: int
    steps: int
    save_steps: int
    patience: int
    seed: int

    def config_hash(self, *, data: str, base: str) -> str:
        """Return the sha256 of everything that decides the result; `data` and `base` are hashes of their own."""
        content = {**asdict(self), "data": data, "base": base}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return asdict(self)


def preset_name(settings: TrainingSection, memory_gib: float | None) -> str:
    """Choose the preset for a card with so much memory; None is no card."""
    if settings.preset != "auto":
        return settings.preset
    if memory_gib is None:
        return "cpu"
    return next(name for least, name in _LARGEST_FOR if memory_gib >= least)


def make_plan(
    settings: TrainingSection,
    *,
    method: Method,
    backend: BackendName,
    preset: str,
    devices: int,
    examples: int,
    validation_examples: int,
) -> Plan:
    """Join settings, preset and the number of usable examples into a plan.

    Raises:
        ConfigError: batch, rows at a time and devices do not go together.
    """
    fitting = PRESETS[preset]
    sft = method is Method.SFT
    micro = settings.micro_batch or min(fitting.micro_batch, settings.batch)
    if method is Method.KTO:
        micro = max(2, micro)  # its reference point comes from mismatched pairs within the rows at hand
    accumulation = settings.batch // (micro * devices)
    if accumulation * micro * devices != settings.batch:
        raise ConfigError(
            f"[training] batch = {settings.batch} cannot be split into {micro} rows at a time on {devices} device(s)",
            cure=f"make it a multiple of {micro * devices}",
        )
    examples = min(examples, settings.max_examples) if settings.max_examples else examples
    epochs = settings.sft_epochs if sft else settings.preference_epochs
    steps = step_count(examples, epochs, micro, accumulation, devices)
    save_steps = settings.save_steps or max(1, min(_MOST_STEPS_BETWEEN_SAVES, math.ceil(steps / _SAVES_PER_RUN)))
    on_card = backend is not BackendName.HF_CPU and preset != "cpu"
    return Plan(
        method=method,
        backend=backend,
        epochs=epochs,
        learning_rate=settings.sft_learning_rate if sft else settings.preference_learning_rate,
        warmup=settings.warmup,
        batch=settings.batch,
        micro_batch=micro,
        accumulation=accumulation,
        devices=devices,
        tokens=min(fitting.token_limit, settings.sft_tokens if sft else settings.preference_tokens),
        beta=settings.preference_beta,
        rank=settings.lora_rank,
        alpha=settings.lora_alpha,
        dropout=settings.lora_dropout,
        train_embeddings=settings.train_embeddings,
        optimizer=fitting.optimizer if on_card else PRESETS["cpu"].optimizer,
        checkpointing=fitting.checkpointing,
        examples=examples,
        validation_examples=min(validation_examples, settings.eval_examples),
        steps=steps,
        save_steps=save_steps,
        patience=settings.patience,
        seed=settings.seed,
    )


def step_count(examples: int, epochs: float, micro_batch: int, accumulation: int, devices: int) -> int:
    """Return how many steps the trainer will take: the last one of an epoch may be smaller."""
    rounds = math.ceil(examples / (micro_batch * devices))
    return max(1, math.ceil(epochs * math.ceil(rounds / accumulation)))
