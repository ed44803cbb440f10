"""What `persona model list`, `use`, `rollback`, `remove` and `check` do."""

import json
import sys
from pathlib import Path

from persona.adapters.models.registry import ModelRegistry
from persona.adapters.models.verifying import how_prompts_fit, verified
from persona.app import checked_engine
from persona.cli.import_screen import printable
from persona.cli.model_screen import hashing_bar, models_json, print_models, what_to_do
from persona.config import Settings
from persona.domain.model_list import ModelEntry, ModelList
from persona.errors import AlreadyRunningError, PersonaError, UsageError
from persona.instance_lock import InstanceLock
from persona.model_choice import choose_model


class ModelDesk:
    """Carries out the commands on one installation; a damaged list is mended first, and that is said."""

    def __init__(self, settings: Settings, *, as_json: bool = False) -> None:
        self._settings = settings
        self._json = as_json
        self._registry = ModelRegistry(settings.storage.models)

    def show(self) -> None:
        """Print the models."""
        models = self._models()
        strangers = self._registry.strangers(models)
        prompts = {entry.name: how_prompts_fit(self._registry, entry) for entry in models.models}
        if self._json:
            print(json.dumps(models_json(models, strangers, prompts, self._registry)))
            return
        print_models(models, strangers, prompts, self._registry)
        if models.current is None and not models.undecided and not self._settings.model.path:
            print("No model is in use: the persona speaks with the built-in demo.")
        self._say_what_wins()

    def use(self, name: str) -> None:
        """Verify a model and choose it.

        Raises:
            UsageError: there is no such model.
            ModelFileError: it is missing, damaged, or does not fit this program.
        """
        self._switch(self._named(self._models(), name))

    def roll_back(self) -> None:
        """Verify the model that was in use before, and choose it.

        Raises:
            PersonaError: there was none.
            ModelFileError: it is missing, damaged, or does not fit this program.
        """
        entry = self._models().before
        if entry is None:
            raise PersonaError("no model was in use before this one", cure="choose one: persona model use NAME")
        self._switch(entry, back=True)

    def remove(self, name: str) -> None:
        """Delete a model that is not in use, with everything that is kept beside it.

        Raises:
            UsageError: there is no such model, or it is in use.
        """
        models = self._models()
        entry = models.find(name) or self._unknown(models, name)
        if entry.name == models.current:
            raise UsageError(f"{name} is in use", cure="choose another one first: persona model use NAME")
        self._registry.change(lambda known: known if entry.name == known.current else known.without(entry.name))
        path = self._registry.path_of(entry)
        try:
            path.unlink(missing_ok=True)
            path.with_name(entry.lineage_file).unlink(missing_ok=True)
        except OSError as error:
            raise PersonaError(f"{path} cannot be deleted: {error.strerror}", cure="delete it by hand") from error
        self._tell(f"{entry.name} is gone.", removed=entry.name)

    def check(self) -> None:
        """Verify the model that would run.

        Raises:
            ModelFileError: it is missing, damaged, or does not fit this program.
        """
        choice = choose_model(self._settings)
        checked_engine(self._settings)
        if choice.entry is not None:
            verified(self._registry, choice.entry)
        print(f"{choice.llama.path} is a whole model file")
        if choice.entry is not None and choice.entry.mark is not None:
            print(f"{choice.entry.name} {choice.entry.mark}: {what_to_do(choice.entry.name)}")

    def _models(self) -> ModelList:
        mended = self._registry.mend()
        if mended is not None:
            print(f"persona: {mended}", file=sys.stderr)
        return self._registry.read()

    def _named(self, models: ModelList, name: str) -> ModelEntry:
        """Return the model of this name; a file that was put into the folder by hand is taken into the list."""
        known = models.find(name)
        if known is not None:
            return known
        for file in self._registry.strangers(models):
            if name in {file.name, file.stem} or Path(name).absolute() == file.absolute():
                return self._registry.adopt(file)
        return self._unknown(models, name)

    def _unknown(self, models: ModelList, name: str) -> ModelEntry:
        near = models.near(name)
        cure = f"did you mean {' or '.join(near)}?" if near else "persona model list shows them"
        raise UsageError(f"there is no model {printable(name)}", cure=cure)

    def _switch(self, entry: ModelEntry, *, back: bool = False) -> None:
        with hashing_bar(entry.file, entry.size) as on_bytes:
            verified(self._registry, entry, on_bytes=on_bytes)

        def step(models: ModelList) -> ModelList:
            if models.find(entry.name) is None:
                raise UsageError(f"{entry.name} was removed meanwhile", cure="persona model list")
            again = models.before
            return models.rolled_back() if back and again and again.name == entry.name else models.using(entry.name)

        self._registry.change(step)
        if entry.mark is not None:
            print(f"persona: {entry.name} {entry.mark}: {what_to_do(entry.name)}", file=sys.stderr)
        self._tell(f"{entry.name} is the model in use. {self._when()}", current=entry.name)
        self._say_what_wins()

    def _when(self) -> str:
        file = self._settings.storage.database.parent / "persona.lock"
        if not file.exists():
            return "The persona speaks with it from its next start on."
        try:
            with InstanceLock(file):
                return "The persona speaks with it from its next start on."
        except AlreadyRunningError:
            return "The running persona takes it over within seconds; its `status` command and its log say when."

    def _say_what_wins(self) -> None:
        if self._settings.model.path:
            print(
                f"persona: config.toml names {self._settings.model.path} ([model] path), and that wins: empty it to "
                "follow this list",
                file=sys.stderr,
            )

    def _tell(self, text: str, **data: str) -> None:
        print(json.dumps(data) if self._json else text)
