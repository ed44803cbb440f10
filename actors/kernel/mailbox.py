"""A bounded queue of envelopes that outlives the incarnations of the actor that reads it."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from actors.kernel.envelope import Envelope
from actors.kernel.errors import ActorStopped
from actors.kernel.snapshot import MailboxSnapshot

log = structlog.get_logger()


class Lost(StrEnum):
    """Why a message became a dead letter."""

    FULL = "the mailbox is full"
    CLOSED = "the actor has stopped"
    CRASHED = "the actor crashed on it"
    INTERRUPTED = "the actor was stopped while it worked on it"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that nobody will work on; `count` is how many its actor has lost so far, this one included."""

    actor: str
    message: object
    reason: Lost
    count: int


class Mailbox:
    """First in, first out; one reader at a time; all calls from the loop's thread."""

    def __init__(self, name: str, capacity: int) -> None:
        """Make an empty mailbox.

        Raises:
            ValueError: the capacity is less than 1.
        """
        if capacity < 1:
            raise ValueError(f"the mailbox of {name} needs room for at least 1 message, not {capacity}")
        self.name = name
        self.closed = False
        self.listener: Callable[[DeadLetter], None] | None = None
        self._capacity = capacity
        self._queue: deque[Envelope] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._senders: deque[asyncio.Future[None]] = deque()
        self._high_water = 0
        self._dead_letters = 0

    def offer(self, envelope: Envelope) -> bool:
        """Take an envelope without waiting; False when full or closed."""
        if self.closed or len(self._queue) >= self._capacity:
            return False
        self._queue.append(envelope)
        self._high_water = max(self._high_water, len(self._queue))
        _wake(self._reader)
        return True

    async def put(self, envelope: Envelope) -> bool:
        """Take an envelope as soon as there is room; False when closed, also while waiting."""
        while not self.offer(envelope):
            if self.closed:
                return False
            room = asyncio.get_running_loop().create_future()
            self._senders.append(room)
            try:
                await room
            except asyncio.CancelledError:
                self._pass_on(room)
                raise
        return True

    async def get(self) -> Envelope:
        """Return the oldest envelope; a cancelled call takes none.

        Raises:
            RuntimeError: somebody else is reading.
        """
        if self._reader is not None:
            raise RuntimeError(f"the mailbox of {self.name} has a reader already")
        while not self._queue:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        envelope = self._queue.popleft()
        self._wake_sender()
        return envelope

    def discard(self, envelope: Envelope) -> None:
        """Make room again when the sender has lost interest; nothing happens when it is not in here."""
        if envelope in self._queue:
            self._queue.remove(envelope)
            self._wake_sender()

    def close(self) -> None:
        """Take nothing from now on; queued asks get ActorStopped, other messages become dead letters."""
        self.closed = True
        while self._queue:
            envelope = self._queue.popleft()
            if envelope.reply is None:
                self.lose(envelope.message, Lost.CLOSED)
            else:
                envelope.fail(ActorStopped(self.name))
        while self._senders:
            _wake(self._senders.popleft())

    def lose(self, message: object, reason: Lost) -> None:
        """Count a dead letter and tell the listener; the log sees the 1st, 2nd, 4th, 8th and so on."""
        self._dead_letters += 1
        count = self._dead_letters
        if count & (count - 1) == 0:
            kind = type(message).__name__
            log.warning("dead_letter", to=self.name, message=kind, reason=str(reason), count=count)
        if self.listener is None:
            return
        try:
            self.listener(DeadLetter(actor=self.name, message=message, reason=reason, count=count))
        except Exception:
            # Whoever sends a message must not pay for a broken listener.
            log.exception("dead_letter_listener_failed")

    def snapshot(self) -> MailboxSnapshot:
        """Return how full it is and was."""
        return MailboxSnapshot(
            depth=len(self._queue),
            high_water=self._high_water,
            capacity=self._capacity,
            dead_letters=self._dead_letters,
            closed=self.closed,
        )

    def _wake_sender(self) -> None:
        while self._senders:
            if _wake(self._senders.popleft()):
                return

    def _pass_on(self, room: asyncio.Future[None]) -> None:
        """Let another sender have the room that a cancelled one was told of or waited for."""
        if room.done() and not room.cancelled():
            self._wake_sender()
        elif room in self._senders:
            self._senders.remove(room)


def _wake(waiter: asyncio.Future[None] | None) -> bool:
    if waiter is None or waiter.done():
        return False
    waiter.set_result(None)
    return True
