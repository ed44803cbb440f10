"""A `DiscordTransport` that talks to the fake Discord, with everything it hears kept for asserting."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from persona.adapters.discord import DiscordOptions, DiscordTransport
from persona.domain.chat import MessageId
from persona.domain.delivery import Delivery, Outgoing
from persona.ports import Arrival, LinkUp, TransportEvent

E = TypeVar("E")

PATIENCE = 10.0


def quick(fake: Any, **changes: Any) -> DiscordOptions:
    """Return options for the fake: the same behaviour as in real life, without the long waits."""
    fields = {
        "api_url": fake.api_url,
        "gateway_url": fake.gateway_url,
        "identify_pause_seconds": 0.05,
        "guild_wait_seconds": 0.5,
        "backoff_seconds": 0.05,
        "backoff_cap_seconds": 0.4,
        "connect_seconds": 2.0,
        "drain_seconds": 2.0,
    }
    return DiscordOptions(**{**fields, **changes})


class Bot:
    """A transport that listens; `events` is what it heard so far."""

    def __init__(self, transport: DiscordTransport) -> None:
        self.transport = transport
        self.events: list[TransportEvent] = []
        self.ended: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        async for event in self.transport.listen():
            self.events.append(event)

    def start(self) -> None:
        """Listen from now on."""
        self.ended = asyncio.create_task(self.listen(), name="bot listens")

    def heard(self, kind: type[E]) -> list[E]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, holds: Callable[[], object], patience: float = PATIENCE) -> None:
        """Wait until something holds; fail with what was heard so far."""
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while not holds():
            if self.ended is not None and self.ended.done():
                self.ended.result()
            assert loop.time() < end, f"waited in vain; heard: {self.events[-10:]}"
            await asyncio.sleep(0.005)

    async def next(self, kind: type[E], number: int = 1) -> E:
        """Wait for event number `number` (1: the first) of a kind and return it."""
        await self.until(lambda: len(self.heard(kind)) >= number)
        return self.heard(kind)[number - 1]

    async def arrival(self, message_id: int) -> Arrival:
        """Wait for the arrival of a message."""
        found: list[Arrival] = []

        def there() -> bool:
            found[:] = [one for one in self.heard(Arrival) if one.message.id == message_id]
            return bool(found)

        await self.until(there)
        return found[0]

    async def say(
        self,
        arrival: Arrival,
        *texts: str,
        typing: float = 0.0,
        first: int = 0,
        objection: Callable[[], str] = lambda: "",
    ) -> list[MessageId]:
        """Answer a message."""
        planned = Delivery(messages=tuple(Outgoing(text=text, typing_seconds=typing) for text in texts))
        delivery = self.transport.fitted(arrival, planned)
        return [sent async for sent in self.transport.send(arrival, delivery, first=first, objection=objection)]


@asynccontextmanager
async def bot(fake: Any, *, up: bool = True, token: str | None = None, **changes: Any) -> AsyncIterator[Bot]:
    """Connect a bot to the fake; `up` waits until the connection stands. Every channel is on the allow-list."""
    parts = {name: changes.pop(name) for name in ("allowed", "commands", "before_session") if name in changes}
    parts = {"allowed": lambda _channel, _parent: True, **parts}
    one = Bot(DiscordTransport(token=token or fake.token, options=quick(fake, **changes), **parts))
    one.start()
    await asyncio.sleep(0)
    try:
        if up:
            await one.next(LinkUp)
        yield one
    finally:
        await one.transport.close()
        assert one.ended is not None
        await asyncio.wait([one.ended], timeout=PATIENCE)
        one.ended.cancel()
