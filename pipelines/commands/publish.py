"""`python -m pipelines publish`: puts an exported model into the models folder, and into use."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from persona.config import load_settings
from persona.errors import EXIT_DONE, PersonaError
from persona.run_marks import read_mark

PUBLISHED_FILE = "published.json"

_EPILOG = """example:
  python -m pipelines publish runs/server runs/server/export/dpo.gguf
A running bot takes the model over by itself. `persona model list` shows it, `persona model rollback` goes back."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `python -m pipelines`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "publish",
        help="put an exported model into the models folder, and into use",
        description="Put an exported model into the models folder, with whose words are in it, and into use.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the run folder, or its name under [storage] runs")
    parser.add_argument("file", type=Path, metavar="GGUF", help="the exported file")
    parser.add_argument("--model", metavar="NAME", help="what it is called (the run's name and eight digits)")
    parser.add_argument("--no-use", action="store_true", help="put it there, but leave the model in use as it is")
    parser.add_argument("--config", type=Path, metavar="PATH", help="settings (./config.toml)")
    parser.add_argument("--json", action="store_true", help="print the entry as one JSON object")
    parser.set_defaults(module="pipelines.commands.publish")


def run(arguments: argparse.Namespace) -> int:
    """Publish; return 0.

    Raises:
        PersonaError: the file is no model, or somebody in the run was forgotten.
    """
    from persona.adapters.models import Origin, publish  # noqa: PLC0415 - loads llama.cpp
    from pipelines.run import MANIFEST_FILE, file_sha256  # noqa: PLC0415 - only when it runs
    from pipelines.train.files import write_json  # noqa: PLC0415 - as above

    settings = load_settings(arguments.config)
    folder: Path = arguments.run_folder
    if not folder.is_dir():
        folder = settings.storage.runs / folder
    if not (folder / MANIFEST_FILE).is_file():
        raise PersonaError(f"{folder} holds no finished data set", cure="python -m pipelines prepare")
    if read_mark(folder) is not None:
        raise PersonaError(
            f"{folder} holds messages that were forgotten since", cure="make it anew: prepare --fresh, then train"
        )
    if not arguments.file.is_file():
        raise PersonaError(f"there is no file {arguments.file}", cure="python -m pipelines export makes it")
    sha256 = file_sha256(arguments.file)
    entry = publish(
        arguments.file,
        settings.storage.models,
        name=arguments.model or f"{folder.name}-{sha256[:8]}",
        origin=Origin(run=folder, base=_base_name(folder), manifest=file_sha256(folder / MANIFEST_FILE)),
        sha256=sha256,
        use=not arguments.no_use,
    )
    told = {"name": entry.name, "file": entry.file, "sha256": entry.sha256, "in_use": not arguments.no_use}
    write_json(folder / PUBLISHED_FILE, told)
    if arguments.json:
        print(json.dumps(told))
    else:
        used = "" if arguments.no_use else ", and in use: a running bot takes it over within seconds"
        print(f"{entry.name} is published in {settings.storage.models}{used}", file=sys.stdout)
    return EXIT_DONE


def _base_name(folder: Path) -> str:
    """Return what the base model's folder is called; empty where nothing was trained."""
    plan = folder / "train" / "sft" / "plan.json"
    if not plan.is_file():
        return ""
    return Path(str(json.loads(plan.read_text(encoding="utf-8")).get("base", ""))).name
