"""Fetches a language model: one GGUF file."""

from pathlib import Path

from persona.adapters.hub import Download
from persona.adapters.llama.gguf_header import GgufError, read_header
from persona.errors import DownloadError

DEFAULT_REPO = "Qwen/Qwen2.5-3B-Instruct-GGUF"
DEFAULT_FILE = "qwen2.5-3b-instruct-q4_k_m.gguf"


def gguf_download(
    folder: Path, *, repo: str = DEFAULT_REPO, file: str = DEFAULT_FILE, sha256: str = "", endpoint: str | None = None
) -> Download:
    """Say how a GGUF file is fetched.

    Raises:
        DownloadError: the file's name is not that of a GGUF file.
    """
    if not file.lower().endswith(".gguf"):
        raise DownloadError(f"{file} is not a GGUF file", cure="set [model] file to a file that ends in .gguf")
    return Download(
        folder=folder,
        repo=repo,
        file=file,
        sha256=sha256,
        endpoint=endpoint,
        setting="[model] repo and file",
        by_hand="copy a GGUF file to this machine and set [model] path",
        check=_check,
    )


def _check(path: Path) -> None:
    try:
        read_header(path)
    except GgufError as error:
        raise DownloadError(f"what was fetched {error}", cure="choose another [model] repo or file") from None
