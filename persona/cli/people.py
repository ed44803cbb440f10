"""Opens the store for commands about people, and finds who is meant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from persona.adapters.sqlite import SqliteStore
from persona.adapters.sqlite.ledger import SqliteLedger
from persona.cli.import_screen import printable
from persona.config import Settings
from persona.domain.chat import AuthorId
from persona.errors import StoreError, UsageError

_LARGEST_ID = (1 << 63) - 1


def require_database(settings: Settings) -> None:
    """Check that there is a database: a wrong --config must not make a new one.

    Raises:
        StoreError: there is none.
    """
    path = settings.storage.database
    if not path.exists():
        raise StoreError(f"there is no database at {path}", cure="check --config and [storage] database")


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[tuple[SqliteStore, SqliteLedger]]:
    """Open the configured database, which must exist, and its ledger; close it in any case.

    Raises:
        StoreError: there is none, or it cannot be used.
    """
    require_database(settings)
    store = SqliteStore(settings.storage.database)
    await store.open()
    try:
        yield store, SqliteLedger(store.database)
    finally:
        await store.close()


async def find_person(ledger: SqliteLedger, user: str) -> AuthorId:
    """Return the id of whom the command line means: an id, known or not, or the name of somebody who is stored.

    Raises:
        UsageError: nobody is called that, or several are.
    """
    text = user.strip().removeprefix("<@").removesuffix(">").removeprefix("!")
    if text.isascii() and text.isdigit():
        number = int(text)
        if not 0 < number <= _LARGEST_ID:
            raise UsageError(f"{text} is not a user id", cure="copy it on Discord with developer mode on")
        return AuthorId(number)
    found = await ledger.people_named(user.strip().removeprefix("@"))
    if len(found) == 1:
        return found[0].id
    if not found:
        raise UsageError(f"nobody called {user!r} is stored", cure="give their user id")
    listed = ", ".join(f"{person.id} ({printable(person.name)})" for person in found[:10])
    raise UsageError(f"{len(found)} people are called {user!r}: {listed}", cure="give the id of the one you mean")
