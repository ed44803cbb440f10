"""A child's place in its supervisor: what outlives the child's own lives."""

import asyncio
from collections.abc import Callable

from actors.kernel.errors import StartFailed
from actors.kernel.life import Life
from actors.kernel.restart import Backoff, wants_restart
from actors.kernel.snapshot import ChildSnapshot, MailboxSnapshot, State
from actors.kernel.spec import AnySpec, ChildSpec, close_mailboxes


class Slot:
    """Holds at most one life of a child at a time, and remembers how it fared."""

    def __init__(self, spec: AnySpec, new_life: Callable[[AnySpec], Life]) -> None:
        self.spec = spec
        self.life: Life | None = None
        self.due: float | None = None
        """When it is to be started again; None while no restart is planned."""
        self.dropped = False
        """It will never run again."""
        self.restarts: tuple[float, ...] = ()
        """When restarts on its own account were planned, as far as they still count."""
        self._new_life = new_life
        self._lives = 0
        self._streak = 0
        self._well_for = 0.0
        self._last_error: BaseException | None = None

    @property
    def name(self) -> str:
        """The child's name."""
        return self.spec.name

    @property
    def ended(self) -> bool:
        """Whether its life is over and nobody has dealt with that yet."""
        return self.life is not None and self.life.ended.done()

    @property
    def stays_down(self) -> bool:
        """Whether its end, which nobody has dealt with yet, is not followed by a restart."""
        exit_ = self.life.exit if self.life else None
        return exit_ is not None and not wants_restart(self.spec.restart, crashed=exit_.error is not None)

    async def start(self, on_end: Callable[[], None], *, unless: asyncio.Future[None]) -> None:
        """Begin a life and return when it is ready, or as soon as `unless` is done.

        Raises:
            StartFailed: it ended before it was ready.
        """
        self.due = None
        self._lives += 1
        self.life = life = self._new_life(self.spec)
        life.begin(on_end)
        await asyncio.wait({life.settled, unless}, return_when=asyncio.FIRST_COMPLETED)
        if life.ready or not life.settled.done():
            return
        error = await self.bury() or asyncio.CancelledError()
        raise error if isinstance(error, StartFailed) else StartFailed(self.name, error)

    async def halt(self, *, final: bool = False) -> BaseException | None:
        """End its life if there is one (for good when `final`), and return the error it ended with."""
        if self.life is not None:
            self.life.request_stop(final=final)
        error = await self.bury()
        if final:
            self.drop()
        return error

    async def bury(self) -> BaseException | None:
        """Wait for the end of its life and return the error it ended with; leaves the place empty."""
        life = self.life
        if life is None:
            return None
        await asyncio.wait({life.ended})
        self.life = None
        self._well_for = life.uptime
        error = life.exit.error if life.exit else None
        self._last_error = error or self._last_error
        return error

    def drop(self) -> None:
        """Never run again; whoever waits for it is told."""
        self.dropped = True
        self.due = None
        close_mailboxes(self.spec)

    def next_delay(self, backoff: Backoff, chance: float) -> float:
        """Return the seconds to wait before the restart that is planned now."""
        self._streak = backoff.streak_after(self._streak, self._well_for)
        delay = backoff.next_delay(self._streak, chance)
        self._streak += 1
        return delay

    def snapshot(self, *, since: float) -> ChildSnapshot:
        """Return what it looks like from outside, with the restarts later than `since`."""
        return snapshot_of(
            self.spec,
            self.life,
            lives=self._lives,
            waiting=self.due is not None,
            restarts=sum(time > since for time in self.restarts),
            last_error=self._last_error,
        )


def snapshot_of(
    spec: AnySpec,
    life: Life | None,
    *,
    lives: int = 0,
    waiting: bool = False,
    restarts: int = 0,
    last_error: BaseException | None = None,
) -> ChildSnapshot:
    """Return what a child looks like from outside, alive or not (then its children are not either)."""
    resting = State.WAITING if waiting else State.ENDED
    mailbox: MailboxSnapshot | None = None
    children: tuple[ChildSnapshot, ...] = ()
    if isinstance(spec, ChildSpec):
        lives = spec.ref.incarnations
        mailbox = spec.ref.mailbox.snapshot()
    else:
        children = life.children() if life else tuple(snapshot_of(c, None, waiting=waiting) for c in spec.children)
    return ChildSnapshot(
        name=spec.name,
        state=life.state if life else resting,
        incarnation=lives,
        uptime=life.uptime if life else 0.0,
        restarts=restarts,
        last_error=f"{type(last_error).__name__}: {last_error}" if last_error else "",
        description=life.describe() if life else "",
        window=life.window() if life else 0,
        mailbox=mailbox,
        children=children,
    )
