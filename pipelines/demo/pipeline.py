"""`python -m pipelines demo`: corpus, tokenizer, training, GGUF and history, from nothing, with one command."""

import argparse
import importlib.util
import sys
import time
from pathlib import Path

from persona.errors import EXIT_DONE, PersonaError
from pipelines.demo.history import write_history

NEEDED = ("torch", "tokenizers", "gguf")


def run(arguments: argparse.Namespace) -> int:
    """Make the demo persona; return the exit code.

    Raises:
        PersonaError: a library that it needs is not installed.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise PersonaError(f"not installed: {', '.join(missing)}", cure="install the extra: pip install -e '.[demo]'")
    output: Path = arguments.output
    work: Path = arguments.work
    output.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    _make_model(arguments, output / "demo.gguf", work)
    messages = write_history(output / "history.jsonl", arguments.seed)
    print(f"{output / 'history.jsonl'}: {messages} messages", file=sys.stderr)
    return EXIT_DONE


def _make_model(arguments: argparse.Namespace, target: Path, work: Path) -> None:
    """Train and export; the tokenizer and the checkpoints of an interrupted run are used again."""
    import torch  # noqa: PLC0415 - seconds to load, and only this needs it

    from pipelines.demo.export import write_gguf  # noqa: PLC0415 - as above
    from pipelines.demo.tokenizer import load_tokenizer, train_tokenizer  # noqa: PLC0415 - as above
    from pipelines.demo.training import Plan, train  # noqa: PLC0415 - as above

    torch.set_num_threads(arguments.threads)
    words = work / f"tokenizer-{arguments.seed}.json"
    tokenizer = load_tokenizer(words) if words.exists() else train_tokenizer(words, arguments.seed)
    plan = Plan(steps=arguments.steps, seed=arguments.seed)
    meter = _Meter(plan.steps)
    shape, weights = train(tokenizer, plan, work / f"checkpoint-{arguments.seed}.pt", meter.step)
    write_gguf(target, shape, weights, tokenizer, recipe=f"seed {plan.seed}, {plan.steps} steps")
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB", file=sys.stderr)


class _Meter:
    """Says now and then how the training goes and how long it will take."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._began: tuple[float, int] | None = None
        self._loss = 0.0

    def step(self, number: int, loss: float) -> None:
        """Count a step."""
        self._loss = loss if self._began is None else 0.98 * self._loss + 0.02 * loss
        self._began = self._began or (time.monotonic(), number)
        if number % 50 == 0 or number == self._steps:
            began, first = self._began
            rate = (number - first) / (time.monotonic() - began) if number > first else 0.0
            left = f"{(self._steps - number) / rate / 60:.0f} min left" if rate else ""
            print(f"step {number}/{self._steps}  loss {self._loss:.3f}  {rate:.2f} steps/s  {left}", file=sys.stderr)
