"""What can go wrong between actors and their supervisors.

KernelError
├── AskTimeout      (also a TimeoutError) no answer in time, waiting for room in the mailbox included
├── ActorCrashed    the actor died while it had the question; `__cause__` is the error
├── ActorStopped    the actor is gone for good, or went away before it answered
├── AskCycle        an actor asked itself, or somebody who waits for it
├── StartFailed     an actor did not become ready; `__cause__` is the error
├── StartTimeout    (also a TimeoutError) the cause of a StartFailed: not ready in time
├── UnexpectedEnd   a permanent child ended without an error
├── Escalated       a supervisor gave up: too many restarts; `__cause__` is the last error
├── Unkillable      an actor ignored its cancellation: only the end of the process can stop it
├── ThreadDied      a thread host's thread ended; `__cause__` is the error
└── Hung            a thread host's thread makes no progress: only the end of the process can stop it
"""
# ruff: noqa: N818 - these say what happened ("actor crashed"), which reads better than an Error suffix


class KernelError(Exception):
    """Anything the kernel raises about actors."""


class AskTimeout(KernelError, TimeoutError):
    """No answer came in time."""

    def __init__(self, actor: str, request: str, timeout: float) -> None:
        self.actor = actor
        super().__init__(f"{actor} did not answer {request} within {timeout:g} s")


class ActorCrashed(KernelError):
    """The actor died while it had the question; `__cause__` is the error it died of."""

    def __init__(self, actor: str) -> None:
        self.actor = actor
        super().__init__(f"{actor} crashed before it answered")


class ActorStopped(KernelError):
    """The actor will not answer any more."""

    def __init__(self, actor: str) -> None:
        self.actor = actor
        super().__init__(f"{actor} has stopped")


class AskCycle(KernelError):
    """An actor asked itself, directly or through others: nobody could ever answer."""

    def __init__(self, path: tuple[str, ...]) -> None:
        self.path = path
        super().__init__(f"ask in a circle: {' -> '.join(path)}")


class StartFailed(KernelError):
    """An actor did not become ready; `__cause__` is the error."""

    def __init__(self, actor: str, cause: BaseException) -> None:
        self.actor = actor
        super().__init__(f"{actor} did not start: {str(cause) or type(cause).__name__}")
        self.__cause__ = cause


class StartTimeout(KernelError, TimeoutError):
    """An actor was not ready in time."""

    def __init__(self, actor: str, timeout: float) -> None:
        self.actor = actor
        super().__init__(f"{actor} was not ready after {timeout:g} s")


class UnexpectedEnd(KernelError):
    """A permanent child ended although nothing was wrong; it is restarted like one that crashed."""

    def __init__(self, actor: str) -> None:
        self.actor = actor
        super().__init__(f"{actor} ended although it is permanent")


class Escalated(KernelError):
    """A supervisor gave up on its children; `__cause__` is the error of the last one that failed."""

    def __init__(self, supervisor: str, *, actor: str, intensity: int, period: float) -> None:
        self.supervisor = supervisor
        self.actor = actor
        super().__init__(f"{supervisor} gave up on {actor}: more than {intensity} restarts within {period:g} s")


class Unkillable(KernelError):
    """Actors ignored their cancellation; leave the process without waiting for them (`os._exit`)."""

    def __init__(self, *actors: str) -> None:
        self.actors = actors
        super().__init__(f"{', '.join(actors)} cannot be stopped within this process")


class ThreadDied(KernelError):
    """The thread of a host has ended; `__cause__` is the error it ended with, if any."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"the thread {name} has ended")


class Hung(KernelError):
    """A thread makes no progress; a thread cannot be killed, so a new process has to take over."""

    def __init__(self, name: str, stalled_seconds: float) -> None:
        self.name = name
        self.stalled_seconds = stalled_seconds
        super().__init__(f"the thread {name} has made no progress for {stalled_seconds:.1f} s")
