"""Reads one JSON value after another out of a long text, holding no more of it than one value needs."""

import json
import re
from collections.abc import Iterator
from typing import Any

_VALUE_CHARACTERS = 1 << 24
_SKIP_CHARACTERS = 1 << 28
_FAR_FROM_END = 1 << 16
_NEAR_END = 12  # an escape or a word such as `false` can be cut in two
_LONGEST_INTEGER = 30

_SPACE = re.compile(r"[ \t\r\n]*")
_MARKS = re.compile(r'\\.|["{}\[\],]', re.DOTALL)


class UnreadableJsonError(Exception):
    """The next value cannot be read; `cut_off` when the text ends inside it."""

    def __init__(self, reason: str, *, cut_off: bool = False) -> None:
        self.reason = reason
        self.cut_off = cut_off
        super().__init__(reason)


class JsonScanner:
    """A cursor in a JSON text that comes in pieces.

    Values are decoded by the standard library's C scanner on a window of the text: about 1.4 times as fast as an
    event parser, with a bound on the size of a value and a way past a broken one.
    """

    def __init__(self, pieces: Iterator[str], *, value_characters: int = _VALUE_CHARACTERS) -> None:
        self._pieces = pieces
        self._limit = value_characters
        self._window = ""
        self._at = 0
        self._ended = False
        self._decode = lenient_decoder().raw_decode

    def peek(self) -> str:
        """Return the next character that is not white space, '' at the end."""
        if "!" <= self._window[self._at : self._at + 1] <= "~":  # mostly there is nothing to pass over
            return self._window[self._at]
        while True:
            self._at = _SPACE.match(self._window, self._at).end()  # type: ignore[union-attr] # matches nothing, too
            if self._at < len(self._window):
                return self._window[self._at]
            if not self._extend(1):
                return ""

    def take(self, character: str) -> bool:
        """Pass over one character if it comes next."""
        if self.peek() != character:
            return False
        self._at += 1
        return True

    def expect(self, character: str) -> None:
        """Pass over a character that has to come next.

        Raises:
            UnreadableJsonError: another one comes, or the text ends.
        """
        if not self.take(character):
            raise UnreadableJsonError("not valid JSON", cut_off=self.peek() == "")

    def value(self) -> Any:
        """Return the next value and pass over it.

        Raises:
            UnreadableJsonError: it is broken, cut off, nested too deeply or too long. The cursor has not moved.
        """
        start = self.peek()
        while True:
            try:
                value, end = self._decode(self._window, self._at)
            except json.JSONDecodeError as error:
                if not error.msg.startswith("Unterminated") and error.pos + _FAR_FROM_END < len(self._window):
                    raise UnreadableJsonError("not valid JSON") from None
                cut_off = error.msg.startswith("Unterminated") or error.pos + _NEAR_END >= len(self._window)
                if not self._extend(max(len(self._window) - self._at, 1)):
                    raise UnreadableJsonError("not valid JSON", cut_off=cut_off) from None
                self._check_length()
            except RecursionError:
                raise UnreadableJsonError("nested too deeply") from None
            else:
                if end == len(self._window) and start not in '{["' and self._extend(1):
                    continue  # a number may go on in the next piece
                self._at = end
                return value

    def skip(self) -> bool:
        """Pass over the next value by its brackets alone; False when that leads nowhere."""
        self.peek()
        depth, quoted, passed = 0, False, 0
        while passed < _SKIP_CHARACTERS:
            start = read_to = self._at
            for mark in _MARKS.finditer(self._window, start):
                character, read_to = mark.group(), mark.end()
                if character == '"':
                    quoted = not quoted
                elif quoted or len(character) > 1:
                    continue
                elif character in "{[":
                    depth += 1
                elif depth == 0:  # a comma or bracket that belongs to whatever holds this value
                    self._at = mark.start()
                    return passed + self._at > start
                elif character in "}]":
                    depth -= 1
                    if depth == 0:
                        self._at = mark.end()
                        return True
            lone_backslash = self._window.endswith("\\") and read_to < len(self._window)
            self._at = len(self._window) - lone_backslash  # it belongs to the character that comes next
            passed += self._at - start
            if not self._extend(1):
                return False
        return False

    def _check_length(self) -> None:
        if len(self._window) - self._at > self._limit:
            raise UnreadableJsonError(f"longer than {self._limit >> 20} million characters")

    def _extend(self, count: int) -> bool:
        """Put at least `count` more characters into the window, letting go of what was passed; False at the end."""
        kept = [self._window[self._at :]]
        added = 0
        while added < count and not self._ended:
            piece = next(self._pieces, None)
            if piece is None:
                self._ended = True
            else:
                kept.append(piece)
                added += len(piece)
        self._window, self._at = "".join(kept), 0
        return added > 0


def lenient_decoder() -> json.JSONDecoder:
    """Return a decoder that takes raw control characters in texts, and no number that would be a trap."""
    return json.JSONDecoder(strict=False, parse_int=_integer, parse_constant=_no_number)


def _integer(digits: str) -> int | None:
    """Return an integer; what no field can hold is no number (and can take hours to convert)."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else None


def _no_number(_name: str) -> None:
    """NaN and the infinities are not JSON."""
