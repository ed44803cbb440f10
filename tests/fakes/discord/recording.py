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


@dataclass(slots=True)
class Fault:
    """What happens to the next `times` requests; without a `status` the connection breaks instead of an answer."""

    pattern: str
    times: int
    status: int | None = None
    unheard: bool = False


class Faults:
    """Faults of requests: `fail` answers with an error, `cut` breaks the connection, `delay` and `hold` are slow.

    A pattern is spelled as `GET /channels/{}/messages` or `POST /channels/*/messages`; `*` means every request.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        self.held = 0.0
        self._faults: list[Fault] = []

    def fail(self, pattern: str, *, status: int = 500, times: int = 1) -> None:
        """Answer the next requests with a status."""
        self._faults.append(Fault(pattern.replace("{}", "*"), times, status))

    def cut(self, pattern: str, *, times: int = 1, unheard: bool = False) -> None:
        """Do the next requests but break the connection (RST) instead of answering; `unheard` ones are not done."""
        self._faults.append(Fault(pattern.replace("{}", "*"), times, unheard=unheard))

    def delay(self, seconds: float) -> None:
        """Answer every request so much later; 0 ends it."""
        self.latency = seconds

    def hold(self, seconds: float) -> None:
        """Make every answer at once but send it so much later, when it may be out of date; 0 ends it."""
        self.held = seconds

    def heal(self) -> None:
        """Forget all faults."""
        self.latency = self.held = 0.0
        self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return what is to happen to this request, and count it."""
        for fault in self._faults:
            if fault.pattern == "*" or fnmatch.fnmatchcase(f"{method} {path}", fault.pattern):
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault
        return None
