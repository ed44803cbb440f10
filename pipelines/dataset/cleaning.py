"""What of a stored message goes into a conversation: the words as they were written, or the reason why not."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b

from persona.adapters.sqlite.snapshot import Stored
from persona.domain.chat import Attachment, Author, AuthorId, Message, MessageKind
from pipelines.dataset.secrets import SecretFinder, SecretKind

SHORT_COPY_CHARACTERS = 20
"""Texts with fewer letters and digits than this are what everybody says; their copies have a limit of their own."""

_LINK = re.compile(r"<?https?://[^\s>]+>?")
_DIGITS = re.compile(r"[0-9]+")
_HIDDEN = Author(id=AuthorId(0), name="someone", display_name="someone")


class Dropped(StrEnum):
    """Why a message is in no conversation."""

    SYSTEM = "system message or command"
    BOT = "bot or webhook"
    CONSENT = "no consent of its author"
    QUOTE = "repeats what somebody without consent said"
    FORWARD = "forwarded: nobody knows who wrote it"
    LINKS = "nothing but links"
    EMPTY = "nothing in it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """A message that may be read along.

    Attributes:
        message: in NFC, secrets masked, without the names of people who may not be named.
        secrets: what was masked.
        copy_key: equal for near-verbatim copies; short texts have keys with the lowest bit set.
    """

    message: Message
    secrets: tuple[SecretKind, ...]
    copy_key: int


class Cleaner:
    """Cleans the messages of one server.

    `admits` and `may_name` are what consent says there; `repeats` whether a text holds words of somebody not admitted.
    """

    def __init__(
        self,
        secrets: SecretFinder,
        *,
        admits: Callable[[AuthorId, bool], bool],
        may_name: Callable[[AuthorId], bool],
        repeats: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._secrets = secrets
        self._admits = admits
        self._may_name = may_name
        self._repeats = repeats

    def clean(self, stored: Stored) -> Cleaned | Dropped:
        """Return the message as it may be read along, or why it may not."""
        message = stored.message
        if stored.answers is None:
            dropped = self._refused(stored)
            if dropped is not None:
                return dropped
        if self._repeats(message.content):
            return Dropped.QUOTE
        if not message.content.strip() and not message.attachments:
            return Dropped.EMPTY
        if only_links(message.content) and not message.attachments:
            return Dropped.LINKS
        masked = self._secrets.mask(unicodedata.normalize("NFC", message.content))
        attachments, kinds = self._attachments(message)
        return Cleaned(
            message=replace(
                message,
                content=masked.text,
                attachments=attachments,
                mentions=tuple(self._named(person) for person in message.mentions),
            ),
            secrets=masked.kinds + kinds,
            copy_key=copy_key(masked.text),
        )

    def _refused(self, stored: Stored) -> Dropped | None:
        message = stored.message
        if not message.is_talk:
            return Dropped.SYSTEM
        if message.author.is_bot:
            return Dropped.BOT
        if not self._admits(message.author.id, stored.own):
            return Dropped.CONSENT
        return Dropped.FORWARD if message.kind is MessageKind.FORWARD else None

    def _attachments(self, message: Message) -> tuple[tuple[Attachment, ...], tuple[SecretKind, ...]]:
        kept: list[Attachment] = []
        kinds: list[SecretKind] = []
        for each in message.attachments:
            name, description = self._secrets.mask(each.name), self._secrets.mask(each.description)
            kept.append(replace(each, name=name.text, description=description.text))
            kinds += [*name.kinds, *description.kinds]
        return tuple(kept), tuple(kinds)

    def _named(self, person: Author) -> Author:
        """Return the person, without a name when consent does not allow it."""
        return person if self._may_name(person.id) else replace(_HIDDEN, id=person.id)


def only_links(text: str) -> bool:
    """Whether a text is links and nothing else."""
    return bool(_LINK.search(text)) and not any(c.isalnum() for c in _LINK.sub("", text))


def copy_key(text: str) -> int:
    """Return a number (63 bits) that near-verbatim copies share: case, marks, spaces and digits do not count."""
    bare = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", _DIGITS.sub("0", text)).casefold()))
    digest = blake2b((bare or " ".join(text.split())).encode("utf-8", "replace"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1) & ~1 | (len(bare) < SHORT_COPY_CHARACTERS)
