"""The commands in Discord's own form, and the way back: what is registered, and what a button's id means.

The form: https://discord.com/developers/docs/interactions/application-commands#application-command-object
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from persona.domain.commands import (
    COMMANDS,
    MENU_FORGET,
    Audience,
    Button,
    CommandSpec,
    OptionKind,
    OptionSpec,
    OptionValue,
    find_command,
)

Payload = dict[str, Any]

CHAT_INPUT, MESSAGE_MENU = 1, 3
MANAGE_GUILD = 1 << 5
_GUILD, _BOT_DIRECT = 0, 1
_TYPES = {
    OptionKind.TEXT: 3,
    OptionKind.WHOLE: 4,
    OptionKind.FLAG: 5,
    OptionKind.CHANNEL: 7,
    OptionKind.NUMBER: 10,
}
_CHANNELS_WITH_TALK = [0, 2, 5, 10, 11, 12, 13, 15, 16]
_MARK = "persona:"
_LONGEST_ID = 100


def registered() -> list[Payload]:
    """Return everything that is registered with Discord: slash commands and menus."""
    menu = {"name": MENU_FORGET, "type": MESSAGE_MENU, "contexts": [_GUILD], "integration_types": [0]}
    return [*map(_slash, COMMANDS), menu]


def fingerprint(application_id: int) -> str:
    """Return a short text that changes with the definitions, and with the application."""
    text = json.dumps([application_id, registered()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def button_id(button: Button) -> str:
    """Return the id that a button carries: it means the same after a restart.

    Raises:
        ValueError: it is longer than the 100 characters that Discord takes.
    """
    query = urlencode({name: json.dumps(value) for name, value in button.options.items()})
    custom_id = f"{_MARK}{button.command}" + (f"?{query}" if query else "")
    if len(custom_id) > _LONGEST_ID:
        raise ValueError(f"the button id {custom_id!r} is longer than {_LONGEST_ID} characters")
    return custom_id


def button_meaning(custom_id: str) -> tuple[CommandSpec, Mapping[str, OptionValue]] | None:
    """Return the command and options that a button's id stands for; None when it is no button of ours."""
    name, _, query = custom_id.removeprefix(_MARK).partition("?")
    spec = find_command(name) if custom_id.startswith(_MARK) else None
    if spec is None:
        return None
    try:
        options = {key: json.loads(value) for key, value in parse_qsl(query)}
    except ValueError:
        return None
    known = {option.name for option in spec.options}
    if not set(options) <= known or not all(isinstance(value, str | int | float) for value in options.values()):
        return None
    return spec, options


def options_in(data: Mapping[str, Any]) -> dict[str, OptionValue]:
    """Return the options that were filled in; a channel is its id as text."""
    return {option["name"]: option["value"] for option in data.get("options") or () if "value" in option}


def _slash(spec: CommandSpec) -> Payload:
    return {
        "name": spec.name,
        "type": CHAT_INPUT,
        "description": spec.summary,
        "options": [_option(option) for option in _required_first(spec.fields)],
        "contexts": [_GUILD, _BOT_DIRECT] if spec.direct else [_GUILD],
        "integration_types": [0],
        "default_member_permissions": str(MANAGE_GUILD) if spec.audience is Audience.ADMIN else None,
    }


def _required_first(options: Sequence[OptionSpec]) -> list[OptionSpec]:
    """Discord wants the required options first."""
    return sorted(options, key=lambda option: not option.required)


def _option(option: OptionSpec) -> Payload:
    form: Payload = {
        "type": _TYPES[option.kind],
        "name": option.name,
        "description": option.summary,
        "required": option.required,
    }
    if option.choices:
        form["choices"] = [{"name": choice, "value": choice} for choice in option.choices]
    if option.kind is OptionKind.CHANNEL:
        form["channel_types"] = _CHANNELS_WITH_TALK
    if option.least is not None:
        form["min_value"] = option.least
    if option.most is not None:
        form["max_value"] = option.most
    return form
