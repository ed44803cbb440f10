"""What a reader hands over: batches of messages with the channels they belong to."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from persona.adapters.exports.fields import snowflake, text
from persona.domain.chat import Author, AuthorId, Channel, Message, Reaction

BATCH_MESSAGES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Up to a thousand messages; `channels` are those not named by an earlier batch of the file."""

    channels: tuple[Channel, ...] = ()
    messages: tuple[Message, ...] = ()
    reactions: tuple[Reaction, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One message as it was read, with the reactions to it."""

    message: Message
    reactions: tuple[Reaction, ...] = ()


class People:
    """Makes each author once, so that two hundred thousand messages share a few thousand objects."""

    _MOST = 50_000

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], Author | None] = {}

    def author(self, author_id: object, name: object, nickname: object, is_bot: object) -> Author | None:
        """Return the author that the raw fields of a record describe; None without a valid id."""
        key = (author_id, name, nickname, is_bot)
        try:
            return self._made[key]
        except KeyError:
            if len(self._made) >= self._MOST:
                self._made.clear()
            made = self._made[key] = _author(*key)
            return made
        except TypeError:  # a list or an object where a text should be
            return _author(*key)


def _author(author_id: object, name: object, nickname: object, is_bot: object) -> Author | None:
    """Without names people go by their id."""
    number = snowflake(author_id)
    if number is None:
        return None
    shown = text(nickname) or text(name) or str(number)
    return Author(id=AuthorId(number), name=text(name) or shown, display_name=shown, is_bot=is_bot is True)


def batched(entries: Iterable[Entry], channel: Channel | None = None) -> Iterator[Batch]:
    """Group entries of one channel into batches; the channel comes with the first, even when nothing was said."""
    channels = () if channel is None else (channel,)
    messages: list[Message] = []
    reactions: list[Reaction] = []
    for entry in entries:
        messages.append(entry.message)
        reactions.extend(entry.reactions)
        if len(messages) >= BATCH_MESSAGES:
            yield Batch(channels=channels, messages=tuple(messages), reactions=tuple(reactions))
            channels = ()
            messages.clear()
            reactions.clear()
    if messages or channels:
        yield Batch(channels=channels, messages=tuple(messages), reactions=tuple(reactions))
