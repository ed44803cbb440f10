"""`SqliteLedger`: consent, forgetting, and what has to follow it, in the same file as the messages."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from persona.adapters.sqlite import consent, forgetting
from persona.adapters.sqlite.database import Database
from persona.domain.chat import Author, AuthorId, GuildId, Message, MessageId
from persona.domain.consent import Choice, Entry, Scope, Standing, choices_on, standing
from persona.domain.lineage import LineageKey
from persona.ports import ForgettingStep, Forgotten

_PAGE = 1000
_BEFORE_EVERY_ID = -(1 << 63)


class SqliteLedger:
    """The `ConsentLedger` and `ForgettingBook` ports over one SQLite file. Every method may raise `StoreError`.

    What is written here holds for the very next write transaction of the store, in whichever process that runs.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, entry: Entry) -> None:
        """Write down a choice that is made now; it counts from now on, whatever the clock said before."""
        await self._database.write(partial(consent.record, entry))

    async def import_entries(self, entries: Sequence[Entry]) -> int:
        """Add entries of another ledger, all or none; known ones are left out. Return how many were new.

        They keep their times: what a person chose since then goes on to hold.
        """
        return await self._database.write(partial(consent.import_entries, tuple(entries)))

    async def standing(self, author_id: AuthorId, guild_id: GuildId) -> Standing:
        """Return what holds for a person on a server."""
        return standing(await self.entries(author_id), guild_id)

    async def entries(self, author_id: AuthorId | None = None) -> Sequence[Entry]:
        """Return the entries of one person, or all, oldest first."""
        return await self._database.read(partial(consent.load_entries, author_id))

    async def choices(self, guild_id: GuildId) -> Mapping[AuthorId, Mapping[Scope, Choice]]:
        """Return the choices in force on a server, by person and scope; who has made none is left out."""
        return choices_on(await self.entries(), guild_id)

    async def forget_author(self, author_id: AuthorId, at: datetime) -> Forgotten:
        """Remove everything a person said up to now; what is not known yet of it is refused when it comes.

        The rest of forgetting is due from then on: see `steps_due`.
        """
        return await self._database.write(partial(forgetting.forget_author, author_id, at))

    async def forget_messages(self, message_ids: Collection[MessageId], at: datetime) -> Forgotten:
        """Remove single messages in the same way; unknown ids are buried, too."""
        return await self._database.write(partial(forgetting.forget_messages, frozenset(message_ids), at))

    async def counts_of(self, author_id: AuthorId) -> Mapping[str, int]:
        """Return how many messages of a person are stored, by channel name."""
        return await self._database.read(partial(consent.counts_of, author_id))

    async def messages_of(self, author_id: AuthorId) -> AsyncIterator[Message]:
        """Yield everything stored of a person, by id."""
        after = _BEFORE_EVERY_ID
        while page := await self._database.read(partial(consent.messages_of, author_id, after, _PAGE)):
            for message in page:
                yield message
            after = page[-1].id

    async def people_named(self, name: str) -> Sequence[Author]:
        """Return everybody who goes by a name (as account or on the server), whatever its case."""
        return await self._database.read(partial(consent.people_named, name))

    async def steps_due(self) -> Mapping[ForgettingStep, int]:
        """Return the steps of forgetting that are due, each with the number to give to `step_done`."""
        return await self._database.read(forgetting.steps_due)

    async def step_done(self, step: ForgettingStep, through: int) -> None:
        """Note that a step was done for everything that was forgotten before `steps_due` returned `through`."""
        await self._database.write(partial(forgetting.step_done, step, through))

    async def scrub(self) -> None:
        """Build the database file anew without anything that was removed, and empty its write-ahead log."""
        await self._database.scrub()

    async def lineage_key(self) -> LineageKey:
        """Return the secret that message ids are hashed with."""
        return await self._database.read(forgetting.lineage_key)

    async def forgotten_ids(self) -> AsyncIterator[MessageId]:
        """Yield the ids of all messages that were ever forgotten, in order."""
        after = _BEFORE_EVERY_ID
        while page := await self._database.read(partial(forgetting.forgotten_ids, after, _PAGE)):
            for message_id in page:
                yield message_id
            after = page[-1]

    async def forgotten_authors(self) -> Mapping[AuthorId, datetime]:
        """Return everybody who was ever forgotten, with the last time."""
        return await self._database.read(forgetting.forgotten_authors)
