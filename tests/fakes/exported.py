"""Chat exports for tests: records as the exporters write them, and what is read back."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

from persona.adapters.exports import Problems, find_exports, read_export
from persona.domain.chat import snowflake_at

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
CHANNEL = 1100000000000000101


def dce_message(number, content="hello", **more):
    """A message record as DiscordChatExporter writes it; `number` tells ids of one moment apart."""
    return {
        "id": str(snowflake_at(NOON, number)),
        "type": "Default",
        "timestamp": "2026-05-01T12:00:00+00:00",
        "timestampEdited": None,
        "callEndedTimestamp": None,
        "isPinned": False,
        "content": content,
        "author": {
            "id": "2",
            "name": "ann",
            "discriminator": "0000",
            "nickname": "Ann",
            "color": None,
            "isBot": False,
            "roles": [],
            "avatarUrl": "https://example.com/ann.png",
        },
        "attachments": [],
        "embeds": [],
        "stickers": [],
        "reactions": [],
        "mentions": [],
        "inlineEmojis": [],
    } | more


def dce_document(*messages, channel=CHANNEL, **more):
    """A whole export as one object."""
    return {
        "guild": {"id": "1100000000000000001", "name": "Home", "iconUrl": "https://example.com/home.png"},
        "channel": {
            "id": str(channel),
            "type": "GuildTextChat",
            "categoryId": "5",
            "category": "Text Channels",
            "name": "general",
            "topic": None,
        },
        "dateRange": {"after": None, "before": None},
        "exportedAt": "2026-11-22T00:00:00+00:00",
        "messages": list(messages),
        "messageCount": len(messages),
    } | more


def jsonl_record(number, content="hello", **more):
    """A line of plain JSON lines, as an object."""
    return {
        "id": str(snowflake_at(NOON, number)),
        "channel_id": str(CHANNEL),
        "channel_name": "general",
        "author_id": "2",
        "author_name": "ann",
        "bot": False,
        "content": content,
        "timestamp": "2026-05-01T12:00:00.000+00:00",
        "reply_to": None,
        "reactions": [],
    } | more


def write(path: Path, content, *, indent=2):
    """Write bytes, text, an object as JSON, or a list as JSON lines; compressed when the name says so."""
    if isinstance(content, list):
        content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in content)
    elif isinstance(content, dict):
        content = json.dumps(content, ensure_ascii=False, indent=indent)
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(path: Path):
    """All messages and reactions of a file, its channels, and its problems as {reason: count} (lost and mended)."""
    (file,) = find_exports([path]).files
    problems = Problems()
    batches = list(read_export(file, problems))
    return Everything(batches, problems)


class Everything:
    """What a reader handed over, in one piece."""

    def __init__(self, batches, problems):
        self.batches = batches
        self.channels = [channel for batch in batches for channel in batch.channels]
        self.messages = [message for batch in batches for message in batch.messages]
        self.reactions = [reaction for batch in batches for reaction in batch.reactions]
        self.texts = [message.content for message in self.messages]
        self.problems = problems.listed()
        self.lost = {problem.reason: problem.count for problem in self.problems if problem.lost}
        self.mended = {problem.reason: problem.count for problem in self.problems if not problem.lost}
