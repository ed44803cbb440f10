"""Publishes a model and is killed at every step in turn; after each death it says what the others find.

Called with SOURCE RUN MODELS; prints one JSON object a line. Every call of the operating system that names a file is a
step: the kernel's SIGKILL comes right before it.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from persona.adapters.models import ModelRegistry, Origin, publish

_STEPS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate", "fcntl.flock", "tempfile.mkstemp"}


def _publish(source: Path, run: Path, models: Path) -> None:
    publish(source, models, name="new", origin=Origin(run=run, base="qwen", manifest="m" * 64), use=True)


def _in_child(source: Path, run: Path, models: Path, *, die_at: int) -> int:
    child = os.fork()
    if not child:
        steps = 0

        def hook(event: str, _: object) -> None:
            nonlocal steps
            if event in _STEPS:
                steps += 1
                if steps == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        _publish(source, run, models)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _found(models: Path) -> dict[str, object]:
    """Say what is there: the list, and whether every model in it is whole and has its lineage."""
    registry = ModelRegistry(models)
    known = registry.read()
    whole = all(
        hashlib.sha256(registry.path_of(entry).read_bytes()).hexdigest() == entry.sha256
        and registry.path_of(entry).with_name(entry.lineage_file).is_file()
        for entry in known.models
        if entry.run
    )
    files = sorted(path.name for path in models.iterdir() if not path.name.startswith(".")) if models.is_dir() else []
    hidden = [path.name for path in models.glob(".*") if path.name.endswith((".publishing", ".new"))]
    return {
        "models": [entry.name for entry in known.models],
        "current": known.current,
        "whole": whole,
        "files": files,
        "hidden": hidden,
    }


def main() -> None:
    """Kill it once at every step, each time in a copy of the folder as it was."""
    source, run, before = map(Path, sys.argv[1:4])
    models = before.with_name("working")
    die_at, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        die_at += 1
        shutil.rmtree(models, ignore_errors=True)
        if before.exists():
            shutil.copytree(before, models)
        code = _in_child(source, run, models, die_at=die_at)
        after = _found(models)
        again = _in_child(source, run, models, die_at=0)
        told = {"code": code, "after": after, "again": again, "then": _found(models)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
