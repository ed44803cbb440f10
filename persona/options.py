"""What a run is started with, beside the settings: the terminal, the folder, the engine."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from persona.ports import ChatEngine

EngineFactory = Callable[[], ChatEngine]
"""Loads the language model; called on the thread that will own it."""

EngineWrapper = Callable[[EngineFactory], EngineFactory]
"""Puts something around the language model; tests make it fail this way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalOptions:
    """How the terminal is used: `as_json` for programs, else for people."""

    stdin: IO[str] = field(default_factory=lambda: sys.stdin)
    stdout: IO[str] = field(default_factory=lambda: sys.stdout)
    as_json: bool = False
    debug: bool = False

    @property
    def interactive(self) -> bool:
        """Whether a person sits at both ends."""
        return self.stdin.isatty() and self.stdout.isatty()


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where this run keeps its things; `demo` when that is the built-in demo's own folder."""

    database: Path
    memory: Path
    demo: bool = False
