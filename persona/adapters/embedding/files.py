"""Which files an embedding model consists of, and where they are kept."""

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastembed import TextEmbedding

from persona.adapters.checksum import hash_file
from persona.errors import EmbedderError

PULL = "fetch it with `persona model pull --embedding`"
_NEEDED = ("config.json", "tokenizer.json")
_IF_THERE = ("tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """An embedding model by its name (as fastembed spells it), and the folder that holds its files."""

    name: str
    path: Path
    weights: str
    dimensions: int

    def version(self) -> str:
        """Return twelve digits that change whenever what the model makes of a text may change.

        Raises:
            EmbedderError: a file is missing.
        """
        digest = hashlib.sha256()
        for name in (self.weights, "tokenizer.json"):
            try:
                digest.update(hash_file(self.path / name).encode())
            except OSError as error:
                reason = (error.strerror or "it cannot be read").lower()
                raise EmbedderError(
                    f"the embedding model {self.name} is not there: {self.path / name}: {reason}",
                    cure=f"{PULL}, or set [memory] embedding_path to its folder",
                ) from None
        return digest.hexdigest()[:12]


def model_folder(name: str, path: Path) -> ModelFolder:
    """Return a model whose files are in the folder `path`.

    Raises:
        EmbedderError: fastembed knows no such model; names some that are like it.
    """
    description = _description(name)
    return ModelFolder(
        name=description["model"],
        path=path,
        weights=description["model_file"],
        dimensions=description["dim"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFiles:
    """The files of a model in its repo: those it cannot do without, and those that only some models have."""

    repo: str
    needed: tuple[str, ...]
    if_there: tuple[str, ...] = _IF_THERE


def wanted_files(name: str) -> WantedFiles:
    """Return what to fetch for a model.

    Raises:
        EmbedderError: fastembed knows no such model, or it has no repo.
    """
    description = _description(name)
    repo = description["sources"]["hf"]
    if not repo:
        raise EmbedderError(
            f"the embedding model {name} cannot be fetched from a hub",
            cure="copy its folder to this machine and set [memory] embedding_path",
        )
    return WantedFiles(repo=repo, needed=(*_NEEDED, *description["additional_files"], description["model_file"]))


def _description(name: str) -> dict[str, Any]:
    known = {description["model"].lower(): description for description in TextEmbedding.list_supported_models()}
    if name.lower() in known:
        return known[name.lower()]
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    proposals = ", ".join(known[one]["model"] for one in near) or "BAAI/bge-small-en-v1.5"
    raise EmbedderError(f"[memory] embedding: no model is called {name!r}", cure=f"known ones: {proposals}")
