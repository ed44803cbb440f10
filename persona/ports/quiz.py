"""What is remembered of blind tests on a server: which were asked, and who answered what."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from persona.domain.chat import AuthorId, GuildId, MessageId
from persona.domain.quiz import AskedQuiz, QuizAnswer
from persona.domain.recognition import Tally


class QuizBook(Protocol):
    """Asked quizzes and their answers; everything survives a restart, a person's answers go when they are forgotten."""

    async def begin(self, asked: AskedQuiz) -> bool:
        """Write down that a quiz is asked; False when that test was asked before: each is asked once."""
        ...

    async def newest(self, guild_id: GuildId) -> AskedQuiz | None:
        """Return the quiz that was asked last on a server."""
        ...

    async def close(self, test_id: str, at: datetime) -> None:
        """Take no answers to a quiz any more from a moment on, unless it was closed before."""
        ...

    async def answer(self, author_id: AuthorId, answer: QuizAnswer) -> bool:
        """Keep an answer; False when the person answered that question before, or the quiz is closed: then it stays."""
        ...

    async def answers(self, author_id: AuthorId, test_id: str | None = None) -> Sequence[QuizAnswer]:
        """Return what a person answered, to one test or to all, oldest first."""
        ...

    async def open_at(self, moment: datetime) -> Collection[str]:
        """Return the tests that take answers at a moment, on any server: nobody is told yet who was right."""
        ...

    async def tally(self, test_id: str) -> Tally:
        """Count the answers to a quiz, by person and by question."""
        ...

    async def forgotten_authors(self) -> Mapping[AuthorId, datetime]:
        """Return everybody who was ever forgotten, with the last time."""
        ...

    def message_ids(self) -> AsyncIterator[Sequence[MessageId]]:
        """Yield the ids of all stored messages, some thousands at a time."""
        ...
