"""Reads DiscordChatExporter JSON of every age of its schema."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from persona.adapters.exports.dce_messages import MessageReader
from persona.adapters.exports.fields import DESCRIPTION_CHARACTERS, mapping, snowflake, text
from persona.adapters.exports.problems import Problems
from persona.adapters.exports.records import Batch, Entry, batched
from persona.adapters.exports.scanner import JsonScanner, UnreadableJsonError
from persona.domain.chat import Channel, ChannelId, ChannelKind, GuildId

_FILE_NAME_ID = re.compile(r"\[([0-9]{1,19})\]")
_KINDS = {
    "GuildTextChat": ChannelKind.TEXT,
    "TextChannel": ChannelKind.TEXT,
    "DirectTextChat": ChannelKind.DIRECT,
    "DirectGroupTextChat": ChannelKind.DIRECT,
    "GuildVoiceChat": ChannelKind.VOICE,
    "GuildStageVoice": ChannelKind.VOICE,
    "GuildNews": ChannelKind.NEWS,
    "GuildNewsThread": ChannelKind.THREAD,
    "GuildPublicThread": ChannelKind.THREAD,
    "GuildPrivateThread": ChannelKind.THREAD,
    "GuildForum": ChannelKind.FORUM,
    # Types that the exporter has no name for are written as their number.
    "16": ChannelKind.FORUM,
}


def read_dce(pieces: Iterator[str], file_name: str, problems: Problems) -> Iterator[Batch]:
    """Yield the messages of one export file; everything before a break is kept, the break is counted.

    The exporter writes guild and channel before the messages. Where a rewritten file has them elsewhere, the channel
    is known by the id in the file's name.
    """
    scanner = JsonScanner(pieces)
    header: dict[str, Any] = {}
    try:
        scanner.take("{")
        while scanner.peek() not in {"}", ""}:
            key = scanner.value()
            scanner.expect(":")
            if key == "messages" and scanner.take("["):
                yield from _messages(scanner, header, file_name, problems)
            elif isinstance(key, str):
                header[key] = scanner.value()
            scanner.take(",")
        scanner.expect("}")
    except UnreadableJsonError as error:
        reason = "the file is cut off; what came before is kept" if error.cut_off else f"the file is {error.reason}"
        problems.lost(reason, "after the last message" if "messages" in header else "before the first message")
        return
    if header.get("messages") is not True:
        problems.lost("the file has no list of messages", "the file")


def channel_of(header: Mapping[str, Any], file_name: str) -> Channel | None:
    """Return the channel that a file's header describes; None when not even the file's name tells its id."""
    guild, channel = mapping(header.get("guild")), mapping(header.get("channel"))
    channel_id = snowflake(channel.get("id"))
    if channel_id is None:
        in_name = _FILE_NAME_ID.findall(file_name)
        channel_id = snowflake(in_name[-1]) if in_name else None
    if channel_id is None:
        return None
    kind = _KINDS.get(str(channel.get("type")), ChannelKind.TEXT if not channel else ChannelKind.OTHER)
    parent = snowflake(channel.get("categoryId")) if kind is ChannelKind.THREAD else None
    return Channel(
        id=ChannelId(channel_id),
        guild_id=GuildId(snowflake(guild.get("id")) or 0),
        name=text(channel.get("name")) or str(channel_id),
        kind=kind,
        guild_name=text(guild.get("name")),
        parent_id=None if parent is None else ChannelId(parent),
        topic=text(channel.get("topic"), DESCRIPTION_CHARACTERS),
    )


def _messages(scanner: JsonScanner, header: dict[str, Any], file_name: str, problems: Problems) -> Iterator[Batch]:
    """Yield the messages of the list that the scanner stands in."""
    header["messages"] = True
    channel = channel_of(header, file_name)
    if channel is None:
        problems.lost("the file does not say which channel it is", "the file")
        raise UnreadableJsonError("without a channel")
    yield from batched(_entries(scanner, MessageReader(channel.id, problems), problems), channel)


def _entries(scanner: JsonScanner, reader: MessageReader, problems: Problems) -> Iterator[Entry]:
    number = 0
    while not scanner.take("]"):
        number += 1
        where = f"message {number}"
        try:
            record = scanner.value()
        except UnreadableJsonError as error:
            if error.cut_off:
                problems.lost("the file is cut off; what came before is kept", where)
                return
            problems.lost(error.reason, where)
            if not scanner.skip():
                problems.lost("no message could be read from here on", where)
                return
        else:
            entry = reader.read(record, where)
            if entry is not None:
                yield entry
        scanner.take(",")
