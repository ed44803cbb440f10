"""The command line as a whole; each command's own module is loaded only when it runs."""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path

from persona.cli import commands

_EXAMPLES = """\
examples:
  python -m persona                      run it: on Discord when DISCORD_TOKEN is set, else in the terminal
  python -m persona chat                 talk to it in the terminal
  printf 'ann: hi!\\n' | python -m persona --json
  python -m persona import export.json   let it read a server's history
  python -m persona COMMAND --help       how a command works, with an example
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; the parsed arguments carry `run`, a function from arguments to the exit code."""
    parser = argparse.ArgumentParser(
        prog="persona",
        description="A regular for your Discord server that talks like the people on it, on your own machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common(parser)
    commands.add_chat_options(parser, default=False)
    parser.set_defaults(run=_lazily("persona.cli.start"))
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in commands.COMMANDS:
        sub = subparsers.add_parser(
            command.name,
            help=command.summary,
            description=command.summary,
            epilog=command.example,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_common(sub, default=argparse.SUPPRESS)
        command.add_options(sub)
        sub.set_defaults(run=_lazily(command.module))
    return parser


def add_common(parser: argparse.ArgumentParser, default: object = None) -> None:
    """Add the options that every command has (`SUPPRESS` keeps what was given before the command's name)."""
    quiet = default is argparse.SUPPRESS
    parser.add_argument(
        "--config", type=Path, metavar="PATH", default=default, help="settings file (default: ./config.toml if present)"
    )
    parser.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS if quiet else False,
        help="log everything and show tracebacks",
    )


def _lazily(module: str) -> Callable[[argparse.Namespace], int]:
    """Import a command's module when it is run: `--help` needs none of them."""

    def run(arguments: argparse.Namespace) -> int:
        return int(importlib.import_module(module).run(arguments))

    return run
