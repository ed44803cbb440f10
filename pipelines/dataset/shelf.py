"""Conversations as lines of JSON: what the later steps read instead of the database, any number of times."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from persona.domain.chat import Attachment, Author, AuthorId, ChannelId, Message, MessageId, MessageKind
from pipelines.dataset.conversations import Conversation, Line
from pipelines.dataset.secrets import SecretKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def dump(conversation: Conversation) -> str:
    """Return a conversation as one line; equal conversations give equal lines."""
    quoted = [_message(message) for _, message in sorted(conversation.quoted.items())]
    record = {"c": conversation.lines[0].message.channel_id, "m": [_line(each) for each in conversation.lines]}
    if quoted:
        record["q"] = quoted
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def load(text: str, known: Callable[[int, str, str], Author] | None = None) -> Conversation:
    """Return the conversation of a line; `known` may give the same author object each time."""
    record = json.loads(text)
    people = known or _author
    channel = ChannelId(record["c"])
    return Conversation(
        lines=tuple(_load_line(each, channel, people) for each in record["m"]),
        quoted={
            message.id: message for message in (_load_message(each, channel, people) for each in record.get("q", ()))
        },
    )


def read_shelf(file: Path) -> Iterator[Conversation]:
    """Yield the conversations of a file, in order."""
    authors: dict[tuple[int, str, str], Author] = {}

    def known(key: int, name: str, display_name: str) -> Author:
        found = authors.get((key, name, display_name))
        if found is None:
            found = authors[key, name, display_name] = _author(key, name, display_name)
        return found

    with file.open(encoding="utf-8") as stream:
        for text in stream:
            yield load(text, known)


def _line(line: Line) -> list[Any]:
    return [
        _message(line.message),
        dict(line.reactions),
        [str(kind) for kind in line.secrets],
        line.copy_key,
        int(line.after_gap),
        line.answers,
    ]


def _load_line(fields: list[Any], channel: ChannelId, people: Callable[[int, str, str], Author]) -> Line:
    message, reactions, secrets, key, after_gap, answers = fields
    return Line(
        message=_load_message(message, channel, people),
        reactions=reactions,
        secrets=tuple(SecretKind(kind) for kind in secrets),
        copy_key=key,
        after_gap=bool(after_gap),
        answers=None if answers is None else MessageId(answers),
    )


def _message(message: Message) -> list[Any]:
    author = message.author
    rest: list[Any] = []
    if message.mentions or message.attachments:
        rest.append([[each.id, each.name, each.display_name] for each in message.mentions])
    if message.attachments:
        rest.append([[each.kind, each.name, each.description] for each in message.attachments])
    return [
        message.id,
        author.id,
        author.name,
        author.display_name,
        message.kind.value,
        message.content,
        (message.created_at - _EPOCH) // _MICROSECOND,
        message.reply_to,
        *rest,
    ]


def _load_message(fields: list[Any], channel: ChannelId, people: Callable[[int, str, str], Author]) -> Message:
    key, author_id, name, display_name, kind, content, micros, reply_to, *rest = fields
    return Message(
        id=MessageId(key),
        channel_id=channel,
        author=people(author_id, name, display_name),
        content=content,
        created_at=_EPOCH + timedelta(microseconds=micros),
        kind=MessageKind(kind),
        reply_to=None if reply_to is None else MessageId(reply_to),
        mentions=tuple(people(*each) for each in rest[0]) if rest else (),
        attachments=tuple(
            Attachment(kind=kind, name=name, description=description) for kind, name, description in rest[1]
        )
        if len(rest) > 1
        else (),
    )


def _author(key: int, name: str, display_name: str) -> Author:
    return Author(id=AuthorId(key), name=name, display_name=display_name)
