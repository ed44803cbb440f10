"""What is seen while a model trains: a bar with loss, speed, time left and GPU memory, or a line now and then."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

_LINE_EVERY_SECONDS = 30.0
_SMOOTHING = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One step: its number, the loss, GPU memory at its highest in GiB (None without a card), the reward margin."""

    step: int
    loss: float | None = None
    gpu_gib: float | None = None
    margin: float | None = None


class TrainingScreen:
    """Shows moments on a terminal as a bar, elsewhere as lines; measures speed from `clock` (seconds)."""

    def __init__(self, stream: TextIO, *, name: str, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._name, self._steps, self._clock = stream, name, steps, clock
        self._rate: float | None = None
        self._before: tuple[float, int] | None = None
        self._spoke = clock()
        self._live = stream.isatty()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._progress = Progress(*columns, console=Console(file=stream), disable=not self._live)
        self._task: TaskID = self._progress.add_task(name, total=steps, note="")

    def start(self, step: int) -> None:
        """Begin at a step: 0, or where a checkpoint goes on."""
        self._before = (self._clock(), step)
        self._progress.start()
        self._progress.update(self._task, completed=step)
        if not self._live:
            begun = f"going on after step {step}" if step else "begins"
            print(f"{self._name}: {begun}, {self._steps} steps", file=self._stream, flush=True)

    def show(self, moment: Moment) -> None:
        """Show a step."""
        now = self._clock()
        if self._before is not None and moment.step > self._before[1]:
            rate = (moment.step - self._before[1]) / max(1e-9, now - self._before[0])
            self._rate = rate if self._rate is None else _SMOOTHING * self._rate + (1 - _SMOOTHING) * rate
            self._before = (now, moment.step)
        note = self.describe(moment)
        self._progress.update(self._task, completed=moment.step, note=note)
        if not self._live and (now - self._spoke >= _LINE_EVERY_SECONDS or moment.step >= self._steps):
            self._spoke = now
            print(f"{self._name}: step {moment.step}/{self._steps}  {note}", file=self._stream, flush=True)

    def describe(self, moment: Moment) -> str:
        """Return the figures of a step in one line."""
        parts = [] if moment.loss is None else [f"loss {moment.loss:.3f}"]
        if moment.margin is not None:
            parts.append(f"margin {moment.margin:+.3f}")
        if self._rate:
            parts.append(f"{self._rate:.2f} steps/s")
            parts.append(f"{duration((self._steps - moment.step) / self._rate)} left")
        if moment.gpu_gib is not None:
            parts.append(f"GPU {moment.gpu_gib:.1f} GiB")
        return "  ".join(parts)

    @property
    def rate(self) -> float | None:
        """Steps a second, smoothed; None before the second step."""
        return self._rate

    def close(self) -> None:
        """Leave the bar as it is; safe to call twice."""
        self._progress.stop()


def duration(seconds: float) -> str:
    """Say a time as a person would: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 100:  # noqa: PLR2004 - up to here seconds read best
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004 - as above
