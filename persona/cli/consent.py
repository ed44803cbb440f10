"""`persona consent`: who agreed to what, as a list, for one person, as a file."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from persona.adapters.sqlite import SqliteStore
from persona.adapters.sqlite.ledger import SqliteLedger
from persona.cli.consent_files import as_record, ledger_text, read_ledger
from persona.cli.import_screen import printable
from persona.cli.people import find_person, open_ledger
from persona.config import Settings, load_settings
from persona.domain.chat import GuildId
from persona.domain.consent import EVERYWHERE, PERMISSION, Choice, Entry, Scope, Source, Standing, in_force, standing
from persona.errors import EXIT_DONE, PersonaError, UsageError
from persona.mydata import mydata

_LARGEST_ID = (1 << 63) - 1
_WHOLE_FILE = 1 << 62

Action = Callable[[Settings, SqliteStore, SqliteLedger, argparse.Namespace], Coroutine[Any, Any, None]]


def run(arguments: argparse.Namespace) -> int:
    """Do one action on the ledger; return 0.

    Raises:
        UsageError: a person is not known, or the options do not go together.
        PersonaError: the settings, a file or the database cannot be used.
    """
    settings = load_settings(arguments.config)
    asyncio.run(_run(settings, _ACTIONS[arguments.action], arguments))
    return EXIT_DONE


async def _run(settings: Settings, action: Action, arguments: argparse.Namespace) -> None:
    async with open_ledger(settings) as (store, ledger):
        await action(settings, store, ledger, arguments)


async def _list(_: Settings, _store: SqliteStore, ledger: SqliteLedger, arguments: argparse.Namespace) -> None:
    newest = sorted(in_force(await ledger.entries()).values(), key=lambda e: (e.author_id, e.guild_id, e.scope))
    if arguments.json:
        print(json.dumps({"in_force": [as_record(entry) for entry in newest]}))
    elif not newest:
        print("Nobody has made a choice: everybody is stored in the allowed channels, nobody is trained on.")
    for entry in () if arguments.json else newest:
        print(_line(entry))


async def _show(_: Settings, _store: SqliteStore, ledger: SqliteLedger, arguments: argparse.Namespace) -> None:
    author_id = await find_person(ledger, arguments.user)
    entries = await ledger.entries(author_id)
    counts = await ledger.counts_of(author_id)
    guilds = sorted({EVERYWHERE, *(entry.guild_id for entry in entries)})
    held = {_where(guild): standing([e for e in entries if _applies(e, guild)], guild) for guild in guilds}
    if arguments.json:
        print(
            json.dumps(
                {
                    "author_id": str(author_id),
                    "standing": {where: {"store": each.store, "train": each.train} for where, each in held.items()},
                    "entries": [as_record(entry) for entry in entries],
                    "messages": dict(counts),
                }
            )
        )
        return
    for where, each in held.items():
        print(f"{where}: {_words(each)}")
    print(f"stored: {_counted(counts)}")
    for entry in entries:
        print(_line(entry))


async def _record(_: Settings, _store: SqliteStore, ledger: SqliteLedger, arguments: argparse.Namespace) -> None:
    if not 0 <= arguments.guild <= _LARGEST_ID:
        raise UsageError(f"--guild {arguments.guild} is not a server id")
    if arguments.permission is not None:
        await _record_permission(ledger, arguments)
        return
    if not (arguments.user and arguments.scope and arguments.choice):
        raise UsageError("record needs USER, --scope and --choice", cure="or --permission TEXT")
    scope, choice = Scope(arguments.scope), Choice(arguments.choice)
    if scope is Scope.TRAIN and choice is Choice.YES and not arguments.note.strip():
        raise UsageError("a yes to training needs a --note", cure="say where their words can be found")
    author_id = await find_person(ledger, arguments.user)
    entry = Entry(
        author_id=author_id,
        scope=scope,
        choice=choice,
        at=datetime.now(UTC),
        source=Source.OWNER,
        guild_id=GuildId(arguments.guild),
        note=arguments.note.strip(),
    )
    await ledger.record(entry)
    print(_line(entry))
    entries = await ledger.entries(author_id)
    own = {each.guild_id for each in entries if each.scope is scope} - {EVERYWHERE}
    for guild in sorted(own) if entry.guild_id == EVERYWHERE else ():
        print(f"{_where(guild)} has an entry of its own, which goes on to count: {_words(standing(entries, guild))}")
    if scope is Scope.STORE and choice is Choice.NO:
        print("What was stored before stays until it is forgotten: python -m persona forget", author_id)


async def _record_permission(ledger: SqliteLedger, arguments: argparse.Namespace) -> None:
    """Write down what the owner says of training on content that came through the API, with date and text."""
    if arguments.user or arguments.scope:
        raise UsageError("--permission is about nobody in particular", cure="leave out USER and --scope")
    text = " ".join(arguments.permission.split())
    if not text:
        raise UsageError("--permission needs a text", cure="say who gave it, when, and where it can be found")
    entry = Entry(
        author_id=PERMISSION,
        scope=Scope.TRAIN,
        choice=Choice(arguments.choice or Choice.YES),
        at=datetime.now(UTC),
        source=Source.OWNER,
        guild_id=GuildId(arguments.guild),
        note=text,
    )
    await ledger.record(entry)
    print(_line(entry))


async def _export(_: Settings, _store: SqliteStore, ledger: SqliteLedger, arguments: argparse.Namespace) -> None:
    entries = await ledger.entries()
    file: Path | None = arguments.file
    text = ledger_text(entries, as_json=file is not None and file.suffix.lower() == ".json")
    if file is None:
        sys.stdout.write(text)
        return
    _write(file, text.encode())
    print(f"{len(entries)} entries written to {file}")


async def _import(_: Settings, _store: SqliteStore, ledger: SqliteLedger, arguments: argparse.Namespace) -> None:
    entries = read_ledger(arguments.file, now=datetime.now(UTC))
    added = await ledger.import_entries(entries)
    print(f"{added} entries added, {len(entries) - added} known already")


async def _export_person(
    settings: Settings, store: SqliteStore, ledger: SqliteLedger, arguments: argparse.Namespace
) -> None:
    author_id = await find_person(ledger, arguments.user)
    contact = settings.discord.contact
    (data,) = await mydata(
        ledger, store, store.quizzes, author_id, at=datetime.now(UTC), contact=contact, part_bytes=_WHOLE_FILE
    )
    file = arguments.file or Path(f"{author_id}.json")
    _write(file, data)
    print(f"{sum((await ledger.counts_of(author_id)).values())} messages written to {file}")


_ACTIONS: Mapping[str, Action] = {
    "list": _list,
    "show": _show,
    "record": _record,
    "export": _export,
    "import": _import,
    "export-person": _export_person,
}


def _write(file: Path, data: bytes) -> None:
    """Write a file that only its owner may read: it says who agreed to what, or what somebody said."""
    try:
        file.touch(mode=0o600)
        file.write_bytes(data)
    except OSError as error:
        raise PersonaError(f"cannot write {file}: {error.strerror}", cure="check the folder") from error


def _applies(entry: Entry, guild_id: GuildId) -> bool:
    """Whether an entry has a say on a server; for everywhere else only those for everywhere do."""
    return entry.guild_id in {guild_id, EVERYWHERE}


def _line(entry: Entry) -> str:
    by = f" by {entry.recorded_by}" if entry.recorded_by is not None else ""
    note = f": {printable(entry.note)}" if entry.note else ""
    when = entry.at.strftime("%Y-%m-%d %H:%M")
    where = _where(entry.guild_id)
    if entry.author_id == PERMISSION:
        held = "recorded" if entry.choice is Choice.YES else "taken back"
        return f"permission to train on what came through the API  {held}  {where}  {when} UTC{note}"
    return f"{entry.author_id}  {entry.scope} {entry.choice}  {where}  {when} UTC ({entry.source}{by}){note}"


def _where(guild_id: GuildId) -> str:
    return "everywhere" if guild_id == EVERYWHERE else f"server {guild_id}"


def _words(held: Standing) -> str:
    stored = "stored" if held.store else "not stored"
    return f"{stored}, {'may be' if held.train else 'not'} trained on"


def _counted(counts: Mapping[str, int]) -> str:
    if not counts:
        return "nothing"
    listed = ", ".join(f"{number:,} in {printable(name)}" for name, number in counts.items())
    return f"{sum(counts.values()):,} messages ({listed})"
