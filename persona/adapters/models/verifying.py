"""Makes sure that a model of the list is the file it was when it was published, and fits this program."""

from collections.abc import Callable
from enum import StrEnum

from persona.adapters.llama.gguf_header import GgufError, read_header
from persona.adapters.llama.model_file import PROMPT_HASH_KEY, ModelFile, check_model_file
from persona.adapters.models.registry import ModelRegistry
from persona.domain.model_list import ModelEntry
from persona.errors import ModelFileError

_AGAIN = "publish it again from its run, or choose another one"


class PromptFit(StrEnum):
    """What can be said about a model's prompts at a glance."""

    FITS = "fit"
    OTHER = "another version"
    NOT_OURS = "not trained here"
    MISSING = "file missing"
    DAMAGED = "file damaged"


def verified(
    registry: ModelRegistry, entry: ModelEntry, *, on_bytes: Callable[[int], None] = lambda _: None
) -> ModelFile:
    """Return the file of a model, found whole, with the hash of its entry, and trained on prompts as we write them.

    Raises:
        ModelFileError: it is missing, damaged, another one, or was trained with another version of the prompts.
    """
    path = registry.path_of(entry)
    if not path.is_file():
        raise ModelFileError(f"the file of {entry.name} is missing: {path}", cure=_AGAIN)
    file = check_model_file(path, on_bytes=on_bytes)
    if file.sha256 != entry.sha256:
        raise ModelFileError(
            f"{path} is damaged or another file: its sha256 is {file.sha256[:12]}..., not {entry.sha256[:12]}...",
            cure=_AGAIN,
        )
    if file.prompt_hash is not None:
        from persona.adapters.llama.loading import check_prompts  # noqa: PLC0415 - loads the native library

        check_prompts(path, file.prompt_hash)
    return file


def how_prompts_fit(registry: ModelRegistry, entry: ModelEntry) -> PromptFit:
    """Say whether a model was trained on prompts as this program writes them; weights are neither hashed nor loaded.

    A model that was not trained here was not trained on any prompts of ours: every version will do.
    """
    path = registry.path_of(entry)
    try:
        trained_with = read_header(path).text(PROMPT_HASH_KEY)
    except OSError:
        return PromptFit.MISSING
    except GgufError:
        return PromptFit.DAMAGED
    if trained_with is None:
        return PromptFit.NOT_OURS
    from persona.adapters.llama.loading import check_prompts  # noqa: PLC0415 - loads the native library

    try:
        check_prompts(path, trained_with)
    except ModelFileError:
        return PromptFit.OTHER
    return PromptFit.FITS
