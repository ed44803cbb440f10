"""What was asked of the fake Discord: every request, and the faults that tests put in their way."""

import fnmatch
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(slots=True)
class Recorded:
    """One request; `route` is spelled as `GET /channels/{}/messages`, `status` 0 until it is answered."""

    method: str
    path: str
    route: str
    query: dict[str, str]
    json: Any
    files: dict[int, Any]
    auth: str | None
    at: float = field(default_factory=time.monotonic)
    done: float = 0.0
    status: int = 0
    pings: list[str] = field(default_factory=list)

    @property
    def body(self) -> Any:
        """The JSON of the body."""
        return self.json

    @property
    def is_post(self) -> bool:
        """Whether it says something to people: messages, their edits, answers to interactions."""
        return self.method in {"POST", "PATCH"} and (
            self.route.endswith(("/messages", "/messages/{}", "/callback", "/messages/@original"))
            or self.route == "POST /webhooks/{}/{}"
        )


RECORDED = web.RequestKey("recorded", Recorded)
"""Where a request keeps its own record."""


class Faults:
    """Faults of requests: `fail` answers with an error, `cut` breaks the connection, `delay` and `hold` are slow.

    A pattern is spelled as `GET /channels/{}/messages` or `POST /channels/*/messages`; `*` means every request.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        self.held = 0.0
        self._failing: list[list[Any]] = []

    def fail(self, pattern: str, *, status: int = 500, times: int = 1) -> None:
        """Answer the next requests with a status."""
        self._failing.append([pattern.replace("{}", "*"), status, times])

    def cut(self, pattern: str, *, times: int = 1) -> None:
        """Do the next requests but break the connection instead of answering."""
        self._failing.append([pattern.replace("{}", "*"), None, times])

    def delay(self, seconds: float) -> None:
        """Answer every request so much later; 0 ends it."""
        self.latency = seconds

    def hold(self, seconds: float) -> None:
        """Make every answer at once but send it so much later, when it may be out of date; 0 ends it."""
        self.held = seconds

    def heal(self) -> None:
        """Forget all faults."""
        self.latency = self.held = 0.0
        self._failing.clear()

    def take(self, method: str, path: str) -> tuple[bool, int | None]:
        """Return whether this request fails, and with which status (None: cut)."""
        for entry in self._failing:
            pattern, status, times = entry
            if times > 0 and (pattern == "*" or fnmatch.fnmatchcase(f"{method} {path}", pattern)):
                entry[2] -= 1
                return True, status
        return False, None
