"""A server with a quiz: who asks, who answers, and what may be seen."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from actors.commanding.quiz import QuizCommands
from actors.commanding.support import RefusedError
from persona.domain.chat import Author, AuthorId, Channel, ChannelId, GuildId
from persona.domain.command_texts import AboutBot
from persona.domain.commands import Caller, Invocation, Via
from persona.domain.quiz import Quiz, QuizError, QuizQuestion, asked_id
from tests.fakes.stores import open_store
from tests.fakes.talk import said

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HERE = GuildId(1)
KITCHEN = Channel(id=ChannelId(100), guild_id=HERE, name="kitchen", guild_name="home", allowed=True)
ATTIC = Channel(id=ChannelId(200), guild_id=HERE, name="attic", guild_name="home", allowed=True)
ANN = Author(id=AuthorId(2), name="ann", display_name="Ann")
BOB = Author(id=AuthorId(3), name="bob", display_name="Bob")
CAT = Author(id=AuthorId(4), name="cat", display_name="Cat")


@dataclass
class World:
    store: object
    quiz: object = None
    visible: set = field(default_factory=lambda: {KITCHEN.id})
    now: datetime = NOON
    key: object = None
    number: int = 0

    def __post_init__(self):
        self.commands = QuizCommands(
            book=self.store.quizzes,
            load=self.load,
            key=self.store.ledger.lineage_key,
            store=self.store,
            ledger=self.store.ledger,
            visible=self.seen,
            about=AboutBot(name="Pip"),
            now=lambda: self.now,
        )

    @property
    def asked(self):
        """The name under which the test is asked here."""
        return asked_id(self.quiz.test_id, HERE)

    async def load(self):
        if self.quiz is None:
            raise QuizError("there is no quiz yet")
        return self.quiz

    async def seen(self, _channel_id):
        return frozenset(self.visible)

    async def card(self, action="post", channel=KITCHEN, **options):
        return await self.commands.card(self.invocation("quizcard", channel, {"action": action, **options}))

    async def press(self, button=None, *, who=ANN, channel=KITCHEN, via=Via.BUTTON):
        options = button.options if button else {}
        return (await self.commands.take_part(self.invocation("quiz", channel, options, who=who, via=via))).answer

    async def answer_all(self, *, who=ANN, skill=True):
        """Press through to the end; return the last answer."""
        shown = await self.press(who=who)
        while shown.buttons:
            number = shown.buttons[0].options["question"]
            wanted = self.quiz.questions[number].human
            pick = next(one for one in shown.buttons if (one.options["pick"] == wanted) is skill)
            shown = await self.press(pick, who=who)
        return shown

    def invocation(self, command, channel, options, *, who=ANN, via=Via.SLASH):
        self.number += 1
        return Invocation(
            id=self.number, command=command, caller=Caller(author=who), channel=channel, via=via, options=options
        )

    async def refused(self, doing):
        with pytest.raises(RefusedError) as told:
            await doing
        return str(told.value)


def playing(tmp_path, play, *, questions=4):
    """Play with a kitchen in which each question is about a message of Ann's and a reply of Cat's."""

    async def run():
        async with open_store(tmp_path / "persona.db") as store:
            await store.put_channels([KITCHEN, ATTIC])
            talk = []
            for number in range(questions):
                for offset, who in enumerate((ANN, CAT)):
                    text = f"said {number} {who.name}"
                    talk.append(said(10 * number + offset, text, channel=KITCHEN.id, author=who))
            await store.put_messages(talk)
            key = await store.ledger.lineage_key()
            marks = [key.message(message.id).hex() for message in talk]
            world = World(store)
            world.talk = talk
            world.quiz = Quiz(
                test_id="ab" * 32,
                questions=tuple(
                    QuizQuestion(
                        context=(f"Ann: said {n} ann",),
                        left=(f"left {n}",),
                        right=(f"right {n}",),
                        human=("left", "right")[n % 2],
                        marks=tuple(marks[2 * n : 2 * n + 2]),
                    )
                    for n in range(questions)
                ),
            )
            await play(world)

    asyncio.run(run())
