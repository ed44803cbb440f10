"""The blind test on the server: an admin posts its card, whoever presses the button answers, unseen by the others."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from actors.commanding.support import Done, RefusedError, done
from persona.domain.chat import AuthorId, ChannelId, MessageId
from persona.domain.command_texts import AboutBot, place
from persona.domain.commands import QUIZ_HOURS, Answer, Button, Invocation, OptionValue, Via
from persona.domain.consent import Choice, Scope
from persona.domain.lineage import LineageKey
from persona.domain.quiz import (
    SIDES,
    AskedQuestion,
    AskedQuiz,
    Quiz,
    QuizAnswer,
    QuizError,
    asked_id,
    card_text,
    mentioned,
    question_text,
    result_text,
)
from persona.ports import ConsentLedger, MessageStore, QuizBook

LoadQuiz = Callable[[], Awaitable[Quiz]]
"""Reads the quiz file; raises `PersonaError` with the cure when there is none, or it is damaged."""

Visible = Callable[[ChannelId], Awaitable[frozenset[ChannelId]]]
"""Which allowed channels everybody who sees a channel may read, too."""

_TAKE_PART = Button(label="Take part", command="quiz", style="success")
_TEST_LETTERS = 12
_NO_QUIZ = "There is no quiz here at the moment."
_ANOTHER = "make another one (`python -m pipelines blindtest make`, with another --seed)"


class QuizCommands:
    """Carries out `/quizcard` and `/quiz`.

    A quiz is asked once, in one channel, with questions that are settled when it begins; it closes by its time, so
    nothing has to run for that. A question is shown where everybody who sees the channel may read what it shows, as
    long as all of that is still stored and nobody in it opted out: looked up each time, for all of that can change.
    """

    def __init__(
        self,
        *,
        book: QuizBook,
        load: LoadQuiz,
        key: Callable[[], Awaitable[LineageKey]],
        store: MessageStore,
        ledger: ConsentLedger,
        visible: Visible,
        about: AboutBot,
        now: Callable[[], datetime],
    ) -> None:
        self._book = book
        self._load = load
        self._key = key
        self._store = store
        self._ledger = ledger
        self._visible = visible
        self._about = about
        self._now = now

    def handlers(self) -> Mapping[str, Callable[[Invocation], Awaitable[Done]]]:
        """Return what carries out which command."""
        return {"quizcard": self.card, "quiz": self.take_part}

    async def card(self, invocation: Invocation) -> Done:
        """Post the card of a quiz, close it, or say how many have taken part; not how they did while it is open."""
        match invocation.options.get("action", "post"):
            case "stop":
                return await self._stop(invocation)
            case "count":
                return await self._count(invocation)
        return await self._post(invocation)

    async def take_part(self, invocation: Invocation) -> Done:
        """Take an answer where a button gives one, and show the next question; the result once it is closed."""
        asked = await self._book.newest(invocation.channel.guild_id)
        if asked is None:
            raise RefusedError(_NO_QUIZ)
        if asked.channel_id != invocation.channel.id:
            seen = asked.channel_id in await self._visible(invocation.channel.id)
            raise RefusedError(f"The quiz is in {place(asked.channel_id) if seen else 'another channel'}.")
        if invocation.via is Via.PREFIX:  # everybody reads the answer, and could press what is under it
            if not asked.is_open(self._now()):
                return done(result_text(asked, await self._book.tally(asked.test_id)))
            return done(card_text(asked, self._about.name), _TAKE_PART)
        author_id = invocation.caller.author.id
        if not asked.is_open(self._now()):
            own = await self._book.answers(author_id, asked.test_id)
            return done(result_text(asked, await self._book.tally(asked.test_id), own))
        if not (await self._ledger.standing(author_id, asked.guild_id)).store:
            raise RefusedError("You asked that nothing of you is kept, and your answers would be. `/optin` changes it.")
        quiz = await self._quiz_of(asked)
        shown = await self._showable(asked.questions, quiz, invocation, asking=author_id)
        await self._take(asked, quiz, shown, invocation)
        return await self._next(asked, quiz, shown, invocation)

    async def _post(self, invocation: Invocation) -> Done:
        quiz, before = await self._load(), await self._book.newest(invocation.channel.guild_id)
        now = self._now()
        if before is not None and before.is_open(now):
            return self._again(before, quiz, invocation)
        questions = await self._showable(await self._found(quiz), quiz, invocation)
        if not questions:
            text = "None of the questions may be shown here: each is about messages of one channel, and is asked where "
            text += "everybody may read that; of people who opted out, or of what was removed, nothing is shown."
            raise RefusedError(text)
        hours = int(invocation.options.get("hours", QUIZ_HOURS))
        asked = AskedQuiz(
            test_id=asked_id(quiz.test_id, invocation.channel.guild_id),
            guild_id=invocation.channel.guild_id,
            channel_id=invocation.channel.id,
            asked_at=now,
            closes_at=now + timedelta(hours=hours),
            questions=tuple(questions),
        )
        if not await self._book.begin(asked):
            before = await self._book.newest(invocation.channel.guild_id)
            if before is not None and before.is_open(now):  # another admin was quicker
                return self._again(before, quiz, invocation)
            raise RefusedError(f"That test was asked before, and a test is asked once: {_ANOTHER}.")
        return self._shown(asked)

    def _again(self, before: AskedQuiz, quiz: Quiz, invocation: Invocation) -> Done:
        """Show the card of an open quiz again, where it is the same test in the same channel."""
        if before.test_id != asked_id(quiz.test_id, before.guild_id) or before.channel_id != invocation.channel.id:
            text = f"A quiz is open in {place(before.channel_id)}: `/quizcard stop` closes it and shows its result."
            raise RefusedError(text)
        return self._shown(before)

    async def _stop(self, invocation: Invocation) -> Done:
        asked = await self._book.newest(invocation.channel.guild_id)
        if asked is None:
            raise RefusedError(_NO_QUIZ)
        await self._book.close(asked.test_id, self._now())
        return done(result_text(asked, await self._book.tally(asked.test_id)), private=False)

    async def _count(self, invocation: Invocation) -> Done:
        asked = await self._book.newest(invocation.channel.guild_id)
        if asked is None:
            raise RefusedError(_NO_QUIZ)
        tally = await self._book.tally(asked.test_id)
        if not asked.is_open(self._now()):
            return done(result_text(asked, tally), outcome="shown")
        people = "1 person has" if tally.people == 1 else f"{tally.people} people have"
        text = f"{people} taken part so far, {tally.answers} answers; how they did is shown when it is closed."
        return done(text, outcome="shown")

    def _shown(self, asked: AskedQuiz) -> Done:
        answer = Answer(text=card_text(asked, self._about.name), private=False, buttons=(_TAKE_PART,))
        return Done(answer=answer, outcome=f"quiz {asked.test_id[:_TEST_LETTERS]}, {len(asked.questions)} questions")

    async def _quiz_of(self, asked: AskedQuiz) -> Quiz:
        try:
            quiz = await self._load()
        except QuizError:  # whoever presses a button need not know where the file is to come from
            raise QuizError("the quiz cannot be asked at the moment: its file is gone or damaged") from None
        same = asked.test_id == asked_id(quiz.test_id, asked.guild_id)
        if not same or any(one.number >= len(quiz.questions) for one in asked.questions):
            raise RefusedError("The quiz file was replaced by another one: nobody can answer until it is back.")
        return quiz

    async def _found(self, quiz: Quiz) -> Sequence[AskedQuestion]:
        """Return the questions all of whose messages are in this database, with the ids of these."""
        wanted = frozenset(mark for question in quiz.questions for mark in question.marks)
        key, known = await self._key(), dict[str, MessageId]()
        async for ids in self._book.message_ids():
            known |= await asyncio.to_thread(_marked, key, ids, wanted)
        return [
            AskedQuestion(number=number, message_ids=frozenset(known[mark] for mark in question.marks))
            for number, question in enumerate(quiz.questions)
            if question.marks and all(mark in known for mark in question.marks)
        ]

    async def _showable(
        self,
        questions: Sequence[AskedQuestion],
        quiz: Quiz,
        invocation: Invocation,
        *,
        asking: AuthorId | None = None,
    ) -> Sequence[AskedQuestion]:
        """Return those that may be shown in the channel of an invocation now, but for replies of the one who is asked.

        What was edited since the quiz was made is not what its writer says any more; nor are the names of people shown
        who were forgotten since, or opted out.
        """
        wanted = frozenset[MessageId]().union(*(question.message_ids for question in questions))
        stored = await self._store.messages_by_id(wanted)
        visible = await self._visible(invocation.channel.id)
        choices = await self._ledger.choices(invocation.channel.guild_id)
        out = {author_id for author_id, each in choices.items() if each.get(Scope.STORE) is Choice.NO}
        made = quiz.read_at
        out |= {who for who, at in (await self._book.forgotten_authors()).items() if made is None or at >= made}
        fine = {
            message_id
            for message_id, message in stored.items()
            if message.channel_id in visible
            and out.isdisjoint({message.author.id, *mentioned(message)})
            and (message.edited_at is None or (made is not None and message.edited_at <= made))
        }
        return [
            question
            for question in questions
            # The newest of its messages is the reply; whoever wrote it knows.
            if question.message_ids <= fine and stored[max(question.message_ids)].author.id != asking
        ]

    async def _take(
        self, asked: AskedQuiz, quiz: Quiz, shown: Collection[AskedQuestion], invocation: Invocation
    ) -> None:
        """Keep the answer that a button gives, if it is to a question of this quiz; the first one counts."""
        options = invocation.options
        pick = options.get("pick")
        if options.get("test") != asked.test_id[:_TEST_LETTERS] or pick not in SIDES:
            return
        for number in (question.number for question in shown if question.number == options.get("question")):
            right = quiz.questions[number].human == pick
            answer = QuizAnswer(test_id=asked.test_id, number=number, right=right, at=self._now())
            await self._book.answer(invocation.caller.author.id, answer)

    async def _next(self, asked: AskedQuiz, quiz: Quiz, shown: Sequence[AskedQuestion], invocation: Invocation) -> Done:
        answers = await self._book.answers(invocation.caller.author.id, asked.test_id)
        answered = {answer.number for answer in answers}
        waiting = [question for question in shown if question.number not in answered]
        if not shown:
            return done("None of its questions can be shown at the moment.")
        if not waiting:
            return done(
                f"That was the last one, thank you. The card's button shows the result once it is closed, "
                f"<t:{int(asked.closes_at.timestamp())}:R>."
            )
        number = waiting[0].number
        text = question_text(quiz.questions[number], number=len(shown) - len(waiting) + 1, total=len(shown))
        options: dict[str, OptionValue] = {"test": asked.test_id[:_TEST_LETTERS], "question": number}
        buttons = [
            Button(label=f"{letter} is the person", command="quiz", options={**options, "pick": side})
            for letter, side in zip("AB", SIDES, strict=True)
        ]
        return done(text, *buttons)


def _marked(key: LineageKey, ids: Sequence[MessageId], wanted: Collection[str]) -> dict[str, MessageId]:
    """Return which of these messages are wanted, by mark."""
    marks = ((key.message(message_id).hex(), message_id) for message_id in ids)
    return {mark: message_id for mark, message_id in marks if mark in wanted}
