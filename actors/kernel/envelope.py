"""What travels through a mailbox: a message, where its answer goes, until when it matters, and its log context."""

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from structlog.contextvars import get_contextvars

if TYPE_CHECKING:
    from actors.kernel.ref import ActorRef

R = TypeVar("R")

OWN_FIELDS: Final = ("actor", "incarnation", "supervisor")
"""Log fields that say who is at work; they stay with their actor and never travel."""

at_work: ContextVar["ActorRef | None"] = ContextVar("actors.kernel.at_work", default=None)
"""The actor whose code runs now."""

blocked: ContextVar[tuple["ActorRef", ...]] = ContextVar("actors.kernel.blocked", default=())
"""The actors that receive nothing until the code that runs now is done, the nearest one last."""


class Request(Generic[R]):
    """Base of messages that get an answer of type `R`."""

    __slots__ = ()


class Later(Enum):
    """The type of `LATER`."""

    LATER = "later"


LATER: Final = Later.LATER
"""Returned by `receive` when the answer comes later, through the responder that was taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """A message on its way; `deadline` is on the loop's clock, `reply` is None for a tell."""

    message: object
    reply: asyncio.Future[Any] | None = None
    deadline: float | None = None
    fields: Mapping[str, Any] | None = None
    path: tuple["ActorRef", ...] = ()

    def lapsed(self, now: float) -> bool:
        """Whether nobody waits for the answer any more."""
        if self.reply is None:
            return False
        return self.reply.done() or (self.deadline is not None and self.deadline <= now)

    def answer(self, value: object) -> None:
        """Give the asker its answer, unless nobody waits for it."""
        if self.reply is not None and not self.reply.done():
            self.reply.set_result(value)

    def fail(self, error: Exception) -> None:
        """Give the asker an error, unless nobody waits for the answer."""
        if self.reply is not None and not self.reply.done():
            self.reply.set_exception(error)


class Responder(Generic[R]):
    """Answers an ask after `receive` has returned; the first answer counts, answering a tell does nothing."""

    __slots__ = ("_envelope",)

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope

    @property
    def deadline(self) -> float | None:
        """Until when the asker waits, on the loop's clock; None when nobody asked."""
        return self._envelope.deadline

    @property
    def abandoned(self) -> bool:
        """Whether the work can be dropped: answered already, or the asker has gone."""
        return self._envelope.lapsed(asyncio.get_running_loop().time())

    def set_result(self, value: R) -> None:
        """Answer."""
        self._envelope.answer(value)

    def set_error(self, error: Exception) -> None:
        """Let the ask raise `error` as it is; the actor lives on."""
        self._envelope.fail(error)


def carried_fields() -> Mapping[str, Any] | None:
    """Return the log context to send along: what is bound here, less what names the sender."""
    fields = get_contextvars()
    for name in OWN_FIELDS:
        fields.pop(name, None)
    return fields or None
