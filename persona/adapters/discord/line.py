"""Keeps one gateway connection (a shard) up: connects, resumes, begins new sessions, waits ever longer in between.

It takes the place of the loops in `discord.Client.connect` and `discord.shard.Shard`, which wait up to 17 minutes
between tries, try again without any pause while the gateway keeps closing, and fail for good when the very first
connection does. What happens on the websocket stays discord.py's business.
"""

# ruff: noqa: SLF001 - what discord.py keeps private has no public way in; its version is pinned by the lock file.

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket, ReconnectWebSocket

from persona.adapters.discord.errors import TROUBLE, described
from persona.adapters.discord.options import DiscordOptions

_SESSION_IS_OVER = frozenset({4003, 4007, 4009})
"""Close codes after which a session cannot be resumed: not identified, wrong sequence number, timed out."""


def delay(failures: int, *, base: float, cap: float, rng: random.Random) -> float:
    """Return how long to wait after so many failures in a row (0 or more), in seconds: at most `cap`.

    The first failure costs nothing, the next ones `base`, doubled each time; half of it by chance, so that many
    clients do not come back in one moment ("equal jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    if failures <= 1:
        return 0.0
    whole = min(cap, base * 2.0 ** min(failures - 2, 30))
    return whole / 2 + rng.uniform(0, whole / 2)


class Line:
    """One gateway connection of a client; `keep` runs until Discord refuses it or a parser fails.

    `before_session` is awaited before each new session (not before a resumed one), `lost` is told why a connection
    ended, once for each try. `shard_id` is None for a client that needs no shards.
    """

    def __init__(
        self,
        client: discord.Client,
        *,
        shard_id: int | None,
        gateway: yarl.URL,
        options: DiscordOptions,
        before_session: Callable[[], Awaitable[None]],
        lost: Callable[[int | None, str], None],
        rng: random.Random,
    ) -> None:
        self.shard_id = shard_id
        self._client = client
        self._gateway = gateway
        self._options = options
        self._before_session = before_session
        self._lost = lost
        self._rng = rng
        self._failures = 0
        self._resume = False
        self.socket: DiscordWebSocket | None = None

    def established(self) -> None:
        """Note that the session began or goes on: the next failure is the first one again."""
        self._failures = 0

    async def keep(self) -> None:
        """Keep the connection up.

        Raises:
            discord.ConnectionClosed: Discord closed it with a code that no new try can mend.
        """
        try:
            while not self._client.is_closed():
                reason = await self._connected()
                self._failures += 1
                self._lost(self.shard_id, reason)
                wait = delay(
                    self._failures,
                    base=self._options.backoff_seconds,
                    cap=self._options.backoff_cap_seconds,
                    rng=self._rng,
                )
                await asyncio.sleep(wait)
        finally:
            await self._close(code=aiohttp.WSCloseCode.OK)

    async def _connected(self) -> str:
        """Connect and hear until the connection ends; return why it did."""
        try:
            socket = await self._open()
            self.socket = socket
            # What the gateway says from here on belongs to the session: a lost connection resumes it.
            self._resume = True
            while True:
                await socket.poll_event()
        except ReconnectWebSocket as request:
            code = None if self.socket is None else (self.socket._close_code or self.socket.socket.close_code)
            self._resume = self._can_resume() and request.resume and code not in _SESSION_IS_OVER
            return f"Discord asked to connect anew, code {code}"
        except discord.ConnectionClosed as closed:
            if closed.code != aiohttp.WSCloseCode.OK:
                raise
            self._resume = False
            return described(closed)
        except TROUBLE as trouble:
            self._resume = self._can_resume()
            await self._close(code=4000)
            return described(trouble)

    def _can_resume(self) -> bool:
        return self._resume and self.socket is not None and self.socket.session_id is not None

    async def _open(self) -> DiscordWebSocket:
        old = self.socket
        if old is not None and self._can_resume():
            return await DiscordWebSocket.from_client(
                self._client,
                gateway=old.gateway,
                shard_id=self.shard_id,
                session=old.session_id,
                sequence=old.sequence,
                resume=True,
            )
        self._resume = False
        await self._before_session()
        return await DiscordWebSocket.from_client(self._client, gateway=self._gateway, shard_id=self.shard_id)

    async def _close(self, code: int) -> None:
        """Close the websocket and end its heartbeat; 1000 ends the session, 4000 lets it be resumed."""
        if self.socket is not None:
            with suppress(*TROUBLE):
                async with asyncio.timeout(self._options.connect_seconds):
                    await self.socket.close(code=code)
