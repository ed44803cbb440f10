"""What commands there are, with their options: light enough to load for every `--help`."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from persona.cli.consent_options import add_consent_options, add_forget_options


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
    parser.add_argument(
        "--own",
        metavar="NOTE",
        help="these did not come through Discord's API: people exported them themselves, or they are free to use; NOTE "
        "says whose they are and where that can be found",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def _ingest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print what came of it as one JSON object")


def _unit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", action="store_true", help="a unit for `systemctl --user`, no root needed")


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=["list", "use", "rollback", "remove", "pull", "check"],
        help="list: show the models; use: let the persona speak with another one; rollback: with the one before; "
        "remove: delete one; pull: download one; check: verify the one that would run",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="use, remove: which model")
    parser.add_argument("--json", action="store_true", help="list, use, rollback: print JSON")
    parser.add_argument("--repo", metavar="OWNER/NAME", help="Hugging Face repo (default: [model] repo)")
    parser.add_argument("--file", metavar="NAME", help="GGUF file in that repo (default: [model] file)")
    parser.add_argument(
        "--embedding",
        metavar="MODEL",
        nargs="?",
        const="",
        help="fetch the model that searches the memory by meaning (default: [memory] embedding) instead",
    )


def _memory_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["rebuild", "stats", "search"], help="what to do with the search index")
    parser.add_argument("text", nargs="*", help="search: what to look for")
    parser.add_argument("--channel", metavar="NAME", help="search: only this channel (name or id)")
    parser.add_argument("--limit", type=int, default=10, metavar="N", help="search: so many matches (default: 10)")
    parser.add_argument("--why", action="store_true", help="search: show what each stage of the search thought")
    parser.add_argument("--go-on", action="store_true", help="rebuild: go on where an earlier one was interrupted")
    parser.add_argument("--json", action="store_true", help="print JSON")


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
        summary="Read DiscordChatExporter files (.json, .json.gz), Discord data packages, JSONL, or folders of them.",
        example="example:\n  python -m persona import exports/\nExit code 0 when anything could be read; bad "
        "records are counted and named.",
        add_options=_import_options,
    ),
    Command(
        name="ingest",
        module="persona.cli.ingest",
        summary="Read what is new in the allowed Discord channels, once, then exit (for cron).",
        example="example:\n  DISCORD_TOKEN=... python -m persona ingest\nExit code 1 when a channel could not be "
        "read; running it again goes on where it stopped.",
        add_options=_ingest_options,
    ),
    Command(
        name="consent",
        module="persona.cli.consent",
        summary="The ledger of who agreed to what: list, show, record, export, import, export-person.",
        example="example:\n  python -m persona consent list\n  python -m persona consent record 81384788765712384 "
        "--scope train --choice yes --note 'said so in #general, 3 May'\n"
        "  python -m persona consent record --permission 'Discord, ticket 1234, 2 May'\n"
        "  python -m persona consent export-person ann ann.json",
        add_options=add_consent_options,
    ),
    Command(
        name="forget",
        module="persona.cli.forget",
        summary="Remove everything a person said, or single messages, for good. Not while the persona runs.",
        example="example:\n  python -m persona forget 81384788765712384\n"
        "  python -m persona forget --message 1105182650912358400 --yes",
        add_options=add_forget_options,
    ),
    Command(
        name="memory",
        module="persona.cli.memory",
        summary="Rebuild the search index, look at it, or search it. Not while the persona runs.",
        example="example:\n  python -m persona memory stats\n"
        "  python -m persona memory search 'summer holidays' --channel general --why\n"
        "  python -m persona memory rebuild",
        add_options=_memory_options,
    ),
    Command(
        name="model",
        module="persona.cli.model",
        summary="Show, choose, download or check language models. A running persona follows the choice.",
        example="example:\n  python -m persona model list\n  python -m persona model use server-2\n"
        "  python -m persona model rollback\n  python -m persona model pull\n"
        "  python -m persona model pull --embedding\n"
        "  python -m persona model check",
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
