"""Quizzes that were asked, and who was right, outlive the process; what is forgotten goes."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from persona.domain.chat import AuthorId, ChannelId, GuildId, MessageId
from persona.domain.quiz import AskedQuestion, AskedQuiz, QuizAnswer
from persona.domain.recognition import Tally
from tests.fakes.stores import with_store

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HERE, ANN, BOB = GuildId(1), AuthorId(7), AuthorId(8)
ASKED = AskedQuiz(
    test_id="ab" * 32,
    guild_id=HERE,
    channel_id=ChannelId(2),
    asked_at=NOON,
    closes_at=NOON + timedelta(hours=3),
    questions=(
        AskedQuestion(number=0, message_ids=frozenset({MessageId(11), MessageId(1 << 62)})),
        AskedQuestion(number=4, message_ids=frozenset({MessageId(12)})),
    ),
)


def answer(number=0, *, right=True, at=NOON, test=ASKED.test_id):
    return QuizAnswer(test_id=test, number=number, right=right, at=at)


def test_a_quiz_is_asked_once_and_comes_back_whole(tmp_path):
    other = replace(ASKED, test_id="cd" * 32, asked_at=NOON + timedelta(days=1))

    async def scenario(store):
        book = store.quizzes
        assert await book.newest(HERE) is None
        assert await book.begin(ASKED)
        assert not await book.begin(replace(ASKED, channel_id=ChannelId(9)))
        assert await book.begin(other)

    async def again(store):
        assert await store.quizzes.newest(HERE) == other
        assert await store.quizzes.newest(GuildId(5)) is None

    with_store(tmp_path / "persona.db", scenario)
    with_store(tmp_path / "persona.db", again)


def test_the_first_answer_to_a_question_counts_as_long_as_it_is_open(tmp_path):
    async def scenario(store):
        book = store.quizzes
        await book.begin(ASKED)
        given = await asyncio.gather(*(book.answer(ANN, answer(right=bool(n % 2))) for n in range(8)))
        assert sum(given) == 1
        assert await book.answer(ANN, answer(4, right=False))
        assert await book.answer(BOB, answer(right=True))
        assert not await book.answer(BOB, answer(4, at=ASKED.closes_at))
        assert not await book.answer(BOB, answer(4, test="ef" * 32))
        first = given.index(True) % 2
        both = Tally(by_person=((2, first), (1, 1)), by_question=((2, 1 + first), (1, 0)))
        assert await book.tally(ASKED.test_id) == both
        assert [(one.number, one.right) for one in await book.answers(ANN)] == [(0, bool(first)), (4, False)]
        assert await book.answers(ANN, "ef" * 32) == []
        assert await book.tally("ef" * 32) == Tally(by_person=(), by_question=())

    with_store(tmp_path / "persona.db", scenario)


def test_closing_ends_it_and_never_opens_it_again(tmp_path):
    async def scenario(store):
        book = store.quizzes
        await book.begin(ASKED)
        await book.close(ASKED.test_id, NOON + timedelta(hours=1))
        await book.close(ASKED.test_id, NOON + timedelta(hours=2))
        assert (await book.newest(HERE)).closes_at == NOON + timedelta(hours=1)
        assert not await book.answer(ANN, answer(at=NOON + timedelta(hours=1)))

    with_store(tmp_path / "persona.db", scenario)


def test_whoever_is_forgotten_leaves_no_answers(tmp_path):
    async def scenario(store):
        await store.quizzes.begin(ASKED)
        await store.quizzes.answer(ANN, answer())
        await store.quizzes.answer(BOB, answer())
        await store.ledger.forget_author(ANN, NOON)
        assert await store.quizzes.answers(ANN) == []
        assert await store.quizzes.tally(ASKED.test_id) == Tally(by_person=((1, 1),), by_question=((1, 1),))

    with_store(tmp_path / "persona.db", scenario)
