"""What commands there are, with their options: light enough to load for every `--help`."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command: its module has a `run(arguments) -> exit code`."""

    name: str
    module: str
    summary: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]


def add_chat_options(parser: argparse.ArgumentParser, default: object = argparse.SUPPRESS) -> None:
    """Options of the conversation in the terminal; a command keeps what was given before its name."""
    parser.add_argument("--json", action="store_true", default=default, help="print one JSON object for each reply")


def _import_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files or folders to read")
    parser.add_argument("--no-allow", action="store_true", help="keep the channels off the allow-list")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def _unit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", action="store_true", help="a unit for `systemctl --user`, no root needed")


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["pull", "check"], help="pull: download it; check: verify what is configured")
    parser.add_argument("--repo", metavar="OWNER/NAME", help="Hugging Face repo (default: [model] repo)")
    parser.add_argument("--file", metavar="NAME", help="GGUF file in that repo (default: [model] file)")


COMMANDS: tuple[Command, ...] = (
    Command(
        name="chat",
        module="persona.cli.chat",
        summary="Talk to the persona in the terminal with whatever model is configured.",
        example="example:\n  python -m persona chat\n  printf 'ann: hi!\\n' | python -m persona chat --json",
        add_options=add_chat_options,
    ),
    Command(
        name="import",
        module="persona.cli.import_",
        summary="Read DiscordChatExporter files (.json, .json.gz), JSONL, or folders of them.",
        example="example:\n  python -m persona import exports/\nExit code 0 when anything could be read; bad "
        "records are counted and named.",
        add_options=_import_options,
    ),
    Command(
        name="model",
        module="persona.cli.model",
        summary="Download a real language model, or check the configured one.",
        example="example:\n  python -m persona model pull\n  python -m persona model check",
        add_options=_model_options,
    ),
    Command(
        name="unit",
        module="persona.cli.unit",
        summary="Print a hardened systemd unit for this installation.",
        example="example:\n  python -m persona unit | sudo tee /etc/systemd/system/persona.service",
        add_options=_unit_options,
    ),
)
