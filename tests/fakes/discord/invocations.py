"""What a member's own Discord client does before the server hears of it: pick, fill in and check a command."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.fakes.discord.command_rules import SUB_COMMAND, SUB_COMMAND_GROUP, Payload

STRING, INTEGER, BOOLEAN, USER, CHANNEL, ROLE, MENTIONABLE, NUMBER, ATTACHMENT = range(3, 12)
BUTTON: Final = 2
LINK_STYLE: Final = 5
TEXT_INPUT: Final = 4
SELECT_KINDS: Final[Mapping[int, str]] = {3: "string", 5: "users", 6: "roles", 7: "mentionable", 8: "channels"}

_SECTION_OF: Final[Mapping[int, str]] = {USER: "users", CHANNEL: "channels", ROLE: "roles", ATTACHMENT: "attachments"}
# JSON numbers lose whole numbers beyond this, so Discord does not let them be typed.
_LARGEST_INTEGER: Final = 2**53
_SNOWFLAKE: Final = re.compile(r"\d{1,20}")


class InvocationError(Exception):
    """A member could not do this in Discord: the command is hidden, an option is missing, a button is gone."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way: what the message's attachment is made of."""

    name: str
    content: bytes
    content_type: str = "application/octet-stream"
    description: str | None = None


Resolver = Callable[[str, Any], tuple[str, Payload]]
"""Takes a section of `resolved` (users, roles, channels, attachments) and a value; returns its id and entries by
section, e.g. `{"users": {...}, "members": {...}}`. Raises InvocationError when there is no such thing."""


@dataclass(slots=True)
class Filled:
    """The options of a command as they travel, and what their ids stand for."""

    options: list[Payload] = field(default_factory=list)
    resolved: Payload = field(default_factory=dict)

    def add(self, entries: Payload) -> None:
        """Merge what one id stands for."""
        for section, things in entries.items():
            self.resolved.setdefault(section, {}).update(things)


def fill(
    command: Payload,
    path: Sequence[str],
    values: Mapping[str, Any],
    resolver: Resolver,
    *,
    focused: str | None = None,
) -> Filled:
    """Fill in the options of a slash command, nested below its sub-commands (`path`: the words after its name).

    With `focused` (autocomplete) required options may still be missing and the focused one is unchecked.
    """
    filled = Filled()
    wrappers: list[Payload] = []
    declared = command["options"]
    for word in path:
        found = next((o for o in declared if o["name"] == word and o["type"] in (1, 2)), None)
        if found is None:
            raise InvocationError(f"/{command['name']} has no sub-command {word!r} (of {' '.join(path)!r})")
        wrappers.append({"type": found["type"], "name": word})
        declared = found.get("options") or []
    if any(option["type"] in (SUB_COMMAND, SUB_COMMAND_GROUP) for option in declared):
        raise InvocationError(f"/{' '.join([command['name'], *path])} needs one of {_names(declared)}")
    if unknown := set(values) - {option["name"] for option in declared}:
        raise InvocationError(f"/{command['name']} has no option {sorted(unknown)}; it has {_names(declared)}")
    leaves = []
    for option in declared:
        name = option["name"]
        if name not in values:
            if option.get("required") and focused is None:
                raise InvocationError(f"/{command['name']}: the option {name!r} is required")
            continue
        if name == focused:
            leaves.append({"type": option["type"], "name": name, "value": str(values[name]), "focused": True})
            continue
        leaves.append({"type": option["type"], "name": name, "value": _value(option, values[name], resolver, filled)})
    for wrapper in reversed(wrappers):
        leaves = [wrapper | {"options": leaves}]
    filled.options = leaves
    return filled


def _names(options: Sequence[Payload]) -> str:
    return ", ".join(repr(option["name"]) for option in options) or "none"


_ACCEPTED: Final[Mapping[int, tuple[type, ...]]] = {
    STRING: (str,),
    INTEGER: (int,),
    BOOLEAN: (bool,),
    NUMBER: (int, float),
}


def _value(option: Payload, value: Any, resolver: Resolver, filled: Filled) -> Any:
    """One value in the form in which it travels, checked as the member's client checks it."""
    kind, name = option["type"], option["name"]
    if kind == MENTIONABLE:
        return _mentionable(value, resolver, filled)
    if (section := _SECTION_OF.get(kind)) is not None:
        identity, entries = resolver(section, value)
        if kind == CHANNEL and (allowed := option.get("channel_types")):
            found = entries["channels"][identity]["type"]
            if found not in allowed:
                raise InvocationError(f"{name}: a channel of type {found} cannot be picked, only {allowed}")
        filled.add(entries)
        return identity
    typed: Any = value
    if not isinstance(typed, _ACCEPTED[kind]) or (isinstance(typed, bool) and kind != BOOLEAN):
        raise InvocationError(f"{name}: {value!r} cannot be typed into an option of type {kind}")
    if choices := option.get("choices"):
        if value not in [choice["value"] for choice in choices]:
            raise InvocationError(f"{name}: {value!r} is not among the choices {[c['name'] for c in choices]}")
    elif kind == STRING:
        _within(name, len(value), option.get("min_length", 0), option.get("max_length", 6000))
    elif kind in (INTEGER, NUMBER):
        _within(name, value, option.get("min_value", -_LARGEST_INTEGER), option.get("max_value", _LARGEST_INTEGER))
    return value


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # also refuses nan
        raise InvocationError(f"{name}: {value!r} is outside of {least} to {most}")


def _mentionable(value: Any, resolver: Resolver, filled: Filled) -> str:
    for section in ("users", "roles"):
        try:
            identity, entries = resolver(section, value)
        except InvocationError:
            continue  # perhaps it is the other kind; the loop's end says that it is neither
        filled.add(entries)
        return identity
    raise InvocationError(f"{value!r} is neither a member nor a role")


def all_components(components: Any) -> Iterator[Payload]:
    """Every component of a message or modal, however deep: rows, sections, containers, labels."""
    for component in components or []:
        yield component
        yield from all_components(component.get("components"))
        for key in ("component", "accessory"):
            if component.get(key):
                yield from all_components([component[key]])


def click_data(message: Payload, custom_id: str, values: Sequence[Any] | None, resolver: Resolver) -> Payload:
    """The `data` of a click on a button, or of a choice of `values` in a select menu."""
    component = next((c for c in all_components(message.get("components")) if c.get("custom_id") == custom_id), None)
    if component is None:
        known = [c["custom_id"] for c in all_components(message.get("components")) if "custom_id" in c]
        raise InvocationError(f"the message has no component {custom_id!r}; it has {known}")
    if component.get("disabled"):
        raise InvocationError(f"the component {custom_id!r} is disabled")
    data: Payload = {"custom_id": custom_id, "component_type": component["type"], "id": component.get("id", 1)}
    if component["type"] == BUTTON:
        if values is not None:
            raise InvocationError(f"{custom_id!r} is a button: it takes no values")
        return data
    if component["type"] not in SELECT_KINDS:
        raise InvocationError(f"{custom_id!r} can be neither clicked nor chosen from")
    return data | _chosen(component, values or [], resolver)


def _chosen(component: Payload, values: Sequence[Any], resolver: Resolver) -> Payload:
    least, most = component.get("min_values", 1), component.get("max_values", 1)
    if not least <= len(values) <= most:
        raise InvocationError(f"{component['custom_id']!r} takes {least} to {most} values, not {len(values)}")
    section = SELECT_KINDS[component["type"]]
    if section == "string":
        offered = [option["value"] for option in component.get("options", [])]
        if unknown := [value for value in values if value not in offered]:
            raise InvocationError(f"{component['custom_id']!r} offers {offered}, not {unknown}")
        return {"values": list(values)}
    filled, picked = Filled(), []
    for value in values:
        if section == "mentionable":
            picked.append(_mentionable(value, resolver, filled))
            continue
        identity, entries = resolver(section, value)
        filled.add(entries)
        picked.append(identity)
    return {"values": picked, "resolved": filled.resolved}


def modal_data(modal: Payload, texts: Mapping[str, str]) -> Payload:
    """The `data` of a modal that was filled in with `texts`, by custom_id, and sent."""
    inputs = {c["custom_id"]: c for c in all_components(modal["components"]) if c["type"] == TEXT_INPUT}
    if unknown := set(texts) - set(inputs):
        raise InvocationError(f"the modal has no input {sorted(unknown)}; it has {sorted(inputs)}")
    for custom_id, declared in inputs.items():
        text = texts.get(custom_id, declared.get("value") or "")
        if not text and declared.get("required", True):
            raise InvocationError(f"the modal's input {custom_id!r} is required")
        if text:
            _within(custom_id, len(text), declared.get("min_length") or 0, declared.get("max_length") or 4000)
    return {"custom_id": modal["custom_id"], "components": [_submitted(c, texts) for c in modal["components"]]}


def _submitted(component: Payload, texts: Mapping[str, str]) -> Payload:
    kept: Payload = {"type": component["type"], "id": component.get("id", 1)}
    if component["type"] == TEXT_INPUT:
        custom_id = component["custom_id"]
        return kept | {"custom_id": custom_id, "value": texts.get(custom_id, component.get("value") or "")}
    if "components" in component:
        return kept | {"components": [_submitted(below, texts) for below in component["components"]]}
    if "component" in component:
        return kept | {"component": _submitted(component["component"], texts)}
    return kept


def identity_of(thing: Any) -> str:
    """The id of whatever the tests hold: a number, text, a payload, or an object with an `id`."""
    if isinstance(thing, dict):
        thing = thing["id"]
    elif not isinstance(thing, (int, str)):
        thing = thing.id
    if not _SNOWFLAKE.fullmatch(str(thing)):
        raise InvocationError(f"{thing!r} is not an id")
    return str(thing)
