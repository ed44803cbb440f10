"""Notices that the list of models names another one, and prepares it for a running persona."""

import asyncio
from collections.abc import Callable

import structlog

from actors.threaded_model import ThreadedChatModel
from persona.adapters.llama.factory import LlamaEngineFactory
from persona.adapters.llama.memory import fits_beside
from persona.adapters.llama.model_file import FileStamp, ModelFile
from persona.adapters.llama.settings import LlamaSettings
from persona.adapters.models.registry import ModelRegistry
from persona.adapters.models.verifying import verified
from persona.config import Settings
from persona.domain.model_list import ModelEntry, ModelList
from persona.errors import InferenceError, RegistryError
from persona.model_choice import entry_settings
from persona.options import EngineFactory
from persona.ports import ChatModel, ModelInfo

log = structlog.get_logger(__name__)

FitsBeside = Callable[[ModelFile, LlamaSettings], bool]


class Candidate:
    """A model of the list, on its way to run; see `persona.ports.ModelCandidate`."""

    def __init__(
        self,
        registry: ModelRegistry,
        entry: ModelEntry,
        settings: LlamaSettings,
        *,
        chosen: int,
        fits: FitsBeside,
    ) -> None:
        self.entry = entry
        self.chosen = chosen
        self._registry = registry
        self._settings = settings
        self._fits = fits
        self._checked: ModelFile | None = None
        self.model: ThreadedChatModel | None = None

    @property
    def name(self) -> str:
        """What it is called in the list."""
        return self.entry.name

    @property
    def engine(self) -> EngineFactory:
        """What loads it."""
        return LlamaEngineFactory(self._settings, self._checked)

    async def check(self) -> None:
        """Check the file, its hash and its prompts, on a thread.

        Raises:
            ModelFileError: it is missing, damaged, or was trained on other prompts than this program writes.
        """
        self._checked = await asyncio.to_thread(verified, self._registry, self.entry)

    def fits_beside(self) -> bool:
        """Whether the machine has memory for it beside the one that runs.

        Raises:
            InferenceError: it was not checked yet.
        """
        if self._checked is None:
            raise InferenceError(f"{self.name} was not checked")
        return self._fits(self._checked, self._settings)

    def make(self) -> ChatModel:
        """Return it, not opened yet."""
        self.model = ThreadedChatModel(self.engine)
        return self.model


class ModelFollower:
    """Looks at the list of models; reading it again only when the file changed."""

    def __init__(self, settings: Settings, *, fits: FitsBeside = fits_beside) -> None:
        self._settings = settings
        self._registry = ModelRegistry(settings.storage.models)
        self._fits = fits
        self._seen: FileStamp | None = None
        self._models = ModelList()
        self._refused: tuple[str, int] | None = None
        self._trouble = ""

    async def wanted(self, running: ModelInfo) -> Candidate | None:
        """Return the model in use when it is another one than the running one, and was not refused before."""
        return await asyncio.to_thread(self._look, running)

    def refused(self, candidate: Candidate, why: str) -> None:
        """Leave this choice alone until somebody chooses again."""
        self._refused = (candidate.entry.sha256, candidate.chosen)
        self._trouble = f"{candidate.name} was chosen, but cannot be used: {why}"

    def notes(self, running: ModelInfo) -> tuple[str, ...]:
        """Say what the owner should know of the running model: that another one cannot be used, that it is marked."""
        same = (entry for entry in self._models.models if entry.sha256 == running.sha256)
        mark = next((f"{entry.mark}; choose another one" for entry in same if entry.mark), "")
        return tuple(note for note in (self._trouble, mark) if note)

    def _look(self, running: ModelInfo) -> Candidate | None:
        try:
            stamp = FileStamp.of(self._registry.file)
        except OSError:
            return None  # no list, no other model
        if stamp == self._seen:
            return None
        self._seen = stamp
        try:
            self._models = models = self._registry.read()
        except RegistryError as error:
            log.warning("models_not_read", error=str(error))
            return None
        entry = models.in_use
        if entry is not None and (entry.sha256, models.chosen) == self._refused:
            return None
        self._trouble, self._refused = "", None
        if entry is None or entry.sha256 == running.sha256:
            return None
        settings = entry_settings(self._settings, entry)
        return Candidate(self._registry, entry, settings, chosen=models.chosen, fits=self._fits)


def model_follower(settings: Settings) -> ModelFollower | None:
    """Return what notices another choice; None where config.toml names the model: that wins."""
    return None if settings.model.path else ModelFollower(settings)
