"""What a person gets when they ask what is kept of them: a JSON file that opens with plain words."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from persona.domain.chat import Attachment, AuthorId, Channel, ChannelId, Message, MessageId, Reaction
from persona.domain.consent import EVERYWHERE, Entry, Standing, standing
from persona.domain.quiz import QuizAnswer

PART_BYTES = 7_500_000
"""Discord takes files of up to 10 MB, and 8 MB in older clients' eyes."""

_SEPARATOR = ",\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Everything that is kept of one person, with `messages` and `entries` oldest first.

    `open_quizzes` are those whose answers are not told yet, or a person could learn them and begin anew.
    """

    author_id: AuthorId
    messages: Sequence[Message]
    channels: Mapping[ChannelId, Channel]
    entries: Sequence[Entry]
    reactions: Mapping[MessageId, Sequence[Reaction]]
    quiz_answers: Sequence[QuizAnswer] = ()
    open_quizzes: Collection[str] = ()


def mydata_files(kept: Kept, *, at: datetime, contact: str = "", part_bytes: int = PART_BYTES) -> tuple[bytes, ...]:
    """Return the JSON files (UTF-8), at least one and as many as it takes for each to stay near `part_bytes`.

    Each is a whole JSON object: `about` in plain words, `messages` oldest first. A single message longer than a part
    gets a file of its own. `contact` says whom to ask.
    """
    lines = [json.dumps(_message(message, kept), ensure_ascii=False) for message in kept.messages]
    parts = list(_parts(lines, part_bytes)) or [[]]
    about = _about(kept, at, contact)
    return tuple(_file({**about, "part": f"{i} of {len(parts)}"}, part) for i, part in enumerate(parts, start=1))


def _file(about: Mapping[str, Any], lines: Sequence[str]) -> bytes:
    opening = json.dumps(about, ensure_ascii=False, indent=2)
    body = "[\n" + _SEPARATOR.join(lines) + "\n]" if lines else "[]"
    # A half surrogate pair is no character; SQLite never holds one, an importer might.
    return f'{{"about": {opening},\n"messages": {body}}}\n'.encode("utf-8", "replace")


def _parts(lines: Iterable[str], part_bytes: int) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode("utf-8", "replace")) + len(_SEPARATOR)
        if part and size + length > part_bytes:
            yield part
            part, size = [], 0
        part.append(line)
        size += length
    if part:
        yield part


def _about(kept: Kept, at: datetime, contact: str) -> dict[str, Any]:
    messages = kept.messages
    return {
        "what": "Everything that is kept of you here: your messages, your names, choices and quiz answers.",
        "why": "It reads what was said in the channels it may use, to answer as a regular of this server would.",
        "where": "On the owner's machine. Nothing is sent anywhere else.",
        "how_long": "Until you delete a message, ask to be forgotten, or the owner removes it.",
        "your_rights": "/optout stops the keeping, /forget removes it for good, /optin allows training with it.",
        "whom_to_ask": contact or "the owner of this server",
        "person": {"id": str(kept.author_id), "names": _names(kept)},
        "written_at": at.isoformat(),
        "count": len(messages),
        "first_message_at": messages[0].created_at.isoformat() if messages else None,
        "last_message_at": messages[-1].created_at.isoformat() if messages else None,
        "channels": _channels(kept),
        "choices": [_entry(entry) for entry in kept.entries],
        "what_holds": _standings(kept),
        "quiz_answers": [_quiz_answer(one, kept) for one in kept.quiz_answers],
    }


def _quiz_answer(answer: QuizAnswer, kept: Kept) -> dict[str, Any]:
    right = "is told once the quiz is closed" if answer.test_id in kept.open_quizzes else answer.right
    return {"quiz": answer.test_id[:8], "question": answer.number + 1, "right": right, "at": answer.at.isoformat()}


def _names(kept: Kept) -> list[str]:
    """Return the names of the writer, the newest first."""
    names: dict[str, None] = {}
    for message in reversed(kept.messages):
        names.update(dict.fromkeys((message.author.display_name, message.author.name)))
    return list(names)


def _channels(kept: Kept) -> list[dict[str, Any]]:
    counts: dict[ChannelId, int] = {}
    for message in kept.messages:
        counts[message.channel_id] = counts.get(message.channel_id, 0) + 1
    return [
        {
            "id": str(channel_id),
            "name": kept.channels[channel_id].name if channel_id in kept.channels else str(channel_id),
            "server": kept.channels[channel_id].guild_name if channel_id in kept.channels else "",
            "messages": count,
        }
        for channel_id, count in sorted(counts.items(), key=lambda item: -item[1])
    ]


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at.isoformat(),
        "scope": entry.scope.value,
        "choice": entry.choice.value,
        "server": "everywhere" if entry.guild_id == EVERYWHERE else str(entry.guild_id),
        "source": entry.source.value,
        "note": entry.note,
    }


def _standings(kept: Kept) -> dict[str, dict[str, bool]]:
    """Return what holds on every server that this is about, by its id, and elsewhere."""
    known = {channel.guild_id for message in kept.messages if (channel := kept.channels.get(message.channel_id))}
    guilds = sorted((known | {entry.guild_id for entry in kept.entries}) - {EVERYWHERE})
    held = {str(guild_id): _standing(standing(kept.entries, guild_id)) for guild_id in guilds}
    everywhere = [entry for entry in kept.entries if entry.guild_id == EVERYWHERE]
    return {**held, "elsewhere": _standing(standing(everywhere, EVERYWHERE))}


def _standing(held: Standing) -> dict[str, bool]:
    return {"stored": held.store, "used_for_training": held.train}


def _message(message: Message, kept: Kept) -> dict[str, Any]:
    """Return one message; what it has not is left out."""
    channel = kept.channels.get(message.channel_id)
    reactions = kept.reactions.get(message.id, ())
    optional = {
        "edited_at": message.edited_at.isoformat() if message.edited_at else None,
        "reply_to": str(message.reply_to) if message.reply_to else None,
        "mentions": [person.display_name for person in message.mentions],
        "attachments": [_attachment(each) for each in message.attachments],
        "reactions": {each.emoji: each.count for each in reactions},
    }
    return {
        "id": str(message.id),
        "at": message.created_at.isoformat(),
        "channel": channel.name if channel else str(message.channel_id),
        "text": message.content,
        **{name: value for name, value in optional.items() if value},
    }


def _attachment(attachment: Attachment) -> dict[str, Any]:
    return {"kind": attachment.kind, "name": attachment.name, "description": attachment.description}
