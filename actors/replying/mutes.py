"""The channels in which the persona was told to keep quiet, and until when."""

from collections.abc import Mapping
from datetime import datetime

from persona.domain.chat import Channel, ChannelId


class Mutes:
    """What is muted now; a thread is muted with the channel that it hangs in."""

    def __init__(self) -> None:
        self._until: dict[ChannelId, datetime] = {}

    def load(self, mutes: Mapping[ChannelId, datetime]) -> None:
        """Start with what was muted before."""
        self._until = dict(mutes)

    def mute(self, channel_id: ChannelId, until: datetime | None) -> None:
        """Mute a channel until a time; None: speak again."""
        self._until.pop(channel_id, None)
        if until is not None:
            self._until[channel_id] = until

    def until(self, channel: Channel) -> datetime | None:
        """Return until when a channel is muted."""
        places = (channel.id, channel.parent_id)
        return max((self._until[place] for place in places if place is not None and place in self._until), default=None)
