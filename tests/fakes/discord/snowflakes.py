"""Discord's ids, which say when something was made and grow with time, and its way to write moments."""

import time
from datetime import UTC, datetime

EPOCH_MS = 1_420_070_400_000
_SEQUENCE = 1 << 12
_LOW = 1 << 22


class Snowflakes:
    """A source of ids; those of now only ever grow, however many are made in one millisecond."""

    def __init__(self) -> None:
        self._last = 0
        self._past = 0

    def new(self, moment: datetime | None = None) -> int:
        """Return a fresh id, of now or of a moment in the past."""
        if moment is None:
            now = (int(time.time() * 1000) - EPOCH_MS) << 22
            self._last = max(self._last + 1, now)
            if self._last % _LOW >= _SEQUENCE:  # the rest of the low bits names a worker, which is always 0 here
                self._last = ((self._last >> 22) + 1) << 22
            return self._last
        self._past = (self._past + 1) % _LOW
        return (int(moment.timestamp() * 1000) - EPOCH_MS) << 22 | self._past


def stamp(moment: datetime) -> str:
    """Return a moment as Discord writes it."""
    return moment.isoformat(timespec="microseconds")


def stamp_now() -> str:
    """Return this moment as Discord writes it."""
    return stamp(datetime.now(UTC))


def moment_of(snowflake: int) -> datetime:
    """Return when an id was made."""
    return datetime.fromtimestamp(((snowflake >> 22) + EPOCH_MS) / 1000, tz=UTC)
