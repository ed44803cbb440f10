"""Opens the language model: checks the file once, loads it as often as the engine has to be started anew."""

from persona.adapters.llama.model_file import ModelFile, check_model_file
from persona.adapters.llama.settings import LlamaSettings
from persona.ports import ChatEngine


def check_model(settings: LlamaSettings) -> ModelFile:
    """Check the model file without loading it or writing anything.

    Raises:
        ModelFileError: it is missing, damaged or no language model; names the file and the cure.
    """
    return check_model_file(settings.path, sha256=settings.sha256)


class LlamaEngineFactory:
    """Makes engines; call it on the thread that will own the engine.

    The file is only hashed again when it changed since it was checked.
    """

    def __init__(self, settings: LlamaSettings, checked: ModelFile | None = None) -> None:
        self._settings = settings
        self._checked = checked

    def __call__(self) -> ChatEngine:
        """Load the model.

        Raises:
            ModelFileError: the file is missing, damaged or cannot be used; names it and the cure.
        """
        # Here and not above: loading the native library takes half a second that other commands should not pay.
        from persona.adapters.llama.engine import LlamaEngine  # noqa: PLC0415
        from persona.adapters.llama.loading import load  # noqa: PLC0415

        if self._checked is None or not self._checked.unchanged:
            self._checked = check_model(self._settings)
        return LlamaEngine(load(self._settings, self._checked))


def llama_engine_factory(settings: LlamaSettings, checked: ModelFile | None = None) -> LlamaEngineFactory:
    """Return what opens the model; `checked` (from `check_model`) saves hashing the file a second time."""
    return LlamaEngineFactory(settings, checked)
