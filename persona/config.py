"""config.toml and the environment become frozen `Settings`; what is unknown, mistyped or out of range is an error."""

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from persona.config_tables import Section, Settings, allowed_range, sections
from persona.errors import ConfigError

__all__ = ["DEFAULT_FILE", "Settings", "load_settings", "secret"]

ENVIRONMENT_PREFIX = "PERSONA_"
DEFAULT_FILE = "config.toml"


def load_settings(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read settings from a file and `PERSONA_<TABLE>_<KEY>` variables, which win; paths come back absolute.

    Without `path` the file is ./config.toml where it exists, else every setting has its default.

    Raises:
        ConfigError: the file cannot be read or parsed, or a setting is wrong; names the place and the cure.
    """
    file = Path(DEFAULT_FILE) if path is None else path
    data = _read(file) if path is not None or file.exists() else {}
    sources = _overlay(data, environment)
    try:
        settings = Settings.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise _explain(error, file, sources) from None
    return _anchored(settings, file.absolute().parent)


def secret(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return a secret such as DISCORD_TOKEN from a systemd credential or the environment; None when there is none."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if folder:
        credential = Path(folder) / name
        if credential.is_file():
            return credential.read_text(encoding="utf-8").strip() or None
    return environment.get(name, "").strip() or None


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}", cure="mend that line") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8 text", cure="save it as UTF-8") from None
    except OSError as error:
        cure = "check --config, or leave it out to use ./config.toml"
        raise ConfigError(f"cannot read {file}: {error.strerror}", cure=cure) from None


def _overlay(data: dict[str, Any], environment: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Put environment variables over the file's values; return which setting came from which variable."""
    sources: dict[tuple[str, str], str] = {}
    for table, section in sections().items():
        for key in section.model_fields:
            variable = f"{ENVIRONMENT_PREFIX}{table}_{key}".upper()
            if variable in environment and isinstance(data.setdefault(table, {}), dict):
                data[table][key] = _toml_value(environment[variable], section.model_fields[key])
                sources[table, key] = variable
    return sources


def _toml_value(text: str, info: FieldInfo) -> Any:
    """Read a variable as TOML where the setting is no plain text, so that 0.5, true and ["a"] mean what they say."""
    if info.annotation in (str, Path):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError, file: Path, sources: Mapping[tuple[str, str], str]) -> ConfigError:
    """Turn the first of pydantic's findings into one line with the key and the cure."""
    first, *others = error.errors(include_url=False)
    table, key, *_ = (*map(str, first["loc"]), "", "")
    place = f"{file}: [{table}] {key}".rstrip() if key else f"{file}: [{table}]"
    if (table, key) in sources:
        place = f"environment variable {sources[table, key]}"
    more = f"; {len(others)} more below it" if others else ""
    return ConfigError(f"{place} {_problem(first)}", cure=_cure(first, table, key) + more)


def _problem(finding: ErrorDetails) -> str:
    if finding["type"] == "extra_forbidden":
        return "is not a setting"
    shown = json.dumps(finding["input"], default=str, ensure_ascii=False)
    text = finding["msg"].removeprefix("Input ")
    return f"= {shown[:60]} {text[:1].lower()}{text[1:]}"


def _cure(finding: ErrorDetails, table: str, key: str) -> str:
    known = sections()
    if finding["type"] == "extra_forbidden":
        names = list(known[table].model_fields) if key else list(known)
        close = difflib.get_close_matches(key or table, names, n=1)
        what = f"in [{table}]" if key else "as tables"
        return f"did you mean {close[0]}?" if close else f"{what} there are: {', '.join(names)}"
    if not key:
        return f"write it as a table: [{table}]"
    info = known[table].model_fields[key]
    limits = allowed_range(info)
    return f"allowed: {limits}" if limits else f"for example {key} = {json.dumps(info.default, default=str)}"


def _anchored(settings: Settings, folder: Path) -> Settings:
    """Make every path absolute, starting at the folder of config.toml."""

    def anchored(section: Section) -> Section:
        paths = {k: folder / v for k, v in section if isinstance(v, Path)}
        return section.model_copy(update=paths)

    def with_path(section: Section, key: str) -> Section:
        path = getattr(section, key)
        return section.model_copy(update={key: str(folder / Path(path).expanduser())}) if path else section

    return settings.model_copy(
        update={
            "storage": anchored(settings.storage),
            "log": anchored(settings.log),
            "model": with_path(settings.model, "path"),
            "memory": with_path(settings.memory, "embedding_path"),
        }
    )
