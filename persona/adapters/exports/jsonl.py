"""Reads plain JSON lines: one message a line, with the channel in it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from persona.adapters.exports.fields import CONTENT_CHARACTERS, moment, objects, snowflake, text, whole
from persona.adapters.exports.problems import Problems
from persona.adapters.exports.records import BATCH_MESSAGES, Batch, Entry, People
from persona.adapters.exports.scanner import lenient_decoder
from persona.domain.chat import Channel, ChannelId, GuildId, Message, MessageId, MessageKind, Reaction, snowflake_time

_LINE_CHARACTERS = 1 << 20
_MOST_REACTIONS = 50


def read_jsonl(pieces: Iterator[str], problems: Problems) -> Iterator[Batch]:
    """Yield the messages of a file; a line that is none is counted and passed over.

    Fields: id, channel_id, author_id (numbers or their digits), content; and, where present, channel_name,
    author_name, bot, timestamp (ISO 8601), reply_to, reactions [{emoji, count}]. The format knows no guild: id 0.
    """
    reader = _LineReader(problems)
    seen: set[int] = set()
    channels: list[Channel] = []
    entries: list[Entry] = []
    for number, line in enumerate(_lines(pieces, problems), start=1):
        if not line or line.isspace():
            continue
        record = reader.parse(line, f"line {number}")
        entry = None if record is None else reader.entry(record, f"line {number}")
        if record is None or entry is None:
            continue
        if entry.message.channel_id not in seen:
            seen.add(entry.message.channel_id)
            channels.append(_channel(record, entry.message.channel_id))
        entries.append(entry)
        if len(entries) >= BATCH_MESSAGES:
            yield _batch(channels, entries)
            channels.clear()
            entries.clear()
    if entries:
        yield _batch(channels, entries)


class _LineReader:
    """Turns lines into messages; what is wrong with one is counted, never raised."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._people = People()
        self._decode = lenient_decoder().decode

    def parse(self, line: str, where: str) -> Mapping[str, Any] | None:
        """Return the object of a line, None when it holds none."""
        try:
            record = self._decode(line)
        except json.JSONDecodeError:
            self._problems.lost("not valid JSON", where)
            return None
        except RecursionError:
            self._problems.lost("nested too deeply", where)
            return None
        if not isinstance(record, dict):
            self._problems.lost("not an object", where)
            return None
        return record

    def entry(self, record: Mapping[str, Any], where: str) -> Entry | None:
        """Return a record's message, or None when ids are missing."""
        message_id = snowflake(record.get("id"))
        channel_id = snowflake(record.get("channel_id"))
        name = record.get("author_name")
        author = self._people.author(record.get("author_id"), name, name, record.get("bot"))
        if message_id is None or channel_id is None or author is None:
            missing = "message" if message_id is None else "channel" if channel_id is None else "author"
            self._problems.lost(f"no valid {missing} id", where)
            return None
        content = record.get("content")
        if not isinstance(content, str):
            self._problems.mended("content is not text, left empty", where)
        elif len(content) > CONTENT_CHARACTERS:
            self._problems.mended(f"text longer than {CONTENT_CHARACTERS} characters, cut", where)
        created_at = moment(record.get("timestamp"))
        if created_at is None:
            self._problems.mended("no valid timestamp, taken from the id", where)
        reply_to = snowflake(record.get("reply_to"))
        message = Message(
            id=MessageId(message_id),
            channel_id=ChannelId(channel_id),
            author=author,
            content=text(content, CONTENT_CHARACTERS),
            created_at=created_at or snowflake_time(message_id),
            kind=MessageKind.DEFAULT if reply_to is None else MessageKind.REPLY,
            reply_to=None if reply_to is None else MessageId(reply_to),
        )
        reactions = record.get("reactions")
        return Entry(message, tuple(self._reactions(reactions, message.id, where)) if reactions else ())

    def _reactions(self, value: object, message_id: MessageId, where: str) -> Iterator[Reaction]:
        for item in objects(value)[:_MOST_REACTIONS]:
            emoji, count = text(item.get("emoji")), whole(item.get("count"))
            if not emoji or count is None:
                self._problems.mended("a reaction without emoji or count, left out", where)
            elif count:
                yield Reaction(message_id=message_id, emoji=emoji, count=count)


def _lines(pieces: Iterator[str], problems: Problems) -> Iterator[str]:
    r"""Yield lines (ended by \n only: other line separators are part of texts); of one too long nothing is kept."""
    rest, number, too_long = "", 1, False
    for piece in pieces:
        first, *more = piece.split("\n")
        rest = "" if too_long else rest + first
        if len(rest) > _LINE_CHARACTERS:
            rest, too_long = "", True
        if not more:
            continue
        if too_long:
            problems.lost(f"a line longer than {_LINE_CHARACTERS >> 20} million characters", f"line {number}")
        yield "" if too_long else rest
        too_long = False
        yield from more[:-1]
        number += len(more)
        rest = more[-1]
    if too_long:
        problems.lost(f"a line longer than {_LINE_CHARACTERS >> 20} million characters", f"line {number}")
    else:
        yield rest


def _channel(record: Mapping[str, Any], channel_id: ChannelId) -> Channel:
    name = text(record.get("channel_name")) or str(channel_id)
    return Channel(id=channel_id, guild_id=GuildId(0), name=name)


def _batch(channels: list[Channel], entries: list[Entry]) -> Batch:
    return Batch(
        channels=tuple(channels),
        messages=tuple(entry.message for entry in entries),
        reactions=tuple(reaction for entry in entries for reaction in entry.reactions),
    )
