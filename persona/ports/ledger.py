"""The consent ledger and forgetting, as the store offers them."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from persona.domain.chat import AuthorId, GuildId, Message, MessageId
from persona.domain.consent import Choice, Entry, Scope, Standing
from persona.domain.lineage import LineageKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What forgetting removed: how many stored messages, and every id that must never come back."""

    messages: int
    message_ids: tuple[MessageId, ...]


class ConsentLedger(Protocol):
    """Who agreed to what; entries are only ever added."""

    async def record(self, entry: Entry) -> None:
        """Write down a choice."""
        ...

    async def standing(self, author_id: AuthorId, guild_id: GuildId) -> Standing:
        """Return what holds for a person on a server."""
        ...

    async def entries(self, author_id: AuthorId | None = None) -> Sequence[Entry]:
        """Return the entries of one person, or all, oldest first."""
        ...

    async def choices(self, guild_id: GuildId) -> Mapping[AuthorId, Mapping[Scope, Choice]]:
        """Return the choices in force on a server, by person and scope."""
        ...

    async def forget_author(self, author_id: AuthorId, at: datetime) -> Forgotten:
        """Remove everything a person said, with tombstones, names, edits, reactions and drafted answers to it."""
        ...

    async def forget_messages(self, message_ids: Collection[MessageId], at: datetime) -> Forgotten:
        """Remove single messages in the same way; unknown ids are buried, too."""
        ...

    async def counts_of(self, author_id: AuthorId) -> Mapping[str, int]:
        """Return how many messages of a person are stored, by channel name."""
        ...

    def messages_of(self, author_id: AuthorId) -> AsyncIterator[Message]:
        """Yield everything stored of a person, by id."""
        ...


class ForgettingStep(StrEnum):
    """What follows after something was removed from the store."""

    MEMORY = "memory"
    DATABASE = "database"
    RUNS = "runs"


class ForgettingBook(Protocol):
    """What is still to be done so that forgotten things are gone everywhere; survives a crash at any point."""

    async def steps_due(self) -> Mapping[ForgettingStep, int]:
        """Return the steps that are due, each with the number to give to `step_done`."""
        ...

    async def step_done(self, step: ForgettingStep, through: int) -> None:
        """Note that a step was done for everything that was forgotten before `steps_due` returned `through`."""
        ...

    async def scrub(self) -> None:
        """Remove every trace of removed rows from the store's files.

        Raises:
            StoreError: it cannot be done now; it may be tried again.
        """
        ...

    async def lineage_key(self) -> LineageKey:
        """Return the secret that message ids are hashed with."""
        ...

    def forgotten_ids(self) -> AsyncIterator[MessageId]:
        """Yield the ids of all messages that were ever forgotten, in order."""
        ...

    async def forgotten_authors(self) -> Mapping[AuthorId, datetime]:
        """Return everybody who was ever forgotten, with the last time."""
        ...
