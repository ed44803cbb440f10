"""`persona unit`: prints a systemd unit for this installation, shut off from everything the bot does not need."""

import argparse
import grp
import pwd
import sys
from pathlib import Path

from persona.cli.unit_text import Installation, outermost, render
from persona.config import DEFAULT_FILE, Settings, load_settings
from persona.errors import EXIT_DONE, ConfigError


def run(arguments: argparse.Namespace) -> int:
    """Print the unit; return the exit code.

    Raises:
        ConfigError: a setting is wrong, or a path cannot be written into a unit file.
    """
    installation = inspect(load_settings(arguments.config), arguments.config)
    for path in (installation.python, installation.folder, *installation.reads, *installation.writes):
        if not str(path).isprintable():
            raise ConfigError(f"{path!r} cannot be written into a unit file", cure="rename it")
    print(render(installation, user=arguments.user), end="")
    return EXIT_DONE


def inspect(settings: Settings, config: Path | None) -> Installation:
    """Find out what this installation consists of."""
    chosen = (config or Path(DEFAULT_FILE)).absolute()
    storage = settings.storage
    folder = chosen.parent
    reads = [Path(sys.prefix), Path(sys.base_prefix), _project(), chosen, storage.models]
    reads += [Path(path) for path in (settings.model.path, settings.memory.embedding_path) if path]
    owner = (folder if folder.exists() else Path(sys.prefix)).stat()
    return Installation(
        python=Path(sys.executable),
        folder=folder,
        config=chosen if chosen.exists() else None,
        # A path may lead through symlinks, as those of Pythons that uv manages do: both ends have to be there.
        reads=outermost(each for path in reads if path.exists() for each in (path, path.resolve())),
        writes=outermost((storage.database.parent, storage.memory.parent, storage.runs, settings.log.file.parent)),
        owner=_user_name(owner.st_uid),
        group=_group_name(owner.st_gid),
        gpu=settings.model.gpu_layers != 0,
        drain_seconds=settings.supervision.drain_seconds,
        state={
            "PERSONA_STORAGE_DATABASE": f"%S/persona/{storage.database.name}",
            "PERSONA_STORAGE_MEMORY": f"%S/persona/{storage.memory.name}",
            "PERSONA_STORAGE_RUNS": f"%S/persona/{storage.runs.name}",
            "PERSONA_STORAGE_QUIZ": f"%S/persona/{storage.quiz.name}",
            "PERSONA_LOG_FILE": f"%S/persona/logs/{settings.log.file.name}",
        },
    )


def _project() -> Path:
    """Return the folder that the program itself is imported from."""
    return Path(__file__).resolve().parents[2]


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a number without a name, as in containers; systemd takes numbers, too
        return str(number)


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
