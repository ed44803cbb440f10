"""A small actor kernel on asyncio: bounded mailboxes, asks with deadlines, supervision trees, hosted threads.

Everything an actor or a composition root needs is here; the modules underneath are the kernel's own.
"""

from actors.kernel.actor import Actor, Context
from actors.kernel.envelope import LATER, Later, Request, Responder
from actors.kernel.errors import (
    ActorCrashed,
    ActorStopped,
    AskCycle,
    AskTimeout,
    Escalated,
    Hung,
    KernelError,
    StartFailed,
    StartTimeout,
    ThreadDied,
    UnexpectedEnd,
    Unkillable,
)
from actors.kernel.mailbox import DeadLetter, Lost
from actors.kernel.ref import ActorRef, new_ref
from actors.kernel.restart import Backoff, Restart, RestartWindow, Strategy, affected, wants_restart
from actors.kernel.snapshot import ChildSnapshot, MailboxSnapshot, State, SystemSnapshot
from actors.kernel.spec import ChildSpec, SupervisorSpec
from actors.kernel.system import ActorSystem
from actors.kernel.thread import ThreadHost, Worker

__all__ = [
    "LATER",
    "Actor",
    "ActorCrashed",
    "ActorRef",
    "ActorStopped",
    "ActorSystem",
    "AskCycle",
    "AskTimeout",
    "Backoff",
    "ChildSnapshot",
    "ChildSpec",
    "Context",
    "DeadLetter",
    "Escalated",
    "Hung",
    "KernelError",
    "Later",
    "Lost",
    "MailboxSnapshot",
    "Request",
    "Responder",
    "Restart",
    "RestartWindow",
    "StartFailed",
    "StartTimeout",
    "State",
    "Strategy",
    "SupervisorSpec",
    "SystemSnapshot",
    "ThreadDied",
    "ThreadHost",
    "UnexpectedEnd",
    "Unkillable",
    "Worker",
    "affected",
    "new_ref",
    "wants_restart",
]
