"""`SqliteQuizBook`: the `QuizBook` port, blind tests that were asked on a server and who was right."""

import json
import sqlite3
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from persona.adapters.sqlite.database import Database
from persona.adapters.sqlite.forgetting import forgotten_authors
from persona.adapters.sqlite.rows import from_micros, to_micros
from persona.domain.chat import AuthorId, ChannelId, GuildId, MessageId
from persona.domain.quiz import AskedQuestion, AskedQuiz, QuizAnswer
from persona.domain.recognition import Tally

_PAGE = 5000
_BEFORE_EVERY_ID = -(1 << 63)
_NEWEST = """SELECT test_id, guild_id, channel_id, asked_at, closes_at, questions FROM quizzes
    WHERE guild_id = ? ORDER BY asked_at DESC, rowid DESC LIMIT 1"""
_ANSWER = """INSERT OR IGNORE INTO quiz_answers (test_id, author_id, number, is_right, at)
    SELECT test_id, ?, ?, ?, ? FROM quizzes WHERE test_id = ? AND closes_at > ?"""
_TALLY = "SELECT count(*), sum(is_right) FROM quiz_answers WHERE test_id = ? GROUP BY"


class SqliteQuizBook:
    """Asked quizzes and answers in the store's file. Every method may raise `StoreError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, asked: AskedQuiz) -> bool:
        """Write down that a quiz is asked; False when that test was asked before."""
        return await self._database.write(partial(_begin, asked))

    async def newest(self, guild_id: GuildId) -> AskedQuiz | None:
        """Return the quiz that was asked last on a server."""
        rows = await self._database.read(lambda db: db.execute(_NEWEST, (guild_id,)).fetchall())
        return _asked(rows[0]) if rows else None

    async def close(self, test_id: str, at: datetime) -> None:
        """Take no answers to a quiz any more from a moment on, unless it was closed before."""
        sql, values = "UPDATE quizzes SET closes_at = min(closes_at, ?) WHERE test_id = ?", (to_micros(at), test_id)
        await self._database.write(lambda db: db.execute(sql, values).rowcount)

    async def answer(self, author_id: AuthorId, answer: QuizAnswer) -> bool:
        """Keep an answer; False when the person answered that question before, or the quiz is closed."""
        at = to_micros(answer.at)
        values = (author_id, answer.number, answer.right, at, answer.test_id, at)
        return await self._database.write(lambda db: db.execute(_ANSWER, values).rowcount) > 0

    async def answers(self, author_id: AuthorId, test_id: str | None = None) -> Sequence[QuizAnswer]:
        """Return what a person answered, to one test or to all, oldest first."""
        return await self._database.read(partial(_answers, author_id, test_id))

    async def open_at(self, moment: datetime) -> Collection[str]:
        """Return the tests that take answers at a moment, on any server."""
        sql, at = "SELECT test_id FROM quizzes WHERE closes_at > ?", to_micros(moment)
        return frozenset(test for (test,) in await self._database.read(lambda db: db.execute(sql, (at,)).fetchall()))

    async def tally(self, test_id: str) -> Tally:
        """Count the answers to a quiz."""
        return await self._database.read(partial(_tally, test_id))

    async def forgotten_authors(self) -> Mapping[AuthorId, datetime]:
        """Return everybody who was ever forgotten, with the last time."""
        return await self._database.read(forgotten_authors)

    async def message_ids(self) -> AsyncIterator[Sequence[MessageId]]:
        """Yield the ids of all stored messages in order, some thousands at a time."""
        after = _BEFORE_EVERY_ID
        while page := await self._database.read(partial(_ids, after)):
            yield page
            after = page[-1]


def _begin(asked: AskedQuiz, connection: sqlite3.Connection) -> bool:
    questions = [[question.number, sorted(question.message_ids)] for question in asked.questions]
    values = (
        asked.test_id,
        asked.guild_id,
        asked.channel_id,
        to_micros(asked.asked_at),
        to_micros(asked.closes_at),
        json.dumps(questions),
    )
    return connection.execute("INSERT OR IGNORE INTO quizzes VALUES (?,?,?,?,?,?)", values).rowcount > 0


def _asked(row: tuple[str, int, int, int, int, str]) -> AskedQuiz:
    test_id, guild_id, channel_id, asked_at, closes_at, questions = row
    return AskedQuiz(
        test_id=test_id,
        guild_id=GuildId(guild_id),
        channel_id=ChannelId(channel_id),
        asked_at=from_micros(asked_at),
        closes_at=from_micros(closes_at),
        questions=tuple(
            AskedQuestion(number=number, message_ids=frozenset(map(MessageId, ids)))
            for number, ids in json.loads(questions)
        ),
    )


def _answers(author_id: AuthorId, test_id: str | None, connection: sqlite3.Connection) -> Sequence[QuizAnswer]:
    sql = """SELECT test_id, number, is_right, at FROM quiz_answers
        WHERE author_id = ? AND (? IS NULL OR test_id = ?) ORDER BY at, number"""
    return [
        QuizAnswer(test_id=test, number=number, right=bool(right), at=from_micros(at))
        for test, number, right, at in connection.execute(sql, (author_id, test_id, test_id))
    ]


def _tally(test_id: str, connection: sqlite3.Connection) -> Tally:
    return Tally(
        by_person=tuple(connection.execute(f"{_TALLY} author_id", (test_id,))),
        by_question=tuple(connection.execute(f"{_TALLY} number", (test_id,))),
    )


def _ids(after: int, connection: sqlite3.Connection) -> list[MessageId]:
    rows = connection.execute("SELECT id FROM messages WHERE id > ? ORDER BY id LIMIT ?", (after, _PAGE))
    return [MessageId(message_id) for (message_id,) in rows]
