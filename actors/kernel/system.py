"""Runs a supervision tree: starts it, waits for its end, stops it, and shows what it looks like."""

import asyncio
import random
from collections.abc import Callable

from actors.kernel.errors import ActorStopped, KernelError, Unkillable
from actors.kernel.mailbox import DeadLetter
from actors.kernel.slot import snapshot_of
from actors.kernel.snapshot import SystemSnapshot
from actors.kernel.spec import SupervisorSpec, Surroundings, adopt, close_mailboxes
from actors.kernel.supervisor import Supervisor
from actors.kernel.tasks import uninterrupted


class ActorSystem:
    """A tree of actors. Time is the running loop's clock, so a loop with a clock of its own makes it testable.

    Args:
        root: the tree; names are unique in it.
        fatal: errors that no restart can cure; the first one ends the tree.
        on_restart: called with the name of a child and its error whenever a restart is planned.
        on_dead_letter: called for every message that nobody will work on; must not send messages itself.
        chance: uniform in [0, 1), spreads restarts.
    """

    def __init__(
        self,
        root: SupervisorSpec,
        *,
        fatal: tuple[type[BaseException], ...] = (),
        on_restart: Callable[[str, BaseException], None] | None = None,
        on_dead_letter: Callable[[DeadLetter], None] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Check the tree.

        Raises:
            ValueError: two children share a name, or an address belonged to another tree.
        """
        adopt(root, on_dead_letter)
        self._spec = root
        self._around = Surroundings(fatal=fatal, on_restart=on_restart, chance=chance)
        self._root: Supervisor | None = None
        self._stopped = False

    async def start(self) -> None:
        """Start everything, in order; returns when the whole tree is ready. A cancelled start stops what it started.

        Raises:
            StartFailed: an actor did not become ready; `__cause__` is the error, and nothing runs any more.
            ActorStopped: the tree was stopped before or meanwhile.
            KernelError: the tree was started before.
        """
        if self._root is not None:
            raise KernelError(f"{self._spec.name} was started before")
        if self._stopped:
            raise ActorStopped(self._spec.name)
        self._root = root = Supervisor(self._spec, self._around, final=True)
        root.begin(lambda: close_mailboxes(self._spec))
        try:
            await asyncio.wait({root.settled})
        except asyncio.CancelledError:
            await uninterrupted(self.stop())
            raise
        if not root.ready:
            await self.wait()
            raise ActorStopped(self._spec.name)

    async def wait(self) -> None:
        """Wait until the tree has ended, and return when that was a normal end or `stop`.

        Raises:
            Escalated: the root gave up after too many restarts.
            StartFailed: it never became ready.
            Unkillable: an actor cannot be stopped.
            BaseException: the fatal error that ended it.
        """
        root = self._running()
        await asyncio.wait({root.ended})
        if root.exit is not None and root.exit.error is not None:
            raise root.exit.error

    async def stop(self) -> None:
        """Stop everything, in reverse order; safe to call at any time and any number of times.

        Cancelling the caller does not cut it short: the cancellation is raised when everything has stopped. An actor
        of this tree must not wait for it, as it would wait for itself.

        Raises:
            Unkillable: an actor ignores its cancellation; leave the process with `os._exit`.
        """
        self._stopped = True
        if self._root is None:
            close_mailboxes(self._spec)
            return
        await uninterrupted(self._stop(self._root))

    def snapshot(self) -> SystemSnapshot:
        """Return what the tree looks like now."""
        return SystemSnapshot(root=snapshot_of(self._spec, self._root, lives=1 if self._root else 0))

    async def _stop(self, root: Supervisor) -> None:
        root.request_stop(final=True)
        await asyncio.wait({root.ended})
        if self._around.unkillable:
            raise Unkillable(*self._around.unkillable)

    def _running(self) -> Supervisor:
        if self._root is None:
            raise KernelError(f"{self._spec.name} has not been started")
        return self._root
