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
_COPY_ROWS, _COPY_WIDTH = 24, 72
_SPECIAL_TOKENS = 3
_POOL = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to train: `steps` of 20 conversations of up to `limit` tokens.

    After `first_steps`, when it knows the words, come `copy_steps` of nothing but sequences that repeat themselves, and
    then conversations again, at first most of them drills in copying, fewer and fewer over `drill_steps`. Without this
    a model so small takes hours to find out that names can be copied (why repetition teaches that: "In-context
    Learning and Induction Heads", Olsson et al. 2022). Every part begins with a warm-up; the last one ends in a cosine.
    """

    steps: int
    seed: int
    peak: float = 2e-3
    warm_up: int = 60
    limit: int = 512
    save_every: int = 100
    first_steps: int = 1400
    copy_steps: int = 600
    drill_steps: int = 1500

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step (from 0)."""
        if step < self.first_steps:
            return self.peak * min(1.0, (step + 1) / self.warm_up)
        copied = step - self.first_steps
        if copied < self.copy_steps:
            return 0.75 * self.peak * min(1.0, (copied + 1) / self.warm_up)
        talked = copied - self.copy_steps
        cosine = 0.5 * (1 + math.cos(math.pi * talked / max(1, self.steps - self.first_steps - self.copy_steps)))
        return self.peak * min(1.0, (talked + 1) / self.warm_up) * (0.02 + 0.98 * cosine)

    def copies(self, step: int) -> bool:
        """Whether a step is one of nothing but repetition."""
        return 0 <= step - self.first_steps < self.copy_steps

    def drill(self, step: int) -> float:
        """Return the share of drills around a step."""
        talked = step - self.first_steps - self.copy_steps
        return 0.3 if talked < 0 else max(0.05, 0.7 * (1 - talked / self.drill_steps))


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
    pool: list[list[tuple[list[int], list[float]]]] = []
    pool_number = -1
    for step in range(first, plan.steps):
        if plan.copies(step):
            yield _repetition(Random(f"{plan.seed}/copy {step}"), tokenizer.get_vocab_size())
            continue
        number, place = divmod(step, _POOL)
        if number != pool_number:
            pool, pool_number = _pool(tokenizer, plan, number), number
        yield _padded(pool[place])


def _pool(tokenizer: Tokenizer, plan: Plan, number: int) -> list[list[tuple[list[int], list[float]]]]:
    """Make the batches of 32 steps at once: sorted by length before they are cut, which saves padding."""
    rng = Random(f"{plan.seed}/{number}")
    drill = plan.drill(number * _POOL)
    made = (make_conversation(rng, drill=drill) for _ in range(_POOL * _BATCH))
    rows = sorted((encode(tokenizer, conversation, plan.limit) for conversation in made), key=_length)
    pool = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
    rng.shuffle(pool)
    return pool


def _repetition(rng: Random, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Return rows of random tokens in which one piece comes again and again; every time but the first counts."""
    noise = torch.Generator().manual_seed(rng.randrange(2**31))
    ids = torch.randint(_SPECIAL_TOKENS, vocabulary, (_COPY_ROWS, _COPY_WIDTH), generator=noise)
    weights = torch.zeros(_COPY_ROWS, _COPY_WIDTH)
    for row in range(_COPY_ROWS):
        width = rng.randrange(4, 16)
        start = rng.randrange(6)
        piece = ids[row, start : start + width].clone()
        at = start + width + rng.randrange(12)
        while at + width <= _COPY_WIDTH:
            ids[row, at : at + width] = piece
            weights[row, at + 1 : at + width] = 1.0  # that it begins again cannot be known
            at += width + rng.randrange(12)
    return ids, weights


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
