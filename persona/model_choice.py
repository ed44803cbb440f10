"""Which language model runs: the one in config.toml, else the one in use in the models folder, else the demo."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from persona.adapters.llama.settings import LlamaSettings, TemplateChoice
from persona.adapters.models.registry import ModelRegistry
from persona.config import Settings
from persona.demo import CONTEXT_TOKENS, MODEL_SHA256, demo_model_path
from persona.domain.model_list import ModelEntry
from persona.errors import ModelFileError, RegistryError


class Source(Enum):
    """Where the choice was made."""

    CONFIG = "config.toml"
    REGISTRY = "the list of models"
    DEMO = "the built-in demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The model to run; `entry` when it is one of the list."""

    source: Source
    llama: LlamaSettings
    entry: ModelEntry | None = None

    def explained(self, error: ModelFileError) -> ModelFileError:
        """Return an error about this model that also names the way back, where there is one."""
        if self.source is not Source.REGISTRY:
            return error
        cure = "persona model rollback, or persona model use another one, or publish it again"
        return ModelFileError(error.problem, cure=cure)


def choose_model(settings: Settings) -> Choice:
    """Decide which model to run; its file is not looked at yet.

    Raises:
        RegistryError: the list of models is damaged, or does not say which one was in use.
    """
    model = settings.model
    if model.path:
        return Choice(source=Source.CONFIG, llama=engine_settings(settings, Path(model.path), sha256=model.sha256))
    registry = ModelRegistry(settings.storage.models)
    models = registry.read()
    if models.undecided:
        raise RegistryError(
            f"the list of models in {registry.folder} was damaged, and which one was in use is not known",
            cure="persona model list shows them, persona model use NAME chooses one",
        )
    if models.in_use is not None:
        return Choice(source=Source.REGISTRY, llama=entry_settings(settings, models.in_use), entry=models.in_use)
    demo = engine_settings(settings, demo_model_path(), sha256=MODEL_SHA256, context_tokens=CONTEXT_TOKENS)
    return Choice(source=Source.DEMO, llama=demo)


def entry_settings(settings: Settings, entry: ModelEntry) -> LlamaSettings:
    """Return what the engine needs to load a model of the list."""
    path = ModelRegistry(settings.storage.models).path_of(entry)
    return engine_settings(settings, path, sha256=entry.sha256, name=entry.name)


def engine_settings(
    settings: Settings, path: Path, *, sha256: str = "", name: str = "", context_tokens: int = 0
) -> LlamaSettings:
    """Translate [model] into what the engine needs for a file; `context_tokens` where the settings leave it open."""
    model = settings.model
    return LlamaSettings(
        path=path,
        name=name,
        sha256=sha256,
        context_tokens=model.context_tokens or context_tokens,
        slots=model.slots,
        threads=model.threads,
        gpu_layers=model.gpu_layers,
        batch_tokens=model.batch_tokens,
        template=TemplateChoice(model.template),
    )
