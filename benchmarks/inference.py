"""The batching engine beside a bare `llama_cpp.Llama` loop on the same model: first token, and tokens a second.

    python benchmarks/inference.py
    python benchmarks/inference.py --model models/qwen2.5-3b-instruct-q4_k_m.gguf --rounds 3
    python benchmarks/inference.py --synthetic 0.1b

Some conversations talk to the model at the same time, several turns each: in every turn all of them ask at once, and a
turn is over when all are answered. The bare loop answers one after the other (`create_chat_completion`, streaming),
the engine all together. Both choose greedily, so they write about the same; both are loaded once and take turns, round
by round, in one process. The first token is timed from the moment of asking, waiting for others included.
"""

import argparse
import contextlib
import ctypes
import io
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from persona.adapters.llama import LlamaSettings, check_model, default_threads, llama_engine_factory  # noqa: E402
from persona.domain.prompt import Role, Turn  # noqa: E402
from persona.ports import ChatEngine, ChatRequest, Finished, Sampling, TextDelta  # noqa: E402

SYSTEM = (
    "You are Pip, a regular of the night kitchen, in #general.\n"
    "Write only what Pip says next: short, in the words and manner of this server, no name in front, never a list."
)
WORDS = (
    "who took the last dumpling and why was it you again",
    "i tried the soup recipe from yesterday, it needs more salt",
    "does anybody have time tonight for another round",
    "hey pip, what do you think about pineapple on pizza",
    "that game was over before it began, honestly",
    "my cat sat on the keyboard and sent the whole report",
)
SCRIPT = (" hello", " you", " said", " the", " pizza", " is", " like", " my", " name", " and", " what", " it")
"""What synthetic models say, round and round: random text would not survive being read again."""
SHAPES: dict[str, dict[str, int]] = {
    "0.1b": {"hidden": 768, "layers": 12, "heads": 12, "kv_heads": 2, "feed_forward": 2048, "vocabulary": 32_768},
    "0.5b": {"hidden": 896, "layers": 24, "heads": 14, "kv_heads": 2, "feed_forward": 4864, "vocabulary": 151_936},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the conversations do."""

    turns: int
    tokens: int
    context: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One round of one contestant; seconds."""

    contestant: str
    conversations: int
    round: int
    tokens: int
    seconds: float
    first_token: list[float]

    @property
    def rate(self) -> float:
        """Tokens a second, all conversations together."""
        return self.tokens / self.seconds


Ask = Callable[[dict[str, list[Turn]]], tuple[dict[str, str], int, list[float]]]
"""Answers all conversations once: their replies, the tokens of them all, and the seconds to each one's first."""


def line(conversation: int, turn: int, round_number: int) -> str:
    """Return what somebody says; different in every conversation and round, so that no cache from before helps."""
    words = islice(cycle(WORDS), conversation + turn, conversation + turn + 2)
    return f"user{round_number}x{conversation}: {'; '.join(words)}"


def talk(ask: Ask, name: str, conversations: int, number: int, load: Load) -> Result:
    """Let some conversations run for a few turns and time them."""
    talks = {f"{number}-{c}": [Turn(role=Role.SYSTEM, lines=tuple(SYSTEM.splitlines()))] for c in range(conversations)}
    tokens, firsts = 0, []
    began = time.perf_counter()
    for turn in range(load.turns):
        for c, turns in enumerate(talks.values()):
            turns.append(Turn(role=Role.USER, lines=(line(c, turn, number),)))
        replies, count, first = ask(talks)
        tokens += count
        firsts += first
        for key, reply in replies.items():
            talks[key].append(Turn(role=Role.ASSISTANT, lines=(reply.strip() or "...",)))
    seconds = time.perf_counter() - began
    return Result(
        contestant=name, conversations=conversations, round=number, tokens=tokens, seconds=seconds, first_token=firsts
    )


def engine_asker(engine: ChatEngine, load: Load) -> Ask:
    """Ask our engine: everything is submitted, then it steps until all is said."""
    sampling = Sampling(temperature=0, repetition_penalty=1, max_tokens=load.tokens)

    def ask(talks: dict[str, list[Turn]]) -> tuple[dict[str, str], int, list[float]]:
        replies = dict.fromkeys(talks, "")
        asked = time.perf_counter()
        for job, (key, turns) in enumerate(talks.items()):
            engine.submit(job, ChatRequest(turns=tuple(turns), sampling=sampling, conversation=key))
        names, tokens = list(talks), 0
        first: dict[int, float] = {}
        while engine.busy:
            for job, event in engine.step():
                match event:
                    case TextDelta(text=text):
                        first.setdefault(job, time.perf_counter() - asked)
                        replies[names[job]] += text
                    case Finished(completion_tokens=count):
                        tokens += count
                    case error:
                        raise error
        return replies, tokens, list(first.values())

    return ask


def bare_asker(path: Path, load: Load, threads: int, template: str) -> Ask:
    """Ask a bare `Llama`, one conversation after the other; all of them have asked when the first is answered."""
    from llama_cpp import Llama  # noqa: PLC0415 - after our adapter has set the library up

    with contextlib.redirect_stderr(io.StringIO()):
        llama = Llama(
            model_path=str(path),
            n_ctx=load.context,
            n_batch=512,
            n_threads=threads,
            n_threads_batch=threads,
            chat_format="chatml" if template == "chatml" else None,
            verbose=False,
        )

    drawn = 0
    draw = llama.sample

    def counting(*args: Any, **more: Any) -> int:
        nonlocal drawn
        drawn += 1
        return draw(*args, **more)

    llama.sample = counting

    def one(turns: list[Turn], asked: float) -> tuple[str, int, float | None]:
        nonlocal drawn
        drawn = 0
        messages: Any = [{"role": str(turn.role), "content": turn.text} for turn in turns]
        stream = llama.create_chat_completion(
            messages, temperature=0, repeat_penalty=1.0, max_tokens=load.tokens, stream=True
        )
        text, first, reason = "", None, None
        for part in stream:
            piece = part["choices"][0]["delta"].get("content", "")
            reason = part["choices"][0]["finish_reason"]
            if piece and first is None:
                first = time.perf_counter() - asked
            text += piece
        return text, drawn - (reason == "stop"), first  # the token that ends a turn is not counted

    def ask(talks: dict[str, list[Turn]]) -> tuple[dict[str, str], int, list[float]]:
        asked = time.perf_counter()
        answers = {key: one(turns, asked) for key, turns in talks.items()}
        replies = {key: text for key, (text, _, _) in answers.items()}
        firsts = [first for _, _, first in answers.values() if first is not None]
        return replies, sum(count for _, count, _ in answers.values()), firsts

    return ask


def synthetic(shape: str, folder: Path) -> Path:
    """Make (once) a Q4_K_M model of about so many parameters that repeats itself."""
    from persona.adapters.llama.native import api, native_log  # noqa: PLC0415
    from tests.fakes.tiny_gguf import TinyModel, write_tiny_gguf  # noqa: PLC0415 - needs gguf

    target = folder / f"synthetic-{shape}-q4_k_m.gguf"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"writing {target} ...", file=sys.stderr)
        native_log()
        model = TinyModel(context=4096, script=SCRIPT, endless=True, **SHAPES[shape])
        raw = write_tiny_gguf(folder / "raw.gguf", model)
        part = folder / "quantized.part"
        params = api.llama_model_quantize_default_params()
        params.ftype = 15  # LLAMA_FTYPE_MOSTLY_Q4_K_M
        params.nthread = default_threads(10**9)
        code = api.llama_model_quantize(str(raw).encode(), str(part).encode(), ctypes.byref(params))
        raw.unlink()
        if code != 0:
            raise SystemExit(f"llama.cpp could not quantise the synthetic model (code {code})")
        part.replace(target)
    return target


def spread(values: Sequence[float]) -> str:
    """Return a median with its range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def compare(results: Sequence[Result], conversations: int) -> dict[str, Any]:
    """Return one row of the table: medians of both, and the ratios of the rounds."""
    mine = [r for r in results if r.conversations == conversations and r.contestant == "engine"]
    bare = [r for r in results if r.conversations == conversations and r.contestant == "bare"]
    pairs = list(zip(mine, bare, strict=True))

    def first(result: Result) -> float:
        return statistics.median(result.first_token)

    return {
        "conversations": conversations,
        "bare_tokens_per_second": statistics.median(r.rate for r in bare),
        "engine_tokens_per_second": statistics.median(r.rate for r in mine),
        "speedup": [m.rate / b.rate for m, b in pairs],
        "bare_first_token_s": statistics.median(map(first, bare)),
        "engine_first_token_s": statistics.median(map(first, mine)),
        "first_token_ratio": [first(m) / first(b) for m, b in pairs],
    }


def show(rows: Sequence[dict[str, Any]], title: str) -> None:
    """Print the table."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=title)
    for column in (
        "conversations",
        "bare tok/s",
        "engine tok/s",
        "engine / bare",
        "bare first s",
        "engine first s",
        "engine / bare",
    ):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            str(row["conversations"]),
            f"{row['bare_tokens_per_second']:.1f}",
            f"{row['engine_tokens_per_second']:.1f}",
            spread(row["speedup"]),
            f"{row['bare_first_token_s']:.3f}",
            f"{row['engine_first_token_s']:.3f}",
            spread(row["first_token_ratio"]),
        )
    Console(width=140).print(table)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=REPOSITORY / "persona" / "demo" / "demo.gguf")
    parser.add_argument("--synthetic", choices=sorted(SHAPES), help="a random model of this size instead")
    parser.add_argument("--conversations", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=40, help="longest reply")
    parser.add_argument("--threads", type=int, default=0, help="0: as the engine would choose")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build" / "benchmarks" / "inference.json")
    return parser.parse_args()


def main() -> None:
    """Run the rounds, print the table, write the figures."""
    options = arguments()
    path = synthetic(options.synthetic, REPOSITORY / "build" / "models") if options.synthetic else options.model
    settings = LlamaSettings(path=path, threads=options.threads, slots=max(options.conversations))
    checked = check_model(settings)
    threads = options.threads or default_threads(checked.header.parameters)
    engine = llama_engine_factory(settings, checked)()
    load = Load(turns=options.turns, tokens=options.tokens, context=engine.info.context_tokens)
    askers = {
        "bare": bare_asker(path, load, threads, engine.info.template),
        "engine": engine_asker(engine, load),
    }
    for name, ask in askers.items():
        talk(ask, name, 1, 0, load)  # warms up
    results = [
        talk(askers[name], name, conversations, number, load)
        for number in range(1, options.rounds + 1)
        for conversations in options.conversations
        # Whoever goes first alternates, so that neither always profits from a quiet moment.
        for name in (("bare", "engine") if number % 2 else ("engine", "bare"))
    ]
    rows = [compare(results, conversations) for conversations in options.conversations]
    title = f"{engine.info.name}, {engine.info.parameters / 1e6:.1f} M parameters, {threads} threads"
    engine.close()
    show(rows, f"{title}: median (range) of {options.rounds} rounds")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "model": title,
        "sha256": checked.sha256,
        "machine": platform.platform(),
        "load": asdict(load),
        "rows": rows,
        "rounds": [asdict(result) for result in results],
    }
    options.output.write_text(json.dumps(report, indent=2), encoding="utf-8")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
