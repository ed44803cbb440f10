"""Writes a config.toml that documents itself: every setting with its default, its range and what it does."""

import json
from pathlib import Path
from typing import Any

from persona.config_tables import allowed_range, sections

_HEAD = """\
# Persona's settings. Every line shows the default; change what you like and start again.
# An environment variable PERSONA_<TABLE>_<KEY> (PERSONA_SAMPLING_TEMPERATURE=0.5) wins over this file.
# Secrets do not belong here: the Discord token comes from the environment variable DISCORD_TOKEN.
"""


def documented_config() -> str:
    """Return the text of the config.toml that ships with the project."""
    parts = [_HEAD]
    for table, section in sections().items():
        parts.append(f"\n# {section.__doc__}\n[{table}]")
        for key, info in section.model_fields.items():
            limits = allowed_range(info)
            note = f"{info.description} ({limits})" if limits else info.description
            parts.append(f"# {note}\n{key} = {_toml(info.default)}")
    return "\n".join(parts) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, Path):
        return json.dumps(value.as_posix())
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return json.dumps(value)
