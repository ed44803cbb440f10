"""`python -m pipelines evaluate`: does a model sound like the people of this server?"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persona.config import load_settings
from persona.errors import EXIT_DONE, EXIT_FAILED, UsageError

if TYPE_CHECKING:
    from pipelines.evaluation.running import Evaluated, Options

_EPILOG = """examples:
  python -m pipelines evaluate models/server.gguf --run runs/server --base models/qwen2.5-3b.gguf
  python -m pipelines evaluate models/new.gguf --gate
  python -m pipelines evaluate --checkpoints runs/server
Needs the extras `evaluate` and `prepare`. Goes on where it was stopped. Writes report.html and report.json. With
--gate the exit code is 1 when the model is worse than the published one beyond noise."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `python -m pipelines`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "evaluate",
        help="measure whether a model sounds like the people here",
        description="Let a model answer held-out contexts through the live engine, and measure it beside people.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="the GGUF file")
    parser.add_argument("--against", type=Path, metavar="GGUF", help="another model, compared draw by draw")
    parser.add_argument("--base", type=Path, metavar="GGUF", help="the untrained model, told the style of the server")
    parser.add_argument("--run", type=Path, dest="run_folder", metavar="RUN", help="run folder, or its name")
    parser.add_argument("--checkpoints", type=Path, metavar="RUN", help="instead of MODEL: rank a run's checkpoints")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="held-out part (test)")
    parser.add_argument("--contexts", type=_number(1), default=100, metavar="N", help="places to answer in (100)")
    parser.add_argument("--samples", type=_number(1), default=3, metavar="K", help="replies to each (3)")
    parser.add_argument("--ranked", type=_number(0), default=40, metavar="N", help="contexts ranked by likelihood (40)")
    parser.add_argument("--draws", type=_number(100), default=1000, metavar="N", help="draws for the intervals (1000)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same report (7)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the report goes (RUN/evaluation/MODEL)")
    parser.add_argument("--config", type=Path, metavar="PATH", help="settings (./config.toml)")
    parser.add_argument("--gate", action="store_true", help="fail when it is worse than the published model")
    parser.add_argument("--letters", action="store_true", help="vectors of letters, even where a model is at hand")
    parser.add_argument("--blindtest", type=Path, metavar="FILE", help="a blind test's score (blindtest score --json)")
    parser.add_argument("--slots", type=_number(1), default=4, metavar="N", help="replies written at a time (4)")
    parser.add_argument("--threads", type=_number(0), default=0, metavar="N", help="CPU threads (all cores but one)")
    parser.add_argument("--gpu-layers", type=int, default=0, metavar="N", help="layers on the GPU; -1 is all (0)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.set_defaults(module="pipelines.commands.evaluate")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; return 0, or 1 when the gate is shut.

    Raises:
        PersonaError: something is missing, damaged or too little; names it and the cure.
    """
    from pipelines.evaluation.progress import quiet, watching  # noqa: PLC0415 - only when it runs
    from pipelines.evaluation.running import evaluate  # noqa: PLC0415 - heavy

    if (arguments.model is None) == (arguments.checkpoints is None):
        raise UsageError("evaluate wants either MODEL or --checkpoints RUN")
    quiet()
    settings = load_settings(arguments.config)
    with watching(sys.stderr) as watcher:
        if arguments.checkpoints is not None:
            from pipelines.evaluation.checkpoints import rank_checkpoints  # noqa: PLC0415 - as above

            ranked = rank_checkpoints(arguments.checkpoints, options_of(arguments, Path()), settings, watcher)
        else:
            evaluated = evaluate(options_of(arguments, arguments.model), settings, watcher)
    if arguments.checkpoints is not None:
        from pipelines.evaluation.checkpoints import print_ranking  # noqa: PLC0415 - as above

        print_ranking(ranked, as_json=arguments.json)
        return EXIT_DONE
    return _told(evaluated, as_json=arguments.json)


def options_of(arguments: argparse.Namespace, model: Path) -> "Options":
    """Return the options of a parsed command line."""
    from pipelines.evaluation.running import Options  # noqa: PLC0415 - heavy

    return Options(
        model=model,
        against=arguments.against,
        base=arguments.base,
        run=arguments.run_folder,
        split=arguments.split,
        contexts=arguments.contexts,
        samples=arguments.samples,
        ranked=arguments.ranked,
        seed=arguments.seed,
        draws=arguments.draws,
        output=arguments.output,
        slots=arguments.slots,
        threads=arguments.threads,
        gpu_layers=arguments.gpu_layers,
        gate=arguments.gate,
        letters=arguments.letters,
        blindtest=arguments.blindtest,
    )


def _told(evaluated: "Evaluated", *, as_json: bool) -> int:
    from rich.console import Console  # noqa: PLC0415 - only to print

    from pipelines.evaluation.report import show  # noqa: PLC0415 - only to print

    if as_json:
        print(json.dumps({"folder": str(evaluated.folder), **evaluated.outcome}, ensure_ascii=False))
    else:
        console = Console()
        show(evaluated.outcome, console)
        console.print(f"report: {evaluated.folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
    for one in evaluated.worse:
        print(
            f"gate: worse than {evaluated.published} in {one.measure.name} by {one.loss}, beyond noise",
            file=sys.stderr,
        )
    return EXIT_FAILED if evaluated.worse else EXIT_DONE


def _number(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return number
