"""Builds the memory and its embedding model from the settings."""

from pathlib import Path
from typing import TYPE_CHECKING

from persona.errors import ConfigError

if TYPE_CHECKING:
    from persona.adapters.lance import LanceMemory
    from persona.config import Settings


def memory_for(settings: "Settings", folder: Path) -> "LanceMemory":
    """Return the memory, closed: in object storage where [memory] uri names one, else in `folder`.

    Raises:
        ConfigError: the storage options cannot be read.
    """
    from persona.adapters.lance import LanceMemory  # noqa: PLC0415 - takes seconds to load

    memory = settings.memory
    if not memory.uri:
        return LanceMemory(folder)
    return LanceMemory(memory.uri, storage_options=storage_options(memory.storage_options))


def storage_options(text: str) -> dict[str, str]:
    """Read `key=value, key=value`.

    Raises:
        ConfigError: a part has no `=`, or no key before it.
    """
    options: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, separator, value = part.partition("=")
        if not separator or not key.strip():
            raise ConfigError(
                f"[memory] storage_options: {part!r} is not key=value", cure='write "region=eu-1, endpoint=https://..."'
            )
        options[key.strip()] = value.strip()
    return options
