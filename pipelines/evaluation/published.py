"""Which model is published: what the registry beside the models says."""

from pathlib import Path

from persona.domain.model_list import decode_models
from persona.errors import PersonaError

REGISTRY = "registry.json"


def published_model(models: Path) -> Path | None:
    """Return the file of the model in use; None where none is.

    Raises:
        PersonaError: the registry cannot be read.
    """
    file = models / REGISTRY
    try:
        found = decode_models(file.read_bytes()).in_use
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise PersonaError(f"{file} cannot be read: {error}", cure="python -m persona model list mends it") from None
    return None if found is None else models / found.file
