"""The list of published models: what each was made from, which one is in use, and which were in use before.

Everything here is pure; `persona.adapters.models` keeps the list in `models/registry.json`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any

VERSION = 1
HISTORY_KEPT = 50
LINEAGE_SUFFIX = ".lineage.bin"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ABOUT = "The models that Persona knows. Change it with `persona model use NAME`, not by hand."


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMark:
    """Why a model should not be used any more: forgotten messages and people in it; `problem` when nobody can tell."""

    at: datetime
    messages: int = 0
    authors: int = 0
    problem: str = ""

    def says_the_same(self, other: "ModelMark | None") -> bool:
        """Whether only the time differs."""
        return other is not None and replace(other, at=self.at) == self

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        counts = f"{self.messages:,} messages, {self.authors:,} people"
        return f"contains words of somebody who asked to be forgotten ({counts})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One published model: `file` is its name in the models folder, `size` in bytes, `run` the run folder's name.

    `prompt_hash` is empty for a model that was not trained here; `manifest` is the sha256 of the run's manifest.
    """

    name: str
    file: str
    sha256: str
    size: int
    created: datetime
    quantisation: str = ""
    prompt_hash: str = ""
    manifest: str = ""
    run: str = ""
    base: str = ""
    mark: ModelMark | None = None

    def __post_init__(self) -> None:
        if not is_model_name(self.name):
            raise ValueError(f"{self.name!r} is no name of a model")
        if "/" in self.file or "\\" in self.file or self.file.startswith(".") or not self.file:
            raise ValueError(f"{self.file!r} is no name of a file")
        if not _SHA256.fullmatch(self.sha256) or self.size < 0 or self.created.tzinfo is None:
            raise ValueError(f"the entry of {self.name} makes no sense")

    @property
    def lineage_file(self) -> str:
        """The name of the file that says whose messages are in it, where there is one."""
        return self.file + LINEAGE_SUFFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelList:
    """All published models by name; `current` is in use, `history` was, oldest first.

    `undecided` after the list was lost and nobody knows which model was in use. `chosen` counts the choices, so that
    choosing the same model once more is seen, too.
    """

    models: tuple[ModelEntry, ...] = ()
    current: str | None = None
    history: tuple[str, ...] = ()
    undecided: bool = False
    chosen: int = 0

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.models]
        if len(set(names)) != len(names):
            raise ValueError("two models have the same name")
        if self.current is not None and self.current not in names:
            raise ValueError(f"the model in use, {self.current}, is not among the models")

    def find(self, name: str) -> ModelEntry | None:
        """Return the model of this name."""
        return next((entry for entry in self.models if entry.name == name), None)

    @property
    def in_use(self) -> ModelEntry | None:
        """The model in use; None when none was ever chosen."""
        return None if self.current is None else self.find(self.current)

    def near(self, name: str) -> list[str]:
        """Return the names that somebody who wrote `name` may have meant, likeliest first."""
        names = {entry.name.lower(): entry.name for entry in self.models}
        found = get_close_matches(name.lower(), names, n=3, cutoff=0.5)
        found += [low for low in names if name.lower() in low and low not in found]
        return [names[low] for low in found[:3]]

    def with_model(self, entry: ModelEntry) -> "ModelList":
        """Return the list with a model added, or described anew; a mark on it is kept."""
        known = self.find(entry.name)
        if known is not None and known.sha256 == entry.sha256 and entry.mark is None:
            entry = replace(entry, mark=known.mark)
        others = [each for each in self.models if each.name != entry.name]
        models = sorted([*others, entry], key=lambda each: (each.created, each.name))
        return replace(self, models=tuple(models))

    def without(self, name: str) -> "ModelList":
        """Return the list without a model, which must not be in use.

        Raises:
            ValueError: it is in use.
        """
        if name == self.current:
            raise ValueError(f"{name} is in use")
        return replace(
            self,
            models=tuple(entry for entry in self.models if entry.name != name),
            history=tuple(each for each in self.history if each != name),
        )

    def using(self, name: str) -> "ModelList":
        """Return the list with another model in use; the one before goes into the history.

        Raises:
            KeyError: there is no such model.
        """
        if self.find(name) is None:
            raise KeyError(name)
        history = self.history if self.current in {None, name} else (*self.history, str(self.current))
        return replace(self, current=name, history=history[-HISTORY_KEPT:], undecided=False, chosen=self.chosen + 1)

    @property
    def before(self) -> ModelEntry | None:
        """The model that `rolled_back` would use; None when there is none."""
        known = [entry for name in self.history if (entry := self.find(name)) is not None and name != self.current]
        return known[-1] if known else None

    def rolled_back(self) -> "ModelList":
        """Return the list with the model in use that was in use before; doing it again goes back further.

        Raises:
            LookupError: there was none.
        """
        entry = self.before
        if entry is None:
            raise LookupError("no model was in use before")
        place = len(self.history) - 1 - self.history[::-1].index(entry.name)
        return replace(self, current=entry.name, history=self.history[:place], undecided=False, chosen=self.chosen + 1)

    def marked(self, marks: Mapping[str, ModelMark]) -> "ModelList":
        """Return the list with marks on models, by name; the same list when they say what is known already."""
        models = tuple(
            replace(entry, mark=mark)
            if (mark := marks.get(entry.name)) is not None and not mark.says_the_same(entry.mark)
            else entry
            for entry in self.models
        )
        return self if models == self.models else replace(self, models=models)


def is_model_name(name: str) -> bool:
    """Whether a model may be called so: letters, digits, `.`, `_`, `-`; at most 100, the first no sign."""
    return _NAME.fullmatch(name) is not None


def encode_models(models: ModelList) -> bytes:
    """Return the text of the registry file."""
    data = {
        "about": _ABOUT,
        "version": VERSION,
        "chosen": models.chosen,
        "current": models.current,
        "undecided": models.undecided,
        "history": list(models.history),
        "models": [_entry_data(entry) for entry in models.models],
    }
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def decode_models(data: bytes) -> ModelList:
    """Return the list that `encode_models` made into text; keys that are not known are left aside.

    Raises:
        ValueError: it is something else, damaged, or of a newer version.
    """
    try:
        found = json.loads(data)
        if found["version"] != VERSION:
            raise ValueError(f"it is of version {found['version']}, this program reads {VERSION}")
        return ModelList(
            models=tuple(_entry(each) for each in found["models"]),
            current=None if found["current"] is None else str(found["current"]),
            history=tuple(str(each) for each in found["history"]),
            undecided=bool(found.get("undecided", False)),
            chosen=int(found["chosen"]),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it lacks something: {type(error).__name__} {error}") from error


def _entry_data(entry: ModelEntry) -> dict[str, Any]:
    mark = entry.mark
    return {
        "name": entry.name,
        "file": entry.file,
        "sha256": entry.sha256,
        "size": entry.size,
        "created": entry.created.isoformat(),
        "quantisation": entry.quantisation,
        "prompt_hash": entry.prompt_hash,
        "manifest": entry.manifest,
        "run": entry.run,
        "base": entry.base,
        "mark": mark
        and {"at": mark.at.isoformat(), "messages": mark.messages, "authors": mark.authors, "problem": mark.problem},
    }


def _entry(data: Mapping[str, Any]) -> ModelEntry:
    texts = {key: str(data.get(key, "")) for key in ("quantisation", "prompt_hash", "manifest", "run", "base")}
    mark = data.get("mark")
    return ModelEntry(
        name=str(data["name"]),
        file=str(data["file"]),
        sha256=str(data["sha256"]),
        size=int(data["size"]),
        created=datetime.fromisoformat(data["created"]),
        mark=None if mark is None else _mark(mark),
        **texts,
    )


def _mark(data: Mapping[str, Any]) -> ModelMark:
    return ModelMark(
        at=datetime.fromisoformat(data["at"]),
        messages=int(data["messages"]),
        authors=int(data["authors"]),
        problem=str(data["problem"]),
    )


def names_like(path_stem: str, taken: Sequence[str]) -> str:
    """Return a name for a model whose file was found: its stem where that will do, made unlike the names `taken`."""
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", path_stem).strip("-._")[:90] or "model"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name
