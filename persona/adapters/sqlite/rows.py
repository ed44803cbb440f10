"""Turns chat vocabulary into rows and back, and decides what becomes of a message that is already stored."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from persona.domain.chat import Attachment, Author, AuthorId, ChannelId, Edit, Message, MessageId, MessageKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TALK = {MessageKind.DEFAULT.value, MessageKind.REPLY.value, MessageKind.FORWARD.value}
_DEFAULT = MessageKind.DEFAULT.value

MESSAGE_COLUMNS = (
    "id, channel_id, author_id, kind, content, created_at, edited_at, reply_to, mentions, attachments, pinned"
)


class Row(NamedTuple):
    """A row of `messages`, in the order of `MESSAGE_COLUMNS`."""

    id: int
    channel_id: int
    author_id: int
    kind: str
    content: str
    created_at: int
    edited_at: int | None
    reply_to: int | None
    mentions: str
    attachments: str
    pinned: int

    @property
    def is_searchable(self) -> bool:
        """Whether the memory wants it: talk that has text."""
        return self.kind in _TALK and bool(self.content.strip())


def to_micros(moment: datetime) -> int:
    """Return an aware moment as microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the moment (UTC) that `to_micros` made into a number."""
    return _EPOCH + timedelta(microseconds=micros)


def clean_text(text: str) -> str:
    """Return text that SQLite can hold: half surrogate pairs, which are no characters, become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def message_row(message: Message) -> Row:
    """Return the row of a message."""
    edited_at = message.edited_at
    return Row(
        message.id,
        message.channel_id,
        message.author.id,
        message.kind.value,
        clean_text(message.content),
        to_micros(message.created_at),
        None if edited_at is None else to_micros(edited_at),
        message.reply_to,
        dump_mentions(message.mentions),
        dump_attachments(message.attachments),
        int(message.pinned),
    )


class EditRow(NamedTuple):
    """What an edit says: as in `messages`, None where it says nothing."""

    content: str
    edited_at: int
    mentions: str | None
    attachments: str | None

    def on(self, row: Row) -> Row:
        """Return what a message becomes: the newer version wins, the same one fills in what was missing."""
        age = row.edited_at or 0
        if self.edited_at < age:
            return row
        if self.edited_at == age:
            return row._replace(
                mentions=row.mentions or self.mentions or "", attachments=row.attachments or self.attachments or ""
            )
        return row._replace(
            content=self.content,
            edited_at=self.edited_at,
            mentions=row.mentions if self.mentions is None else self.mentions,
            attachments=row.attachments if self.attachments is None else self.attachments,
        )


def edit_row(edit: Edit) -> EditRow:
    """Return the row of an edit."""
    return EditRow(
        clean_text(edit.content),
        to_micros(edit.edited_at),
        None if edit.mentions is None else dump_mentions(edit.mentions),
        None if edit.attachments is None else dump_attachments(edit.attachments),
    )


def merged(stored: Row, new: Row, *, whole: bool = False) -> Row | None:
    """Return what a stored message becomes when it comes again, or None when that tells nothing new.

    A newer edit replaces the text. What the same version lacked elsewhere (an export without mentions, an event
    without content) is filled in, never emptied, unless `new` is `whole`: the message with all that it has now. A stale
    version tells at most that it was a reply. Merging twice changes nothing.
    """
    age, new_age = stored.edited_at or 0, new.edited_at or 0
    kind = new.kind if stored.kind == _DEFAULT else stored.kind
    result = stored._replace(kind=kind, reply_to=stored.reply_to or new.reply_to)
    if new_age > age:
        result = result._replace(
            content=new.content,
            edited_at=new.edited_at,
            mentions=new.mentions,
            attachments=new.attachments,
            pinned=new.pinned,
        )
    elif new_age == age and whole:
        result = result._replace(
            content=new.content or stored.content,
            mentions=new.mentions,
            attachments=new.attachments,
            pinned=new.pinned,
        )
    elif new_age == age:
        result = result._replace(
            content=stored.content or new.content,
            mentions=stored.mentions or new.mentions,
            attachments=stored.attachments or new.attachments,
            pinned=stored.pinned | new.pinned,
        )
    return None if result == stored else result


def load_message(row: Row, authors: Mapping[int, Author]) -> Message:
    """Return the message of a row; people without a row of their own go by their id."""
    mentions = json.loads(row.mentions) if row.mentions else ()
    return Message(
        id=MessageId(row.id),
        channel_id=ChannelId(row.channel_id),
        author=_author(row.author_id, authors),
        content=row.content,
        created_at=from_micros(row.created_at),
        kind=MessageKind(row.kind),
        edited_at=None if row.edited_at is None else from_micros(row.edited_at),
        reply_to=None if row.reply_to is None else MessageId(row.reply_to),
        mentions=tuple([_author(author_id, authors) for author_id in mentions]) if mentions else (),
        attachments=_load_attachments(row.attachments) if row.attachments else (),
        pinned=bool(row.pinned),
    )


def people_in(rows: Iterable[Row]) -> set[int]:
    """Return the ids of everyone who wrote or is mentioned in rows of messages."""
    people: set[int] = set()
    for row in rows:
        people.add(row.author_id)
        if row.mentions:
            people.update(json.loads(row.mentions))
    return people


def _author(author_id: int, authors: Mapping[int, Author]) -> Author:
    known = authors.get(author_id)
    return known or Author(id=AuthorId(author_id), name=str(author_id), display_name=str(author_id))


def dump_mentions(mentions: Sequence[Author]) -> str:
    """Return the column `mentions` of a message."""
    return f"[{','.join(str(author.id) for author in mentions)}]" if mentions else ""


def dump_attachments(attachments: Sequence[Attachment]) -> str:
    """Return the column `attachments` of a message."""
    if not attachments:
        return ""
    fields = [[item.kind, item.name, item.size_bytes, item.description] for item in attachments]
    return clean_text(json.dumps(fields, ensure_ascii=False))


def _load_attachments(text: str) -> tuple[Attachment, ...]:
    return tuple(
        Attachment(kind=kind, name=name, size_bytes=size, description=description)
        for kind, name, size, description in json.loads(text)
    )
