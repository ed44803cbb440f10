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

CUT_OFF = "the file is cut off; what came before is kept"

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
    return _Document(pieces, file_name, problems).batches()


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


class _Document:
    """One file while it is read."""

    def __init__(self, pieces: Iterator[str], file_name: str, problems: Problems) -> None:
        self._scanner = JsonScanner(pieces)
        self._file_name = file_name
        self._problems = problems
        self._header: dict[str, Any] = {}
        self._place = "before the first message"
        self._gave_up = False

    def batches(self) -> Iterator[Batch]:
        """Read the outermost object: guild and channel are kept, messages handed over as they come."""
        scanner = self._scanner
        has_messages = False
        try:
            scanner.take("{")
            while scanner.peek() not in {"}", ""}:
                key = scanner.value()
                scanner.expect(":")
                if key == "messages" and scanner.take("["):
                    has_messages = True
                    yield from self._messages()
                    if self._gave_up:
                        return
                    self._place = "after the last message"
                else:
                    value = scanner.value()
                    if key in {"guild", "channel"}:
                        self._header[key] = value
                scanner.take(",")
            scanner.expect("}")
        except UnreadableJsonError as error:
            self._problems.lost(CUT_OFF if error.cut_off else f"the file is {error.reason}", self._place)
        else:
            if not has_messages:
                self._problems.lost("the file has no list of messages", "the file")

    def _messages(self) -> Iterator[Batch]:
        """Yield the messages of the list that the scanner stands in."""
        channel = channel_of(self._header, self._file_name)
        if channel is None:
            self._problems.lost("the file does not say which channel it is", "the file")
            self._gave_up = True
            return
        yield from batched(self._entries(MessageReader(channel.id, self._problems)), channel)

    def _entries(self, reader: MessageReader) -> Iterator[Entry]:
        scanner, number = self._scanner, 0
        while not scanner.take("]"):
            number += 1
            where = f"message {number}"
            try:
                record = scanner.value()
            except UnreadableJsonError as error:
                self._gave_up = error.cut_off or not scanner.skip()
                self._problems.lost(CUT_OFF if error.cut_off else error.reason, where)
                if self._gave_up:
                    if not error.cut_off:
                        self._problems.lost("nothing more could be read from here on", where)
                    return
            else:
                entry = reader.read(record, where)
                if entry is not None:
                    yield entry
            scanner.take(",")
