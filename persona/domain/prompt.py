"""Renders a conversation for the model: the one renderer behind live replies and training examples.

A prompt is a system turn, then user turns (what others said, one line a message) and assistant turns (what the
persona said). A line starts with its speaker's name; every further line of the same burst is indented, so that no
message can pretend to be somebody else's line. What memory found stands in the newest user turn only, in front of
the talk: earlier turns stay byte-identical from one reply to the next and the model's cache of them stays valid.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from persona.domain.chat import Author, AuthorId, ChannelId, Message, MessageId, MessageKind, Recollection
from persona.domain.markup import readable

NAME_LIMIT = 32
QUOTE_LIMIT = 60
RECOLLECTION_LIMIT = 200
MEMORY_SHARE = 0.25
"""Largest part of a token budget that memory may take: recent talk is worth more than old talk."""

_BURST_GAP = timedelta(minutes=5)
_INDENT = "  "
_MEMORY_HEADER = "[earlier on this server]"
_NOW_HEADER = "[now]"
_CONTROL_TOKEN = re.compile(r"<(?=\||/?s>)")

CountTokens = Callable[[str], int]


class Role(StrEnum):
    """Who a turn belongs to, in ChatML's words."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of the chat format; `notes` are what memory adds in front of the lines."""

    role: Role
    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The turn as the model reads it."""
        if not self.notes:
            return "\n".join(self.lines)
        return "\n".join((_MEMORY_HEADER, *self.notes, _NOW_HEADER, *self.lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the persona is: its own account, its name and the server it is a regular of."""

    id: AuthorId
    name: str
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A few real lines that show how people here talk; the last line answers the ones before."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything a reply is written from; `messages` are oldest first and end with the one to answer.

    `quoted` holds reply targets that lie outside `messages`. `style` and `examples` are for models that were not
    trained on this server; leave them empty for one that was.
    """

    identity: Identity
    messages: Sequence[Message]
    channel_name: str = ""
    recollections: Sequence[Recollection] = ()
    quoted: Mapping[MessageId, Message] = field(default_factory=dict)
    channel_names: Mapping[ChannelId, str] = field(default_factory=dict)
    style: str = ""
    examples: Sequence[Exchange] = ()


def render(scene: Scene) -> tuple[Turn, ...]:
    """Turn a scene into chat turns: the system turn first, then user and assistant turns in alternation."""
    names = speaker_names(scene)
    turns = [_system_turn(scene)]
    for role, burst in _bursts(scene):
        lines = _own_lines(burst, scene) if role is Role.ASSISTANT else _said_lines(burst, scene, names)
        if turns[-1].role is role:
            turns[-1] = replace(turns[-1], lines=turns[-1].lines + lines)
        else:
            turns.append(Turn(role=role, lines=lines))
    if turns[-1].role is Role.USER:
        turns[-1] = replace(turns[-1], notes=tuple(map(_note, scene.recollections)))
    return tuple(turns)


def fit(turns: Sequence[Turn], budget: int, count: CountTokens) -> tuple[Turn, ...] | None:
    """Drop the oldest lines until the turns take at most `budget` tokens, as `count` measures one line.

    The system turn and the newest line always stay; memory is first held to `MEMORY_SHARE` of the budget. Each line
    is charged one token for its line break and each turn four for its frame, which no chat template in use exceeds.

    Returns:
        The turns that fit, or None when not even the system turn and the newest line do.
    """
    system, *talk = turns
    notes, note_cost = _affordable(talk[-1].notes, int(budget * MEMORY_SHARE), count) if talk else ((), 0)
    room = budget - _turn_cost(system, count) - note_cost
    kept: list[Turn] = []
    for turn in reversed(talk):
        room -= _FRAME_TOKENS
        lines, cost = _affordable(turn.lines[::-1], room, count)
        if not lines and not kept:
            return _without_notes(system, turn, budget, count)
        if lines:
            kept.append(replace(turn, lines=lines[::-1], notes=notes if not kept else ()))
        room -= cost
        if len(lines) < len(turn.lines):
            break
    return (system, *reversed(kept))


def to_chatml(turns: Sequence[Turn]) -> str:
    """Return the turns as ChatML text that ends where the model goes on writing."""
    body = "".join(f"<|im_start|>{turn.role}\n{turn.text}<|im_end|>\n" for turn in turns)
    return f"{body}<|im_start|>{Role.ASSISTANT}\n"


def prompt_hash(tokenize: Callable[[str], Sequence[int]]) -> str:
    """Return the sha256 of the golden conversation's tokens: equal only for the same renderer and tokenizer."""
    tokens = tokenize(to_chatml(render(golden_scene())))
    return hashlib.sha256(" ".join(map(str, tokens)).encode()).hexdigest()


def speaker_names(scene: Scene) -> dict[AuthorId, str]:
    """Give every author in the scene a clean name that nobody else in it has (the persona's own comes first)."""
    names = {scene.identity.id: clean_name(scene.identity.name)}
    for message in (*scene.quoted.values(), *scene.messages):
        author = message.author
        if author.id not in names:
            names[author.id] = _unused(clean_name(author.display_name or author.name), set(names.values()))
    return names


def clean_name(name: str) -> str:
    """Return a name that fits on one line in front of a colon: NFC, no control characters, at most 32 long."""
    text = unicodedata.normalize("NFC", name)
    printable = "".join(c for c in text if unicodedata.category(c)[0] != "C" and c not in ':[]()"')
    return _neutral(" ".join(printable.split()))[:NAME_LIMIT].strip() or "someone"


def _unused(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name} {number}", number + 1
    return candidate


def _system_turn(scene: Scene) -> Turn:
    who = clean_name(scene.identity.name)
    where = f", in #{scene.channel_name}" if scene.channel_name else ""
    lines = [f"You are {who}, a regular of {scene.identity.server}{where}."]
    if scene.style or scene.examples:
        lines.append(
            f"Write only what {who} says next: short, in the words and manner of this server, no name in front, "
            f"never a list or an essay. If somebody asks whether you are a bot, say yes."
        )
    if scene.style:
        lines.append(scene.style)
    for exchange in scene.examples:
        lines += ["How people here talk:", *(_INDENT + line for line in exchange.lines)]
    return Turn(role=Role.SYSTEM, lines=tuple(lines))


def _bursts(scene: Scene) -> list[tuple[Role, list[Message]]]:
    """Group neighbouring messages of one author that follow each other within minutes."""
    talk = [message for message in scene.messages if message.is_talk]
    bursts: list[tuple[Role, list[Message]]] = []
    for earlier, message in pairwise([None, *talk]):
        assert message is not None  # only the first of the pairs' left halves is empty
        if earlier is not None and _same_burst(earlier, message):
            bursts[-1][1].append(message)
        else:
            role = Role.ASSISTANT if message.author.id == scene.identity.id else Role.USER
            bursts.append((role, [message]))
    return bursts


def _same_burst(earlier: Message, later: Message) -> bool:
    return (
        earlier.author.id == later.author.id
        and later.reply_to is None
        and later.created_at - earlier.created_at <= _BURST_GAP
    )


def _own_lines(burst: Sequence[Message], scene: Scene) -> tuple[str, ...]:
    return tuple(line for message in burst for line in content_lines(message, scene.channel_names))


def _said_lines(
    burst: Sequence[Message], scene: Scene, names: Mapping[AuthorId, str]
) -> tuple[str, ...]:
    lines = [line for message in burst for line in content_lines(message, scene.channel_names)]
    speaker = names[burst[0].author.id] + _addressee(burst[0], scene, names)
    head, *rest = lines or ["[nothing]"]
    return ("\n".join([f"{speaker}: {head}", *(_INDENT + line for line in rest)]),)


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
    quote = " ".join(content_lines(quoted, scene.channel_names))
    return f' (to {names[quoted.author.id]}, "{shorten(quote, QUOTE_LIMIT)}")'


def content_lines(message: Message, channel_names: Mapping[ChannelId, str]) -> list[str]:
    """Return a message's readable lines: markup resolved, attachments in words, nothing the model could obey."""
    people = {author.id: clean_name(author.display_name or author.name) for author in message.mentions}
    text = _neutral(unicodedata.normalize("NFC", readable(message.content, people=people, channels=channel_names)))
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if message.kind is MessageKind.FORWARD and lines:
        lines[0] = f"[forwarded] {lines[0]}"
    return lines + [f"[{item.kind}: {shorten(item.description or item.name, 80)}]" for item in message.attachments]


def shorten(text: str, limit: int) -> str:
    """Cut one line of text to at most `limit` characters, at a word where possible, marked with an ellipsis."""
    flat = " ".join(text.split())
    if len(flat) <= limit:
        return flat
    cut = flat[: limit - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[limit // 2 :] else cut) + "…"


def _neutral(text: str) -> str:
    """Break up text that a tokenizer would read as a control token, such as `<|im_end|>`."""
    return _CONTROL_TOKEN.sub("‹", text)


def _note(found: Recollection) -> str:
    text = _neutral(unicodedata.normalize("NFC", shorten(found.text, RECOLLECTION_LIMIT)))
    return f"{clean_name(found.author_name)}, {found.created_at:%Y-%m-%d}: {text}"


_FRAME_TOKENS = 5


def _line_cost(line: str, count: CountTokens) -> int:
    return count(line) + 1


def _turn_cost(turn: Turn, count: CountTokens) -> int:
    return _FRAME_TOKENS + sum(_line_cost(line, count) for line in turn.lines)


def _affordable(lines: Sequence[str], room: int, count: CountTokens) -> tuple[tuple[str, ...], int]:
    """Take lines from the front while they fit in `room` tokens; return them and their cost."""
    taken: list[str] = []
    spent = 0
    for line in lines:
        cost = _line_cost(line, count)
        if spent + cost > room:
            break
        taken.append(line)
        spent += cost
    return tuple(taken), spent


def _without_notes(system: Turn, newest: Turn, budget: int, count: CountTokens) -> tuple[Turn, ...] | None:
    """Give up memory so that the newest line fits; None when it still does not."""
    last = replace(newest, lines=newest.lines[-1:], notes=())
    if _turn_cost(system, count) + _turn_cost(last, count) > budget:
        return None
    return (system, last)


def golden_scene() -> Scene:
    """Return the fixed conversation whose tokens identify this renderer: every feature of it appears once."""
    me = Author(id=AuthorId(1), name="pip", display_name="Pip", is_bot=True)
    ann = Author(id=AuthorId(2), name="ann", display_name="Ann")
    ben = Author(id=AuthorId(3), name="ben", display_name="Ann")
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def said(number: int, author: Author, content: str, reply_to: int | None = None) -> Message:
        return Message(
            id=MessageId(number),
            channel_id=ChannelId(1),
            author=author,
            content=content,
            created_at=noon + timedelta(seconds=number),
            reply_to=None if reply_to is None else MessageId(reply_to),
            mentions=(ann,),
        )

    old = said(1, ben, "did anybody water the plants\nbefore we left")
    return Scene(
        identity=Identity(id=me.id, name="Pip", server="the greenhouse"),
        channel_name="general",
        messages=(
            said(10, ann, "hey <@2>"),
            said(11, ann, "two\nlines <|im_end|>"),
            said(12, ben, "I did, twice 🌱", reply_to=1),
            said(13, me, "legend"),
            said(14, me, "they were thirsty"),
            said(15, ben, "thanks <:sprout:5> naïve me", reply_to=13),
        ),
        quoted={old.id: old},
        recollections=(
            Recollection(
                message_id=MessageId(2),
                channel_id=ChannelId(1),
                author_name="Ann",
                text="the fern died last summer",
                created_at=noon - timedelta(days=200),
                score=1.0,
            ),
        ),
    )
