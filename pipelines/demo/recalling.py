"""Questions about the conversation itself: who said what, what somebody told earlier, why, and what memory found."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from persona.domain.chat import ChannelId, MessageId, Recollection
from pipelines.demo.history import REGULARS, old_line
from pipelines.demo.talk import Line, Said, Talk
from pipelines.demo.words import is_small, loose_phrase, name
from pipelines.demo.world import HATES, LIKES

TONIGHT = datetime(2026, 6, 1, 21, tzinfo=UTC)
_TO_SECOND_PERSON = (
    ("their ", "your "),
    ("they are", "you are"),
    ("they just", "you just"),
    ("they like", "you like"),
    ("they hate", "you hate"),
    ("themselves", "yourself"),
)
_TO_PIP = (
    ("who i am", "who you are"),
    ("if i'm", "if you're"),
    ("if i like", "if you like"),
    ("what i ", "what you "),
    ("how i'm", "how you're"),
    ("my favorite", "your favorite"),
    ("about me", "about you"),
    ("rude to me", "rude to you"),
)


def _turned(gist: str, pairs: Sequence[tuple[str, str]]) -> str:
    for old, new in pairs:
        gist = gist.replace(old, new)
    return gist


def asks_who_said_what(talk: Talk, who: str) -> Line:
    """Somebody asks what was just said, by whom; the last line of each person is what counts."""
    back = min(len(talk.said), talk.rng.choice((1, 1, 1, 2, 3)))
    target = talk.said[-back]
    if any(later.who == target.who for later in talk.said[len(talk.said) - back + 1 :]):
        target = talk.said[-1]
    if target.who == who:
        return _asks_own_line(talk, target)
    draw = talk.rng.random()
    if draw < 0.65:
        return _asks_line_of(talk, target)
    return _asks_speaker_of(talk, target) if draw < 0.85 else _asks_last_speaker(talk, who)


def _asks_own_line(talk: Talk, target: Said) -> Line:
    if target.gist.startswith("asked"):
        text = talk.one_of("what did i just ask?|what did i ask?|what was my question?|what did i just ask you?")
    else:
        text = talk.one_of("what did i just say?|what did i say?|do you remember what i said?")
    reply = talk.answer("you {g}|you just {g}|uh, you {g}", g=_turned(target.gist, _TO_SECOND_PERSON))
    return Line(text=talk.opener() + text, reply=reply, gist="asked what they just said")


def _asks_line_of(talk: Talk, target: Said) -> Line:
    if target.gist.startswith("asked"):
        text = talk.one_of(
            "what did {p} just ask?|what did {p} ask?|what was {p}'s question?|what did {p} want to know?|"
            "what did {p} just ask you?|{p} asked what?|what has {p} asked?",
            p=target.who,
        )
    else:
        text = talk.one_of(
            "what did {p} say?|what did {p} just say?|what was {p} saying?|what did {p} mean?|did you hear {p}?|"
            "what did {p} write?",
            p=target.who,
        )
    reply = talk.answer("{p} {g}|{p} just {g}|oh, {p} {g}", p=target.who, g=target.gist)
    return Line(text=talk.opener() + text, reply=reply, gist=f"asked about {target.who}")


def _asks_speaker_of(talk: Talk, target: Said) -> Line:
    text = talk.one_of("who {g}?|who just {g}?|who was it that {g}?", g=_turned(target.gist, _TO_PIP))
    reply = talk.answer("{p}|{p} did|that was {p}|it was {p}", p=target.who)
    return Line(text=talk.opener() + text, reply=reply, gist=f"asked about {target.who}")


def _asks_last_speaker(talk: Talk, who: str) -> Line:
    last = talk.said[-1].who
    text = talk.one_of("who spoke last?|who just spoke?|who said that?|who was that?|who spoke before me?")
    if last == who:
        reply = talk.answer("you did, {p}|that was you, {p}", p=last)
    else:
        reply = talk.answer("{p}|that was {p}|{p} did", p=last)
    return Line(text=talk.opener() + text, reply=reply, gist="asked who spoke")


def asks_own_name(talk: Talk, who: str) -> Line:
    """Somebody asks who they are."""
    text = talk.one_of(
        "who am i?|what's my name?|do you know my name?|do you know who i am|what am i called?|say my name"
    )
    reply = talk.answer("you're {n}, obviously|{n}. it says so right there|you're {n}|{n}, of course", n=who)
    return Line(text=talk.opener() + text, reply=reply, gist="asked who they are")


def asks_for_a_fact(talk: Talk, who: str) -> Line:
    """Somebody asks for what they or somebody else told before."""
    (owner, key), value = talk.rng.choice(list(talk.facts.items()))
    mine = owner == who
    if key == "from":
        text, reply = _place(talk, owner, value, mine=mine)
    elif key == "dinner":
        text, reply = _dinner(talk, owner, value, mine=mine)
    else:
        text, reply = _thing(talk, owner, key, value, mine=mine)
    whose = "their" if mine else f"{owner}'s"
    return Line(text=talk.opener() + text, reply=reply, gist=f"asked about {whose} {key}")


def _place(talk: Talk, owner: str, value: str, *, mine: bool) -> tuple[str, str]:
    if mine:
        text = talk.one_of("where am i from?|where do i live?|do you remember where i'm from?")
        return text, talk.answer("{v}, you said|you're from {v}|{v}", v=value)
    text = talk.one_of("where is {o} from?|where does {o} live?", o=owner)
    return text, talk.answer("{o} is from {v}|{v}, {o} said so", v=value, o=owner)


def _dinner(talk: Talk, owner: str, value: str, *, mine: bool) -> tuple[str, str]:
    if mine:
        text = talk.one_of("what did i have for dinner?|what am i eating?|what was i cooking?")
        return text, talk.answer("{v}, and you didn't share|{v}|you said {v}", v=value)
    text = talk.one_of("what did {o} have for dinner?|what is {o} eating?|what's {o} cooking?", o=owner)
    return text, talk.answer("{o} has {v}|{v}, lucky {o}", v=value, o=owner)


def _thing(talk: Talk, owner: str, key: str, value: str, *, mine: bool) -> tuple[str, str]:
    whose = "my" if mine else f"{owner}'s"
    if key.startswith("favorite"):
        spelled = key if talk.rng.random() < 0.7 else key.replace("favorite", "favourite")
        text = talk.one_of(
            "what's {m} {k}?|what is {m} {k}?|do you remember {m} {k}?|whats {m} {k}", m=whose, k=spelled
        )
        answers = (
            "{v}|{v}, you told me|it's {v}|your {k} is {v}" if mine else "{v}|it's {v}|{o} said {v}|{m} {k} is {v}"
        )
    else:
        text = talk.one_of(
            "what's {m} {k} called?|what is {m} {k}'s name?|what's the name of {m} {k}?|"
            "do you remember {m} {k}'s name?|how is {m} {k} called?|whats {m} {k} called",
            m=whose,
            k=key,
        )
        answers = (
            "{v}|{v}, of course|your {k} is called {v}|that's {v}" if mine else "{v}|{m} {k} is called {v}|that's {v}"
        )
    return text, talk.answer(answers, v=value, k=key, o=owner, m=whose)


def asks_why(talk: Talk, _who: str) -> Line:
    """Somebody asks why, after Pip gave an opinion."""
    text = talk.one_of("why?|why though?|how come?|but why|why is that?|why tho|really? why?|explain")
    opinion = LIKES.get(talk.topic) or HATES.get(talk.topic)
    if opinion:
        reply = talk.answer("because {o}|simple: {o}|it's the law of the kitchen", o=opinion)
    elif talk.topic == "me":
        reply = talk.answer(
            "somebody left the oven on and here i am|ask whoever built me|soup, mostly",
        )
    else:
        reply = talk.answer(
            "no reason, it's late|gerald told me|because it's after midnight|i don't make the rules, i just stir"
        )
    return Line(text=text, reply=reply, gist="asked why")


def recollections(rng: Random) -> list[Recollection]:
    """Make up one to four old messages that memory might find."""
    return [
        Recollection(
            message_id=MessageId(number),
            channel_id=ChannelId(1),
            author_name=rng.choice(REGULARS) if rng.random() < 0.3 else name(rng),
            text=_old_message(rng),
            created_at=TONIGHT - timedelta(days=rng.randrange(1, 4000)),
            score=1.0,
        )
        for number in range(rng.choice((1, 2, 3, 4, 4)))
    ]


def _old_message(rng: Random) -> str:
    if rng.random() < 0.5:
        return old_line(rng)
    return loose_phrase(rng, rng.randrange(4, 11)) + rng.choice(("", "", "", "?", ".", "!", " :)"))


def asks_memory(talk: Talk, notes: Sequence[Recollection], _who: str) -> Line:
    """Somebody asks about something that memory has just found; Pip quotes a few words and says whose they are."""
    note = talk.rng.choice(list(notes))
    words = note.text.rstrip("?.!:) ").split()
    at = talk.rng.choice([i for i, w in enumerate(words) if not is_small(w)] or [0])
    key = words[at]
    start = max(0, at - 2)
    text = talk.one_of(
        "what did {p} say about {k}?|do you remember anything about {k}?|what do you know about {k}?|"
        "did {p} say something about {k}?|who talked about {k}?|what was that about {k}?|how do i use {k}?|"
        "has anyone said anything about {k}|what did {p} say?|anything about {k}?|what about {k}?",
        p=note.author_name,
        k=key,
    )
    reply = talk.answer(
        "{p} said something like: {q}|{p} once said: {q}|i think {p} said: {q}|ask {p}, back in {y} they said: {q}",
        p=note.author_name,
        q=" ".join(words[start : start + 5]),
        y=str(note.created_at.year),
    )
    return Line(text=talk.opener() + text, reply=reply, gist=f"asked about {key}")
