"""`python -m pipelines train`: fine-tunes the base model on a run folder."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from persona.config import load_settings
from persona.config_tables import TrainingSection
from persona.errors import EXIT_DONE, EXIT_INTERRUPTED
from pipelines.train.plan import Method

_EPILOG = """example:
  python -m pipelines train runs/server --method all
Goes on where it was stopped or killed, with the same result. Needs the extra `train` (and `unsloth` for that backend).
Everything else is set under [training] in config.toml."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `python -m pipelines`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "train",
        help="fine-tune a model on a run folder",
        description="Fine-tune the base model on what `prepare` wrote: SFT, then preferences.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the run folder, or its name under [storage] runs")
    parser.add_argument("--method", choices=[*Method, "all"], default="all", help="what to train (all)")
    parser.add_argument("--config", type=Path, metavar="PATH", help="settings (./config.toml)")
    parser.add_argument("--backend", choices=["unsloth", "hf-qlora", "hf-cpu"], help="instead of [training] backend")
    parser.add_argument("--preset", choices=["8gb", "12gb", "24gb", "cpu"], help="instead of [training] preset")
    parser.add_argument("--base", metavar="MODEL", help="instead of [training] base")
    parser.add_argument("--max-examples", type=int, metavar="N", help="instead of [training] max_examples")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (as torch chooses)")
    parser.add_argument("--fresh", action="store_true", help="throw away what these stages have done before")
    parser.add_argument("--pull", action="store_true", help="download the base model if it is not here")
    parser.add_argument("--dry-run", action="store_true", help="say what it would do and take, then end")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.set_defaults(module="pipelines.commands.train")


def run(arguments: argparse.Namespace) -> int:
    """Train; return the exit code, that of an interruption when a signal stopped it.

    Raises:
        PersonaError: something is missing, does not fit, or failed.
    """
    from pipelines.train.running import Request, encode_report, is_worker, train  # noqa: PLC0415 - only when it runs

    settings = load_settings(arguments.config)
    folder: Path = arguments.run_folder
    request = Request(
        run=folder if folder.is_dir() else settings.storage.runs / folder,
        method=arguments.method,
        settings=_overridden(settings.training, arguments),
        fresh=arguments.fresh,
        pull=arguments.pull,
        dry=arguments.dry_run,
        threads=arguments.threads,
        launch=lambda method: _command(arguments, method),
    )
    reports = train(request, stream=sys.stderr)
    if is_worker():
        return EXIT_DONE
    if arguments.json:
        print(encode_report(reports))
    else:
        for report in reports:
            loss = "" if report.loss is None else f", loss {report.loss:.3f}"
            print(f"{report.method}: {report.steps} steps{loss}  {report.folder}")
    return EXIT_INTERRUPTED if any(report.interrupted for report in reports) else EXIT_DONE


def _overridden(section: TrainingSection, arguments: argparse.Namespace) -> TrainingSection:
    """Put the options over the settings, checked as the settings are."""
    names = ("backend", "preset", "base", "max_examples")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    return TrainingSection.model_validate({**section.model_dump(), **given})


def _command(arguments: argparse.Namespace, method: Method) -> Sequence[str]:
    """Return the command that trains one method, for a process of its own on each GPU."""
    command = ["pipelines", "train", str(arguments.run_folder), "--method", method]
    for name in ("config", "backend", "preset", "base", "max_examples", "threads"):
        value = getattr(arguments, name)
        if value:
            command += [f"--{name.replace('_', '-')}", str(value)]
    return command
