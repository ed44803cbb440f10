"""Builds what forgets, from the settings."""

from pathlib import Path

from persona.config import Settings
from persona.forgetting import Forgetter, Ledger


def forgetter_for(settings: Settings, memory: Path, ledger: Ledger) -> Forgetter:
    """Return a forgetter for a database and the search index at `memory`.

    An index that is in use is left to whoever follows the store (`projection.project`). One that is not, because the
    memory is switched off, is deleted: the first start with it makes it anew.
    """

    def drop() -> bool:
        if not memory.exists():
            return True
        if settings.memory.enabled:
            return False
        from persona.adapters.lance.folder import remove_all  # noqa: PLC0415 - takes seconds to load

        remove_all(memory)
        return True

    storage = settings.storage
    return Forgetter(ledger, runs=storage.runs, models=storage.models, quiz=storage.quiz, drop_memory=drop)
