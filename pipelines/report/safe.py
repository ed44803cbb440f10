"""Makes people's text safe to be shown: it cannot move a cursor, turn the writing direction, or become markup."""

import html
import re

_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, overrides of the writing direction, and halves of characters that cannot be encoded."""


def printable(text: str) -> str:
    """Return text without control characters other than line feed and tab; each becomes a replacement character."""
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)


def escape(text: str) -> str:
    """Return printable text for HTML and SVG, in elements and in quoted attributes."""
    return html.escape(printable(text), quote=True)


def one_line(text: str) -> str:
    """Return printable text on one line."""
    return " ".join(printable(text).split())
