"""Random trouble for a bot on a fake Discord: what can go wrong with the gateway and with requests, and when it did."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.fakes.live import eventually

HISTORY = "GET /channels/{}/messages"
LISTS = "GET /guilds/{}/threads/active"
WAITS_SECONDS = 20.0
LASTS_SECONDS = 1.0


class Trouble:
    """Makes faults one after the other and writes each into `timeline`: seconds since `begin`, and its name.

    A fault of the gateway waits until there is a session that it can hit.
    """

    def __init__(self, fake: Any, *, rng: random.Random) -> None:
        self.timeline: list[tuple[float, str]] = []
        self._fake = fake
        self._rng = rng
        self._began = time.monotonic()
        self._gateway: tuple[Callable[[], Awaitable[None]], ...] = (
            self.drop,
            self.reset,
            self.freeze,
            self.freeze_and_forget,
            self.ask_reconnect,
            self.invalidate_resumable,
            self.invalidate,
            self.refuse,
        )
        self._requests: tuple[Callable[[], Awaitable[None]], ...] = (
            self.server_errors,
            self.cut_answers,
            self.slow_requests,
            self.stale_pages,
            self.rate_limited,
            self.rate_limited_globally,
            self.rate_limits_without_headers,
            self.lists_fail,
        )

    def begin(self) -> None:
        """Count time from now on."""
        self._began = time.monotonic()

    def note(self, name: str) -> None:
        """Write down that something happened now."""
        self.timeline.append((time.monotonic() - self._began, name))

    async def one(self) -> None:
        """Make one fault: two in three hit the gateway, the others the requests of a client that reads history."""
        on_gateway = self._rng.random() < 0.67
        fault = self._rng.choice(self._gateway if on_gateway else self._requests)
        await eventually(self._connected, seconds=WAITS_SECONDS, what=f"a session for {fault.__name__}")
        self.note(fault.__name__)
        await fault()
        if not on_gateway:
            await eventually(self._connected, seconds=WAITS_SECONDS, what=f"a session after {fault.__name__}")
            self._fake.gateway.invalidate(resumable=False)  # nothing is asked for while everything is heard

    def heal(self) -> None:
        """End whatever still goes on."""
        self._fake.faults.heal()
        self._fake.limits.honesty = "full"
        self._fake.limits.forget()
        self._fake.gateway.refuse(0)

    def _connected(self) -> bool:
        return any(session.line is not None and not session.line.frozen for session in self._sessions())

    def _sessions(self) -> list[Any]:
        return list(self._fake.gateway.sessions.values())

    # --- the gateway ---

    async def drop(self) -> None:
        """The server closes the connection, with a code after which a session resumes or has to begin anew."""
        self._fake.gateway.drop(self._rng.choice((1000, 1001, 4000, 4007, 4008, 4009)))

    async def reset(self) -> None:
        """The connection breaks without a closing word."""
        self._fake.gateway.drop(None)

    async def freeze(self) -> None:
        """The connection is half open: nothing comes, nobody closes, until the client notices."""
        self._fake.gateway.freeze()

    async def freeze_and_forget(self) -> None:
        """The same, and the session is over by the time the client notices."""
        self._fake.gateway.freeze()
        self._fake.gateway.sessions.clear()

    async def ask_reconnect(self) -> None:
        """The server asks to connect anew (op 7)."""
        self._fake.gateway.ask_reconnect()

    async def invalidate_resumable(self) -> None:
        """The session is invalid but may be resumed (op 9, true)."""
        self._fake.gateway.invalidate(resumable=True)

    async def invalidate(self) -> None:
        """The session is invalid for good (op 9, false): what happened meanwhile is not replayed."""
        self._fake.gateway.invalidate(resumable=False)

    async def refuse(self) -> None:
        """The connection breaks, and the next tries to connect fail, too."""
        self._fake.gateway.refuse(self._rng.randint(1, 3))
        self._fake.gateway.drop(None)

    # --- requests ---

    async def server_errors(self) -> None:
        """Some pages of history are answered with an error of the server."""
        status = self._rng.choice((500, 502, 503, 504))
        self._fake.faults.fail(HISTORY, status=status, times=self._rng.randint(1, 4))

    async def cut_answers(self) -> None:
        """Some answers break off."""
        self._fake.faults.cut(HISTORY, times=self._rng.randint(1, 4))

    async def lists_fail(self) -> None:
        """The list of threads cannot be had."""
        self._fake.faults.fail(LISTS, status=503, times=self._rng.randint(1, 3))

    async def slow_requests(self) -> None:
        """Every request takes long."""
        self._fake.faults.delay(self._rng.uniform(0.1, 0.4))
        self._later(lambda: self._fake.faults.delay(0))

    async def stale_pages(self) -> None:
        """Answers are made at once and arrive late: what happens meanwhile is heard first."""
        self._fake.faults.hold(self._rng.uniform(0.2, 0.8))
        self._later(lambda: self._fake.faults.hold(0))

    async def rate_limited(self) -> None:
        """Some pages are refused (429) with honest headers."""
        self._fake.limits.force(self._rng.randint(1, 4), 0.2, route=HISTORY)

    async def rate_limited_globally(self) -> None:
        """Some requests are refused (429), whatever they ask for."""
        self._fake.limits.force(self._rng.randint(1, 4), 0.2, scope="global")

    async def rate_limits_without_headers(self) -> None:
        """The server keeps its limits to itself for a while."""
        self._fake.limits.honesty = "silent"
        self._fake.limits.limit(HISTORY, (3, 1.0))
        self._later(self._generous)

    def _generous(self) -> None:
        self._fake.limits.honesty = "full"
        self._fake.limits.limit(HISTORY, None)

    def _later(self, end: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(2 * LASTS_SECONDS, end)
