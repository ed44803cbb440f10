"""An unpatched discord.py client that lives on the fake: only the addresses that it dials are changed."""

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import yarl

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports audioop, which Python 3.13 leaves out
    import discord
    from discord.gateway import DiscordWebSocket

PATIENCE = 10.0
_NEVER_REPEATED = frozenset({"socket_event_type", "socket_raw_receive", "socket_raw_send"})


class PlainClient(discord.Client):
    """Keeps every event it dispatches; its documented identify hook leaves the pause of 5 s out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.heard: list[tuple[str, tuple[Any, ...]]] = []

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Keep an event and hand it on."""
        if event not in _NEVER_REPEATED:
            self.heard.append((event, args))
        super().dispatch(event, *args, **kwargs)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Identify at once."""

    def all(self, event: str) -> list[Any]:
        """Return the first argument (None without any) of each event of a name so far."""
        return [args[0] if args else None for name, args in self.heard if name == event]

    async def next(self, event: str, number: int = 1) -> Any:
        """Wait for event number `number` (1: the first) of a name; return its first argument."""
        await until(lambda: len(self.all(event)) >= number, f"{event} number {number}")
        return self.all(event)[number - 1]


class ShardedPlainClient(PlainClient, discord.AutoShardedClient):
    """The same over as many shards as the gateway recommends."""


async def until(holds: Callable[[], Any], what: str, *, seconds: float = PATIENCE) -> None:
    """Wait until something holds."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while not holds():
        assert loop.time() < ends, f"waited {seconds:g} s in vain for {what}"
        await asyncio.sleep(0.005)


def all_but_the_refused() -> discord.Intents:
    """Return every intent but those that the fake's application lacks from the start."""
    intents = discord.Intents.all()
    intents.members = intents.presences = False
    return intents


@contextlib.contextmanager
def pointed_at(fake: Any) -> Iterator[None]:
    """Let every discord.py client of this process dial the fake, for as long as the context lasts."""
    base, gateway = discord.http.Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    discord.http.Route.BASE = fake.api_url
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(fake.gateway_url)
    try:
        yield
    finally:
        discord.http.Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = base, gateway


@contextlib.asynccontextmanager
async def plain_client(
    fake: Any,
    *,
    intents: discord.Intents | None = None,
    kind: type[PlainClient] = PlainClient,
    ready: bool = True,
    **options: Any,
) -> AsyncIterator[Any]:
    """Log a client in and connect it; `ready` waits for on_ready. Its failure is raised at the end of the context."""
    client = kind(intents=all_but_the_refused() if intents is None else intents, guild_ready_timeout=0.1, **options)
    with pointed_at(fake):
        async with client:
            await client.login(fake.token)
            running = asyncio.create_task(client.connect(), name="plain client")
            try:
                if ready:
                    await until(lambda: client.is_ready() or running.done(), "on_ready")
                    if running.done():
                        running.result()
                yield client
            finally:
                await client.close()
                await asyncio.wait([running], timeout=PATIENCE)
                running.cancel()
        if running.done() and not running.cancelled():
            running.result()
