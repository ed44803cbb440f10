"""`python -m pipelines prepare`: makes a data set of the stored messages."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from persona.config import Settings, load_settings
from persona.errors import EXIT_DONE

_EPILOG = """example:
  python -m pipelines prepare --name server --tokenizer models/Qwen2.5-3B-Instruct
Reads the database, writes runs/NAME: sft/, kto/, preferences/, manifest.json, report.html. Goes on where it was
interrupted. Content that came through Discord's API needs a recorded permission (persona consent record --permission),
and only people who agreed to training are learned from. Needs the extra `prepare`."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `python -m pipelines`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "prepare",
        help="make a data set of the stored messages",
        description="Make a data set: consent, conversations, cleaning, balancing, splits, preferences, report.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("--pull", action="store_true", help="download the base model if it is not here")
    parser.add_argument("--fresh", action="store_true", help="throw away what this run has done before")
    parser.add_argument("--quiet", action="store_true", help="only say where the report is")
    parser.add_argument("--json", action="store_true", help="print the manifest as one JSON object")
    parser.set_defaults(module="pipelines.commands.prepare")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what data set it is to be."""
    parser.add_argument("--name", default="server", metavar="NAME", help="the run: a folder under [storage] runs")
    parser.add_argument("--config", type=Path, metavar="PATH", help="settings (./config.toml)")
    parser.add_argument(
        "--tokenizer", type=Path, metavar="PATH", help="GGUF, tokenizer.json or model folder ([training] base)"
    )
    parser.add_argument("--base", metavar="MODEL", help="instead of [training] base: what will be trained")
    parser.add_argument(
        "--tokens", type=_number(32), metavar="N", help="longest prompt and reply ([training] sft_tokens)"
    )
    parser.add_argument("--cap", type=_share, default=0.12, help="the largest share of one person (0.12)")
    parser.add_argument(
        "--max-examples", type=_number(0), default=0, metavar="N", help="so many examples at most (all)"
    )
    parser.add_argument("--copies", type=_number(0), default=3, help="near-verbatim copies that are learned (3)")
    parser.add_argument("--seed", type=_number(0), help="draws who is taken where there is too much ([training] seed)")
    parser.add_argument("--own-only", action="store_true", help="only what people exported themselves")
    parser.add_argument("--regions", default="US,GB,DE", help="countries whose phone numbers are looked for (US,GB,DE)")


def options_given(arguments: argparse.Namespace) -> list[str]:
    """Return these options as they would be written."""
    words = [f"--name={arguments.name}", f"--cap={arguments.cap}", f"--copies={arguments.copies}"]
    words += [f"--regions={arguments.regions}", f"--max-examples={arguments.max_examples}"]
    for name in ("config", "base", "tokenizer", "tokens", "seed"):
        value = getattr(arguments, name)
        if value is not None:
            words.append(f"--{name}={value}")
    return words + ["--own-only"] * arguments.own_only


def run(arguments: argparse.Namespace) -> int:
    """Prepare; return 0.

    Raises:
        PersonaError: consent does not allow it, something is missing or cannot be read.
    """
    from pipelines.dataset.plan import PreparePlan  # noqa: PLC0415 - only when it runs
    from pipelines.dataset.preparing import Preparer  # noqa: PLC0415 - as above
    from pipelines.dataset.screen import Screen, print_report  # noqa: PLC0415 - as above
    from pipelines.dataset.tokens import open_tokens  # noqa: PLC0415 - as above

    settings = load_settings(arguments.config)
    plan = PreparePlan(
        persona_name=settings.persona.name or "Persona",
        server=settings.persona.server,
        tokens=arguments.tokens or settings.training.sft_tokens,
        window=settings.reply.window_messages,
        cap=arguments.cap,
        seed=settings.training.seed if arguments.seed is None else arguments.seed,
        most=arguments.max_examples,
        copies=arguments.copies,
        own_only=arguments.own_only,
        regions=tuple(region.strip().upper() for region in arguments.regions.split(",") if region.strip()),
    )
    with Screen(sys.stderr) as screen:
        preparer = Preparer(
            database=settings.storage.database,
            folder=settings.storage.runs / arguments.name,
            plan=plan,
            tokens=open_tokens(arguments.tokenizer or _base(arguments, settings)),
            watcher=screen,
        )
        prepared = preparer.prepare(fresh=arguments.fresh)
    if arguments.json:
        print(json.dumps({"folder": str(prepared.folder), **prepared.manifest}, ensure_ascii=False))
    elif arguments.quiet:
        print(f"{sum(prepared.manifest['counts']['splits'].values()):,} examples; {prepared.folder / 'report.html'}")
    else:
        print_report(prepared)
    return EXIT_DONE


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share above 0 and up to 1")
    return share


def _number(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return number


def _base(arguments: argparse.Namespace, settings: Settings) -> Path:
    """Return the folder of the model that will be trained: its tokenizer counts."""
    from pipelines.train.base_model import resolve_base  # noqa: PLC0415 - only when it runs

    return resolve_base(arguments.base or settings.training.base, pull=arguments.pull)
