"""Turns what the model drafted into the messages that are sent: cleaned, split, with time to type them."""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from persona.domain.markup import break_pings
from persona.domain.safe_text import clean_name
from persona.domain.scene import MEMORY_HEADER, NOW_HEADER

DISCORD_LIMIT = 2000
"""Longest message, in Unicode code points (what `len` counts), as Discord's API counts them."""

_SMALLEST_LIMIT = 64
_FENCE = "```"
_LONGEST_OPENING = 24
"""Three backticks, a language of at most twenty characters, a line break: what opens a fence again after a cut."""

_TOKEN = re.compile(r"<\|[\s<|]*+|</?s>", re.IGNORECASE)
_HEADER = re.compile(rf"\s*(?:{re.escape(NOW_HEADER)}|{re.escape(MEMORY_HEADER)})", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<![.!?…。])[.!?…。]++[\"'”)\]*_~|]*+(?=\s|\Z)")
_BOUNDARIES = (re.compile(r"(?=\n[ \t]*\n)"), re.compile(r"(?=\n)"), _SENTENCE_END, re.compile(r"(?=\s)"))
_LINE_BREAK = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_UNSENDABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LANGUAGE = re.compile(r"[\w+#.-]{0,20}(?=\n)")
_TICKS = re.compile(r"`{4,}")
_DANGLING_NUMBER = re.compile(r"\n[^\S\n]*+\d++[.)]\Z")
_GOES_ON_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLimits:
    """How a reply is delivered.

    `max_burst` messages at most (more only where one would be too long to send), each of at most `max_characters`
    code points. Typing takes a second for `characters_per_second` characters, between `min_typing_seconds` and
    `max_typing_seconds` (Discord shows "is typing" for ten seconds).
    """

    max_burst: int = 3
    max_characters: int = DISCORD_LIMIT
    characters_per_second: float = 25.0
    min_typing_seconds: float = 0.5
    max_typing_seconds: float = 8.0

    def __post_init__(self) -> None:
        """Refuse limits that no reply could keep.

        Raises:
            ValueError: a burst of no messages, messages too short to hold a code fence, or typing that never ends.
        """
        if self.max_burst < 1:
            raise ValueError(f"max_burst = {self.max_burst} is less than 1")
        if self.max_characters < _SMALLEST_LIMIT:
            raise ValueError(f"max_characters = {self.max_characters} is less than {_SMALLEST_LIMIT}")
        if not self.characters_per_second > 0:
            raise ValueError(f"characters_per_second = {self.characters_per_second} is not more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message to send after `typing_seconds` of typing."""

    text: str
    typing_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The messages of one reply in order; none when nothing fit to send was left of the draft."""

    messages: tuple[Outgoing, ...] = ()


def plan(
    draft: str, *, persona_name: str, names: Collection[str], limits: DeliveryLimits, complete: bool = True
) -> Delivery:
    """Turn a draft into messages: every line break starts a new one, up to the limit; code stays together.

    Args:
        draft: what the model wrote.
        persona_name: a prefix `name:` of its own is taken off.
        names: the people in the talk; the draft is cut where it goes on as one of them, or shows the prompt's frame.
        limits: how many messages of what length, and how fast they are typed.
        complete: whether the model ended by itself; otherwise a half sentence at the end is taken off.
    """
    text = _clean(draft, persona_name, names)
    if not complete:
        text = _whole_sentences(text)
    units = [unit for unit in _units(break_pings(text)) if _visible(unit)]
    burst, rest = units[: limits.max_burst - 1], units[limits.max_burst - 1 :]
    pieces = [piece for message in (*burst, "\n".join(rest)) for piece in split(message, limits.max_characters)]
    return Delivery(messages=tuple(Outgoing(text=p, typing_seconds=_typing(p, limits)) for p in pieces if _visible(p)))


def typed(texts: Iterable[str], limits: DeliveryLimits) -> Delivery:
    """Return the delivery of messages that are planned already, each with its time to type it."""
    return Delivery(messages=tuple(Outgoing(text=text, typing_seconds=_typing(text, limits)) for text in texts))


def fitted(delivery: Delivery, written: Callable[[str], str], limit: int = DISCORD_LIMIT) -> Delivery:
    """Return a delivery each of whose messages has at most `limit` code points when it is `written` for the transport.

    Names that become markup make a text longer. What stays too long in pieces of 64 code points stays so.
    """
    messages: list[Outgoing] = []
    for message in delivery.messages:
        pieces = [piece for piece in _fitted(message.text, written, limit, limit) if _visible(piece)]
        messages += [replace(message, text=piece) for piece in pieces[:1]]
        messages += [replace(message, text=piece, typing_seconds=_GOES_ON_SECONDS) for piece in pieces[1:]]
    return Delivery(messages=tuple(messages))


def _fitted(text: str, written: Callable[[str], str], limit: int, room: int) -> Iterator[str]:
    """Yield pieces of at most `room` code points, smaller ones where they would grow over the limit."""
    for piece in split(text, room):
        length = len(written(piece))
        if length <= limit or room <= _SMALLEST_LIMIT:
            yield piece
        else:
            smaller = 9 * len(piece) * limit // (10 * length)  # the growth is not the same everywhere
            yield from _fitted(piece, written, limit, max(smaller, _SMALLEST_LIMIT))


def split(text: str, limit: int = DISCORD_LIMIT) -> list[str]:
    """Split text into pieces of at most `limit` (64 or more) code points, losing only whitespace at the cuts.

    Cuts between paragraphs where it can, else between lines, sentences, words, and only then inside a word. A code
    fence that is cut is closed in one piece and opened again, with its language, in the next; no piece leaves one
    open.
    """
    pieces: list[str] = []
    rest = _TICKS.sub(_FENCE, text).strip()
    if rest.count(_FENCE) % 2:
        rest = f"{rest}\n{_FENCE}"
    while len(rest) > limit:
        head, rest = _divide(rest, limit - len(_FENCE) - 1)
        pieces.append(head)
    return [*pieces, rest] if rest else pieces


def _divide(text: str, room: int) -> tuple[str, str]:
    """Cut off a piece of at most `room` characters (and a closing fence); both halves have their fences paired."""
    cut = _cut(text, room)
    head, rest = text[:cut].rstrip(), text[cut:]
    if head.count(_FENCE) % 2 == 0:
        return head, rest.lstrip()
    opening = head.rindex(_FENCE)
    language = _LANGUAGE.match(text, opening + len(_FENCE))
    tag = language[0] if language else ""
    if opening > _LONGEST_OPENING and head[opening + len(_FENCE) :].strip() in {"", tag}:
        return head[:opening].rstrip(), text[opening:]
    if rest.lstrip().startswith(_FENCE):
        return f"{head}\n{_FENCE}", rest.lstrip()[len(_FENCE) :].lstrip()
    return f"{head}\n{_FENCE}", f"{_FENCE}{tag}\n{rest.removeprefix(chr(10))}"


def _cut(text: str, room: int) -> int:
    """Return where to cut: the last boundary of the best kind in the later half of the room, else any, else hard.

    Never inside the opening that `_divide` puts in front: every piece must take something away.
    """
    for earliest in (room // 2, _LONGEST_OPENING):
        for boundary in _BOUNDARIES:
            places = [found.end() for found in boundary.finditer(text[: room + 1]) if earliest < found.end() <= room]
            if places:
                return places[-1]
    cut = room
    while cut > room // 2 and not _may_part(text[cut - 1], text[cut]):
        cut -= 1
    return cut


def _may_part(left: str, right: str) -> bool:
    """Say whether two characters may be parted: not within a fence, an accented letter or a joined emoji."""
    joined = "\u200d" in (left, right) or right == "\ufe0f" or "\U0001f3fb" <= right <= "\U0001f3ff"
    return not joined and not unicodedata.category(right).startswith("M") and not left == right == "`"


def _clean(draft: str, persona_name: str, names: Collection[str]) -> str:
    """Take out what must not be sent: control characters, the prompt's frame, names in front, other people's lines."""
    text = unicodedata.normalize("NFC", _UNSENDABLE.sub("", _LINE_BREAK.sub("\n", draft)))
    text = _TICKS.sub(_FENCE, text)
    text = text[: _leak(text)]
    own = {persona_name, clean_name(persona_name)}
    folded = {name.casefold() for name in own}
    others = {name for name in names if name.casefold() not in folded}
    return "\n".join(_own_lines(text.split("\n"), _speaker(own), _speaker(others)))


def _leak(text: str) -> int:
    """Return where a token of the model's template shows, or a row of what they start with at the end of a line.

    `a <| b` is no token: it goes on after the blank.
    """
    for found in _TOKEN.finditer(text):
        row = found[0]
        goes_on = text[found.end() : found.end() + 1]
        word = row.endswith("<|") and (goes_on.isalnum() or goes_on == "_")
        if row.endswith(">") or "\n" in row or not goes_on or word:
            return found.start()
        if text.startswith(("/s>", "/S>", "s>", "S>"), found.end()) and row.endswith("<"):
            return found.start()
    return len(text)


def _own_lines(lines: Iterable[str], own: re.Pattern[str] | None, others: re.Pattern[str] | None) -> Iterator[str]:
    """Yield the persona's own lines up to the first that is another's or the prompt's; code is left as it is."""
    said: set[str] = set()
    fenced = False
    for written in lines:
        line = written.rstrip()
        if not fenced:
            while own and (prefix := own.match(line)):
                line = line[prefix.end() :].lstrip()
            if _HEADER.match(line) or (others and others.match(line)):
                return
            words = " ".join(line.casefold().split())
            if words in said and _FENCE not in words:
                continue
            said.add(words)
        fenced ^= line.count(_FENCE) % 2 == 1
        yield line


def _speaker(names: Collection[str]) -> re.Pattern[str] | None:
    """Return a pattern for a line that starts as said by one of the names: `Ann:`, `**Ann**:`, `Ann (to Ben):`."""
    known = sorted((re.escape(name.strip()) for name in names if name.strip()), key=lambda name: (-len(name), name))
    if not known:
        return None
    name = f"(?i:{'|'.join(known)})"
    marked = rf"[*_\[]{{0,3}}{name}[*_\]]{{0,3}}(?: \(to [^\n]*\))?[*_]{{0,3}}[ \t]*:[*_]{{0,3}}(?=\s|\Z)"
    return re.compile(rf"\s*(?:{marked}|<{name}>)")


def _whole_sentences(text: str) -> str:
    """Take a half sentence off the end; when there is no whole one, the last word, marked with an ellipsis."""
    whole = text.rstrip()
    lines_end = max(whole.rfind("\n"), 0)
    if whole.count(_FENCE) % 2:
        return whole[:lines_end] or whole
    ends = [found.end() for found in _SENTENCE_END.finditer(whole)]
    cut = max(lines_end, *ends, 0)
    if cut:
        return _DANGLING_NUMBER.sub("", whole[:cut])
    words, space, _ = whole.rpartition(" ")
    return f"{words.rstrip()}…" if space else whole


def _units(text: str) -> list[str]:
    """Return the lines, and each code block with its fences as one unit; blank lines outside of code go."""
    units: list[str] = []
    fenced = False
    for line in text.split("\n"):
        if fenced:
            units[-1] += f"\n{line}"
        elif line.strip():
            units.append(line)
        fenced ^= line.count(_FENCE) % 2 == 1
    return units


def _typing(text: str, limits: DeliveryLimits) -> float:
    seconds = len(text) / limits.characters_per_second
    return round(min(max(seconds, limits.min_typing_seconds), limits.max_typing_seconds), 2)


def _visible(text: str) -> bool:
    """Say whether a reader would see anything: Discord refuses messages of blanks, an empty code block is silly."""
    return any(c != "`" and unicodedata.category(c)[0] not in "ZC" for c in text)
