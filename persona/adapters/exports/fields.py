"""Checks single fields of foreign records: ids, times, texts; what is wrong is None or empty, never an exception."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

CONTENT_CHARACTERS = 4000
"""Longest message Discord accepts (with Nitro)."""
NAME_CHARACTERS = 100
DESCRIPTION_CHARACTERS = 1000

_LARGEST_ID = (1 << 63) - 1
_ID_DIGITS = 19
_MEDIA = {
    "image": {"png", "jpg", "jpeg", "gif", "webp", "avif", "heic", "bmp", "svg"},
    "video": {"mp4", "mov", "webm", "mkv", "avi", "m4v"},
    "audio": {"mp3", "ogg", "oga", "wav", "flac", "m4a", "opus", "aac"},
}


def snowflake(value: object) -> int | None:
    """Return an id (1..2^63-1) that is given as a number or its digits, else None."""
    if isinstance(value, str):
        if not (0 < len(value) <= _ID_DIGITS and value.isascii() and value.isdecimal()):
            return None
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST_ID:
        return value
    return None


def moment(value: object) -> datetime | None:
    """Return an ISO 8601 time, with any offset and 0 to 7 fraction digits, in UTC; without an offset it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        if parsed.tzinfo is UTC:
            return parsed
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def text(value: object, limit: int = NAME_CHARACTERS) -> str:
    """Return a text without NUL characters and half surrogate pairs, cut to `limit`; '' when it is none."""
    if not isinstance(value, str):
        return ""
    value = value[:limit]
    if value.isascii():
        return value.replace("\0", "") if "\0" in value else value
    if "\0" in value:
        value = value.replace("\0", "")
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def whole(value: object) -> int | None:
    """Return a count or size (0..2^63-1), else None."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_ID:
        return value
    return None


def mapping(value: object) -> Mapping[str, Any]:
    """Return an object, empty when it is none."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> Sequence[Mapping[str, Any]]:
    """Return the objects of a list, empty when it is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else ()


def media_kind(file_name: str) -> str:
    """Return image, video or audio by a file's ending, else file."""
    ending = file_name.rpartition(".")[2].lower()
    return next((kind for kind, endings in _MEDIA.items() if ending in endings), "file")
