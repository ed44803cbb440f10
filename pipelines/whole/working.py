"""Does the steps of a course, each as a process of its own, and says how it went."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from persona.errors import PersonaError, UsageError
from persona.run_marks import read_mark
from pipelines.commands.publish import PUBLISHED_FILE
from pipelines.whole.journal import Journal, Step
from pipelines.whole.process import run_process
from pipelines.whole.steps import NAMES, Course, preference_method, why_none


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Does steps of a course; `held` is what `locked` yielded, `stream` is told what happens."""

    course: Course
    held: int
    stream: TextIO

    def do(self, step: Step, more: Sequence[str]) -> None:
        """Do a step.

        Raises:
            PersonaError: it failed, a signal came, or somebody in the run was forgotten meanwhile.
        """
        run = self.course.run
        if step.name != "prepare" and read_mark(run) is not None:
            raise PersonaError(f"{run} holds messages that were forgotten since", cure="the same with --from prepare")
        run_process(step.name, [*step.command, *more], self.held)

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=self.stream, flush=True)


def steps_from(name: str | None) -> tuple[str, ...]:
    """Return a step and all that follow it; () for None.

    Raises:
        UsageError: there is no such step.
    """
    if name is None:
        return ()
    if name not in NAMES:
        raise UsageError(f"there is no step {name!r}", cure=f"one of {', '.join(NAMES)}")
    return NAMES[NAMES.index(name) :]


def summary(course: Course, journal: Journal) -> str:
    """Return what there is now, for the terminal."""
    seconds = journal.seconds()
    lines = [f"{name}: {_duration(seconds[name])}" for name in NAMES if name in seconds]
    if preference_method(course.run, course.training) is None:
        lines.append(f"nothing was trained on preferences: {why_none(course.run, course.training)}")
    published = published_as(course.run)
    ending = f"; published as {published['name']}" if published and course.publish else ""
    return "\n".join([*lines, f"everything is in {course.run}{ending}"])


def published_as(run: Path) -> Mapping[str, Any] | None:
    """Return what `publish` wrote down: name, file, sha256, in_use; None when nothing of the run was published."""
    file = run / PUBLISHED_FILE
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
