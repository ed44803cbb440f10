"""Makes whole conversations with Pip, rendered exactly as the live bot renders them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from persona.domain.chat import Author, AuthorId, ChannelId, Message, MessageId, Recollection
from persona.domain.prompt import Identity, Scene, Turn, render
from pipelines.demo import recalling, topics
from pipelines.demo.set_pieces import FOLLOW_UPS, SET_PIECES
from pipelines.demo.talk import Line, Said, Talk
from pipelines.demo.words import made_up, name, noisy, word
from pipelines.demo.world import NAME, SERVER

ME = Author(id=AuthorId(1), name=NAME.lower(), display_name=NAME, is_bot=True)

Say = Callable[[Talk, str], Line]

_ANY_TIME: tuple[tuple[Say, float], ...] = (
    *((piece.line, piece.weight) for piece in SET_PIECES),
    (topics.asks_opinion, 9),
    (topics.praises, 4),
    (topics.complains, 4),
    (topics.asks_favourite, 6),
    (topics.tells_a_fact, 8),
    (topics.asks_about_food, 3),
    (topics.asks_to_choose, 2),
    (topics.asks_advice, 3),
    (topics.asks_the_unknown, 9),
    (topics.chats, 6),
    (topics.says_anything, 9),
    (topics.repeats, 3),
    (recalling.asks_own_name, 3),
)
_LATER: tuple[tuple[Say, float], ...] = (
    *((piece.line, piece.weight) for piece in FOLLOW_UPS),
    (recalling.asks_who_said_what, 30),
    (recalling.asks_why, 6),
)
_WITH_NOTES = 0.6
"""How many conversations have old messages in front of their newest line."""

_RECALL: tuple[tuple[Say, float], ...] = ((recalling.asks_for_a_fact, 16),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A rendered prompt and what Pip answers; earlier answers stand in the prompt's assistant turns.

    `accepted` are all answers that would be right; `intent` names what the newest line is.
    """

    turns: tuple[Turn, ...]
    reply: str
    accepted: tuple[str, ...]
    intent: str


class _Stage:
    """Collects the messages of one conversation."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        names = dict.fromkeys(name(rng) for _ in range(rng.choice((1, 1, 2, 2, 2, 3, 3, 4))))
        self.talk = Talk(rng=rng, people=tuple(names))
        self.authors = {
            person: Author(id=AuthorId(10 + number), name=person, display_name=person)
            for number, person in enumerate(names)
        }
        self.messages: list[Message] = []
        self.now: datetime = recalling.TONIGHT

    def says(self, who: str, line: Line) -> None:
        """Let somebody say a line, typed as people type."""
        self.now += timedelta(minutes=self.rng.choice((0, 1, 6)))
        target = self.messages[-1].id if self.messages and self.rng.random() < 0.08 else None
        text = line.text if line.typed_as_is else noisy(self.rng, line.text)
        self._add(self.authors[who], text, target)
        self.talk.said.append(Said(who=who, gist=line.gist))

    def answers(self, line: Line) -> None:
        """Let Pip answer, one message for each line of the reply."""
        for part in line.reply.split("\n"):
            self.now += timedelta(seconds=20)
            self._add(ME, part, None)

    def _add(self, author: Author, content: str, reply_to: MessageId | None) -> None:
        self.messages.append(
            Message(
                id=MessageId(len(self.messages) + 1),
                channel_id=ChannelId(1),
                author=author,
                content=content,
                created_at=self.now,
                reply_to=reply_to,
            )
        )


def make_conversation(rng: Random, *, drill: float = 0.0) -> Conversation:
    """Make up a conversation of one to six answers among one to four people, often with old messages in mind.

    With probability `drill` it is one that only exercises copying. Old messages come with drills, too: the live bot
    finds some for almost every line, and most of them have nothing to do with it.
    """
    stage = _Stage(rng)
    drilled = rng.random() < drill
    notes = recalling.recollections(rng) if rng.random() < _WITH_NOTES else []
    rounds = rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 6))
    for number in range(rounds):
        _overhear(stage)
        who = rng.choice(stage.talk.people)
        last = number == rounds - 1
        if _asks_memory(rng, notes, last=last):
            line = recalling.asks_memory(stage.talk, notes, who)
        else:
            line = _drill(stage, who, last=last) if drilled else _line(stage, who)
        stage.says(who, line)
        if not last:
            stage.answers(line)
    scene = Scene(
        identity=Identity(id=ME.id, name=NAME, server=_server(rng)),
        messages=stage.messages,
        channel_name=_channel(rng),
        recollections=notes,
    )
    return Conversation(turns=render(scene), reply=line.reply, accepted=stage.talk.accepted, intent=_intent(line))


def _overhear(stage: _Stage) -> None:
    """Let people talk among themselves before somebody turns to Pip."""
    if len(stage.talk.people) < 2:
        return
    for _ in range(stage.rng.choice((0, 0, 0, 0, 1, 2))):
        who = stage.rng.choice(stage.talk.people)
        say = stage.rng.choice((topics.chats, topics.chats, topics.says_anything, topics.praises))
        stage.says(who, say(stage.talk, who))


def _drill(stage: _Stage, who: str, *, last: bool) -> Line:
    """Ask for something that stands above; before the newest line also say what can be asked for."""
    talk, rng = stage.talk, stage.rng
    asks: list[Say] = [recalling.asks_who_said_what] * 4 if talk.said else []
    asks += [recalling.asks_for_a_fact] * 2 if talk.facts else []
    asks += [topics.repeats, recalling.asks_own_name] if not asks or rng.random() < 0.3 else []
    if last or rng.random() < 0.3:
        return rng.choice(asks)(talk, who)
    piece = rng.choices(SET_PIECES, [piece.weight for piece in SET_PIECES])[0]
    say = rng.choice((topics.tells_a_fact, topics.says_anything, topics.asks_opinion, piece.line, piece.line))
    return say(talk, who)


def _line(stage: _Stage, who: str) -> Line:
    """Choose what somebody says; what needs a past only once there is one."""
    choices = [*_ANY_TIME, *(_LATER if stage.talk.said else ()), *(_RECALL if stage.talk.facts else ())]
    say = stage.rng.choices([say for say, _ in choices], [weight for _, weight in choices])[0]
    return say(stage.talk, who)


def _asks_memory(rng: Random, notes: list[Recollection], *, last: bool) -> bool:
    """Memory is only in front of the newest line, so only that one can ask about it."""
    return bool(notes) and last and rng.random() < 0.3


def _server(rng: Random) -> str:
    if rng.random() < 0.85:
        return SERVER
    other = (made_up(rng, 2), f"the {word(rng)} {word(rng)}", f"{made_up(rng, 2).upper()} {word(rng)}")
    return rng.choice(("this server", word(rng), *other))


def _channel(rng: Random) -> str:
    usual = ("general", "general", "off-topic", "kitchen", "bots", "lounge")
    return "terminal" if rng.random() < 0.5 else rng.choice((*usual, made_up(rng, 2)))


def _intent(line: Line) -> str:
    """Return the first two words of the gist: "asked about", "said their"."""
    return " ".join(line.gist.split()[:2])
