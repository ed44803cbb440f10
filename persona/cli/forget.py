"""`persona forget`: removes a person or single messages from everywhere, while the persona does not run."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from persona.adapters.sqlite import SqliteStore
from persona.adapters.sqlite.ledger import SqliteLedger
from persona.cli.import_screen import printable
from persona.cli.people import find_person, open_ledger, require_database
from persona.config import Settings, load_settings
from persona.domain.chat import AuthorId, MessageId
from persona.errors import EXIT_DONE, EXIT_FAILED, AlreadyRunningError, PersonaError, UsageError
from persona.forgetting import Forgetter
from persona.forgetting_setup import forgetter_for
from persona.instance_lock import InstanceLock
from persona.logs import LogOptions, configure
from persona.memory_setup import memory_for
from persona.projection import open_memory, project
from persona.run_marks import RunMark

_LARGEST_ID = (1 << 63) - 1
_CHANGES_AT_ONCE = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    messages: int
    marks: Sequence[RunMark]


def run(arguments: argparse.Namespace) -> int:
    """Forget what was named, after asking; return 0 when it is gone everywhere, 1 when the owner said no.

    Raises:
        UsageError: it is not clear what to forget, or nobody is there to be asked.
        AlreadyRunningError: the persona is running on this database.
        PersonaError: a step failed; nothing is forgotten, or the rest is done by `persona forget --finish`.
    """
    _check(arguments)
    settings = load_settings(arguments.config)
    require_database(settings)
    lock = InstanceLock(settings.storage.database.parent / "persona.lock")
    try:
        lock.acquire()
    except AlreadyRunningError as error:
        cure = "use /forget on the server, or stop it first"
        raise AlreadyRunningError(error.problem, cure=cure) from error
    options = LogOptions(level=settings.log.level, file=settings.log.file, content=settings.log.content)
    logging = configure(options, terminal=True)
    try:
        outcome = asyncio.run(_forget(settings, arguments))
    finally:
        logging.close()
        lock.release()
    if outcome is None:
        print("Nothing was forgotten.", file=sys.stderr)
        return EXIT_FAILED
    _print(outcome, as_json=arguments.json)
    return EXIT_DONE


def _check(arguments: argparse.Namespace) -> None:
    wanted = [arguments.user is not None, bool(arguments.message), arguments.finish]
    if sum(wanted) != 1:
        raise UsageError("say whom or what to forget", cure="a USER, or --message ID, or --finish")
    if any(not 0 < number <= _LARGEST_ID for number in arguments.message):
        raise UsageError("--message takes message ids", cure="copy them on Discord with developer mode on")
    if not (arguments.finish or arguments.yes or sys.stdin.isatty()):
        raise UsageError("nobody is there to be asked", cure="add --yes")


async def _forget(settings: Settings, arguments: argparse.Namespace) -> _Outcome | None:
    async with open_ledger(settings) as (store, ledger):
        forgetter = forgetter_for(settings, settings.storage.memory, ledger)
        messages = 0
        if arguments.user is not None:
            author_id = await find_person(ledger, arguments.user)
            if not arguments.yes and not await _confirm_author(ledger, author_id):
                return None
            messages = await forgetter.forget_author(author_id)
        elif arguments.message:
            ids = [MessageId(number) for number in arguments.message]
            if not arguments.yes and not await _confirm_messages(store, ids):
                return None
            messages = await forgetter.forget_messages(ids)
        return _Outcome(messages=messages, marks=await _follow_up(settings, store, forgetter, again=arguments.finish))


async def _follow_up(settings: Settings, store: SqliteStore, forgetter: Forgetter, *, again: bool) -> Sequence[RunMark]:
    try:
        marks = await forgetter.finish(again=again)
        await _purge_memory(settings, store)
    except PersonaError as error:
        cure = "when that is mended: python -m persona forget --finish"
        raise PersonaError(f"removed from the store, but traces are left: {error}", cure=cure) from error
    return marks


async def _purge_memory(settings: Settings, store: SqliteStore) -> None:
    """Take what is forgotten out of the search index, where there is one."""
    if not (settings.memory.enabled and (settings.memory.uri or settings.storage.memory.exists())):
        return
    memory = memory_for(settings, settings.storage.memory, store)
    try:
        await open_memory(store, memory)
        await project(store, memory, batch=_CHANGES_AT_ONCE)
    finally:
        await memory.close()


async def _confirm_author(ledger: SqliteLedger, author_id: AuthorId) -> bool:
    counts = await ledger.counts_of(author_id)
    where = ", ".join(f"{number:,} in {printable(name)}" for name, number in counts.items())
    return _ask(f"{sum(counts.values()):,} messages of {author_id} are stored" + (f": {where}." if where else "."))


async def _confirm_messages(store: SqliteStore, ids: Sequence[MessageId]) -> bool:
    found = await store.messages_by_id(ids)
    return _ask(f"{len(found)} of {len(set(ids))} messages are stored.")


def _ask(facts: str) -> bool:
    print(facts, "What is forgotten cannot be brought back.")
    try:
        return input("Type forget to go on: ").strip().lower() == "forget"
    except EOFError:
        return False


def _print(outcome: _Outcome, *, as_json: bool) -> None:
    if as_json:
        marks = [
            {"run": mark.run, "messages": mark.messages, "authors": mark.authors, "problem": mark.problem}
            for mark in outcome.marks
            if mark.kind == "run"
        ]
        models = [
            {"model": mark.run, "messages": mark.messages, "authors": mark.authors, "problem": mark.problem}
            for mark in outcome.marks
            if mark.kind == "model"
        ]
        print(json.dumps({"messages": outcome.messages, "marked_runs": marks, "marked_models": models}))
        return
    print(f"{outcome.messages:,} messages were forgotten.")
    for mark in outcome.marks:
        what = mark.problem or f"holds forgotten things ({mark.messages:,} messages, {mark.authors:,} people)"
        cure = "delete it and what was made from it, or train anew"
        if mark.kind == "model":
            cure = "train anew, then persona model use NAME and persona model remove this one"
        print(f"{mark.kind} {printable(mark.run)} {what}: {cure}")
