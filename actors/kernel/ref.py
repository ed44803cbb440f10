"""The address of an actor: the only way to talk to it, valid through all its restarts."""

import asyncio
import math
from typing import TypeVar

from actors.kernel.envelope import Envelope, Request, at_work, blocked, carried_fields
from actors.kernel.errors import ActorStopped, AskCycle, AskTimeout
from actors.kernel.mailbox import Lost, Mailbox

R = TypeVar("R")


class ActorRef:
    """Talks to one actor, whichever of its incarnations is alive; messages wait while there is none.

    All calls come from the loop's thread.
    """

    __slots__ = ("incarnations", "mailbox")

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.incarnations = 0

    def __repr__(self) -> str:
        return f"<ActorRef {self.name}>"

    @property
    def name(self) -> str:
        """The actor's name, unique in its system."""
        return self.mailbox.name

    def tell(self, message: object) -> bool:
        """Leave a message without ever waiting; False, and a dead letter, when the mailbox is full or closed."""
        accepted = self.mailbox.offer(Envelope(message, fields=carried_fields()))
        if not accepted:
            self.mailbox.lose(message, Lost.CLOSED if self.mailbox.closed else Lost.FULL)
        return accepted

    async def send(self, message: object) -> bool:
        """Leave a message, waiting for room (backpressure); False, and a dead letter, when the mailbox is closed."""
        accepted = await self.mailbox.put(Envelope(message, fields=carried_fields()))
        if not accepted:
            self.mailbox.lose(message, Lost.CLOSED)
        return accepted

    async def ask(self, request: Request[R], *, timeout: float) -> R:  # noqa: ASYNC109 - it travels in the envelope
        """Return the actor's answer.

        Args:
            request: what to ask; names the type of its answer.
            timeout: seconds until an answer is worth nothing, waiting for room in the mailbox included.

        Raises:
            AskTimeout: no answer in time.
            ActorCrashed: the actor died of the question, or while it had it; `__cause__` is the error.
            ActorStopped: the actor has gone for good, or went away before it answered.
            AskCycle: the actor asks itself, or one that waits for it: nobody could answer.
            ValueError: the timeout is not a finite number.
            Exception: whatever the actor answered with (`Responder.set_error`).
        """
        path = blocked.get()
        if self in path or self is at_work.get():
            raise AskCycle((*(ref.name for ref in path), self.name) if path else (self.name, self.name))
        if not math.isfinite(timeout):
            raise ValueError(f"an ask needs a finite timeout, not {timeout}")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        reply: asyncio.Future[R] = loop.create_future()
        envelope = Envelope(request, reply, deadline, carried_fields(), path)
        timer = loop.call_at(deadline, _expire, envelope, self.name, timeout)
        try:
            if not self.mailbox.offer(envelope):
                await self._wait_for_room(envelope, deadline)
            return await reply
        finally:
            timer.cancel()
            self._tidy_up(envelope, reply)

    async def _wait_for_room(self, envelope: Envelope, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                accepted = await self.mailbox.put(envelope)
        except TimeoutError:
            return  # the timer of the ask has failed the reply, or is about to
        if not accepted:
            raise ActorStopped(self.name)

    def _tidy_up(self, envelope: Envelope, reply: asyncio.Future[R]) -> None:
        """Leave nothing behind in the mailbox, nor an error that nobody fetched."""
        if not reply.done():
            reply.cancel()
        if reply.cancelled() or reply.exception() is not None:
            self.mailbox.discard(envelope)


def new_ref(name: str, *, mailbox: int = 64) -> ActorRef:
    """Return an address for an actor that is yet to be started, with room for `mailbox` waiting messages.

    Raises:
        ValueError: the mailbox has no room for a single message.
    """
    return ActorRef(Mailbox(name, mailbox))


def _expire(envelope: Envelope, actor: str, timeout: float) -> None:
    envelope.fail(AskTimeout(actor, type(envelope.message).__name__, timeout))
