"""Reads commands that are typed as messages: `!mute 30`, `!settings name:rate 0.1`."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from persona.domain.commands import CommandSpec, OptionKind, OptionSpec, OptionValue, find_command

_YES = frozenset({"yes", "y", "true", "on", "1", "confirm"})
_NO = frozenset({"no", "n", "false", "off", "0"})
_QUOTES = {'"': '"', "“": "”", "„": "“"}
_MOST_WORDS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """A command as it was typed; `problem` says in a sentence what is wrong with it, then there are no options."""

    spec: CommandSpec
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    problem: str = ""


def parse_prefix(text: str, prefix: str) -> Typed | None:
    """Read a message as a command: a name right behind the prefix, then the options in order, or as `name:value`.

    Texts with spaces go in double quotes; inside them a backslash keeps a quote. None when the message is talk, or a
    command of somebody else's: many bots share a prefix.
    """
    spec = _named(text, prefix)
    if spec is None:
        return None
    try:
        words = _words(text[len(prefix) :].strip())[1:]
        options = _options(spec, words)
    except _WrongError as wrong:
        return Typed(spec=spec, problem=f"{wrong} Write: `{usage(spec, prefix)}`")
    return Typed(spec=spec, options=options)


def is_typed_command(text: str, prefix: str) -> bool:
    """Say whether a message is meant as a command to the persona; what is wrong with it does not matter."""
    return _named(text, prefix) is not None


def usage(spec: CommandSpec, prefix: str) -> str:
    """Return how a command is typed, such as `!mute [minutes]`."""
    return " ".join([f"{prefix}{spec.name}", *(_placeholder(option) for option in spec.fields)])


class _WrongError(Exception):
    """The options do not fit the command; the text is a sentence."""


def _named(text: str, prefix: str) -> CommandSpec | None:
    if not text.startswith(prefix) or text[len(prefix) :][:1].isspace():
        return None
    name, *_ = text[len(prefix) :].split(maxsplit=1) or [""]
    return find_command(name.lower())


def _placeholder(option: OptionSpec) -> str:
    shown = "|".join(option.choices) or ("yes" if option.kind is OptionKind.FLAG else option.name)
    return shown if option.required and option.choices else f"<{shown}>" if option.required else f"[{shown}]"


def _words(text: str) -> list[str]:
    words: list[str] = []
    rest = text
    while rest := rest.lstrip():
        if len(words) == _MOST_WORDS:
            raise _WrongError("That is too much at once.")
        word, rest = _quoted(rest) if rest[0] in _QUOTES else _plain(rest)
        words.append(word)
    return words


def _plain(text: str) -> tuple[str, str]:
    """Take a word up to the next space; after `name:` a quoted text may follow."""
    for place, sign in enumerate(text):
        if sign.isspace():
            return text[:place], text[place:]
        if sign in _QUOTES and place and text[place - 1] == ":":
            word, rest = _quoted(text[place:])
            return text[:place] + word, rest
    return text, ""


def _quoted(text: str) -> tuple[str, str]:
    closing, taken, signs = _QUOTES[text[0]], "", enumerate(text[1:], start=1)
    for place, sign in signs:
        if sign == closing:
            return taken, text[place + 1 :]
        if sign == "\\":
            sign = next(signs, (0, ""))[1]  # noqa: PLW2901 - the sign behind a backslash is taken as it is
        taken += sign
    raise _WrongError("A quote is opened but not closed.")


def _options(spec: CommandSpec, words: list[str]) -> dict[str, OptionValue]:
    found: dict[str, OptionValue] = {}
    by_name = {option.name: option for option in spec.fields}
    waiting: Iterator[OptionSpec] = iter(spec.fields)
    for word in words:
        name, colon, value = word.partition(":")
        option = by_name.get(name.lower()) if colon else None
        if option is None:
            option = next((each for each in waiting if each.name not in found), None)
            value = word
        if option is None:
            raise _WrongError(f"`{_shown(word)}` is one word too many.")
        if option.name in found:
            raise _WrongError(f"{option.name} is given twice.")
        found[option.name] = _value(option, value)
    missing = [option.name for option in spec.options if option.required and option.name not in found]
    if missing:
        raise _WrongError(f"{missing[0]} is missing.")
    return found


def _value(option: OptionSpec, word: str) -> OptionValue:
    if option.choices:
        return _choice(option, word)
    match option.kind:
        case OptionKind.WHOLE | OptionKind.NUMBER:
            return _number(option, word)
        case OptionKind.FLAG:
            return _flag(option, word)
    return word


def _choice(option: OptionSpec, word: str) -> str:
    """Find a choice without regard to case, hyphens and underscores, or by its beginning where that is unique."""
    wanted = _bare(word)
    close = [choice for choice in option.choices if wanted and _bare(choice).startswith(wanted)]
    exact = [choice for choice in close if _bare(choice) == wanted]
    if len(exact or close) != 1:
        raise _WrongError(f"{option.name} must be one of {', '.join(option.choices)}, not `{_shown(word)}`.")
    return (exact or close)[0]


def _bare(word: str) -> str:
    return "".join(sign for sign in word.casefold() if sign.isalnum())


def _number(option: OptionSpec, word: str) -> OptionValue:
    try:
        number = int(word) if option.kind is OptionKind.WHOLE else float(word)
    except ValueError:
        if option.setting:
            return word  # the settings name the range
        kind = "a whole number" if option.kind is OptionKind.WHOLE else "a number"
        raise _WrongError(f"{option.name} must be {kind}{_range(option)}, not `{_shown(word)}`.") from None
    within = (option.least is None or number >= option.least) and (option.most is None or number <= option.most)
    # An endless whole number has no float to ask.
    finite = isinstance(number, int) or math.isfinite(number)
    if not option.setting and not (finite and within):
        raise _WrongError(f"{option.name} must be a number{_range(option)}, not `{_shown(word)}`.")
    return number


def _range(option: OptionSpec) -> str:
    match option.least, option.most:
        case None, None:
            return ""
        case least, None:
            return f" from {least} on"
        case None, most:
            return f" up to {most}"
    return f" from {option.least} to {option.most}"


def _flag(option: OptionSpec, word: str) -> bool:
    if word.casefold() in _YES:
        return True
    if word.casefold() in _NO:
        return False
    raise _WrongError(f"{option.name} must be yes or no, not `{_shown(word)}`.")


def _shown(word: str) -> str:
    """Return a word fit to be shown inside backticks."""
    return word.replace("`", "'")[:40] or " "
