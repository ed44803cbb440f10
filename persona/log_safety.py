"""Makes any log event safe to write: secrets and message content out, fields capped, every line whole and printable."""

import base64
import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from enum import Enum
from numbers import Integral, Real
from pathlib import PurePath
from urllib.parse import quote
from uuid import UUID

REDACTED = "[redacted]"
MAX_LINE_BYTES = 48_000
"""journald cuts lines at 49,152 bytes; a cut line is no JSON any more."""

_TEXT_LIMITS = (2000, 200, 40)
_MAX_ITEMS = 50
_MAX_DEPTH = 12
_MAX_VALUES = 1500
_MAX_KEY = 80
_MAX_INT_BITS = 128
_SHORTEST_SECRET = 8
_LONGEST_TOKEN = 512
_CONSOLE_VALUE = 200

CONTENT_KEYS = frozenset({"completion", "content", "draft", "prompt", "query", "quote", "text", "texts"})
SECRET_KEYS = frozenset({"access_token", "api_key", "authorization", "cookie", "password", "secret", "token"})

# Every quantifier that starts a pattern is bounded: the search stays linear on a long run of letters.
_TOKENS = re.compile(
    r"[\w-]{18,30}\.[\w-]{5,8}\.[\w-]{25,}"  # a Discord bot token
    r"|mfa\.[\w-]{20,}"
    r"|aW50ZXJhY3Rpb2[\w=-]{8,}"  # an interaction token: base64 of "interaction:..."
    r"|eyJ[\w-]{8,4096}\.[\w-]{8,4096}\.[\w-]{8,}"  # a JSON web token
    r"|hf_[A-Za-z0-9]{16,}|sk-[\w-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}",
    re.ASCII,
)
_NAMED_TOKENS = re.compile(
    r"(?P<name>(?:webhooks|interactions)/\d{1,20}/"
    r"|\b(?:bearer|bot|basic)\s{1,3}(?=[^\s]{16})"
    r"|(?<![a-z0-9_-])(?:access_token|token|password|secret|api_key|authorization|signature)[\"']?\s{0,3}[:=]\s{0,3}[\"']?"
    r"(?=[^\s]{8}))"
    r"[^\s\"'&,;/]+",
    re.ASCII | re.IGNORECASE,
)
_USERINFO = re.compile(r"://[^/\s@]{1,200}:[^/\s@]{1,200}@")

# Control characters, line and paragraph separators, bidirectional marks and invisible formatting: what can break a
# line, move the cursor or make text look like something else. U+200D stays: emoji are joined with it.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    "\U000e0000-\U000e007f]"
)

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Redactor:
    """Blanks out known secrets (also percent-encoded, JSON-escaped and in base64) and whatever looks like a token."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {variant for secret in secrets for variant in _variants(secret)}
        self._known = sorted(known, key=len, reverse=True)
        self._longest = max(_LONGEST_TOKEN, *map(len, known)) if known else _LONGEST_TOKEN

    def redact(self, text: str) -> str:
        """Return the text with every secret replaced by `[redacted]`."""
        for secret in self._known:
            text = text.replace(secret, REDACTED)
        text = _NAMED_TOKENS.sub(rf"\g<name>{REDACTED}", text)
        return _USERINFO.sub(f"://{REDACTED}@", _TOKENS.sub(REDACTED, text))

    def shortened(self, text: str, limit: int) -> str:
        """Redact, then cut to `limit` characters; a secret that the cut runs through leaves nothing behind."""
        window = 2 * limit + self._longest
        clean = self.redact(text[:window])
        if len(text) > window:
            clean = clean[: -self._longest]
        elif len(clean) <= limit:
            return clean
        kept = clean[:limit]
        return f"{kept}…[{len(text)} characters]"


class Cleaner:
    """Turns the fields of an event into plain JSON values that are fit to be written."""

    def __init__(self, redactor: Redactor, *, content: bool = False) -> None:
        self._redactor = redactor
        self._content = content

    def clean(self, fields: Mapping[str, object], limit: int = _TEXT_LIMITS[0]) -> dict[str, Json]:
        """Return the fields as JSON values with texts of at most `limit` characters; bounded in depth and number."""
        return _Pass(self._redactor, limit, content=self._content).mapping(fields, depth=0)

    def json_line(self, fields: Mapping[str, object]) -> str:
        """Return one line of JSON of at most `MAX_LINE_BYTES`; one that had to be shortened says `truncated`."""
        for number, limit in enumerate(_TEXT_LIMITS):
            marked = {**fields, "truncated": True} if number else fields
            line = to_json(self.clean(marked, limit))
            if len(line.encode()) <= MAX_LINE_BYTES:
                return line
        head = {name: value for name, value in list(fields.items())[:4] if isinstance(value, str)}
        return to_json(self.clean({**head, "truncated": True}, _TEXT_LIMITS[-1]))


class _Pass:
    """One walk through an event, with what is left of its budget of values."""

    def __init__(self, redactor: Redactor, limit: int, *, content: bool) -> None:
        self._redactor = redactor
        self._limit = limit
        self._content = content
        self._left = _MAX_VALUES

    def mapping(self, fields: Mapping[str, object], depth: int) -> dict[str, Json]:
        clean: dict[str, Json] = {}
        for key, value in list(fields.items())[:_MAX_ITEMS]:
            name = key if isinstance(key, str) else str(key)
            if name.lower() in SECRET_KEYS:
                clean[name] = REDACTED
            elif name.lower() in CONTENT_KEYS and not self._content:
                clean[f"{name}_length"] = len(value) if isinstance(value, str | list | tuple) else None
            else:
                clean[self._text(name, _MAX_KEY)] = self.value(value, depth + 1)
        return clean

    def value(self, value: object, depth: int) -> Json:  # noqa: PLR0911 - one for each kind of value
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            return "…"
        match value:
            case None | bool():
                return value
            case Enum():
                return self.value(value.value, depth + 1)
            case str():
                return self._text(str.__str__(value), self._limit)
            case Integral():
                number = int(value)
                return number if number.bit_length() <= _MAX_INT_BITS else f"<int of {number.bit_length()} bits>"
            case Real():
                measure = float(value)
                return measure if math.isfinite(measure) else str(measure)
            case Mapping():
                return dict(self.mapping(value, depth))
            case list() | tuple() | set() | frozenset() | deque():
                return [self.value(item, depth + 1) for item in list(value)[:_MAX_ITEMS]]
            case _:
                return self._text(self._described(value), self._limit)

    def _described(self, value: object) -> str:  # noqa: PLR0911 - one for each kind of value
        """Put an object into words; one of unknown type by its type alone, for its repr may hold what people said."""
        match value:
            case bytes() | bytearray() | memoryview():
                return f"<{len(value)} bytes>"
            case date() | time():
                return value.isoformat()
            case timedelta():
                return f"{value.total_seconds()} s"
            case PurePath() | UUID():
                return str(value)
            case BaseException():
                return f"{type(value).__name__}: {value}"
            case type():
                return value.__qualname__
            case _:
                return repr(value) if self._content else f"<{type(value).__qualname__}>"

    def _text(self, text: str, limit: int) -> str:
        short = self._redactor.shortened(text, limit)
        return short.encode("utf-8", "backslashreplace").decode()  # lone surrogates have no UTF-8


def to_json(fields: Mapping[str, Json]) -> str:
    """Return the fields as one line of JSON; invisible and direction-changing characters stand as escapes."""
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    return _UNSAFE.sub(lambda found: json.dumps(found[0])[1:-1], text)


def printable(text: str) -> str:
    """Return the text with every character that could break or disguise a terminal line as a visible escape."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def console_line(
    cleaner: Cleaner, fields: Mapping[str, object], *, colour: Callable[[str], str] = str, frames: bool = False
) -> str:
    """Return an event as a short line for people; with `frames` the stack of an exception follows, one frame a line."""
    clean = cleaner.clean(fields, _CONSOLE_VALUE)
    when, level, event = (_bare(clean.pop(name, "")) for name in ("timestamp", "level", "event"))
    logger, actor = (_bare(clean.pop(name, "")) for name in ("logger", "actor"))
    stacks = clean.pop("exception", None)
    source = actor or logger
    words = [f"{source}: {event}" if source else event, *(f"{name}={_quoted(value)}" for name, value in clean.items())]
    lines = [printable(" ".join(words))]
    if isinstance(stacks, list):
        trace = [printable(line) for line in _trace_lines(stacks)]
        lines = [*lines, *trace] if frames else [f"{lines[0]} | {trace[0].strip()}" if trace else lines[0]]
    return f"{printable(when[11:19])} {colour(printable(level))} " + "\n".join(lines)


def _bare(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _quoted(value: Json) -> str:
    plain = isinstance(value, str) and value and not re.search(r"[\s\"=]", value)
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


def _trace_lines(stacks: Iterable[Json]) -> list[str]:
    """Put stacks into lines: each error, then its frames, innermost first."""
    lines: list[str] = []
    for stack in stacks:
        if not isinstance(stack, dict):
            continue
        lines.append(f"  {stack.get('exc_type')}: {stack.get('exc_value')}")
        frames = stack.get("frames")
        lines += [
            f"    at {frame.get('filename')}:{frame.get('lineno')} in {frame.get('name')}"
            for frame in (reversed(frames) if isinstance(frames, list) else ())
            if isinstance(frame, dict)
        ]
        inner = stack.get("exceptions")
        for group in inner if isinstance(inner, list) else ():
            if isinstance(group, list):
                lines += [f"  {line}" for line in _trace_lines(group)]
    return lines


def _variants(secret: str) -> set[str]:
    """Return the spellings of a secret that are looked for; one that is too short to be secret has none."""
    if len(secret) < _SHORTEST_SECRET:
        return set()
    encoded = base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode()
    return {secret, quote(secret, safe="", errors="replace"), json.dumps(secret)[1:-1], encoded}
