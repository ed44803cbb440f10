"""`python -m pipelines export`: makes one GGUF file of what was trained."""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from persona.config import load_settings
from persona.errors import EXIT_DONE
from pipelines.train.plan import Method

KINDS = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "IQ4_XS", "Q3_K_M", "Q2_K", "none")

_EPILOG = """example:
  python -m pipelines export runs/server
  python -m pipelines export runs/server --method sft --quantization Q8_0
The file is compared with the trained model (tokens and logits) before it counts: <run>/export/<method>.gguf.
Goes on where it was stopped or killed. Needs the extra `train`."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `python -m pipelines`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "export",
        help="make a GGUF file of a trained run",
        description="Merge what was trained, write it as GGUF, quantise it, and prove that it says the same.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the run folder, or its name under [storage] runs")
    parser.add_argument("--method", choices=list(Method), help="which stage (the last one that was trained)")
    parser.add_argument(
        "--quantization", choices=KINDS, default="Q4_K_M", help="how small: Q8_0 is twice Q4_K_M; none keeps 16 bits"
    )
    parser.add_argument("--name", default="", help="the model's name inside the file (the run's)")
    parser.add_argument("--config", type=Path, metavar="PATH", help="settings (./config.toml)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (all)")
    parser.add_argument("--no-check", action="store_true", help="do not compare with the model: for little memory")
    parser.add_argument("--fresh", action="store_true", help="do it again, even where it is done")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.set_defaults(module="pipelines.commands.export")


def run(arguments: argparse.Namespace) -> int:
    """Export; return 0.

    Raises:
        PersonaError: something is missing, damaged or full, or the file does not say what the model says.
    """
    from pipelines.gguf.exporting import ExportRequest, export  # noqa: PLC0415 - only when it runs

    settings = load_settings(arguments.config)
    folder: Path = arguments.run_folder
    request = ExportRequest(
        run=folder if folder.is_dir() else settings.storage.runs / folder,
        method=Method(arguments.method) if arguments.method else None,
        kind=arguments.quantization,
        threads=arguments.threads,
        fresh=arguments.fresh,
        check=not arguments.no_check,
        name=arguments.name,
    )
    exported = export(request, _shown)
    if arguments.json:
        print(json.dumps({"file": str(exported.file), "skipped": exported.skipped, **exported.record}))
        return EXIT_DONE
    already = ", was there already" if exported.skipped else ""
    print(f"{exported.file}: {exported.record['bytes'] / 1e6:,.1f} MB, {exported.record['kind']}{already}")
    for check in exported.record["checks"]:
        print(
            f"  {check['kind']}: logits {check['error']:.2%} off, divergence {check['divergence']:.4f} nats, the same "
            f"likeliest token in {check['agreement']:.1%} of {check['tokens']} places"
        )
    return EXIT_DONE


@contextlib.contextmanager
def _shown(name: str) -> Iterator[Any]:
    """Show one step as a bar on standard error; steps of unknown length pulse."""
    from rich.console import Console  # noqa: PLC0415 - only who exports draws bars
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - as above

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr)) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
        bars.update(task, completed=1, total=1)
