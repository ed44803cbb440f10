"""The talk in each channel as the responder hears it: a rolling window, and the replies that wait their turn."""

from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from persona.domain.chat import AuthorId, ChannelId, Edit, Message, MessageId
from persona.domain.speaking import ChannelState, Decision
from persona.errors import StoreError
from persona.ports import Arrival, MessageStore

_LANES_KEPT = 256
_DROPPED_AT_ONCE = 10


@dataclass(slots=True, kw_only=True)
class Job:
    """A message that is to be answered.

    `texts` and `sent` say how far its answer came before a restart (`resumed`; it was `decided_at`), `withdrawn` why it
    is not wanted any more, `outdated` that something it may have been written from is gone, `forgotten` that this was
    what somebody said who asked to be forgotten.
    """

    arrival: Arrival
    decision: Decision
    texts: tuple[str, ...] = ()
    sent: int = 0
    resumed: bool = False
    decided_at: datetime | None = None
    withdrawn: str = ""
    outdated: bool = False
    forgotten: bool = False

    def concerns(self, author_id: AuthorId | None, message_ids: Collection[MessageId]) -> bool:
        """Say whether it answers a person, or one of these messages."""
        message = self.arrival.message
        return message.author.id == author_id or message.id in message_ids


@dataclass(slots=True, kw_only=True)
class Lane:
    """One channel: its recent talk, what `speaking` needs to know of it, and the replies that wait their turn."""

    state: ChannelState
    talk: list[Message]
    waiting: deque[Job] = field(default_factory=deque)
    current: Job | None = None
    busy: bool = False

    def hear(self, message: Message, *, self_id: AuthorId, window: int, live: bool = True) -> None:
        """Take a message into the talk, once; one found in the history goes where it belongs.

        A full window loses about ten messages at a time: in between, each prompt goes on where the last one ended and
        the model need not read the talk again.
        """
        self.state = self.state.after(message, self_id=self_id)
        if any(known.id == message.id for known in self.talk):
            return
        place = len(self.talk) if live else bisect_left(self.talk, message.id, key=lambda known: known.id)
        self.talk.insert(place, message)
        if len(self.talk) > window:
            spare = min(_DROPPED_AT_ONCE, window // 3)
            del self.talk[: len(self.talk) - window + max(spare - 1, 0)]

    def edit(self, edit: Edit) -> None:
        """Give a message its new text."""
        for place, message in enumerate(self.talk):
            if message.id == edit.message_id and (message.edited_at is None or message.edited_at < edit.edited_at):
                mentions = message.mentions if edit.mentions is None else edit.mentions
                attachments = message.attachments if edit.attachments is None else edit.attachments
                self.talk[place] = replace(
                    message,
                    content=edit.content,
                    edited_at=edit.edited_at,
                    mentions=mentions,
                    attachments=attachments,
                )

    def drop(self, author_id: AuthorId | None, message_ids: Collection[MessageId], *, why: str) -> None:
        """Let go of what a person said, and of single messages; answers to them are not wanted any more."""
        left = [m for m in self.talk if m.author.id != author_id and m.id not in message_ids]
        if self.current and (author_id is not None or len(left) < len(self.talk)):
            self.current.outdated = True
            self.current.forgotten |= author_id is not None
        self.talk = left
        for job in (*self.waiting, *([self.current] if self.current else ())):
            if job.concerns(author_id, message_ids):
                job.withdrawn = why

    def up_to(self, last: Message) -> tuple[Message, ...]:
        """Return the talk up to and including a message, however old: what came later is answered later."""
        for place, message in enumerate(self.talk):
            if message.id == last.id:
                return tuple(self.talk[: place + 1])
        return (*(message for message in self.talk if message.id < last.id), last)


class Lanes:
    """The lanes of the channels that were talked in last; idle ones beyond `kept` are dropped and loaded again."""

    def __init__(self, store: MessageStore, log: structlog.stdlib.BoundLogger, *, kept: int = _LANES_KEPT) -> None:
        self._store = store
        self._log = log
        self._kept = kept
        self._lanes: OrderedDict[ChannelId, Lane] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lanes)

    def __iter__(self) -> Iterator[Lane]:
        return iter(tuple(self._lanes.values()))

    def known(self, channel_id: ChannelId) -> Lane | None:
        """Return a channel's lane, if there is one."""
        return self._lanes.get(channel_id)

    async def open(self, arrival: Arrival, *, window: int) -> Lane:
        """Return the channel's lane; a new one starts with what the store knows of the channel, if it can be read."""
        channel_id = arrival.channel.id
        lane = self._lanes.get(channel_id)
        if lane is None:
            past = await self._past(arrival, window)
            lane = self._lanes[channel_id] = Lane(state=_state_after(past, arrival.self_id), talk=list(past))
            self._make_room()
        self._lanes.move_to_end(channel_id)
        return lane

    async def _past(self, arrival: Arrival, window: int) -> Sequence[Message]:
        try:
            return await self._store.tail(arrival.channel.id, window, before=arrival.message.id)
        except StoreError as error:  # talk goes on without its past
            self._log.warning("history_not_read", error=str(error), channel_id=arrival.channel.id)
            return ()

    def _make_room(self) -> None:
        idle = [key for key, lane in self._lanes.items() if not lane.busy]
        for key in idle[: max(len(self._lanes) - self._kept, 0)]:
            if key != next(reversed(self._lanes)):
                del self._lanes[key]


class RecentIds:
    """The ids of the last messages that were heard, as many as `kept`."""

    def __init__(self, *, kept: int = 4096) -> None:
        self._kept = kept
        self._ids: dict[MessageId, None] = {}

    def __contains__(self, message_id: MessageId) -> bool:
        return message_id in self._ids

    def add(self, message_id: MessageId) -> bool:
        """Take an id; False when it is among them already."""
        if message_id in self._ids:
            return False
        self._ids[message_id] = None
        if len(self._ids) > self._kept:
            del self._ids[next(iter(self._ids))]
        return True


def parts_out(answered: MessageId, self_id: AuthorId, talk: Iterable[Message]) -> int:
    """Return how many messages of the answer to a message can be seen in a talk (oldest first).

    The first of them replies to it, the others follow without a reply of their own; one reply at a time is sent in a
    channel.
    """
    count = 0
    for message in talk:
        if message.author.id != self_id or not message.is_talk:
            continue
        if message.reply_to == answered:
            count = 1
        elif count and message.reply_to is not None:
            break
        elif count:
            count += 1
    return count


def _state_after(past: Iterable[Message], self_id: AuthorId) -> ChannelState:
    state = ChannelState()
    for message in past:
        state = state.after(message, self_id=self_id)
    return state
