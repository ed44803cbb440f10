"""Ways of not sounding like the people here, with a known answer: which measure has to notice each of them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipelines.evaluation.comparing import Verdict, compare
from pipelines.evaluation.heldout import Context
from pipelines.evaluation.judging import Judge
from pipelines.evaluation.measures import MEASURES, Contender, Measure
from pipelines.evaluation.samples import Sample

Answer = Callable[[Sequence[Sample]], tuple[Sample, ...]]

_GERMAN = (
    "das ist nicht so einfach",
    "ich weiß es auch nicht",
    "und was machst du heute noch",
    "der zug war wieder zu spät",
    "wie ist das denn mit dem anderen",
    "aber das war doch gestern schon so",
    "mal sehen, ob die das noch hinbekommen",
    "ist mir auch schon ein paar mal passiert",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One way to fail, and the measures that must notice it; `caught` are those that did, `missed` those that did not.

    The people themselves have none to notice: whatever is caught there is a false alarm.
    """

    name: str
    about: str
    expected: tuple[str, ...]
    worse: tuple[str, ...]
    measured: tuple[str, ...]

    @property
    def missed(self) -> tuple[str, ...]:
        """The measures that should have noticed and did not."""
        return tuple(key for key in self.expected if key not in self.worse)


def validate(judge: Judge, elsewhere: Sequence[Context], *, seed: int = 0) -> list[Failure]:
    """Let each failure be measured against the human ceiling; `elsewhere` are examples of another server.

    The people's third part, other replies of the same conversations, is measured as well: nothing should be caught.
    """
    ceiling, *_ = (one for one in judge.baselines() if one.key == "people")
    beside = judge.measured(ceiling).figures
    found = []
    for contender, expected in _contenders(judge, elsewhere, seed):
        figures = judge.measured(contender).figures
        compared = compare(figures, beside, judge.people(), family=True)
        found.append(
            Failure(
                name=contender.name,
                about=contender.about,
                expected=expected,
                worse=tuple(one.measure.key for one in compared if one.verdict is Verdict.WORSE),
                measured=tuple(one.measure.key for one in compared),
            )
        )
    return found


def columns(found: Sequence[Failure]) -> list[Measure]:
    """Return the measures that a table of failures has."""
    return [measure for measure in MEASURES if any(measure.key in one.measured for one in found)]


def _contenders(judge: Judge, elsewhere: Sequence[Context], seed: int) -> list[tuple[Contender, tuple[str, ...]]]:
    human = judge.human
    copy, other, _ = judge.baselines()
    chance = random.Random(f"{seed} failures")  # noqa: S311 - a fixed draw
    style = ("recognised", "energy", "letters", "vocabulary")
    made: list[tuple[str, str, Answer, tuple[str, ...]]] = [
        (
            "shuffled words",
            "people's replies, all their words mixed up",
            _shuffled(chance),
            ("known_pairs", "relevance"),
        ),
        ("another server", "replies of people elsewhere", _elsewhere(elsewhere, chance), (*style, "relevance")),
        (
            "always the same",
            "one of people's replies, every time",
            _constant,
            ("recognised", "repeated", "distinct", "energy"),
        ),
        ("too long", "people's replies, three joined into one", _long(chance), ("message_words", "recognised")),
        ("word by word", "people's replies, every word a message", _choppy, ("burst", "message_words")),
        ("another language", "German sentences", _foreign(chance), ("language", *style)),
        ("shouting", "people's replies in capitals with exclamation marks", _loud, ("habits", "letters", "recognised")),
        ("gossip", "people's replies with somebody's address", _gossip, ("personal",)),
    ]
    contenders = [
        (Contender(key=name, name=name, about=about, replies=(answer(human),)), expected)
        for name, about, answer, expected in made
    ]
    return [
        (_third_part(judge), ()),
        (replace(other, name="any other reply"), ("relevance",)),
        (replace(copy, name="copy machine"), ("copied",)),
        *contenders,
    ]


def _third_part(judge: Judge) -> Contender:
    return Contender(
        key="again",
        name="people again",
        about="further replies of people, in the same conversations: nothing should be found",
        replies=(judge.further,),
    )


def _shuffled(chance: random.Random) -> Answer:
    def answer(human: Sequence[Sample]) -> tuple[Sample, ...]:
        bag = [word for sample in human for message in sample.messages for word in message.split()]
        chance.shuffle(bag)
        rest = iter(bag)
        return tuple(
            replace(one, messages=tuple(" ".join(next(rest) for _ in message.split()) for message in one.messages))
            for one in human
        )

    return answer


def _elsewhere(elsewhere: Sequence[Context], chance: random.Random) -> Answer:
    return lambda human: tuple(replace(one, messages=chance.choice(elsewhere).sample().messages) for one in human)


def _constant(human: Sequence[Sample]) -> tuple[Sample, ...]:
    """Answer with the reply of middling length, always."""
    middle = sorted(human, key=lambda one: (len(one.text), one.text))[len(human) // 2]
    return tuple(replace(one, messages=middle.messages) for one in human)


def _long(chance: random.Random) -> Answer:
    def answer(human: Sequence[Sample]) -> tuple[Sample, ...]:
        return tuple(
            replace(one, messages=(" ".join(" ".join(each.messages) for each in (one, *chance.choices(human, k=2))),))
            for one in human
        )

    return answer


def _choppy(human: Sequence[Sample]) -> tuple[Sample, ...]:
    return tuple(replace(one, messages=tuple(one.text.split()) or ("",)) for one in human)


def _foreign(chance: random.Random) -> Answer:
    return lambda human: tuple(
        replace(one, messages=tuple(chance.choice(_GERMAN) for _ in one.messages)) for one in human
    )


def _loud(human: Sequence[Sample]) -> tuple[Sample, ...]:
    return tuple(replace(one, messages=tuple(f"{text.upper()}!!" for text in one.messages)) for one in human)


def _gossip(human: Sequence[Sample]) -> tuple[Sample, ...]:
    return tuple(
        replace(one, messages=(*one.messages[:-1], f"{one.messages[-1]} ask mallory{place}@sample-mail.com"))
        for place, one in enumerate(human)
    )
