"""`python -m pipelines canaries`: plants made-up messages in a run's training part, for the audit to find."""

import argparse
from pathlib import Path
from typing import Any

from persona.config import load_settings
from persona.errors import EXIT_DONE, UsageError

_EPILOG = """example:
  python -m pipelines canaries runs/server --times 0,1,10,100
Plant them after `prepare` and before `train`; `evaluate` then says how well the model remembers each of them. They are
made-up codes in a file of their own (sft/train-canaries.jsonl): a model that is to be published needs none."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `python -m pipelines`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "canaries",
        help="plant made-up messages in training, to see what a model remembers",
        description="Plant made-up messages in the training part of a run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the run folder, or its name under [storage] runs")
    parser.add_argument("--times", default="0,1,10,100", metavar="N,N,...", help="how often each is in (0,1,10,100)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed makes the same messages (7)")
    parser.add_argument("--config", type=Path, metavar="PATH", help="settings (./config.toml)")
    parser.set_defaults(module="pipelines.commands.canaries")


def run(arguments: argparse.Namespace) -> int:
    """Plant them; return 0.

    Raises:
        PersonaError: there is no such run, or it has no training part.
    """
    from pipelines.evaluation.canaries import PLANTED_FILE, plant  # noqa: PLC0415 - only when it runs
    from pipelines.evaluation.heldout import read_split  # noqa: PLC0415 - only when it runs

    folder: Path = arguments.run_folder
    if not folder.is_dir():
        folder = load_settings(arguments.config).storage.runs / folder
    try:
        times = [int(each) for each in arguments.times.split(",")]
    except ValueError:
        raise UsageError(f"--times {arguments.times} is no list of numbers such as 0,1,10,100") from None
    if min(times) < 0:
        raise UsageError("--times holds a negative number")
    planted = plant(folder, read_split(folder, "train", brief=True), times, seed=arguments.seed)
    for canary in planted:
        print(f"{canary.times} times: {canary.text}")
    print(f"planted in {folder / PLANTED_FILE}; train on it, then evaluate")
    return EXIT_DONE
