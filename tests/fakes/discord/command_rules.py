"""Discord's rules for application commands: what names, options and choices may look like, and how it refuses."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

Payload = dict[str, Any]

CHAT_INPUT: Final = 1
USER: Final = 2
MESSAGE: Final = 3

SUB_COMMAND: Final = 1
SUB_COMMAND_GROUP: Final = 2
STRING: Final = 3
INTEGER: Final = 4
NUMBER: Final = 10

_CHAT_NAME: Final = re.compile(r"[-_'\w]{1,32}", re.UNICODE)
_MOST: Final[Mapping[int, int]] = {CHAT_INPUT: 100, USER: 15, MESSAGE: 15}
_MOST_OPTIONS: Final = 25
_MOST_CHOICES: Final = 25
_MOST_CHARACTERS: Final = 8_000
_OPTION_TYPES: Final = range(1, 12)
_CHOICE_TYPES: Final = frozenset({STRING, INTEGER, NUMBER})


class ApiError(Exception):
    """A refusal in Discord's form: HTTP status, JSON error code, message and, for forms, the tree of errors."""

    def __init__(self, status: int, code: int, message: str, errors: Payload | None = None) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.body: Payload = {"message": message, "code": code} | ({} if errors is None else {"errors": errors})


def invalid_form(path: Sequence[str | int], code: str, message: str) -> ApiError:
    """The error 50035, with its cause at `path` of the form."""
    tree: Payload = {"_errors": [{"code": code, "message": message}]}
    for step in reversed(path):
        tree = {str(step): tree}
    return ApiError(400, 50035, "Invalid Form Body", tree)


def check_command(given: Any, path: tuple[str | int, ...]) -> Payload:
    """Return a command in the stored form, or raise `ApiError` 400 50035 naming the field."""
    given = mapping_of(given, path)
    kind = given.get("type", CHAT_INPUT)
    if kind not in _MOST:
        raise invalid_form([*path, "type"], "BASE_TYPE_CHOICES", "Value must be one of {1, 2, 3, 4}.")
    name, description = given.get("name"), given.get("description", "")
    _check_name(name, kind, path)
    if kind == CHAT_INPUT:
        _check_length(description, 1, 100, [*path, "description"])
    elif description:
        raise invalid_form(
            [*path, "description"],
            "APPLICATION_COMMAND_CONTEXT_MENU_DESCRIPTION",
            "Context menu commands cannot have description",
        )
    options = given.get("options") or []
    if kind != CHAT_INPUT and options:
        raise invalid_form([*path, "options"], "APPLICATION_COMMAND_INVALID_OPTIONS", "Context menus have no options")
    checked = _check_options(options, path, depth=0)
    if (size := _size(given)) > _MOST_CHARACTERS:
        raise invalid_form(path, "APPLICATION_COMMAND_TOO_LARGE", f"Command exceeds maximum size ({size} > 8000)")
    contexts = _check_subset(given.get("contexts"), {0, 1, 2}, [*path, "contexts"])
    dm = given.get("dm_permission")
    return {
        "type": kind,
        "name": name,
        "name_localizations": given.get("name_localizations"),
        "description": description,
        "description_localizations": given.get("description_localizations"),
        "options": checked,
        "default_member_permissions": _check_bits(given.get("default_member_permissions"), path),
        "dm_permission": (1 in contexts) if contexts is not None else dm is not False,
        "contexts": contexts,
        "integration_types": _check_subset(given.get("integration_types"), {0, 1}, [*path, "integration_types"]) or [0],
        "nsfw": bool(given.get("nsfw", False)),
    }


def check_counts(commands: Sequence[Payload]) -> None:
    """Refuse more commands of a type than a server may have."""
    for kind, most in _MOST.items():
        if sum(command["type"] == kind for command in commands) > most:
            raise ApiError(400, 30032, f"Maximum number of application commands reached ({most})")


def mapping_of(given: Any, path: Sequence[str | int]) -> Payload:
    """Return a JSON object, or refuse anything else."""
    if not isinstance(given, dict):
        raise invalid_form(path, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
    return given


def _check_name(name: Any, kind: int, path: Sequence[str | int]) -> None:
    where = [*path, "name"]
    _check_length(name, 1, 32, where)
    if kind == CHAT_INPUT and not (_CHAT_NAME.fullmatch(name) and name == name.lower()):
        raise invalid_form(where, "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")


def _check_length(text: Any, least: int, most: int, where: Sequence[str | int]) -> None:
    if not isinstance(text, str) or not text:
        raise invalid_form(where, "BASE_TYPE_REQUIRED", "This field is required")
    if not least <= len(text) <= most:
        raise invalid_form(
            where, "BASE_TYPE_BAD_LENGTH", f"Must be between {least} and {most} in length. Got {len(text)}."
        )


def _check_options(options: Any, path: Sequence[str | int], *, depth: int) -> list[Payload]:
    """Check a level of options: 0 is the command, 1 a group's subcommands or a subcommand's options, 2 the last."""
    if not isinstance(options, list) or len(options) > _MOST_OPTIONS:
        raise invalid_form([*path, "options"], "BASE_TYPE_MAX_LENGTH", "Must be 25 or fewer in length.")
    names: set[str] = set()
    optional_seen = False
    for place, option in enumerate(options):
        where = [*path, "options", place]
        kind = mapping_of(option, where).get("type")
        if kind not in _OPTION_TYPES:
            raise invalid_form([*where, "type"], "BASE_TYPE_CHOICES", f"Value must be one of 1 to 11, not {kind!r}.")
        _check_name(option.get("name"), CHAT_INPUT, where)
        _check_length(option.get("description"), 1, 100, [*where, "description"])
        if option["name"] in names:
            raise invalid_form(where, "APPLICATION_COMMAND_OPTIONS_NAME_INVALID", "Option names must be unique")
        names.add(option["name"])
        nested = kind in (SUB_COMMAND, SUB_COMMAND_GROUP)
        if nested != (options[0]["type"] in (SUB_COMMAND, SUB_COMMAND_GROUP)) or (nested and depth > int(kind == 1)):
            raise invalid_form(
                where, "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", "Sub-command options are mixed or nested too deep"
            )
        required = bool(option.get("required"))
        if required and optional_seen:
            raise invalid_form(
                where,
                "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
                "Required options must be placed before non-required options",
            )
        optional_seen |= not required
        if nested:
            _check_sub_options(option, where, depth)
        _check_choices(option, where)
    return options


def _check_sub_options(option: Payload, where: Sequence[str | int], depth: int) -> None:
    below = _check_options(option.get("options") or [], where, depth=depth + 1)
    group = option["type"] == SUB_COMMAND_GROUP
    if any((each["type"] == SUB_COMMAND) != group for each in below) or (group and not below):
        raise invalid_form(
            where, "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", "A group holds sub-commands, a sub-command plain options"
        )


def _check_choices(option: Payload, where: Sequence[str | int]) -> None:
    choices = option.get("choices") or []
    if len(choices) > _MOST_CHOICES:
        raise invalid_form([*where, "choices"], "BASE_TYPE_MAX_LENGTH", "Must be 25 or fewer in length.")
    if (choices or option.get("autocomplete")) and option["type"] not in _CHOICE_TYPES:
        raise invalid_form([*where, "choices"], "APPLICATION_COMMAND_OPTIONS_CHOICES", "This type takes no choices")
    if choices and option.get("autocomplete"):
        raise invalid_form([*where, "autocomplete"], "APPLICATION_COMMAND_OPTIONS_CHOICES", "Choices or autocomplete")
    for place, choice in enumerate(choices):
        _check_length(choice.get("name"), 1, 100, [*where, "choices", place, "name"])
        value = choice.get("value")
        fits = isinstance(value, str) if option["type"] == STRING else type(value) in (int, float)
        if not fits:
            raise invalid_form([*where, "choices", place, "value"], "BASE_TYPE_BAD_TYPE", "Wrong type of value")


def _check_bits(bits: Any, path: Sequence[str | int]) -> str | None:
    if bits is None:
        return None
    if isinstance(bits, bool) or not str(bits).isdecimal():
        raise invalid_form([*path, "default_member_permissions"], "NUMBER_TYPE_COERCE", f"Value {bits!r} is not a set")
    return str(int(bits))


def _check_subset(given: Any, allowed: set[int], where: Sequence[str | int]) -> list[int] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not set(given) <= allowed:
        raise invalid_form(where, "BASE_TYPE_CHOICES", f"Values must be of {sorted(allowed)}.")
    return sorted(set(given))


def _size(part: Payload) -> int:
    """Characters of names, descriptions and choice values, all options included."""
    own = len(str(part.get("name") or "")) + len(str(part.get("description") or ""))
    choices = sum(len(str(c.get("name", ""))) + len(str(c.get("value", ""))) for c in part.get("choices") or [])
    return own + choices + sum(_size(option) for option in part.get("options") or [])
