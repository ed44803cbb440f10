"""Settings that can be changed while the persona runs: config.toml, with what the admins changed on top."""

import asyncio
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from persona.config import Settings
from persona.config_tables import Section, allowed_range, sections
from persona.domain.chat import AuthorId
from persona.errors import UsageError
from persona.ports import Desk

log = structlog.get_logger(__name__)

RUNTIME_TABLES = ("speaking", "sampling")
"""What takes effect with the next reply; the other tables are read once, at the start."""

_LONGEST_VALUE = 40
_YES = frozenset({"yes", "on", "true"})
_NO = frozenset({"no", "off", "false"})

Subscriber = Callable[[Settings], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of a setting."""

    key: str
    before: object
    after: object


class LiveSettings:
    """The settings in force; `current` is a new object after each change, never a changed one.

    A value is judged by the same schema as config.toml. Changes are kept in the store before they take effect.
    """

    def __init__(
        self,
        settings: Settings,
        desk: Desk,
        *,
        overrides: Mapping[str, object] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._file = settings
        self._desk = desk
        self._now = now
        self._overrides = dict(overrides or {})
        self._subscribers: list[Subscriber] = []
        self._changing = asyncio.Lock()
        self.current = settings
        for key, value in list(self._overrides.items()):
            try:
                self.current = _with(self.current, key, value)
            except UsageError as error:
                log.warning("stored_setting_skipped", key=key, reason=str(error))
                del self._overrides[key]

    @classmethod
    async def load(
        cls, settings: Settings, desk: Desk, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> "LiveSettings":
        """Put what was changed at run time over `settings`; what is no longer valid is skipped and logged.

        Raises:
            StoreError: the database cannot be used.
        """
        return cls(settings, desk, overrides=await desk.overrides(), now=now)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` with the settings after each change."""
        self._subscribers.append(subscriber)

    def value(self, key: str) -> object:
        """Return the value in force of a setting by its dotted key, such as `speaking.rate`.

        Raises:
            UsageError: there is no such setting that could be changed at run time.
        """
        table, name, _ = _field(key)
        return getattr(getattr(self.current, table), name)

    def allowed(self, key: str) -> str:
        """Say in words which values a setting takes: '0 to 2', 'yes or no'.

        Raises:
            UsageError: there is no such setting that could be changed at run time.
        """
        _, _, info = _field(key)
        return _allowed(info)

    def is_changed(self, key: str) -> bool:
        """Say whether a setting was changed at run time."""
        return key in self._overrides

    async def change(self, key: str, text: str | float, by: AuthorId) -> Change:
        """Change a setting to what `text` says, as it would be written in config.toml; yes, no, on and off do, too.

        Raises:
            UsageError: the value is no such thing or out of range (the error names the range), or the key is unknown.
            StoreError: it could not be kept; nothing has changed.
        """
        _, _, info = _field(key)
        value = _read(text, info) if isinstance(text, str) else text
        async with self._changing:
            changed = _with(self.current, key, value)
            kept = _get(changed, key)
            await self._desk.override(key, kept, by=by, at=self._now())
            self._overrides[key] = kept
            return self._follow(changed, key)

    async def reset(self, key: str, by: AuthorId) -> Change:
        """Go back to what config.toml says.

        Raises:
            UsageError: the key is unknown.
            StoreError: it could not be kept; nothing has changed.
        """
        _field(key)
        async with self._changing:
            await self._desk.override(key, None, by=by, at=self._now())
            self._overrides.pop(key, None)
            return self._follow(_with(self.current, key, _get(self._file, key)), key)

    def _follow(self, changed: Settings, key: str) -> Change:
        change = Change(key=key, before=_get(self.current, key), after=_get(changed, key))
        self.current = changed
        for subscriber in self._subscribers:
            subscriber(changed)
        return change


def _allowed(info: FieldInfo) -> str:
    if info.annotation is bool:
        return "yes or no"
    kind = "whole numbers, " if info.annotation is int else ""
    return kind + allowed_range(info)


def _field(key: str) -> tuple[str, str, FieldInfo]:
    table, _, name = key.partition(".")
    section = sections().get(table) if table in RUNTIME_TABLES else None
    if section is None or name not in section.model_fields:
        raise UsageError(f"{key} is not a setting that can be changed while it runs")
    return table, name, section.model_fields[name]


def _get(settings: Settings, key: str) -> object:
    table, _, name = key.partition(".")
    return getattr(getattr(settings, table), name)


def _with(settings: Settings, key: str, value: object) -> Settings:
    """Return the settings with one value in the place of another, judged by the schema of config.toml."""
    table, name, info = _field(key)
    section: Section = getattr(settings, table)
    try:
        data = json.dumps({**section.model_dump(), name: value}, default=str)
        changed = type(section).model_validate_json(data, strict=True)
    except ValidationError:
        shown = str(value).replace("\n", " ")[:40]
        raise UsageError(f"{name} cannot be {shown}", cure=f"allowed: {_allowed(info)}") from None
    return settings.model_copy(update={table: changed})


def _read(text: str, info: FieldInfo) -> object:
    """Read a value as TOML where the setting is no plain text; what is no TOML stays text, for the schema to judge."""
    word = text.strip()
    if info.annotation is bool and word.casefold() in _YES | _NO:
        return word.casefold() in _YES
    if info.annotation is str:
        return text
    if len(word) > _LONGEST_VALUE or "\n" in word:
        return text
    try:
        return tomllib.loads(f"value = {word}")["value"]
    except tomllib.TOMLDecodeError:
        return text
