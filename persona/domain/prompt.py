"""Renders a conversation for the model: the one renderer behind live replies and training examples.

A prompt is a system turn, then user turns (what others said, one line a message) and assistant turns (what the
persona said). A line starts with its speaker's name; every further line of the same burst is indented, so that no
message can pretend to be somebody else's line. What memory found stands in the newest user turn only, in front of
the talk: earlier turns stay byte-identical from one reply to the next and the model's cache of them stays valid.
"""

import hashlib
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from persona.domain.chat import Author, AuthorId, ChannelId, Message, MessageKind, Recollection
from persona.domain.fitting import MEMORY_SHARE, CountTokens, fit
from persona.domain.golden import golden_scene
from persona.domain.markup import readable
from persona.domain.safe_text import NAME_LIMIT, clean_name, one_line, safe_lines, shorten
from persona.domain.scene import Exchange, Identity, Role, Scene, Turn

__all__ = [
    "ATTACHMENT_LIMIT",
    "MEMORY_SHARE",
    "NAME_LIMIT",
    "QUOTE_LIMIT",
    "RECOLLECTION_LIMIT",
    "CountTokens",
    "Exchange",
    "Identity",
    "Role",
    "Scene",
    "Turn",
    "clean_name",
    "content_lines",
    "fit",
    "golden_scene",
    "prompt_hash",
    "render",
    "shorten",
    "speaker_names",
    "to_chatml",
]

QUOTE_LIMIT = 60
RECOLLECTION_LIMIT = 200
ATTACHMENT_LIMIT = 80

_BURST_GAP = timedelta(minutes=5)
_BURST_CHARACTERS = 1000
"""A burst ends once it is this long: a line is dropped as a whole when the prompt has to shrink."""

_INDENT = "  "


def render(scene: Scene) -> tuple[Turn, ...]:
    """Turn a scene into chat turns: the system turn first, then user and assistant turns in alternation."""
    names = speaker_names(scene)
    turns = [_system_turn(scene)]
    for role, burst in _bursts(scene):
        lines = _own_lines(burst, scene, names) if role is Role.ASSISTANT else _said_lines(burst, scene, names)
        if not lines:
            continue
        if turns[-1].role is role:
            turns[-1] = replace(turns[-1], lines=turns[-1].lines + lines)
        else:
            turns.append(Turn(role=role, lines=lines))
    if turns[-1].role is Role.USER:
        turns[-1] = replace(turns[-1], notes=tuple(_note(found, scene, names) for found in scene.recollections))
    return tuple(turns)


def to_chatml(turns: Sequence[Turn]) -> str:
    """Return the turns as ChatML text that ends where the model goes on writing."""
    body = "".join(f"<|im_start|>{turn.role}\n{turn.text}<|im_end|>\n" for turn in turns)
    return f"{body}<|im_start|>{Role.ASSISTANT}\n"


def prompt_hash(tokenize: Callable[[str], Sequence[int]]) -> str:
    """Return the sha256 of the golden conversation's tokens: equal only for the same renderer and tokenizer."""
    tokens = tokenize(to_chatml(render(golden_scene())))
    return hashlib.sha256(" ".join(map(str, tokens)).encode()).hexdigest()


def speaker_names(scene: Scene) -> dict[AuthorId, str]:
    """Give everyone in the scene a clean name that nobody else in it has; the persona's own is taken first.

    Names are given in the order in which people come up, so that what is said later renames nobody.
    """
    names = {scene.identity.id: clean_name(scene.identity.name)}
    taken = {_folded(names[scene.identity.id])}
    for author in _people(scene):
        if author.id not in names:
            names[author.id] = _unused(clean_name(author.display_name or author.name), taken)
            taken.add(_folded(names[author.id]))
    return names


def _people(scene: Scene) -> Iterator[Author]:
    """Yield everyone who speaks, is mentioned or is quoted, in order."""
    for message in scene.messages:
        yield message.author
        yield from message.mentions
        quoted = scene.quoted.get(message.reply_to) if message.reply_to is not None else None
        if quoted is not None:
            yield quoted.author
            yield from quoted.mentions


def _unused(name: str, taken: Collection[str]) -> str:
    candidate, number = name, 2
    while _folded(candidate) in taken:
        candidate, number = f"{name} {number}", number + 1
    return candidate


def _folded(name: str) -> str:
    """Return what is the same for names that a reader would take for one, such as `Pip` and `pip`."""
    return unicodedata.normalize("NFKC", name).casefold()


def _system_turn(scene: Scene) -> Turn:
    who = clean_name(scene.identity.name)
    where = f", in #{one_line(scene.channel_name)}" if scene.channel_name else ""
    lines = [f"You are {who}, a regular of {one_line(scene.identity.server)}{where}."]
    if scene.style or scene.examples:
        lines.append(
            f"Write only what {who} says next: short, in the words and manner of this server, no name in front, "
            f"never a list or an essay. If somebody asks whether you are a bot, say yes."
        )
    lines += safe_lines(scene.style)
    for exchange in scene.examples:
        lines += ["How people here talk:", *(_INDENT + one_line(line) for line in exchange.lines)]
    return Turn(role=Role.SYSTEM, lines=tuple(lines))


def _bursts(scene: Scene) -> list[tuple[Role, list[Message]]]:
    """Group neighbouring messages of one author that follow each other within minutes."""
    bursts: list[tuple[Role, list[Message]]] = []
    for message in scene.messages:
        if not message.is_talk:
            continue
        if bursts and _same_burst(bursts[-1][1], message):
            bursts[-1][1].append(message)
        else:
            role = Role.ASSISTANT if message.author.id == scene.identity.id else Role.USER
            bursts.append((role, [message]))
    return bursts


def _same_burst(burst: Sequence[Message], later: Message) -> bool:
    return (
        burst[-1].author.id == later.author.id
        and later.reply_to is None
        and later.created_at - burst[-1].created_at <= _BURST_GAP
        and sum(len(message.content) for message in burst) < _BURST_CHARACTERS
    )


def _own_lines(burst: Sequence[Message], scene: Scene, names: Mapping[AuthorId, str]) -> tuple[str, ...]:
    return tuple(line for message in burst for line in content_lines(message, scene.channel_names, names))


def _said_lines(burst: Sequence[Message], scene: Scene, names: Mapping[AuthorId, str]) -> tuple[str, ...]:
    lines = [line for message in burst for line in content_lines(message, scene.channel_names, names)]
    speaker = names[burst[0].author.id] + _addressee(burst[0], scene, names)
    head, *rest = lines or ["[nothing]"]
    return ("\n".join([f"{speaker}: {head.lstrip()}", *(_INDENT + line for line in rest)]),)


def _addressee(message: Message, scene: Scene, names: Mapping[AuthorId, str]) -> str:
    """Say whom a reply answers; quote the target when the reader cannot see it in the scene."""
    if message.reply_to is None:
        return ""
    target = next((m for m in scene.messages if m.id == message.reply_to), None)
    if target is not None:
        return f" (to {names[target.author.id]})"
    quoted = scene.quoted.get(message.reply_to)
    if quoted is None:
        return ""
    quote = " ".join(content_lines(quoted, scene.channel_names, names)).replace('"', "'")
    return f' (to {names[quoted.author.id]}, "{shorten(quote, QUOTE_LIMIT)}")'


def content_lines(
    message: Message, channel_names: Mapping[ChannelId, str], names: Mapping[AuthorId, str] | None = None
) -> list[str]:
    """Return a message's readable lines: markup resolved, attachments in words, nothing the model could obey.

    `names` are what people are called where a name of their own would not tell them apart.
    """
    known = names or {}
    people = {
        person.id: known.get(person.id) or clean_name(person.display_name or person.name) for person in message.mentions
    }
    lines = safe_lines(readable(message.content, people=people, channels=channel_names))
    if message.kind is MessageKind.FORWARD and lines:
        lines[0] = f"[forwarded] {lines[0]}"
    return lines + [
        f"[{one_line(item.kind)}: {shorten(one_line(item.description or item.name), ATTACHMENT_LIMIT)}]"
        for item in message.attachments
    ]


def _note(found: Recollection, scene: Scene, names: Mapping[AuthorId, str]) -> str:
    people = {author_id: clean_name(name) for author_id, name in scene.people.items()} | dict(names)
    text = shorten(one_line(readable(found.text, people=people, channels=scene.channel_names)), RECOLLECTION_LIMIT)
    return f"{clean_name(found.author_name)}, {found.created_at:%Y-%m-%d}: {text}"
