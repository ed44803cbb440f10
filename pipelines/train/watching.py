"""Watches the trainer step by step: metrics, the screen, the seal on each checkpoint, and a polite stop."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from transformers import TrainerCallback

from persona.errors import PersonaError
from pipelines.train.checkpoints import stamp
from pipelines.train.metrics import MetricsLog
from pipelines.train.progress import Moment, TrainingScreen

_GIB = 2**30


class Watcher(TrainerCallback):
    """The one callback of ours. Only the first process writes and shows; `stop` ends after the current step."""

    def __init__(
        self, *, log: MetricsLog | None, screen: TrainingScreen | None, config_hash: str, stop: Callable[[], bool]
    ) -> None:
        self._log, self._screen, self._hash, self._stop = log, screen, config_hash, stop
        self.first_loss: float | None = None
        self.last_loss: float | None = None
        self.stopped = False

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Show where it begins."""
        if self._screen is not None:
            self._screen.start(state.global_step)

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Write and show the figures of a step.

        Raises:
            PersonaError: the loss is no number any more; nothing good comes after that.
        """
        # TRL's count of tokens is left out: it begins at 0 again after a restart.
        numbers = {key: value for key, value in (logs or {}).items() if isinstance(value, int | float)}
        values = {key: value for key, value in numbers.items() if not key.endswith("num_tokens")}
        loss, gpu = values.get("loss"), gpu_gib()
        if loss is not None:
            if not math.isfinite(loss):
                cure = "lower [training] sft_learning_rate or preference_learning_rate, then run with --fresh"
                raise PersonaError(f"the loss became {loss} at step {state.global_step}", cure=cure)
            self.first_loss = loss if self.first_loss is None else self.first_loss
            self.last_loss = loss
        if self._log is not None:
            memory = {} if gpu is None else {"gpu_gib": round(gpu, 3)}
            self._log.write({**values, **memory, "step": state.global_step})
        if self._screen is not None and loss is not None:
            moment = Moment(step=state.global_step, loss=loss, gpu_gib=gpu, margin=values.get("rewards/margins"))
            self._screen.show(moment)

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save and end when asked to."""
        if agreed(asked=self._stop()) and state.global_step < state.max_steps:
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Seal the checkpoint that was just written."""
        if _distributed():
            distributed.barrier()  # each process writes its own random state
        if state.is_world_process_zero:
            stamp(Path(args.output_dir) / f"checkpoint-{state.global_step}", self._hash)


def gpu_gib() -> float | None:
    """Return the most GPU memory held so far, in GiB; None without a card."""
    return torch.cuda.max_memory_reserved() / _GIB if torch.cuda.is_available() else None


def agreed(*, asked: bool) -> bool:
    """Return whether any process was asked to stop: they must all end after the same step, or wait for ever."""
    if not _distributed():
        return asked
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    flag = torch.tensor([int(asked)], device=device)
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
    return bool(flag.item())


def _distributed() -> bool:
    return bool(distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)
