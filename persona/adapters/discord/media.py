"""Puts what hangs on a message into words: files, voice messages, stickers, embeds, polls. Never their addresses."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from persona.adapters.discord.texts import clean
from persona.domain.chat import Attachment

Payload = Mapping[str, Any]

_IS_VOICE_MESSAGE = 1 << 13
_MOST_LISTED = 20
_NAME_CHARACTERS = 200
_DESCRIPTION_CHARACTERS = 1000
_URL = re.compile(r"\w{2,10}://\S+")
_MEDIA = frozenset({"image", "video", "audio"})


def attachments(body: Payload) -> tuple[Attachment, ...]:
    """Return what hangs on a message (or on the snapshot of a forwarded one), in the order in which it is shown."""
    if not (body.get("attachments") or body.get("sticker_items") or body.get("embeds") or body.get("poll")):
        return ()
    return (*_files(body), *_stickers(body), *_embeds(body), *_poll(body))


def _files(body: Payload) -> Iterator[Attachment]:
    is_voice = bool((body.get("flags") or 0) & _IS_VOICE_MESSAGE)
    for file in (body.get("attachments") or ())[:_MOST_LISTED]:
        main = str(file.get("content_type") or "").partition("/")[0]
        words = file.get("description")
        if is_voice and file.get("duration_secs"):
            words = f"{round(file['duration_secs'])} s"
        size = file.get("size")
        yield Attachment(
            kind="voice" if is_voice else main if main in _MEDIA else "file",
            name=_words(file.get("title") or file.get("filename"), _NAME_CHARACTERS) or "unnamed",
            size_bytes=size if isinstance(size, int) else None,
            description=_words(words, _DESCRIPTION_CHARACTERS),
        )


def _stickers(body: Payload) -> Iterator[Attachment]:
    for sticker in (body.get("sticker_items") or ())[:_MOST_LISTED]:
        yield Attachment(kind="sticker", name=_words(sticker.get("name"), _NAME_CHARACTERS) or "unnamed")


def _embeds(body: Payload) -> Iterator[Attachment]:
    for embed in (body.get("embeds") or ())[:_MOST_LISTED]:
        names = (embed.get("title"), (embed.get("author") or {}).get("name"), (embed.get("provider") or {}).get("name"))
        title = next((words for name in names if (words := _words(name, _NAME_CHARACTERS))), "")
        description = _words(embed.get("description"), _DESCRIPTION_CHARACTERS)
        if title or description:
            joined = ": ".join(part for part in (title, description) if part)
            yield Attachment(kind="embed", name=title or "embed", description=joined[:_DESCRIPTION_CHARACTERS])


def _poll(body: Payload) -> Iterator[Attachment]:
    poll = body.get("poll")
    if not poll:
        return
    answers = [_words((answer.get("poll_media") or {}).get("text"), _NAME_CHARACTERS) for answer in poll["answers"]]
    yield Attachment(
        kind="poll",
        name=_words((poll.get("question") or {}).get("text"), _NAME_CHARACTERS * 2) or "poll",
        description=" / ".join(filter(None, answers))[:_DESCRIPTION_CHARACTERS],
    )


def _words(text: object, limit: int) -> str:
    """Return a text on one line, without addresses, of at most `limit` characters."""
    return " ".join(_URL.sub("", clean(text)).split())[:limit]
