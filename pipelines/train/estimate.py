"""How much memory and time a training will take, said before it starts: arithmetic only."""

from dataclasses import dataclass

from pipelines.train.base_model import BaseModel
from pipelines.train.plan import BackendName, Method, Plan

_GIB = 2**30
_BITS_4 = 0.5 + 1 / 16  # NF4 with double quantisation: 4 bits and about half a bit of scales
_FORWARDS = {Method.SFT: 1, Method.DPO: 4, Method.KTO: 4, Method.ORPO: 2}
"""Forward passes over one example: DPO and KTO read two texts with two models (KTO's second for its reference)."""

_TRAINED = {Method.SFT: 1, Method.DPO: 2, Method.KTO: 1, Method.ORPO: 2}
"""Of these, with a backward pass."""

_OVERHEAD_GIB = 0.9
"""CUDA context, libraries, fragments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Memory in GiB of one device (of the machine, without a card), seconds for the whole stage, bytes on disk."""

    memory_gib: float
    seconds: float
    disk_bytes: int

    @property
    def hours(self) -> float:
        """The time in hours."""
        return self.seconds / 3600


def estimate(plan: Plan, base: BaseModel, *, mean_tokens: float, flops: float) -> Estimate:
    """Estimate a stage. `mean_tokens` is the mean length of an example, `flops` what the devices do in a second.

    Per token and parameter a forward pass takes 2 operations and the backward pass through frozen weights 2 more
    (Kaplan et al. 2020, "Scaling Laws", section 2.1, less the weight gradients); recomputing activations adds 2.
    """
    forwards, trained = _FORWARDS[plan.method], _TRAINED[plan.method]
    per_token = 2 * forwards + trained * (2 + (2 if plan.checkpointing else 0))
    work = per_token * base.parameters * mean_tokens * plan.examples * plan.epochs
    return Estimate(
        memory_gib=_memory(plan, base) / _GIB,
        seconds=work / flops,
        disk_bytes=_disk(plan, base),
    )


def _memory(plan: Plan, base: BaseModel) -> float:
    """Sum weights, adapter with its gradients and optimizer, activations, and logits with their gradient."""
    on_cpu = plan.backend is BackendName.HF_CPU
    body = base.parameters - base.embedding_parameters
    weights = base.parameters * 4 if on_cpu else body * _BITS_4 + base.embedding_parameters * 2
    trainable = base.adapter_parameters(plan.rank) + (base.embedding_parameters if plan.train_embeddings else 0)
    optimizer = 2 if "8bit" in plan.optimizer else 8
    adapter = trainable * (4 + 4 + optimizer)
    rows = plan.micro_batch * _TRAINED[plan.method] * plan.tokens
    width = 4 if on_cpu else 2
    inner = sum(columns for _, columns in base.linear_sizes) + 4 * base.hidden
    layer = rows * inner * width
    kept = rows * base.hidden * width * base.layers + layer if plan.checkpointing else layer * base.layers
    fused = plan.backend is BackendName.UNSLOTH and plan.method is Method.SFT
    logits = rows * base.vocabulary * (1 if fused else 2 * 4)
    return weights + adapter + kept + logits + (0 if on_cpu else _OVERHEAD_GIB * _GIB)


def _disk(plan: Plan, base: BaseModel) -> int:
    """Sum three checkpoints (two are kept while the next is written), the adapter and, after SFT, the merged model."""
    trainable = base.adapter_parameters(plan.rank) + (base.embedding_parameters if plan.train_embeddings else 0)
    checkpoint = trainable * (4 + (2 if "8bit" in plan.optimizer else 8))
    merged = base.parameters * 2 if plan.method is Method.SFT else 0
    return 3 * checkpoint + trainable * 4 + merged


def advice(plan: Plan, found: Estimate, *, limit_hours: float = 12) -> str:
    """Say which --max-examples would bring a long training down to a night; "" when it is short already."""
    if found.hours <= limit_hours:
        return ""
    fewer = int(plan.examples * limit_hours / found.hours)
    fewer -= fewer % 100
    return f"--max-examples {fewer} would take about {limit_hours:.0f} h" if fewer else ""
