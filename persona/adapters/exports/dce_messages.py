"""Turns one message record of a DiscordChatExporter file into a `Message` with its reactions."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from persona.adapters.exports.fields import (
    CONTENT_CHARACTERS,
    DESCRIPTION_CHARACTERS,
    mapping,
    media_kind,
    moment,
    objects,
    snowflake,
    text,
    whole,
)
from persona.adapters.exports.problems import Problems
from persona.adapters.exports.records import Entry, People
from persona.domain.chat import (
    Attachment,
    Author,
    ChannelId,
    Message,
    MessageId,
    MessageKind,
    Reaction,
    snowflake_time,
)

_MOST_LISTED = 50
_KINDS = {
    "Default": MessageKind.DEFAULT,
    "0": MessageKind.DEFAULT,
    "Reply": MessageKind.REPLY,
    "19": MessageKind.REPLY,
    # Slash and context menu commands have no name in the exporter.
    "20": MessageKind.COMMAND,
    "23": MessageKind.COMMAND,
}


class MessageReader:
    """Reads the messages of one channel; what is wrong with a record is counted, never raised."""

    def __init__(self, channel_id: ChannelId, problems: Problems) -> None:
        self._channel_id = channel_id
        self._problems = problems
        self._people = People()

    def read(self, record: object, where: str) -> Entry | None:
        """Return a record's message, or None when it has no usable id or author."""
        if not isinstance(record, dict):
            self._problems.lost("not an object", where)
            return None
        message_id = snowflake(record.get("id"))
        if message_id is None:
            self._problems.lost("no valid message id", where)
            return None
        author = self._author(record.get("author"))
        if author is None:
            self._problems.lost("no valid author", where)
            return None
        kind = _kind(record)
        content, attachments = self._body(record, where)
        if kind is MessageKind.FORWARD:
            inner, inner_attachments = self._body(mapping(record.get("forwardedMessage")), where)
            content, attachments = content or inner, attachments + inner_attachments
        message = Message(
            id=MessageId(message_id),
            channel_id=self._channel_id,
            author=author,
            content=content,
            created_at=self._created_at(record, message_id, where),
            kind=kind,
            edited_at=self._edited_at(record, where),
            reply_to=_reply_to(record) if kind is MessageKind.REPLY else None,
            mentions=self._mentions(record),
            attachments=attachments,
            pinned=record.get("isPinned") is True,
        )
        reactions = record.get("reactions")
        return Entry(message, tuple(self._reactions(reactions, message.id, where)) if reactions else ())

    def _author(self, value: object) -> Author | None:
        if not isinstance(value, dict):
            return None
        return self._people.author(value.get("id"), value.get("name"), value.get("nickname"), value.get("isBot"))

    def _mentions(self, record: Mapping[str, Any]) -> tuple[Author, ...]:
        listed = record.get("mentions")
        if not listed:
            return ()
        found = map(self._author, objects(listed)[:_MOST_LISTED])
        return tuple(dict.fromkeys(author for author in found if author is not None))

    def _body(self, record: Mapping[str, Any], where: str) -> tuple[str, tuple[Attachment, ...]]:
        content = record.get("content")
        if isinstance(content, str):
            if len(content) > CONTENT_CHARACTERS:
                self._problems.mended(f"text longer than {CONTENT_CHARACTERS} characters, cut", where)
        elif content is not None:
            self._problems.mended("content is not text, left empty", where)
        if record.get("attachments") or record.get("stickers") or record.get("embeds"):
            return text(content, CONTENT_CHARACTERS), tuple(_attachments(record))
        return text(content, CONTENT_CHARACTERS), ()

    def _created_at(self, record: Mapping[str, Any], message_id: int, where: str) -> datetime:
        created_at = moment(record.get("timestamp"))
        if created_at is None:
            self._problems.mended("no valid timestamp, taken from the id", where)
            return snowflake_time(message_id)
        return created_at

    def _edited_at(self, record: Mapping[str, Any], where: str) -> datetime | None:
        value = record.get("timestampEdited")
        if value is None:
            return None
        edited_at = moment(value)
        if edited_at is None:
            self._problems.mended("no valid edit time, left out", where)
        return edited_at

    def _reactions(self, value: object, message_id: MessageId, where: str) -> Iterator[Reaction]:
        seen: set[str] = set()
        for item in objects(value)[:_MOST_LISTED]:
            name, count = _emoji(mapping(item.get("emoji"))), whole(item.get("count"))
            if not name or count is None:
                self._problems.mended("a reaction without emoji or count, left out", where)
            elif count and name not in seen:
                seen.add(name)
                yield Reaction(message_id=message_id, emoji=name, count=count)


def _kind(record: Mapping[str, Any]) -> MessageKind:
    """Return what a message is. A forward has the type of a plain message and says so in its reference."""
    name, reference = record.get("type"), record.get("reference")
    if name is None:  # an export older than message types
        kind = MessageKind.REPLY if reference else MessageKind.DEFAULT
    else:
        kind = _KINDS.get(str(name), MessageKind.SYSTEM)
    if kind is MessageKind.DEFAULT and (
        isinstance(record.get("forwardedMessage"), dict) or mapping(reference).get("type") == "Forward"
    ):
        return MessageKind.FORWARD
    return kind


def _reply_to(record: Mapping[str, Any]) -> MessageId | None:
    """Return what a reply answers; it need not exist any more."""
    answered = snowflake(mapping(record.get("reference")).get("messageId"))
    return None if answered is None else MessageId(answered)


def _emoji(emoji: Mapping[str, Any]) -> str:
    """Return a unicode emoji as it is, a custom one (it has an id) as `:name:`."""
    name = text(emoji.get("name"))
    return f":{name}:" if name and emoji.get("id") else name


def _attachments(record: Mapping[str, Any]) -> Iterator[Attachment]:
    for item in objects(record.get("attachments"))[:_MOST_LISTED]:
        name = text(item.get("fileName")) or "unnamed"
        yield Attachment(kind=media_kind(name), name=name, size_bytes=whole(item.get("fileSizeBytes")))
    for item in objects(record.get("stickers"))[:_MOST_LISTED]:
        yield Attachment(kind="sticker", name=text(item.get("name")) or "unnamed")
    for item in objects(record.get("embeds"))[:_MOST_LISTED]:
        title = text(item.get("title")) or text(mapping(item.get("author")).get("name")) or text(item.get("url"))
        description = text(item.get("description"), DESCRIPTION_CHARACTERS)
        if title or description:
            joined = ": ".join(part for part in (title, description) if part)
            yield Attachment(kind="embed", name=title or "embed", description=text(joined, DESCRIPTION_CHARACTERS))
