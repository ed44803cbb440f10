"""Builds the memory and its embedding model from the settings."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from persona.errors import ConfigError, EmbedderError, EmbedderMissingError

if TYPE_CHECKING:
    from persona.adapters.lance import LanceMemory
    from persona.config import Settings
    from persona.ports import Embedder, MessageStore

_UNUSUAL = re.compile(r"[^a-z0-9._-]+")


def memory_for(settings: "Settings", folder: Path, store: "MessageStore") -> "LanceMemory":
    """Return the memory of what a store says, closed: in object storage where [memory] uri names one, else in `folder`.

    Raises:
        ConfigError: the storage options cannot be read.
    """
    from persona.adapters.lance import LanceMemory  # noqa: PLC0415 - takes seconds to load

    memory = settings.memory
    if not memory.uri:
        return LanceMemory(folder, messages=store.messages_by_id)
    options = storage_options(memory.storage_options)
    return LanceMemory(memory.uri, messages=store.messages_by_id, storage_options=options)


def embedding_folder(settings: "Settings", name: str = "") -> Path:
    """Return the folder of the embedding model that the settings name, or (fetched ones) of another model."""
    memory = settings.memory
    if memory.embedding_path and not name:
        return Path(memory.embedding_path)
    slug = _UNUSUAL.sub("--", (name or memory.embedding).lower())
    return settings.storage.models / "embedding" / slug


def embedder_for(settings: "Settings") -> "Callable[[], Embedder] | None":
    """Return what builds the embedding model, not loaded yet; None where the settings name none.

    What is returned raises EmbedderMissingError where the model was not fetched yet, EmbedderError where there is
    none of that name.
    """
    memory = settings.memory
    if not memory.embedding:
        return None
    folder = embedding_folder(settings)

    def build() -> "Embedder":
        if not folder.is_dir():  # asked before its library, which is large, is loaded for nothing
            if memory.embedding_path:
                raise EmbedderError(f"there is no folder {folder}", cure="correct [memory] embedding_path")
            problem = f"the embedding model {memory.embedding} is not on this machine"
            raise EmbedderMissingError(problem, cure="fetch it with `persona model pull --embedding`")
        from persona.adapters.embedding import FastEmbedder, model_folder  # noqa: PLC0415

        threads = memory.embedding_threads or max(1, (os.cpu_count() or 2) // 2)
        return FastEmbedder(model_folder(memory.embedding, folder), threads=threads)

    return build


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
