"""Forgets a person or messages everywhere: store, memory, free space of the files, and marks on datasets and models.

The first step is one transaction: what is forgotten is gone for everyone, cannot come back, and what is left to do is
written down. The other steps can be done late, twice, or after a crash: each is crossed out only when it is done.

| step | what is done | by whom |
| --- | --- | --- |
| removal | rows become tombstones, names and drafts go | `ConsentLedger.forget_author`, `forget_messages` |
| memory | rows are removed, the table is written anew, old files are deleted | `projection.project` |
| database | the file is built anew, the write-ahead log is emptied | `Forgetter.finish` |
| runs | runs and models with a forgotten message in them are marked; questions leave the quiz | `Forgetter.finish` |
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypedDict

import structlog

from persona.domain.chat import AuthorId, MessageId
from persona.errors import PersonaError
from persona.model_marks import mark_models
from persona.ports import ConsentLedger, ForgettingBook, ForgettingStep, Forgotten
from persona.quiz_file import forget_in_quiz
from persona.run_marks import RunMark, mark_runs

log = structlog.get_logger(__name__)

_SETTLE_SECONDS = 2.0
_RETRY_SECONDS = 30.0
_LONGEST_RETRY_SECONDS = 3600.0


class Ledger(ConsentLedger, ForgettingBook, Protocol):
    """Consent and the book of what is left to do, in one store."""


class _Gone(TypedDict):
    key: str
    messages: Collection[bytes]
    authors: Mapping[bytes, datetime]
    at: datetime


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Forgetter:
    """Forgets, and sees it through: in the background after `start`, or when `finish` is called.

    `runs` and `models` are the folders of run folders and of published models, `quiz` is the file of the blind test
    that is asked. `drop_memory` deletes a search index
    that nobody keeps in step with the store, on a thread, and says whether there is none left to purge. `settle` lets
    requests gather for so many seconds before files are written anew, `retry` is the first pause after a failure.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        runs: Path,
        models: Path | None = None,
        quiz: Path | None = None,
        drop_memory: Callable[[], bool] | None = None,
        now: Callable[[], datetime] = _utc_now,
        settle: float = _SETTLE_SECONDS,
        retry: float = _RETRY_SECONDS,
    ) -> None:
        self._ledger = ledger
        self._runs = runs
        self._models = models
        self._quiz = quiz
        self._drop_memory = drop_memory
        self._now = now
        self._settle = settle
        self._retry = retry
        self._wake = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def forget_author(self, author_id: AuthorId) -> int:
        """Forget a person; return how many messages were stored of them. When this returns nothing is found any more.

        Raises:
            StoreError: the store failed; nothing is forgotten.
        """
        return self._removed(await self._ledger.forget_author(author_id, self._now()))

    async def forget_messages(self, message_ids: Collection[MessageId]) -> int:
        """Forget single messages, known or not; return how many were stored.

        Raises:
            StoreError: the store failed; nothing is forgotten.
        """
        return self._removed(await self._ledger.forget_messages(message_ids, self._now()))

    async def finish(self, *, again: bool = False) -> tuple[RunMark, ...]:
        """Do what is due of the steps that follow, also after a crash; return the marks that runs and models carry now.

        With `again` runs are looked at and the database is built anew even when that is not due: for runs that were
        out of sight, copied back, or made from a store as it was before.

        Raises:
            PersonaError: a step failed; it stays due, the others are done.
        """
        due = dict(await self._ledger.steps_due())
        if again:
            due = {ForgettingStep.RUNS: 0, ForgettingStep.DATABASE: 0} | due
        marks: tuple[RunMark, ...] = ()
        failures: list[PersonaError] = []
        for step, through in due.items():
            try:
                match step:
                    case ForgettingStep.RUNS:
                        marks = await self._mark_runs()
                    case ForgettingStep.DATABASE:
                        await self._ledger.scrub()
                    case ForgettingStep.MEMORY:
                        if self._drop_memory is None or not await asyncio.to_thread(self._drop_memory):
                            continue  # whoever follows the store with it purges it
                await self._ledger.step_done(step, through)
            except PersonaError as error:
                failures.append(error)
            except OSError as error:
                cure = "check that this user may write its folder"
                failures.append(PersonaError(f"the memory index cannot be deleted: {error}", cure=cure))
        if failures:
            raise failures[0]
        return marks

    def start(self) -> None:
        """See everything through in the background from now on, beginning with what an earlier process left undone."""
        if self._following is None:
            self._following = asyncio.get_running_loop().create_task(self._follow(), name="forgetting")

    async def close(self) -> None:
        """Stop; what is not done yet is done by the next process. Safe to call twice."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    def _removed(self, forgotten: Forgotten) -> int:
        log.info("forgotten", messages=forgotten.messages, tombstones=len(forgotten.message_ids))
        self._wake.set()
        return forgotten.messages

    async def _follow(self) -> None:
        delay = self._retry
        while True:
            self._wake.clear()
            try:
                await self.finish()
            except PersonaError as error:
                log.warning("forgetting_delayed", error=str(error), seconds=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LONGEST_RETRY_SECONDS)
                continue
            delay = self._retry
            await self._wake.wait()
            await asyncio.sleep(self._settle)

    async def _mark_runs(self) -> tuple[RunMark, ...]:
        key = await self._ledger.lineage_key()
        messages = {key.message(message_id) async for message_id in self._ledger.forgotten_ids()}
        people: Mapping[AuthorId, datetime] = await self._ledger.forgotten_authors()
        authors = {key.author(author_id): at for author_id, at in people.items()}
        gone: _Gone = {"key": key.fingerprint, "messages": messages, "authors": authors, "at": self._now()}
        marks = await asyncio.to_thread(mark_runs, self._runs, **gone)
        if marks:
            log.info("runs_marked", runs=[mark.run for mark in marks])
        if self._models is not None:
            marks += await asyncio.to_thread(mark_models, self._models, **gone)
        if self._quiz is not None:  # last: a damaged file must not keep runs from being marked
            await asyncio.to_thread(forget_in_quiz, self._quiz, frozenset(each.hex() for each in messages))
        return marks
