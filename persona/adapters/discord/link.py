"""Says when the whole connection stands: every shard has a session and every server has arrived."""

from collections.abc import Collection, Iterable
from enum import Enum


class Change(Enum):
    """What became of the connection as a whole."""

    UP = "up"
    RESUMED = "resumed"
    DOWN = "down"


class Link:
    """Follows the shards (None: the only one); every method returns a change of the whole, if there is one.

    After `UP` anything may have been missed, after `RESUMED` nothing was: it takes one new session among the shards
    to make it `UP`.
    """

    def __init__(self, shards: Collection[int | None]) -> None:
        self._down = set(shards)
        self._waiting: dict[int | None, set[int]] = {}
        self._missed = True

    @property
    def is_up(self) -> bool:
        """Whether the whole connection stands."""
        return not self._down

    def lost(self, shard: int | None) -> Change | None:
        """A shard lost its connection."""
        was_up = self.is_up
        self._down.add(shard)
        self._waiting.pop(shard, None)
        return Change.DOWN if was_up else None

    def began(self, shard: int | None, guilds: Iterable[int]) -> Change | None:
        """A shard has a new session; these servers are still to come."""
        self._missed = True
        self._down.add(shard)
        self._waiting[shard] = set(guilds)
        return self._settle(shard)

    def arrived(self, guild: int) -> Change | None:
        """A server came. When nothing waited for it, its events may have been lost while it was out of reach."""
        for shard, guilds in self._waiting.items():
            if guild in guilds:
                guilds.discard(guild)
                return self._settle(shard)
        self._missed = True
        return None if self._down else self._whole()

    def waited_enough(self, shard: int | None) -> Change | None:
        """A shard's remaining servers are not waited for any longer: they may be out of order for hours."""
        if shard not in self._waiting:
            return None
        self._waiting[shard].clear()
        return self._settle(shard)

    def resumed(self, shard: int | None) -> Change | None:
        """A shard's session goes on where it was."""
        if shard not in self._down:
            return None
        self._down.discard(shard)
        return self._whole()

    def _settle(self, shard: int | None) -> Change | None:
        if self._waiting[shard]:
            return None
        del self._waiting[shard]
        self._down.discard(shard)
        return self._whole()

    def _whole(self) -> Change | None:
        if self._down:
            return None
        change = Change.UP if self._missed else Change.RESUMED
        self._missed = False
        return change
