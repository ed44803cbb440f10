"""Finds the model to start from on this machine, and reads its size from its files."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona.errors import ConfigError, DownloadError, PersonaError

_ARCHITECTURES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """A model folder: its parameters (all, and those in word embeddings and head), its sizes and its fingerprint."""

    folder: Path
    hidden: int
    layers: int
    vocabulary: int
    parameters: int
    embedding_parameters: int
    linear_sizes: tuple[tuple[int, int], ...]
    fingerprint: str

    def adapter_parameters(self, rank: int) -> int:
        """Return the trainable parameters of an adapter on every linear layer: rank x (in + out) for each."""
        return self.layers * sum(rank * (rows + columns) for rows, columns in self.linear_sizes)


def resolve_base(name: str, *, pull: bool) -> Path:
    """Return the folder of the base model; downloads it only when `pull` says that the owner asked for it.

    Raises:
        ConfigError: it is not on this machine.
        DownloadError: it was to be fetched and could not be.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ConfigError(f"[training] base: there is no folder {folder}", cure="give a model folder or a Hub id")
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only for Hub ids
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415 - as above

    patterns = ["*.json", "*.safetensors", "*.txt", "*.jinja", "LICENSE*"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=not pull))
    except LocalEntryNotFoundError:
        if not pull:
            cure = "run once more with --pull to download it, or set [training] base to a folder"
            raise ConfigError(f"the base model {name} is not on this machine", cure=cure) from None
        raise DownloadError(f"{name} cannot be fetched", cure="check the network; it goes on where it was") from None
    except (HfHubHTTPError, OSError) as error:
        line = str(error).strip().splitlines()[0]
        raise DownloadError(f"{name} cannot be fetched: {line}", cure="check the name and the network") from error


def read_base(folder: Path) -> BaseModel:
    """Read the sizes of a model folder, of an architecture that can be exported.

    Raises:
        ConfigError: a file is missing or the architecture is not supported.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder / 'config.json'} cannot be read: {error}", cure="give a model folder") from None
    kinds = config.get("architectures") or ["?"]
    if kinds[0] not in _ARCHITECTURES:
        known = ", ".join(kind.removesuffix("ForCausalLM") for kind in _ARCHITECTURES)
        raise ConfigError(f"{folder} holds a {kinds[0]}", cure=f"models that can be trained and exported: {known}")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / _TOKENIZER_FILES[0]).is_file():
        raise ConfigError(f"{folder} has no *.safetensors or no tokenizer.json", cure="fetch the whole model")
    hidden, layers, words = config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]
    linear = _linear_sizes(config)
    embeddings = hidden * words * (1 if config.get("tie_word_embeddings") else 2)
    return BaseModel(
        folder=folder,
        hidden=hidden,
        layers=layers,
        vocabulary=words,
        parameters=embeddings + layers * (sum(rows * columns for rows, columns in linear) + 2 * hidden) + hidden,
        embedding_parameters=embeddings,
        linear_sizes=linear,
        fingerprint=_fingerprint(folder, weights),
    )


def require_same_base(folder: Path, fingerprint: str, trained: Path) -> Path:
    """Return the folder of the model that `trained` (a stage, an adapter) was trained on, if it still is that model.

    `fingerprint` is what it had then, "" where nobody wrote it down: then the folder has to be whole, no more.

    Raises:
        ConfigError: its files are not whole.
        PersonaError: it is gone, or another model is in its place: an adapter fits any model of the same shape.
    """
    place = f"the base model {folder} that {trained} was trained on"
    if not (folder / "config.json").is_file():
        raise PersonaError(f"{place} is gone", cure="put it back")
    try:
        found = read_base(folder).fingerprint
    except ConfigError as error:
        raise ConfigError(f"{place} is not whole: {error.problem}", cure="put it back as it was") from None
    if fingerprint and found != fingerprint:
        raise PersonaError(f"{place} is another one now", cure="put it back as it was, or train on this one")
    return folder


def _linear_sizes(config: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """Return (in, out) of the seven linear layers of a block."""
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    width = config.get("head_dim") or hidden // heads
    queries, keys = heads * width, (config.get("num_key_value_heads") or heads) * width
    attention = ((hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden))
    return (*attention, (hidden, inner), (hidden, inner), (inner, hidden))


def _fingerprint(folder: Path, weights: list[Path]) -> str:
    """Hash settings, tokenizer and the header of each weight file with its size.

    Gigabytes of weights are not read for it; a header names every tensor with its place, and training a model that is
    swapped for one with the same header in the middle of a run is nothing that happens by mistake.
    """
    digest = hashlib.sha256()
    for file in [folder / "config.json", *(folder / name for name in _TOKENIZER_FILES)]:
        digest.update(file.read_bytes() if file.is_file() else b"-")
    for file in weights:
        with file.open("rb") as stream:
            head = stream.read(8)
            digest.update(head + stream.read(min(int.from_bytes(head, "little"), 2**26)))
        digest.update(f"{file.name} {file.stat().st_size}".encode())
    return digest.hexdigest()
