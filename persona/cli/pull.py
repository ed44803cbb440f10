"""`persona model pull`: fetches models from a hub, with a bar, and says how to use them."""

import contextlib
import shlex
from dataclasses import replace

from persona.adapters.hub import Download, NoSuchFileError, fetch, progress_bar
from persona.adapters.llama.download import gguf_download
from persona.config import Settings
from persona.errors import UsageError
from persona.memory_setup import embedding_folder


def pull_model(settings: Settings, *, repo: str | None, file: str | None) -> None:
    """Fetch a language model.

    Raises:
        DownloadError: it could not be fetched.
    """
    model = settings.model
    sha256 = "" if repo or file else model.sha256
    wanted = gguf_download(settings.storage.models, repo=repo or model.repo, file=file or model.file, sha256=sha256)
    with progress_bar(wanted.target.name) as on_progress:
        path = fetch(wanted, on_progress=on_progress)
    print(f"The model is there. To use it:\n\n  python -m persona model use {shlex.quote(path.stem)}")
    if model.path:
        print("\nand take [model] path out of config.toml: it wins over that choice.")


def pull_embedding(settings: Settings, *, name: str, endpoint: str | None = None) -> None:
    """Fetch the files of an embedding model, all into one folder, and try it.

    Raises:
        UsageError: the settings name none.
        EmbedderError: there is no such model, or it does not work.
        DownloadError: it could not be fetched.
    """
    from persona.adapters.embedding import model_folder, try_model, wanted_files  # noqa: PLC0415 - a large library

    name = name or settings.memory.embedding
    if not name:
        raise UsageError("[memory] embedding names no model", cure='persona model pull --embedding "OWNER/NAME"')
    files = wanted_files(name)
    folder = embedding_folder(settings, name)
    common = Download(
        folder=folder,
        repo=files.repo,
        file="",
        endpoint=endpoint,
        setting="[memory] embedding",
        by_hand="copy the model's folder to this machine and set [memory] embedding_path",
    )
    for file in (*files.needed, *files.if_there):
        wanted = replace(common, folder=folder / file.rpartition("/")[0], file=file)
        missing = (NoSuchFileError,) if file in files.if_there else ()
        with contextlib.suppress(*missing), progress_bar(file) as on_progress:
            fetch(wanted, on_progress=on_progress)
    try_model(model_folder(name, folder))
    if name == settings.memory.embedding:
        print("The embedding model is there; the persona uses it from its next start on.")
    else:
        print(f'The embedding model is there. To use it, put this into config.toml:\n\n[memory]\nembedding = "{name}"')
