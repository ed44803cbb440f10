"""The commands people give the persona on the server: one definition for slash commands, `!` prefix and menus.

Who may use which: `command_rights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from persona.domain.chat import Author, AuthorId, Channel, ChannelId, MessageId
from persona.domain.quiz import SIDES

OptionValue = str | int | float | bool


class Via(StrEnum):
    """How a command was given."""

    SLASH = "slash"
    PREFIX = "prefix"
    MENU = "menu"
    BUTTON = "button"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who gave a command; the rights are those on the server it was given on, as the transport knows them.

    `is_owner`: the bot is theirs. `may_manage`: the server is theirs, or they may manage it. `only_server`: the bot is
    on no other one. `sees` are that server's channels that they can see, as far as an admin command may name them.
    """

    author: Author
    role_ids: frozenset[int] = frozenset()
    is_owner: bool = False
    may_manage: bool = False
    only_server: bool = False
    is_webhook: bool = False
    sees: frozenset[ChannelId] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One use of a command: `id` is unique, `target` the message of a context menu, or the one a typed command answers.

    `target_author` is who wrote that, `named` the channel that an option names, as far as the transport knows them.
    `problem` says what is wrong with the options as they were typed; then there are none.
    """

    id: int
    command: str
    caller: Caller
    channel: Channel
    via: Via
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    target: MessageId | None = None
    target_author: AuthorId | None = None
    named: Channel | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that goes with an answer."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A button under an answer; pressing it gives `command` with `options`. `style`: secondary, success or danger."""

    label: str
    command: str
    style: str = "secondary"
    options: Mapping[str, OptionValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command answers: `private` shows it to the caller alone where the transport can (slash commands).

    `done` is False for progress: more answers to the same invocation follow and replace it.
    """

    text: str
    private: bool = True
    files: tuple[File, ...] = ()
    buttons: tuple[Button, ...] = ()
    done: bool = True


class Audience(StrEnum):
    """Whom a command is for."""

    PUBLIC = "public"
    ADMIN = "admin"


class OptionKind(StrEnum):
    """What an option holds: text, a whole number, a number, yes or no, a channel (its id as text)."""

    TEXT = "text"
    WHOLE = "whole"
    NUMBER = "number"
    FLAG = "flag"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionSpec:
    """One option. `least` and `most` bound numbers; `choices` are the only texts it takes.

    `setting` marks the value of a setting: what it may be is known to the settings alone, so whatever is typed goes
    there and the answer names the range. `pressed` ones come with a button alone: nobody types or fills them in.
    """

    name: str
    summary: str
    kind: OptionKind = OptionKind.TEXT
    required: bool = False
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    setting: bool = False
    pressed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """One command.

    `private` answers are shown to the caller alone where that is possible; `direct` ones work in direct messages.
    `changes` marks those that are written down in the audit trail, `everywhere` admin commands that concern every
    server the bot is on, and not just the one they are given on. `stands_for` is set for an old name: the command that
    is meant, and the options to add. `repeatable` ones are quick: one may be given while the last is still carried out.
    """

    name: str
    summary: str
    audience: Audience = Audience.PUBLIC
    private: bool = True
    direct: bool = False
    changes: bool = False
    everywhere: bool = False
    repeatable: bool = False
    options: tuple[OptionSpec, ...] = ()
    stands_for: str = ""
    adding: Mapping[str, OptionValue] = field(default_factory=dict)

    @property
    def fields(self) -> tuple[OptionSpec, ...]:
        """The options that people fill in."""
        return tuple(option for option in self.options if not option.pressed)

    @property
    def meaning(self) -> str:
        """The command that is carried out."""
        return self.stands_for or self.name


def find_command(name: str) -> CommandSpec | None:
    """Return the command of a name, in lower case."""
    return next((spec for spec in COMMANDS if spec.name == name), None)


SETTING_KEYS: Mapping[str, str] = {
    "rate": "speaking.rate",
    "temperature": "sampling.temperature",
    "max-length": "sampling.max_tokens",
    "mentions-only": "speaking.mentions_only",
}
"""The settings that can be changed by command, and their keys in config.toml."""

RESET = "reset"
"""As a setting's value: what config.toml says."""

EVERYTHING, STORING, TRAINING = "everything", "storing", "training"
"""What one can agree to or refuse: both, being kept, or a model being trained on one's words."""

MENU_FORGET = "Forget this"
"""The context menu of a message; gives `forget`."""

LONGEST_MUTE_MINUTES = 7 * 24 * 60
QUIZ_HOURS, LONGEST_QUIZ_HOURS = 72, 30 * 24


def _setting_value(kind: OptionKind) -> OptionSpec:
    return OptionSpec(name="value", summary="The new value.", kind=kind, required=True, setting=True)


def _admin(
    name: str,
    summary: str,
    *options: OptionSpec,
    private: bool = True,
    changes: bool = True,
    everywhere: bool = False,
) -> CommandSpec:
    return CommandSpec(
        name=name,
        summary=summary,
        options=options,
        private=private,
        changes=changes,
        everywhere=everywhere,
        audience=Audience.ADMIN,
    )


def _old_name(name: str, setting: str, summary: str, kind: OptionKind) -> CommandSpec:
    return CommandSpec(
        name=name,
        summary=summary,
        audience=Audience.ADMIN,
        changes=True,
        everywhere=True,
        options=(_setting_value(kind),),
        stands_for="settings",
        adding={"name": setting},
    )


def _data(name: str, summary: str, *options: OptionSpec) -> CommandSpec:
    return CommandSpec(name=name, summary=summary, options=options, direct=True)


_SCOPES = (EVERYTHING, STORING, TRAINING)
_HERE = OptionSpec(name="channel", summary="Which channel; without it, this one.", kind=OptionKind.CHANNEL)

COMMANDS: tuple[CommandSpec, ...] = (
    _admin("status", "How it is: connection, model, memory, health.", changes=False, everywhere=True),
    _admin(
        "settings",
        "Shows the settings, or changes one.",
        OptionSpec(name="name", summary="Which setting.", choices=tuple(SETTING_KEYS)),
        OptionSpec(name="value", summary=f'The new value; "{RESET}" goes back to config.toml.', setting=True),
        everywhere=True,
    ),
    _old_name("setrate", "rate", "How often it joins in unasked.", OptionKind.NUMBER),
    _old_name("settemp", "temperature", "How lively it talks.", OptionKind.NUMBER),
    _old_name("setmaxlen", "max-length", "How long a reply may be, in tokens.", OptionKind.WHOLE),
    _admin(
        "channels",
        "Which channels it reads.",
        OptionSpec(name="action", summary="What to do; without it, list.", choices=("list", "allow", "disable")),
        _HERE,
    ),
    _admin(
        "fetch",
        "Reads the history of a channel, or of all.",
        OptionSpec(name="channel", summary="Which channel; without it, all.", kind=OptionKind.CHANNEL),
    ),
    _admin("restart", "Ends and begins anew.", everywhere=True),
    _admin(
        "mute",
        "Keeps quiet in this channel for a while.",
        OptionSpec(
            name="minutes",
            summary="How long; 60 without it.",
            kind=OptionKind.WHOLE,
            least=1,
            most=LONGEST_MUTE_MINUTES,
        ),
    ),
    _admin("unmute", "Speaks in this channel again."),
    _admin("why", "Why it spoke or kept quiet here.", changes=False),
    _admin("consentcard", "Posts a card on which members choose what is kept of them.", private=False),
    _admin(
        "quizcard",
        "Asks the members which replies a person wrote.",
        OptionSpec(name="action", summary="What to do; without it, post.", choices=("post", "stop", "count")),
        OptionSpec(
            name="hours",
            summary=f"How long it is open; {QUIZ_HOURS} without it.",
            kind=OptionKind.WHOLE,
            least=1,
            most=LONGEST_QUIZ_HOURS,
        ),
        private=False,
    ),
    _data("botdata", "What is kept, from where, why, and for how long."),
    _data("mydata", "Everything that is kept of you, as a file."),
    _data(
        "optin",
        "Agree to being kept and to training.",
        OptionSpec(name="what", summary="What you agree to; without it, everything.", choices=_SCOPES),
    ),
    _data(
        "optout",
        "Stop being kept or trained on.",
        OptionSpec(name="what", summary="What is to stop; without it, everything.", choices=_SCOPES),
    ),
    _data(
        "forget",
        "Removes everything that is kept of you.",
        OptionSpec(name="confirm", summary="Yes, for good.", kind=OptionKind.FLAG),
    ),
    CommandSpec(
        name="quiz",
        summary="Can you tell it from a person?",
        repeatable=True,
        options=(
            OptionSpec(name="test", summary="Which quiz.", pressed=True),
            OptionSpec(name="question", summary="Which question.", kind=OptionKind.WHOLE, pressed=True),
            OptionSpec(name="pick", summary="Which reply.", choices=SIDES, pressed=True),
        ),
    ),
    CommandSpec(name="help", summary="What you can ask of it."),
)
"""All commands, in the order in which help lists them."""
