"""Gathers what is kept of a person, for the person."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from persona.domain.chat import AuthorId, Channel, MessageId, Reaction
from persona.domain.mydata import PART_BYTES, Kept, mydata_files
from persona.ports import ConsentLedger, QuizBook


class Shelf(Protocol):
    """What this needs of the store beside the ledger."""

    async def channels(self, *, allowed_only: bool = False) -> Sequence[Channel]:
        """Return the known channels."""
        ...

    async def reactions_to(self, ids: Collection[MessageId]) -> Mapping[MessageId, Sequence[Reaction]]:
        """Return the reactions to messages."""
        ...


async def mydata(
    ledger: ConsentLedger,
    store: Shelf,
    quizzes: QuizBook,
    author_id: AuthorId,
    *,
    at: datetime,
    contact: str = "",
    part_bytes: int = PART_BYTES,
) -> tuple[bytes, ...]:
    """Return what is kept of a person as JSON files: see `persona.domain.mydata.mydata_files`.

    Raises:
        StoreError: the store cannot be read.
    """
    messages = [message async for message in ledger.messages_of(author_id)]
    kept = Kept(
        author_id=author_id,
        messages=messages,
        channels={channel.id: channel for channel in await store.channels()},
        entries=await ledger.entries(author_id),
        reactions=await store.reactions_to([message.id for message in messages]),
        quiz_answers=await quizzes.answers(author_id),
        open_quizzes=await quizzes.open_at(at),
    )
    return await asyncio.to_thread(mydata_files, kept, at=at, contact=contact, part_bytes=part_bytes)
