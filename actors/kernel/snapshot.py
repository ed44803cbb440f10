"""What the tree looks like from outside, at one moment."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    WAITING = "waiting"
    """Down; a restart is due."""
    ENDED = "ended"
    """Down, and no restart is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxSnapshot:
    """How full a mailbox is and ever was, and how many messages its actor has lost."""

    depth: int
    high_water: int
    capacity: int
    dead_letters: int
    closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSnapshot:
    """An actor (with a mailbox) or a supervisor (with children).

    `uptime` is the seconds since it became ready, 0 when it is not. `restarts` are the child's own restarts within its
    supervisor's window, `window` those of all children of a supervisor within its window.
    """

    name: str
    state: State
    incarnation: int = 0
    uptime: float = 0.0
    restarts: int = 0
    last_error: str = ""
    description: str = ""
    mailbox: MailboxSnapshot | None = None
    window: int = 0
    children: tuple["ChildSnapshot", ...] = ()

    def walk(self) -> Iterator["ChildSnapshot"]:
        """Yield this one and everything under it, in start order."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSnapshot:
    """The whole tree."""

    root: ChildSnapshot

    @property
    def actors(self) -> tuple[ChildSnapshot, ...]:
        """All actors, in start order, without the supervisors."""
        return tuple(child for child in self.root.walk() if child.mailbox is not None)

    @property
    def dead_letters(self) -> int:
        """How many messages were lost in all."""
        return sum(child.mailbox.dead_letters for child in self.root.walk() if child.mailbox is not None)
