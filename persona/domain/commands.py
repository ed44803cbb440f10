"""The commands people give the persona on the server: one definition for slash commands, `!` prefix and menus."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from persona.domain.chat import Author, Channel, MessageId

OptionValue = str | int | float | bool


class Via(StrEnum):
    """How a command was given."""

    SLASH = "slash"
    PREFIX = "prefix"
    MENU = "menu"
    BUTTON = "button"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who gave a command; the rights are those on the server it was given on, as the transport knows them."""

    author: Author
    role_ids: frozenset[int] = frozenset()
    is_owner: bool = False
    may_manage: bool = False
    is_webhook: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One use of a command: `id` is unique, `target` the message of a context menu."""

    id: int
    command: str
    caller: Caller
    channel: Channel
    via: Via
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    target: MessageId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that goes with an answer."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A button under an answer; pressing it gives `command`."""

    label: str
    command: str
    style: str = "secondary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command answers: `private` shows it to the caller alone where the transport can (slash commands)."""

    text: str
    private: bool = True
    files: tuple[File, ...] = ()
    buttons: tuple[Button, ...] = ()
    done: bool = True
