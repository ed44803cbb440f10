"""Turns Discord's message payloads, from REST pages and gateway events alike, into the vocabulary of the chat.

The payloads: https://discord.com/developers/docs/resources/message#message-object
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from persona.adapters.discord.media import attachments
from persona.adapters.discord.texts import clean
from persona.domain.chat import (
    Author,
    AuthorId,
    ChannelId,
    Edit,
    Message,
    MessageId,
    MessageKind,
    Reaction,
    snowflake_time,
)

Payload = Mapping[str, Any]
NickOf = Callable[[int], str | None]
IsCommand = Callable[[str], bool]

_DEFAULT, _REPLY = 0, 19
_COMMANDS = frozenset({20, 23})
_FORWARD_REFERENCE = 1
_MOST_MENTIONS = 50
_ATTACHED = {"attachments", "embeds"}


class MalformedError(ValueError):
    """A payload lacks what every message has."""


def no_nick(_user: int) -> str | None:
    """Know nobody's server nick."""
    return None


def no_command(_text: str) -> bool:
    """Take no text for a command."""
    return False


def message(
    payload: Payload,
    *,
    nick_of: NickOf = no_nick,
    is_command: IsCommand = no_command,
    channel_id: int | None = None,
) -> Message:
    """Return the message that a payload holds, as it stands now.

    Args:
        payload: a message object; `member` (in gateway events) carries the author's server nick.
        nick_of: the server nick of a user where the payload does not say it.
        is_command: whether a text is one of the persona's own commands, typed as a message.
        channel_id: the channel, where it is known already.

    Raises:
        MalformedError: there is no id or no author.
    """
    try:
        message_id = int(payload["id"])
        kind = _kind(payload, is_command)
        body = _snapshot(payload) if kind is MessageKind.FORWARD else payload
        edited = payload.get("edited_timestamp")
        return Message(
            id=MessageId(message_id),
            channel_id=ChannelId(int(payload["channel_id"]) if channel_id is None else channel_id),
            author=author(payload["author"], payload.get("member"), nick_of, webhook="webhook_id" in payload),
            content=clean(body.get("content")),
            created_at=snowflake_time(message_id),
            kind=kind,
            edited_at=None if edited is None else moment(edited),
            reply_to=_reply_to(payload) if kind is MessageKind.REPLY else None,
            mentions=_mentions(body, nick_of) if body.get("mentions") else (),
            attachments=attachments(body),
            pinned=payload.get("pinned") is True,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MalformedError(f"message {payload.get('id')}: {type(error).__name__}") from error


def author(user: Payload, member: Payload | None, nick_of: NickOf, *, webhook: bool = False) -> Author:
    """Return a user as an author: shown by server nick, else global name, else user name."""
    user_id = int(user["id"])
    name = clean(user.get("username")) or str(user_id)
    nick = member.get("nick") if member else None
    if nick is None and not webhook:
        nick = nick_of(user_id)
    return Author(
        id=AuthorId(user_id),
        name=name,
        display_name=clean(nick) or clean(user.get("global_name")) or name,
        is_bot=webhook or user.get("bot") is True or user.get("system") is True,
    )


def edit(payload: Payload, *, nick_of: NickOf = no_nick) -> Edit | None:
    """Return what an update event says about a text; None when it is about something else (an embed, a pin)."""
    edited, content = payload.get("edited_timestamp"), payload.get("content")
    if edited is None or not isinstance(content, str):
        return None
    return Edit(
        message_id=MessageId(int(payload["id"])),
        channel_id=ChannelId(int(payload["channel_id"])),
        content=clean(content),
        edited_at=moment(edited),
        author_id=_author_id(payload),
        mentions=_mentions(payload, nick_of) if isinstance(payload.get("mentions"), list) else None,
        attachments=attachments(payload) if payload.keys() >= _ATTACHED else None,
    )


def _author_id(payload: Payload) -> AuthorId | None:
    """Return who wrote the message, where the event says so: whoever opted out is not kept."""
    writer = payload.get("author")
    return AuthorId(int(writer["id"])) if isinstance(writer, Mapping) and "id" in writer else None


def reactions(payload: Payload) -> Iterator[Reaction]:
    """Yield how often each emoji stands under a message; two custom emoji of one name count together."""
    counts: dict[str, int] = {}
    for reaction in payload.get("reactions") or ():
        name = emoji_name(reaction["emoji"])
        counts[name] = counts.get(name, 0) + int(reaction["count"])
    for name, count in counts.items():
        yield Reaction(message_id=MessageId(int(payload["id"])), emoji=name, count=count)


def emoji_name(emoji: Payload) -> str:
    """Return a unicode emoji as it is, a custom one (it has an id) as `:name:`; a deleted one has no name any more."""
    name = clean(emoji.get("name"))
    return f":{name or 'emoji'}:" if emoji.get("id") else name


def addressed(payload: Payload, *, self_id: int, self_role: int | None) -> bool:
    """Say whether a message mentions the persona (by name or by its own role, not @everyone) or replies to it."""
    wanted = str(self_id)
    if any(str(user.get("id")) == wanted for user in payload.get("mentions") or ()):
        return True
    if self_role is not None and str(self_role) in map(str, payload.get("mention_roles") or ()):
        return True
    answered = payload.get("referenced_message")
    if payload.get("type") != _REPLY or not answered or "webhook_id" in answered:
        return False
    return str((answered.get("author") or {}).get("id")) == wanted


def moment(timestamp: str) -> datetime:
    """Return an ISO 8601 time as an aware one in UTC."""
    parsed = datetime.fromisoformat(timestamp)
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _kind(payload: Payload, is_command: IsCommand) -> MessageKind:
    number = payload.get("type", _DEFAULT)
    if number in {_DEFAULT, _REPLY}:
        reference = payload.get("message_reference")
        if number == _DEFAULT and reference and reference.get("type") == _FORWARD_REFERENCE:
            return MessageKind.FORWARD
        if is_command(payload.get("content") or ""):
            return MessageKind.COMMAND
        return MessageKind.REPLY if number == _REPLY else MessageKind.DEFAULT
    return MessageKind.COMMAND if number in _COMMANDS else MessageKind.SYSTEM


def _snapshot(payload: Payload) -> Payload:
    """Return what was forwarded; the forwarding message itself is empty."""
    snapshots = payload.get("message_snapshots") or ()
    inner = snapshots[0].get("message") if snapshots else None
    return inner or payload


def _reply_to(payload: Payload) -> MessageId | None:
    answered = (payload.get("message_reference") or {}).get("message_id")
    return MessageId(int(answered)) if answered else None


def _mentions(body: Payload, nick_of: NickOf) -> tuple[Author, ...]:
    found = (author(user, user.get("member"), nick_of) for user in body["mentions"][:_MOST_MENTIONS])
    return tuple({one.id: one for one in found}.values())
