"""The allow-list: which channels are read at all, as config.toml, the store and the admins have it."""

import asyncio
import json
from collections.abc import Collection, Iterable
from typing import Protocol

from persona.domain.chat import Channel, ChannelId
from persona.ports import Desk, MessageStore

OFF_NOTE = "allow_list.off"


class AllowedCheck(Protocol):
    """Says whether a channel may be read."""

    def allows(self, channel_id: ChannelId, parent_id: ChannelId | None = None) -> bool:
        """Say whether a channel, or a thread under `parent_id`, is on the list."""
        ...


class AllowList:
    """Channels by id, kept in memory for quick answers and in the store for good.

    A thread follows its channel, unless it was named itself. Channels that an admin took off the list stay off, also
    when config.toml names them: their ids are kept beside the list. The store refuses what is not on its list by
    itself; this one is what the transport asks.
    """

    def __init__(
        self, store: MessageStore, desk: Desk, *, on: Iterable[ChannelId] = (), off: Iterable[ChannelId] = ()
    ) -> None:
        self._store = store
        self._desk = desk
        self._on = set(on)
        self._off = set(off)
        self._changing = asyncio.Lock()

    @classmethod
    async def load(cls, store: MessageStore, desk: Desk, *, fixed: Collection[int] = ()) -> "AllowList":
        """Read the list from the store; `fixed` are the ids in config.toml, put on it unless an admin took them off.

        Raises:
            StoreError: the database cannot be used.
        """
        off = _read_ids(await desk.note(OFF_NOTE))
        wanted = [ChannelId(one) for one in fixed if one not in off]
        if wanted:
            await store.set_allowed(wanted, allowed=True)
        on = {channel.id for channel in await store.channels(allowed_only=True)}
        return cls(store, desk, on=on, off=off)

    def allows(self, channel_id: ChannelId, parent_id: ChannelId | None = None) -> bool:
        """Say whether a channel, or a thread under `parent_id`, is on the list."""
        if channel_id in self._off:
            return False
        return channel_id in self._on or (parent_id is not None and parent_id in self._on)

    async def set(self, channel_ids: Collection[ChannelId], allowed: bool) -> None:
        """Put channels on the list or take them off, with the threads that are known of them; kept for good.

        What was stored stays stored; the memory forgets what is off the list, and learns it again with `allowed`.

        Raises:
            StoreError: it could not be kept; the list is as it was.
        """
        async with self._changing:
            before = set(self._on), set(self._off)
            named = set(channel_ids)
            affected = named | _threads_of(named, await self._store.channels())
            # First here, so that nobody who asks in the meantime puts back what is being taken off.
            if allowed:
                self._off -= named
                affected -= self._off
                self._on |= affected
            else:
                self._off |= named
                self._on -= affected
            try:
                await self._desk.keep_note(OFF_NOTE, json.dumps(sorted(self._off)))
                await self._store.set_allowed(sorted(affected), allowed=allowed)
            except BaseException:
                self._on, self._off = before
                raise


def _threads_of(parents: Collection[ChannelId], channels: Iterable[Channel]) -> set[ChannelId]:
    return {channel.id for channel in channels if channel.parent_id in parents}


def _read_ids(note: str | None) -> set[ChannelId]:
    return {ChannelId(int(one)) for one in json.loads(note)} if note else set()
