"""How fast chat is embedded, and what the event loop notices of it, beside fastembed's own calls.

    python benchmarks/embedding.py --data ../shared/data --model ./minilm --json embedding.json

All sides embed the same real messages with the same model file and the same number of threads, in turn, several rounds
of one run; the ratio is to fastembed's default call. `one call a message` is what a bot does that embeds what it hears.
The loop's delay is how late a task comes that wants to run every millisecond while the messages are embedded; a
question is asked twice a second. benchmarks/minilm.py makes the model's folder.
"""

import argparse
import asyncio
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastembed import TextEmbedding
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from persona.adapters.embedding import FastEmbedder, model_folder

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT, SINGLE, OURS = "fastembed, default call", "one call a message", "persona"
_TICK_SECONDS = 0.001
_ASK_SECONDS = 0.5


def messages(data: Path, count: int) -> list[str]:
    """Return real messages, one after the other as they were said, from the middle of a channel."""
    with gzip.open(data / "jsonl" / "irc-commons.ubuntu.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [text for line in lines if (text := json.loads(line)["content"].strip())]
    start = max(0, (len(texts) - count) // 2)
    return texts[start : start + count]


class Ours:
    """The embedder of the bot, with what the event loop and a question notice meanwhile."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.late_ms: list[float] = []
        self.question_ms: list[float] = []
        self._embedder = FastEmbedder(model_folder(MODEL, folder), threads=threads)
        self._runner = asyncio.Runner()
        self._runner.run(self._embedder.open())

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts in the background while others want the loop and the model."""
        return self._runner.run(self._embed(texts))

    async def _embed(self, texts: Sequence[str]) -> np.ndarray:
        others = [asyncio.create_task(self._tick()), asyncio.create_task(self._ask(texts))]
        try:
            return await self._embedder.embed(texts)
        finally:
            for other in others:
                other.cancel()
            await asyncio.wait(others)

    async def _tick(self) -> None:
        while True:
            due = time.perf_counter() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self.late_ms.append((time.perf_counter() - due) * 1000)

    async def _ask(self, texts: Sequence[str]) -> None:
        for text in texts:
            await asyncio.sleep(_ASK_SECONDS)
            began = time.perf_counter()
            await self._embedder.embed_query(text)
            self.question_ms.append((time.perf_counter() - began) * 1000)


def rounds(arguments: argparse.Namespace, texts: Sequence[str]) -> tuple[dict[str, list[float]], Ours]:
    """Return messages a second of every side, one figure a round; all sides must make the same vectors."""
    bare = TextEmbedding(MODEL, specific_model_path=str(arguments.model), threads=arguments.threads)
    ours = Ours(arguments.model, arguments.threads)
    sides: dict[str, Callable[[], np.ndarray]] = {
        DEFAULT: lambda: np.array(list(bare.embed(texts))),
        SINGLE: lambda: np.array([next(iter(bare.embed([text]))) for text in texts]),
        OURS: lambda: ours.embed(texts),
    }
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(arguments.rounds):
        made = {}
        for name, side in sides.items():
            began = time.perf_counter()
            made[name] = side()
            speeds[name].append(len(texts) / (time.perf_counter() - began))
            print(f"round {number + 1}: {name}: {speeds[name][-1]:,.0f} messages/s", file=sys.stderr)
        worst = min(float((made[DEFAULT] * made[name]).sum(axis=1).min()) for name in (SINGLE, OURS))
        if worst < 0.999:
            raise SystemExit(f"the sides do not agree: cosine {worst:.4f}")
    return speeds, ours


def table(speeds: dict[str, list[float]]) -> Table:
    """Return medians and spread, and the ratios of each round to the other two sides."""
    shown = Table(title="Embedding real chat")
    for head in ("side", "messages/s", "x default call", "x one call a message"):
        shown.add_column(head, justify="left" if head == "side" else "right")
    for name, values in speeds.items():
        cells = [spread(values, "{:,.0f}")]
        for base in (speeds[DEFAULT], speeds[SINGLE]):
            cells += [spread([a / b for a, b in zip(values, base, strict=True)], "{:.2f}")]
        shown.add_row(name, *cells)
    return shown


def spread(values: Sequence[float], form: str) -> str:
    """Write a median and its range."""
    median, low, high = (form.format(f(values)) for f in (statistics.median, min, max))
    return f"{median} ({low}-{high})"


def main() -> None:
    """Measure, print the tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with jsonl/")
    parser.add_argument("--model", type=Path, required=True, help="folder that benchmarks/minilm.py makes")
    parser.add_argument("--messages", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    texts = messages(arguments.data, arguments.messages)
    speeds, ours = rounds(arguments, texts)
    console = Console()
    console.print(table(speeds))
    result: dict[str, Any] = {
        "messages": len(texts),
        "threads": arguments.threads,
        "cores": os.cpu_count(),
        "messages_per_second": speeds,
    }
    for what, values in (("loop late", ours.late_ms), ("question", ours.question_ms)):
        p50, p99, most = (float(np.percentile(values, p)) for p in (50, 99, 100))
        console.print(f"{what} while embedding: p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {most:.1f} ms")
        result[what.replace(" ", "_") + "_ms"] = {"p50": p50, "p99": p99, "max": most, "n": len(values)}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
