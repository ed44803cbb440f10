"""Actors that do as they are told, and trees of them."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass

from actors.kernel import LATER, Actor, ActorSystem, Backoff, ChildSpec, Request, SupervisorSpec, new_ref


class BoomError(Exception):
    """A crash that was asked for."""


class FatalError(Exception):
    """An error that no restart can cure."""


@dataclass(frozen=True)
class Echo(Request[str]):
    """Answers with its text after some seconds."""

    text: str = "hi"
    seconds: float = 0.0


@dataclass(frozen=True)
class EchoLater(Request[str]):
    """Answers with its text from a spawned task, after some seconds; never when that is infinite."""

    text: str = "hi"
    seconds: float = 0.0


@dataclass(frozen=True)
class Crash(Request[None]):
    """Crashes the actor: in `receive`, or in a spawned task after some seconds."""

    error: Exception
    in_task_after: float | None = None


@dataclass(frozen=True)
class Finish(Request[None]):
    """Ends the actor normally."""


@dataclass(frozen=True)
class Incarnation(Request[int]):
    """Answers with the number of the incarnation."""


class Probe(Actor):
    """Writes down what happens to it in a journal that all its incarnations share."""

    def __init__(self, journal):
        self.journal = journal

    @property
    def me(self):
        return f"{self.context.name}{self.context.incarnation}"

    async def started(self):
        self.journal.append(f"start {self.me}")

    async def stopping(self):
        self.journal.append(f"stop {self.me}")

    async def receive(self, message):
        match message:
            case Echo(text, seconds):
                await asyncio.sleep(seconds)
                return text
            case EchoLater(text, seconds):
                self.spawn(self.answer(self.respond_later(), text, seconds), name="answer")
                return LATER
            case Crash(error, None):
                raise error
            case Crash(error, seconds):
                self.spawn(self.fail(error, seconds), name="fail")
            case Finish():
                self.finish()
            case Incarnation():
                return self.context.incarnation
            case _:
                self.journal.append(f"{self.me} got {message}")
        return None

    async def answer(self, responder, text, seconds):
        if seconds == float("inf"):
            await asyncio.Event().wait()
        await asyncio.sleep(seconds)
        responder.set_result(text)

    async def fail(self, error, seconds):
        await asyncio.sleep(seconds)
        raise error


class Tree:
    """Builds child specs that share a journal, and keeps their addresses at hand."""

    def __init__(self):
        self.journal = []
        self.refs = {}
        self.restarts = []
        self.dead_letters = []
        self.counts = defaultdict(int)

    def child(self, name, factory=Probe, *, mailbox=64, **options):
        self.refs[name] = new_ref(name, mailbox=mailbox)
        return ChildSpec(ref=self.refs[name], factory=lambda: factory(self.journal), **options)

    def supervisor(self, name, *children, backoff=None, **options):
        specs = tuple(self.child(c) if isinstance(c, str) else c for c in children)
        return SupervisorSpec(name=name, children=specs, backoff=backoff or Backoff(base=0.1, cap=0.1), **options)

    def system(self, root, **options):
        return ActorSystem(
            root,
            fatal=(FatalError,),
            on_restart=lambda name, error: self.restarts.append((name, error)),
            on_dead_letter=self.dead_letters.append,
            chance=lambda: 0.999,
            **options,
        )

    def take(self):
        """Return the journal so far and start a new page."""
        page = list(self.journal)
        self.journal.clear()
        return page

    def __getitem__(self, name):
        return self.refs[name]


async def started(tree, *children, **options):
    """Start a root supervisor over these children, and forget the journal of the start."""
    system = tree.system(tree.supervisor("root", *children, **options))
    await system.start()
    tree.take()
    return system
