"""What a supervision tree is made of, written down before it runs."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from actors.kernel.actor import ActorFactory
from actors.kernel.errors import StartFailed, Unkillable
from actors.kernel.mailbox import DeadLetter
from actors.kernel.ref import ActorRef
from actors.kernel.restart import Backoff, Restart, Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """An actor: how to build it, and how to treat it.

    `start_timeout`: seconds until it must be ready. `stop_timeout`: seconds for the message in flight (half of them at
    most) and `stopping`. `kill_timeout`: seconds until a cancelled task must have ended; one that has not cannot be
    killed and ends the system. `significant`: its normal end is the normal end of its supervisor.
    """

    ref: ActorRef
    factory: ActorFactory
    restart: Restart = Restart.PERMANENT
    start_timeout: float = 30.0
    stop_timeout: float = 5.0
    kill_timeout: float = 5.0
    significant: bool = False

    def __post_init__(self) -> None:
        _check_significant(self.name, self.restart, significant=self.significant)
        if not all(0 < seconds < math.inf for seconds in (self.start_timeout, self.stop_timeout, self.kill_timeout)):
            raise ValueError(f"{self.name}: timeouts are more than 0 seconds, and finite")

    @property
    def name(self) -> str:
        """The actor's name."""
        return self.ref.name


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSpec:
    """A supervisor: children in start order, and what happens when one of them ends.

    More than `intensity` restarts within `period` seconds end the supervisor, and its own supervisor decides.
    """

    name: str
    children: tuple["ChildSpec | SupervisorSpec", ...]
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = 5
    period: float = 3600.0
    backoff: Backoff = field(default_factory=Backoff)
    restart: Restart = Restart.PERMANENT
    significant: bool = False

    def __post_init__(self) -> None:
        _check_significant(self.name, self.restart, significant=self.significant)
        if self.intensity < 0 or not 0 < self.period < math.inf:
            raise ValueError(f"{self.name}: intensity is at least 0, and period more than 0 seconds, and finite")


AnySpec: TypeAlias = ChildSpec | SupervisorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a whole tree shares: which errors no restart can cure, who hears of events, and where chance comes from."""

    fatal: tuple[type[BaseException], ...]
    on_restart: Callable[[str, BaseException], None] | None
    chance: Callable[[], float]
    unkillable: list[str] = field(default_factory=list)
    """Actors that cannot be stopped; the process has to end."""

    def fatal_in(self, error: BaseException) -> BaseException | None:
        """Return the error that no restart can cure, if that is what happened."""
        while isinstance(error, StartFailed) and error.__cause__ is not None:
            error = error.__cause__
        return error if isinstance(error, (*self.fatal, Unkillable)) else None


def actor_specs(spec: AnySpec) -> Iterator[ChildSpec]:
    """Yield the actors under a spec, in start order."""
    if isinstance(spec, ChildSpec):
        yield spec
        return
    for child in spec.children:
        yield from actor_specs(child)


def close_mailboxes(spec: AnySpec) -> None:
    """Close the mailboxes of everything under a spec: it will not run again."""
    for actor in actor_specs(spec):
        actor.ref.mailbox.close()


def adopt(root: SupervisorSpec, listener: Callable[[DeadLetter], None] | None) -> None:
    """Check that a tree can run, and send its dead letters to a listener.

    Raises:
        ValueError: two children share a name or an address, or an address has been used before.
    """
    names: set[str] = set()
    for name in _names(root):
        if name in names:
            raise ValueError(f"two children are called {name}")
        names.add(name)
    for actor in actor_specs(root):
        if actor.ref.mailbox.closed:
            raise ValueError(f"the address of {actor.name} belonged to a tree that has ended")
        actor.ref.mailbox.listener = listener


def _names(spec: AnySpec) -> Iterator[str]:
    yield spec.name
    if isinstance(spec, SupervisorSpec):
        for child in spec.children:
            yield from _names(child)


def _check_significant(name: str, restart: Restart, *, significant: bool) -> None:
    if significant and restart is Restart.PERMANENT:
        raise ValueError(f"{name} cannot be significant and permanent: its normal end would be restarted")
