"""Stores what is said in allow-listed channels, in batches, and wakes the memory."""

import asyncio

from actors.kernel import Actor, ActorRef
from actors.messages import MessageArrived, Ping, StoreChanged
from persona.domain.chat import Channel, ChannelId, ChannelKind, Message
from persona.ports import Arrival, MessageStore

_FLUSH_SECONDS = 0.25
_BATCH_MESSAGES = 1000


class IngestActor(Actor):
    """Collects messages for a moment and writes them in one transaction."""

    def __init__(self, *, store: MessageStore, retriever: ActorRef) -> None:
        self._store = store
        self._retriever = retriever
        self._batch: list[Message] = []
        self._channels: dict[ChannelId, Channel] = {}
        self._full = asyncio.Event()
        self._stored = 0

    async def started(self) -> None:
        """Write batches from now on."""
        self.spawn(self._write_batches(), name="write batches")

    async def stopping(self) -> None:
        """Write what is left."""
        await self._flush()

    async def receive(self, message: object) -> object:
        """Take messages that may be kept."""
        match message:
            case MessageArrived(arrival=arrival) if may_store(arrival):
                self._batch.append(arrival.message)
                self._channels[arrival.channel.id] = arrival.channel
                self._full.set()
            case Ping():
                return f"{self._stored} stored"
        return None

    async def _write_batches(self) -> None:
        while True:
            await self._full.wait()
            if len(self._batch) < _BATCH_MESSAGES:
                await asyncio.sleep(_FLUSH_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        """Write the batch; it is only let go of once it is committed."""
        self._full.clear()
        batch, channels = list(self._batch), list(self._channels.values())
        if not batch:
            return
        await self._store.put_channels(channels)
        counts = await self._store.put_messages(batch)
        del self._batch[: len(batch)]
        for channel in channels:
            self._channels.pop(channel.id, None)
        self._stored += counts.added
        self._retriever.tell(StoreChanged())


def may_store(arrival: Arrival) -> bool:
    """Whether an arrival may be kept: only talk in allow-listed channels, and never what is typed in the terminal."""
    return arrival.channel.allowed and arrival.channel.kind is not ChannelKind.TERMINAL
