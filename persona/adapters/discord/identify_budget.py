"""Spends the day's allowance of new Discord sessions with care, also across restarts of the process."""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time

import structlog

log = structlog.get_logger(__name__)

DAY_SECONDS = 86_400.0
IDENTIFIES_PER_DAY = 900
"""Discord allows 1,000 a day (resumed sessions are free) and resets the token of a bot that needs more."""


def seconds_to_wait(past: Sequence[float], now: float, *, per_day: int = IDENTIFIES_PER_DAY) -> float:
    """Return how long to wait before the next new session.

    The first half of the allowance may be used at any pace, the second half evenly over a day: a crash loop slows down
    long before the allowance is gone, and never more than `per_day` sessions fall into any 24 hours.

    Args:
        past: when sessions were begun, seconds since 1970, in any order.
        now: the time, likewise.
        per_day: the allowance, 2 or more.
    """
    recent = sorted(moment for moment in past if now - DAY_SECONDS < moment <= now)
    if len(recent) < per_day // 2:
        return 0.0
    spacing = DAY_SECONDS / (per_day - per_day // 2)
    return max(0.0, recent[-1] + spacing - now)


class IdentifyBudget:
    """Remembers in a small file when sessions were begun; one that cannot be read or written costs only the memory."""

    def __init__(self, file: Path, *, per_day: int = IDENTIFIES_PER_DAY, now: Callable[[], float] = time) -> None:
        self._file = file
        self._per_day = per_day
        self._now = now
        self._past = self._read()

    async def spend(self) -> None:
        """Wait until a new session may be begun and write it down."""
        wait = seconds_to_wait(self._past, self._now(), per_day=self._per_day)
        if wait:
            log.warning("discord_session_delayed", seconds=round(wait), begun_today=len(self._past))
            await asyncio.sleep(wait)
        now = self._now()
        self._past = [moment for moment in self._past if now - DAY_SECONDS < moment <= now] + [now]
        self._write()

    def _read(self) -> list[float]:
        try:
            moments = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        known = moments if isinstance(moments, list) else []
        return [float(moment) for moment in known if isinstance(moment, int | float)]

    def _write(self) -> None:
        temporary = self._file.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(self._past), encoding="utf-8")
            os.replace(temporary, self._file)  # noqa: PTH105 - atomic on every system
        except OSError as error:
            log.warning("discord_sessions_not_noted", error=str(error))
