"""What a dataset or model was made from, as hashes: enough to tell whether a forgotten message was in it, no more.

Message ids are times with a few bits of counter, so a plain hash of one is guessed in no time. These hashes are keyed
(BLAKE2b, RFC 7693) with a secret that lives in the database alone: a run folder or a model that is given away tells
nothing about who is in it. Eight bytes are enough: among a million hashes a million strangers meet one by chance once
in about eighteen million tries, and the worst that follows is a mark too many.

A lineage file is two lines of text, then the hashes as they are, sorted, messages first:

    persona lineage 1
    {"authors": 12, "digest_bytes": 8, "key": "5d1c...", "messages": 3456, "read_at": "2026-05-01T12:00:00+00:00"}
    <3456 x 8 bytes><12 x 8 bytes>
"""

import json
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from persona.domain.chat import AuthorId, MessageId

LINEAGE_FILE = "lineage.bin"
"""The name of the file in a run folder."""

DIGEST_BYTES = 8
KEY_BYTES = 32

_FIRST_LINE = b"persona lineage 1\n"
_FINGERPRINT_BYTES = 8
_LONGEST_HEADER = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageKey:
    """The secret of an installation, `KEY_BYTES` long; `repr` does not show it."""

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ValueError(f"a lineage key has {KEY_BYTES} bytes, this one {len(self.secret)}")

    def __repr__(self) -> str:
        return f"LineageKey({self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """What a lineage file says of the key it was made with: 16 hexadecimal digits."""
        return blake2b(b"persona key", key=self.secret, digest_size=_FINGERPRINT_BYTES).hexdigest()

    def message(self, message_id: MessageId) -> bytes:
        """Return the hash of a message id."""
        return self._digest(b"message", message_id)

    def author(self, author_id: AuthorId) -> bytes:
        """Return the hash of a person's id."""
        return self._digest(b"author", author_id)

    def _digest(self, kind: bytes, number: int) -> bytes:
        data = number.to_bytes(8, "big", signed=True)
        return blake2b(data, key=self.secret, digest_size=DIGEST_BYTES, person=kind).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The hashes of everything that went in, sorted; `read_at` is when the messages were read from the store."""

    key: str
    read_at: datetime
    messages: tuple[bytes, ...]
    authors: tuple[bytes, ...]

    def messages_among(self, digests: Iterable[bytes]) -> int:
        """Return how many of these different hashes are messages of this lineage."""
        return sum(_holds(self.messages, digest) for digest in digests)

    def authors_among(self, left: Mapping[bytes, datetime]) -> int:
        """Return how many of these people, with the time when they were forgotten, wrote something that was read."""
        return sum(_holds(self.authors, digest) for digest, at in left.items() if self.read_at <= at)


def lineage_of(
    key: LineageKey, read_at: datetime, message_ids: Iterable[MessageId], author_ids: Iterable[AuthorId]
) -> Lineage:
    """Return the lineage of messages and the people who wrote them; `read_at` is aware."""
    return Lineage(
        key=key.fingerprint,
        read_at=read_at,
        messages=tuple(sorted({key.message(each) for each in message_ids})),
        authors=tuple(sorted({key.author(each) for each in author_ids})),
    )


def encode_lineage(lineage: Lineage) -> bytes:
    """Return the bytes of a lineage file; equal lineages give equal bytes."""
    return encode_digests(lineage.key, lineage.read_at, b"".join(lineage.messages), b"".join(lineage.authors))


def encode_digests(key: str, read_at: datetime, messages: bytes, authors: bytes) -> bytes:
    """Return the bytes of a lineage file from hashes that stand in one piece each: sorted, none of them twice.

    For data sets of millions of messages, where one object for each hash would fill the memory.
    """
    header = {
        "authors": len(authors) // DIGEST_BYTES,
        "digest_bytes": DIGEST_BYTES,
        "key": key,
        "messages": len(messages) // DIGEST_BYTES,
        "read_at": read_at.astimezone(UTC).isoformat(),
    }
    line = json.dumps(header, sort_keys=True).encode() + b"\n"
    return b"".join((_FIRST_LINE, line, messages, authors))


def decode_lineage(data: bytes) -> Lineage:
    """Return the lineage that `encode_lineage` made into bytes.

    Raises:
        ValueError: it is something else, of another version, cut short, or not in order.
    """
    if not data.startswith(_FIRST_LINE):
        raise ValueError("it does not begin with 'persona lineage 1'")
    end = data.find(b"\n", len(_FIRST_LINE), len(_FIRST_LINE) + _LONGEST_HEADER)
    if end < 0:
        raise ValueError("its header has no end")
    header = _header(data[len(_FIRST_LINE) : end])
    body = data[end + 1 :]
    messages, authors = int(header["messages"]), int(header["authors"])
    if min(messages, authors) < 0 or len(body) != (messages + authors) * DIGEST_BYTES:
        raise ValueError(f"it has {len(body)} bytes of hashes, its header speaks of {messages} + {authors} hashes")
    digests = [body[start : start + DIGEST_BYTES] for start in range(0, len(body), DIGEST_BYTES)]
    return Lineage(
        key=header["key"],
        read_at=datetime.fromisoformat(header["read_at"]),
        messages=_in_order(digests[:messages]),
        authors=_in_order(digests[messages:]),
    )


def _header(line: bytes) -> Mapping[str, Any]:
    try:
        header = json.loads(line)
        sound = header["digest_bytes"] == DIGEST_BYTES and isinstance(header["key"], str)
        sound = sound and all(type(header[name]) is int for name in ("messages", "authors"))
        sound = sound and datetime.fromisoformat(header["read_at"]).tzinfo is not None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"its header cannot be read: {error}") from error
    if not sound:
        raise ValueError("its header is of another version")
    return dict(header)


def _in_order(digests: Collection[bytes]) -> tuple[bytes, ...]:
    found = tuple(digests)
    if any(left >= right for left, right in pairwise(found)):
        raise ValueError("its hashes are not in order")
    return found


def _holds(ordered: Sequence[bytes], digest: bytes) -> bool:
    place = bisect_left(ordered, digest)
    return place < len(ordered) and ordered[place] == digest
