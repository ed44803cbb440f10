"""Trains the demo model on conversations made up as it goes; after a kill it goes on from its last checkpoint."""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from pipelines.demo.conversations import make_conversation
from pipelines.demo.model import Qwen2, Shape
from pipelines.demo.tokenizer import encode

_BATCH = 20
_COPIED_TOKENS = 1600
_SPECIAL_TOKENS = 3
_POOL = 32 * _BATCH
"""Conversations that are sorted by length before they are put into batches, which saves padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to train: `steps` of 20 conversations of up to `limit` tokens, a cosine from `peak` with a short warm-up.

    It begins with `copy_steps` of nothing but sequences that repeat themselves, and goes on with drills in copying:
    more than half of the conversations at first, fewer and fewer over `drill_steps`. Without them a model this small
    takes hours to find out that names can be copied (why repetition teaches that: "In-context Learning and Induction
    Heads", Olsson et al. 2022).
    """

    steps: int
    seed: int
    peak: float = 2e-3
    warm_up: int = 200
    limit: int = 512
    save_every: int = 100
    drill_steps: int = 2000
    copy_steps: int = 400

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step (from 0); both parts begin with a warm-up."""
        talked = step - self.copy_steps
        if talked < 0:
            return self.peak * min(1.0, (step + 1) / self.warm_up)
        cosine = 0.5 * (1 + math.cos(math.pi * talked / max(1, self.steps - self.copy_steps)))
        return self.peak * min(1.0, (talked + 1) / self.warm_up) * (0.02 + 0.98 * cosine)

    def drill(self, step: int) -> float:
        """Return the share of drills around a step."""
        return max(0.02, 0.6 * (1 - (step - self.copy_steps) / self.drill_steps))


def train(
    tokenizer: Tokenizer, plan: Plan, checkpoint: Path, on_step: Callable[[int, float], None]
) -> tuple[Shape, dict[str, Tensor]]:
    """Train to the end of the plan and return shape and weights; `on_step` gets the step's number and loss.

    Every batch follows from seed and step alone, so an interrupted run continues exactly as if nothing had happened.
    """
    torch.manual_seed(plan.seed)
    shape = Shape(vocabulary=tokenizer.get_vocab_size())
    model = Qwen2(shape)
    optimizer = _optimizer(model)
    first = _resume(checkpoint, plan, model, optimizer)
    for step, (ids, weights) in enumerate(batches(tokenizer, plan, first), start=first):
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate(step)
        loss = model.loss(ids, weights)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        on_step(step + 1, loss.item())
        if (step + 1) % plan.save_every == 0 or step + 1 == plan.steps:
            _save(checkpoint, plan, step + 1, model, optimizer)
    return shape, model.state_dict()


def batches(tokenizer: Tokenizer, plan: Plan, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (ids, weights), each (rows, tokens), from step `first` to the end of the plan."""
    for step in range(first, min(plan.copy_steps, plan.steps)):
        yield _repetition(Random(f"{plan.seed}/copy {step}"), tokenizer.get_vocab_size())
    first = max(0, first - plan.copy_steps)
    steps = plan.steps - plan.copy_steps
    per_pool = _POOL // _BATCH
    for number in range(first // per_pool, math.ceil(steps / per_pool)):
        rng = Random(f"{plan.seed}/{number}")
        drill = plan.drill(plan.copy_steps + number * per_pool)
        rows = sorted(
            (encode(tokenizer, make_conversation(rng, drill=drill), plan.limit) for _ in range(_POOL)), key=_length
        )
        pool = [rows[start : start + _BATCH] for start in range(0, _POOL, _BATCH)]
        rng.shuffle(pool)
        begin = max(0, first - number * per_pool)
        for batch in pool[begin : steps - number * per_pool]:
            yield _padded(batch)


def _repetition(rng: Random, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Return rows of random tokens, each twice in a row, of which the second time counts."""
    width = rng.randrange(4, 25)
    torch_rng = torch.Generator().manual_seed(rng.randrange(2**31))
    once = torch.randint(_SPECIAL_TOKENS, vocabulary, (_COPIED_TOKENS // width, width), generator=torch_rng)
    weights = torch.cat((torch.zeros_like(once), torch.ones_like(once)), 1).float()
    weights[:, width] = 0.0  # where it starts again cannot be known
    return torch.cat((once, once), 1), weights


def _length(row: tuple[list[int], list[float]]) -> int:
    return len(row[0])


def _padded(rows: list[tuple[list[int], list[float]]]) -> tuple[Tensor, Tensor]:
    width = max(map(_length, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    weights = torch.zeros(len(rows), width)
    for number, (row, shares) in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        weights[number, : len(row)] = torch.tensor(shares)
    return ids, weights


def _optimizer(model: Qwen2) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98))


def _save(path: Path, plan: Plan, step: int, model: Qwen2, optimizer: torch.optim.AdamW) -> None:
    state = {"plan": repr(plan), "step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    fresh = path.with_suffix(".new")
    torch.save(state, fresh)
    os.replace(fresh, path)  # noqa: PTH105 - a rename is what makes it whole or not there


def _resume(path: Path, plan: Plan, model: Qwen2, optimizer: torch.optim.AdamW) -> int:
    """Load a checkpoint of the same plan and return its step; another plan's, or none, means starting at 0."""
    if not path.exists():
        return 0
    state: dict[str, Any] = torch.load(path, weights_only=True)
    if state["plan"] != repr(plan):
        return 0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
