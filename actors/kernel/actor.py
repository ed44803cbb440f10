"""The base class of actors: a private state, and one message at a time."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from actors.kernel.envelope import Responder
from actors.kernel.ref import ActorRef

T = TypeVar("T")


class Host(Protocol):
    """What the kernel does for a living actor."""

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """See `Actor.spawn`."""
        ...

    def respond_later(self) -> Responder[Any]:
        """See `Actor.respond_later`."""
        ...

    def finish(self) -> None:
        """See `Actor.finish`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """An actor's place in the world: its own address, its number, a log bound to both, and the kernel's services."""

    ref: ActorRef
    incarnation: int
    log: structlog.stdlib.BoundLogger
    host: Host

    @property
    def name(self) -> str:
        """The actor's name."""
        return self.ref.name


class Actor:
    """Subclass this; a child's factory builds a new instance for every incarnation.

    The kernel sets `context` before `started`, then calls `receive` with one message at a time. Any error out of
    `started`, `receive` or a spawned task ends this incarnation; the supervisor decides what happens next.
    """

    context: Context

    async def started(self) -> None:
        """Become ready; nothing is received before this returns, and raising means that the start failed.

        Slow work, and work that fails while something outside is down, belongs after it (`spawn`).
        """

    async def receive(self, message: object) -> object:
        """Handle a message; what is returned answers an ask. Return `LATER` to answer through `respond_later()`."""
        raise NotImplementedError(f"{type(self).__name__} does not receive messages, but got {message!r}")

    async def stopping(self) -> None:
        """Let go of everything: called once in every incarnation whose `started` succeeded, also after a crash.

        Spawned tasks still run, so that they can be finished here; what is left of them is cancelled afterwards.
        """

    def describe(self) -> str:
        """Say in a word or two what is going on, for snapshots."""
        return ""

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run a task that belongs to this incarnation: its failure is the actor's, and it ends with the actor.

        Cancelling the task is not a failure.

        Raises:
            ActorStopped: this incarnation has ended.
        """
        return self.context.host.spawn(coro, name=name)

    def respond_later(self) -> Responder[Any]:
        """Take over the answer to the message that `receive` is working on; then return `LATER`.

        Raises:
            RuntimeError: no message is being received, or its answer was taken already.
        """
        return self.context.host.respond_later()

    def finish(self) -> None:
        """End normally after the current message; the restart type says what then."""
        self.context.host.finish()


ActorFactory = Callable[[], Actor]
