"""What a model reads: the prompt of training, with a style card in front for one that was not trained here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import chain
from random import Random

from persona.domain.chat import Author, AuthorId, ChannelId, Message, MessageId, snowflake_at
from persona.domain.prompt import Exchange, Identity, Scene, Turn, render
from persona.domain.style import choose_examples, style_card
from pipelines.evaluation.heldout import Context, who

EXAMPLES = 3
_SAMPLED = 2000
_START = datetime(2020, 1, 1, tzinfo=UTC)
_SELF = AuthorId(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """The style card, and by channel the exchanges that show how people there talk, as the running bot would give them.

    Examples are of the channel that is answered in: what is said in one channel is not everybody's in another.
    """

    style: str
    examples: Mapping[str, tuple[Exchange, ...]]


def learn_voice(training: Sequence[Context], *, seed: int, examples: int = EXAMPLES) -> Voice:
    """Measure the style card on lines of the training part and choose exchanges from it.

    A run holds no messages, only prompts: each example gives the line that was answered, under its speaker's name, and
    the reply, under a name made of the example's author-less id. The card sees what the running bot's card would see.
    """
    chance = Random(seed)  # noqa: S311 - a fixed draw
    drawn = chance.sample(list(training), min(len(training), _SAMPLED))
    messages: dict[str, list[Message]] = {}
    for number, context in enumerate(sorted(drawn, key=lambda one: one.context_id)):
        of_channel = messages.setdefault(who(context.turns)[2], [])
        of_channel += _exchange(context, _START + timedelta(hours=number))
    return Voice(
        style=style_card(list(chain.from_iterable(messages.values()))).text,
        examples={
            channel: choose_examples(said, self_id=_SELF, limit=examples, chance=chance)
            for channel, said in sorted(messages.items())
        },
    )


def as_trained(context: Context) -> tuple[Turn, ...]:
    """Return the prompt as it was in training."""
    return context.turns


def with_voice(voice: Voice) -> Callable[[Context], tuple[Turn, ...]]:
    """Return how a model reads a context that is told the style of the server: another system turn, the same talk."""

    def prompt(context: Context) -> tuple[Turn, ...]:
        name, server, channel = who(context.turns)
        scene = Scene(
            identity=Identity(id=_SELF, name=name or "Persona", server=server or "this server"),
            messages=(),
            channel_name=channel,
            style=voice.style,
            examples=voice.examples.get(channel, ()),
        )
        return (render(scene)[0], *context.turns[1:])

    return prompt


def _exchange(context: Context, at: datetime) -> list[Message]:
    """Return the line that was answered and the answer as messages of two people."""
    if not context.said:
        return []
    speaker, _, text = context.said[-1].partition(": ")
    speaker = speaker.split(" (to ")[0]
    first = text.split("\n")[0]
    if not first or not speaker:
        return []
    channel = ChannelId(1)
    # Nobody knows who of the regulars answered: a few made-up people stand for them.
    answerer = f"regular {int(context.context_id[-2:], 16) % 20 + 1}" if _hexadecimal(context.context_id) else "regular"
    lines = [line.strip() for line in context.reply.split("\n") if line.strip()]
    said = [(speaker, first), *((answerer, line) for line in lines)]
    return [
        Message(
            id=MessageId(snowflake_at(at + timedelta(seconds=10 * number))),
            channel_id=channel,
            author=Author(id=AuthorId(_number(name)), name=name, display_name=name),
            content=content,
            created_at=at + timedelta(seconds=10 * number),
        )
        for number, (name, content) in enumerate(said)
    ]


def _hexadecimal(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text[-2:]) and len(text) > 1


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest(), "big") + 1
