"""A running persona: what the application does with its tree, in its own words and errors."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from actors.kernel import (
    ActorCrashed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Escalated,
    Hung,
    StartFailed,
    Unkillable,
    new_ref,
)
from actors.messages import Drain, Draining, TreeReady
from persona.errors import HungError, PersonaError
from persona.ports import MessageStore

log = structlog.get_logger(__name__)

_MAILBOXES = {"ingest": 4096, "responder": 512}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refs:
    """The address of every actor; made once, they outlive restarts."""

    heartbeat: ActorRef
    inference: ActorRef
    retriever: ActorRef
    ingest: ActorRef
    responder: ActorRef
    commands: ActorRef
    gateway: ActorRef

    @classmethod
    def new(cls) -> "Refs":
        """Return addresses for actors that are yet to be started; ingest and responder get room for bursts."""
        return cls(**{name: new_ref(name, mailbox=_MAILBOXES.get(name, 64)) for name in cls.__dataclass_fields__})


class Tree:
    """A running persona: start, wait, drain, stop, with the program's own errors instead of the kernel's."""

    def __init__(self, system: ActorSystem, refs: Refs) -> None:
        self._system = system
        self._refs = refs

    async def start(self) -> None:
        """Start everything in order.

        Raises:
            PersonaError: a part could not start.
        """
        try:
            await self._system.start()
        except StartFailed as error:
            raise _told(error) from error
        self._refs.heartbeat.tell(TreeReady())

    async def wait(self) -> None:
        """Wait until the tree gives up.

        Raises:
            PersonaError: which part failed too often, or what no restart can cure.
        """
        try:
            await self._system.wait()
        except (Escalated, StartFailed, Hung, Unkillable) as error:
            raise _told(error) from error

    async def drain(self, seconds: float) -> None:
        """Let the replies in the making finish, for `seconds` at most."""
        self._refs.heartbeat.tell(Draining())
        try:
            await self._refs.responder.ask(Drain(), timeout=seconds)
        except (AskTimeout, ActorCrashed, ActorStopped) as error:
            log.warning("drain_incomplete", error=type(error).__name__)

    async def stop(self) -> None:
        """Stop everything in reverse order.

        Raises:
            HungError: a part ignores that.
        """
        try:
            await self._system.stop()
        except Unkillable as error:
            raise _told(error) from error


class RestartJournal:
    """Writes restarts down in the store, beside everything else."""

    def __init__(self, store: MessageStore) -> None:
        self._store = store
        self._writing: set[asyncio.Task[None]] = set()

    def note(self, actor: str, error: BaseException) -> None:
        """Store a restart as soon as possible; the kernel has logged it."""
        task = asyncio.get_running_loop().create_task(self._write(actor, error))
        self._writing.add(task)  # an unreferenced task may vanish
        task.add_done_callback(self._writing.discard)

    async def _write(self, actor: str, error: BaseException) -> None:
        try:
            await self._store.put_restart(actor, f"{type(error).__name__}: {error}", datetime.now(UTC))
        except PersonaError as trouble:
            log.warning("restart_not_written", error=str(trouble))


def _told(error: BaseException) -> PersonaError:
    """Turn what the kernel says into one line for the owner; the program's own errors pass as they are."""
    if isinstance(error, Hung | Unkillable):
        return HungError(str(error), cure="the process ends now and has to be started anew")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PersonaError):
            return cause
        innermost, cause = cause, cause.__cause__
    name = type(innermost).__name__
    return PersonaError(f"{error}; the last error was {name}: {innermost}", cure="the log has the details")
