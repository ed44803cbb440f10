"""Reads Discord data packages ("Request my data"): one person's own messages, a folder for each channel.

    messages/c<channel id>/channel.json        id, type, name, guild {id, name}
    messages/c<channel id>/messages.json       [{ID, Timestamp, Contents, Attachments}], since 2024
    messages/c<channel id>/messages.csv        the same with a header line, before that
    account/user.json                          whose package it is: id, username, global_name

Folder names are translated in newer packages and the `c` is missing in the oldest; what is in a folder tells.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from persona.adapters.exports.fields import CONTENT_CHARACTERS, mapping, media_kind, moment, snowflake, text
from persona.adapters.exports.problems import Problems
from persona.adapters.exports.records import Batch, Entry, batched
from persona.adapters.exports.scanner import JsonScanner, UnreadableJsonError, lenient_decoder
from persona.adapters.exports.streams import ignore_progress, read_text
from persona.domain.chat import (
    Attachment,
    Author,
    AuthorId,
    Channel,
    ChannelId,
    ChannelKind,
    GuildId,
    Message,
    MessageId,
    snowflake_time,
)

_MESSAGES = ("messages.json", "messages.csv")
_CHANNEL = "channel.json"
_USER = "user.json"
_FOLDER = re.compile(r"c?[0-9]{15,20}")
_SMALL_FILE = 1 << 22
_LEVELS_UP = 3
_DIRECT = {"1", "3", "DM", "GROUP_DM"}
_KINDS = {
    "0": ChannelKind.TEXT,
    "GUILD_TEXT": ChannelKind.TEXT,
    "2": ChannelKind.VOICE,
    "GUILD_VOICE": ChannelKind.VOICE,
    "13": ChannelKind.VOICE,
    "GUILD_STAGE_VOICE": ChannelKind.VOICE,
    "5": ChannelKind.NEWS,
    "GUILD_NEWS": ChannelKind.NEWS,
    "GUILD_ANNOUNCEMENT": ChannelKind.NEWS,
    "10": ChannelKind.THREAD,
    "ANNOUNCEMENT_THREAD": ChannelKind.THREAD,
    "11": ChannelKind.THREAD,
    "PUBLIC_THREAD": ChannelKind.THREAD,
    "12": ChannelKind.THREAD,
    "PRIVATE_THREAD": ChannelKind.THREAD,
    "15": ChannelKind.FORUM,
    "GUILD_FORUM": ChannelKind.FORUM,
}
_MOST_LISTED = 50


def is_package_file(path: Path) -> bool:
    """Whether a file holds the messages of one channel of a data package."""
    return (
        path.name in _MESSAGES
        and _FOLDER.fullmatch(path.parent.name) is not None
        and path.with_name(_CHANNEL).is_file()
    )


def is_package_side_file(path: Path) -> bool:
    """Whether a file only says something about others in a data package: channel, person or list of channels."""
    if path.name == _CHANNEL:
        return any(path.with_name(name).is_file() for name in _MESSAGES)
    if path.name == _USER or path.name == "index.json":  # noqa: PLR1714
        folder = path.parent if path.name == "index.json" else path.parent.parent
        return any(is_package_file(file) for name in _MESSAGES for file in _first(folder, name))
    return False


def read_package(path: Path, problems: Problems, progress: Callable[[int], None] = ignore_progress) -> Iterator[Batch]:
    """Yield the messages of one channel; direct messages are left out, and counted.

    A package does not say whom a message replied to, nor what others said.
    """
    described = _small_json(path.with_name(_CHANNEL))
    author = _owner(path)
    if author is None:
        problems.lost("the package has no account/user.json: nobody knows whose messages these are", "the file")
        return
    channel = _channel(described, path)
    if channel is None:
        problems.lost("channel.json does not say which channel it is", "the file")
        return
    records = _records(path, problems, progress)
    if str(described.get("type")) in _DIRECT:
        count = sum(1 for _ in records)
        if count:
            problems.lost("direct messages are never stored", "the file", count)
        return
    yield from batched(_entries(records, channel, author, problems), channel)


def _entries(
    records: Iterable[tuple[str, Any]], channel: Channel, author: Author, problems: Problems
) -> Iterator[Entry]:
    for where, record in records:
        if not isinstance(record, Mapping):
            problems.lost("not an object", where)
            continue
        message_id = snowflake(record.get("ID"))
        if message_id is None:
            problems.lost("no valid message id", where)
            continue
        content = record.get("Contents")
        content = content if isinstance(content, str) else ""
        if len(content) > CONTENT_CHARACTERS:
            problems.mended(f"text longer than {CONTENT_CHARACTERS} characters, cut", where)
        # The id says when a message was written to the millisecond; the timestamp does so to the second.
        yield Entry(
            Message(
                id=MessageId(message_id),
                channel_id=channel.id,
                author=author,
                content=text(content, CONTENT_CHARACTERS),
                created_at=_written_at(record, message_id),
                attachments=tuple(_attachments(record.get("Attachments"))),
            )
        )


def _written_at(record: Mapping[str, Any], message_id: int) -> Any:
    """Return when a message was written: from its id, unless the timestamp is of another day (a made-up id)."""
    from_id, stated = snowflake_time(message_id), moment(record.get("Timestamp"))
    return from_id if stated is None or abs((from_id - stated).total_seconds()) < 1.5 else stated  # noqa: PLR2004


def _records(path: Path, problems: Problems, progress: Callable[[int], None]) -> Iterator[tuple[str, Any]]:
    pieces = read_text(path, problems, progress)
    if path.suffix == ".csv":
        yield from _csv_records(pieces, problems)
    else:
        yield from _json_records(JsonScanner(pieces), problems)


def _json_records(scanner: JsonScanner, problems: Problems) -> Iterator[tuple[str, Any]]:
    if not scanner.take("["):
        problems.lost("the file is no list of messages", "the file")
        return
    number = 0
    while not scanner.take("]"):
        number += 1
        where = f"message {number}"
        try:
            yield where, scanner.value()
        except UnreadableJsonError as error:
            reason = "the file is cut off; what came before is kept" if error.cut_off else error.reason
            problems.lost(reason, where)
            if error.cut_off or not scanner.skip():
                return
        scanner.take(",")


def _csv_records(pieces: Iterator[str], problems: Problems) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(_lines(pieces))
    number = 0
    while True:
        number += 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            problems.lost(f"not valid CSV: {error}", f"message {number}")
            continue
        if record is None:
            return
        yield f"message {number}", record


def _lines(pieces: Iterator[str]) -> Iterator[str]:
    """Yield lines with their ends, which the CSV reader needs inside quoted texts."""
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + piece).split("\n")
        yield from (line + "\n" for line in whole)
    if rest:
        yield rest


def _attachments(value: object) -> Iterator[Attachment]:
    """Yield the files of a message: links, separated by spaces."""
    links = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    for link in links[:_MOST_LISTED]:
        name = text(unquote(urlsplit(link).path.rpartition("/")[2])) if isinstance(link, str) else ""
        if name:
            yield Attachment(kind=media_kind(name), name=name)


def _channel(described: Mapping[str, Any], path: Path) -> Channel | None:
    channel_id = snowflake(described.get("id")) or snowflake(path.parent.name.removeprefix("c"))
    if channel_id is None:
        return None
    guild = mapping(described.get("guild"))
    return Channel(
        id=ChannelId(channel_id),
        guild_id=GuildId(snowflake(guild.get("id")) or 0),
        name=text(described.get("name")) or str(channel_id),
        kind=_KINDS.get(str(described.get("type")), ChannelKind.OTHER),
        guild_name=text(guild.get("name")),
    )


def _owner(path: Path) -> Author | None:
    """Return whose package it is: account/user.json lies beside the folder of messages."""
    folder = path.parent
    for _ in range(_LEVELS_UP):
        folder = folder.parent
        for file in (folder / _USER, *_first(folder, _USER)):
            described = _small_json(file)
            number = snowflake(described.get("id"))
            if number is not None:
                name = text(described.get("username")) or str(number)
                shown = text(described.get("global_name")) or name
                return Author(id=AuthorId(number), name=name, display_name=shown)
    return None


def _first(folder: Path, name: str) -> Iterator[Path]:
    """Yield files of a name in the folders of a folder."""
    try:
        yield from sorted(folder.glob(f"*/{name}"))
    except OSError:
        return


def _small_json(file: Path) -> Mapping[str, Any]:
    """Return the object of a small file; empty when it is none."""
    try:
        if file.stat().st_size > _SMALL_FILE:
            return {}
        return mapping(lenient_decoder().decode(file.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, RecursionError):
        return {}
