"""`python -m pipelines sample`: the model's own replies to the prompts of liked ones, for pairs."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from persona.config import load_settings
from persona.errors import EXIT_DONE

_EPILOG = """example:
  python -m pipelines sample runs/server --model models/server-sft.gguf
Reads preferences/liked.jsonl of the run, writes preferences/replies.jsonl and dpo/*.jsonl. Goes on where it was
stopped; another model, seed or temperature starts anew."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `python -m pipelines`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "sample",
        help="let a model answer the prompts of liked replies, and make pairs for DPO",
        description="Let a model answer the prompts of liked replies: what people wrote is chosen, its own rejected.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the run folder, or its name under [storage] runs")
    parser.add_argument("--model", type=Path, required=True, metavar="GGUF", help="the model that answers")
    parser.add_argument("--config", type=Path, metavar="PATH", help="settings (./config.toml)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed draws the same replies (7)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is the likeliest word every time (0.8)")
    parser.add_argument("--max-tokens", type=int, default=160, metavar="N", help="longest reply (160)")
    parser.add_argument("--slots", type=int, default=4, metavar="N", help="replies written at a time (4)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (all cores but one)")
    parser.add_argument("--gpu-layers", type=int, default=0, metavar="N", help="layers on the GPU; -1 is all (0)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.set_defaults(module="pipelines.commands.sample")


def run(arguments: argparse.Namespace) -> int:
    """Sample and pair; return the exit code.

    Raises:
        PersonaError: something is missing or damaged; names it and the cure.
    """
    import structlog  # noqa: PLC0415 - only when it runs
    from rich.console import Console  # noqa: PLC0415 - only to print
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    from persona.adapters.llama import LlamaSettings, check_model, llama_engine_factory  # noqa: PLC0415 - heavy
    from persona.ports import Sampling  # noqa: PLC0415 - only when it runs
    from pipelines.preferences.sampling import prompts_of, sample  # noqa: PLC0415 - only when it runs

    # What this prints is for programs to read: the log goes elsewhere, and only what matters.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    folder: Path = arguments.run_folder
    if not folder.is_dir():
        folder = load_settings(arguments.config).storage.runs / folder
    total = prompts_of(folder)
    settings = LlamaSettings(
        path=arguments.model, slots=arguments.slots, threads=arguments.threads, gpu_layers=arguments.gpu_layers
    )
    engine = llama_engine_factory(settings, check_model(settings))()
    columns = (TextColumn("writing replies"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = Console(file=sys.stderr)
    try:
        with Progress(*columns, console=screen, disable=not sys.stderr.isatty(), transient=True) as progress:
            task = progress.add_task("", total=total)
            sampled = sample(
                folder,
                engine,
                sampling=Sampling(temperature=arguments.temperature, max_tokens=arguments.max_tokens),
                seed=arguments.seed,
                slots=arguments.slots,
                advanced=lambda number: progress.advance(task, number),
                resumed=lambda number: progress.update(task, completed=number),
            )
    finally:
        engine.close()
    if arguments.json:
        fields = {name: getattr(sampled, name) for name in ("prompts", "before", "written", "refused", "pairs")}
        print(json.dumps(fields))
    else:
        pairs = ", ".join(f"{number} {split}" for split, number in sampled.pairs.items())
        print(
            f"{sampled.prompts} prompts: {sampled.before} replies were there, {sampled.written} written"
            f" ({sampled.refused} prompts too long); pairs: {pairs}"
        )
    return EXIT_DONE
