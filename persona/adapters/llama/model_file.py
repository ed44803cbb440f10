"""Decides whether a file is a model that can be loaded safely, and says in one line what to do when it is not."""

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from persona.adapters.checksum import CHECKSUM_SUFFIX, hash_file
from persona.adapters.llama.gguf_header import GgufError, GgufHeader, read_header
from persona.errors import ModelFileError

PROMPT_HASH_KEY = "persona.prompt_hash"
NAME_KEY = "persona.name"
SERVER_KEY = "persona.server"
_GET_ONE = "set [model] path to a GGUF file, fetch one with `persona model pull`, or leave it empty for the demo"
_FETCH_AGAIN = "fetch the file again, for example with `persona model pull`"
_HASH_LINE = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStamp:
    """What changes whenever a file is replaced or written to."""

    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileStamp":
        """Take the stamp of a file.

        Raises:
            OSError: it cannot be looked at.
        """
        found = path.stat()
        return cls(inode=found.st_ino, size=found.st_size, modified_ns=found.st_mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file that was found whole: its header, its hash, and the stamp it had then."""

    path: Path
    header: GgufHeader
    sha256: str
    stamp: FileStamp

    @property
    def prompt_hash(self) -> str | None:
        """The renderer and tokenizer it was trained with; None when it was not trained by this project."""
        return self.header.text(PROMPT_HASH_KEY)

    @property
    def persona_name(self) -> str | None:
        """The name of the persona it was trained to be, if any."""
        return self.header.text(NAME_KEY)

    @property
    def server_name(self) -> str | None:
        """The server it was trained on, if any."""
        return self.header.text(SERVER_KEY)

    @property
    def unchanged(self) -> bool:
        """Whether the file is still the one that was checked."""
        try:
            return FileStamp.of(self.path) == self.stamp
        except OSError:
            return False


def check_model_file(path: Path, *, sha256: str = "", on_bytes: Callable[[int], None] = lambda _: None) -> ModelFile:
    """Check that a file is a whole GGUF language model with the right hash.

    Args:
        path: the file.
        sha256: what it must hash to; "" uses the `.sha256` file beside it, where there is one.
        on_bytes: called with how many bytes were read so far, for progress.

    Raises:
        ModelFileError: it is missing, damaged or no language model; names the file and the cure.
    """
    try:
        stamp = _stamp_of_file(path)
        header = read_header(path)
        _check_kind(path, header)
        digest = hash_file(path, on_bytes=on_bytes)
        expected = (sha256 or _hash_beside(path)).lower()
    except GgufError as error:
        raise ModelFileError(f"the model file {path} {error}", cure=_FETCH_AGAIN) from None
    except OSError as error:
        raise ModelFileError(
            f"the model file {path} cannot be read: {error.strerror}", cure="make it readable for the bot's user"
        ) from None
    if expected and digest != expected:
        raise ModelFileError(
            f"the model file {path} is damaged or another one: its sha256 is {digest[:12]}..., not {expected[:12]}...",
            cure=f"{_FETCH_AGAIN}, or correct [model] sha256",
        )
    return ModelFile(path=path, header=header, sha256=digest, stamp=stamp)


def _stamp_of_file(path: Path) -> FileStamp:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise ModelFileError(f"there is no model file {path}", cure=_GET_ONE) from None
    if stat.S_ISDIR(mode):
        raise ModelFileError(f"{path} is a folder, not a model file", cure="name the .gguf file in it")
    if not stat.S_ISREG(mode):
        raise ModelFileError(f"{path} is not a regular file", cure=_GET_ONE)
    return FileStamp.of(path)


def _check_kind(path: Path, header: GgufHeader) -> None:
    """Refuse GGUF files that hold something else than a whole language model."""
    pieces = header.metadata.get("split.count", 0)
    if isinstance(pieces, int) and pieces > 1:
        raise ModelFileError(
            f"the model file {path} is one of {pieces} pieces",
            cure="use a model in a single file, or join them with llama-gguf-split --merge",
        )
    if header.text("general.type") in {"adapter", "mmproj"}:
        raise ModelFileError(
            f"the model file {path} is only an add-on ({header.text('general.type')}) to a model",
            cure="use the model itself",
        )
    if not header.architecture or not header.tensors or "tokenizer.ggml.tokens" not in header.arrays:
        raise ModelFileError(
            f"the model file {path} holds no language model with a vocabulary", cure="use a chat model in GGUF format"
        )


def _hash_beside(path: Path) -> str:
    """Return the hash that a `sha256sum` file beside the model states; empty when there is none."""
    beside = path.with_name(path.name + CHECKSUM_SUFFIX)
    if not beside.is_file():
        return ""
    found = _HASH_LINE.match(beside.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise ModelFileError(f"{beside} holds no sha256", cure="delete it, or write it with sha256sum")
    return found.group()
