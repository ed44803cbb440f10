"""Keeps the list of models in `models/registry.json`: readers always see a whole list, writers take turns."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from persona.adapters.llama.gguf_header import GgufError, GgufHeader, read_header
from persona.adapters.models.describing import describe_file
from persona.adapters.models.files import clear_away, locked, write_whole
from persona.domain.model_list import ModelEntry, ModelList, decode_models, encode_models, names_like
from persona.errors import PersonaError, RegistryError

REGISTRY_FILE = "registry.json"

_BACKUP = ".registry.json.before"
_LOCK = ".registry.lock"
_LOCK_SECONDS = 30.0
_MEND = "`persona model list` sets it aside and makes a new one from what is in the folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What was done about a damaged list: where it lies now, and how many models the new one has."""

    aside: Path
    models: int
    current: str | None
    undecided: bool

    def __str__(self) -> str:
        text = (
            f"the list of models was damaged; it lies in {self.aside}, and a new one was made of {self.models} models"
        )
        if self.undecided:
            return f"{text}. Which one was in use is not known: persona model use NAME"
        return f"{text}; in use is {self.current or 'none of them'}"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ModelRegistry:
    """The list of models of one folder. Every method reads the file anew: other programs change it, too."""

    def __init__(self, folder: Path, *, now: Callable[[], datetime] = _utc_now) -> None:
        self.folder = folder
        self._now = now

    @property
    def file(self) -> Path:
        """Where the list is."""
        return self.folder / REGISTRY_FILE

    def path_of(self, entry: ModelEntry) -> Path:
        """Return where a model is."""
        return self.folder / entry.file

    def read(self) -> ModelList:
        """Return the list; an empty one when there is none yet.

        Raises:
            RegistryError: it is damaged or cannot be read.
        """
        try:
            return decode_models(self.file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return ModelList()
        except ValueError as error:
            raise RegistryError(f"the list of models {self.file} is damaged: {error}", cure=_MEND) from None
        except OSError as error:
            cure = "make it readable for this user"
            raise RegistryError(f"the list of models {self.file} cannot be read: {error.strerror}", cure=cure) from None

    def change(self, step: Callable[[ModelList], ModelList]) -> ModelList:
        """Read, change and write the list while nobody else does; return the new one. An equal one is not written.

        Raises:
            RegistryError: it is damaged, or cannot be written.
            PersonaError: somebody else has been changing it for too long.
        """
        with self._locked():
            known = self.read()
            fresh = step(known)
            if fresh != known:
                self._write(fresh)
            return fresh

    def mend(self) -> Mended | None:
        """Set a damaged list aside and make a new one; None when it is not damaged.

        The new one is the list as it was before the last change, as far as its models are there, and whole model files
        that it does not know.

        Raises:
            RegistryError: it cannot be read or written.
        """
        if not self._damaged():
            return None
        with self._locked():
            if not self._damaged():  # another program was quicker
                return None
            fresh = self._rebuilt()
            aside = self.folder / f"{REGISTRY_FILE}.damaged-{self._now():%Y%m%dT%H%M%S.%f}"
            with self._explained():
                shutil.copy2(self.file, aside)
                self._write(fresh, keep_old=False)
        return Mended(aside=aside, models=len(fresh.models), current=fresh.current, undecided=fresh.undecided)

    def strangers(self, models: ModelList) -> list[Path]:
        """Return the whole model files in the folder that the list does not know, by name."""
        known = {entry.file for entry in models.models}
        files = sorted(self.folder.glob("*.gguf")) if self.folder.is_dir() else []
        return [file for file in files if file.name not in known and file.is_file() and _header(file) is not None]

    def adopt(self, file: Path, *, name: str | None = None) -> ModelEntry:
        """Take a model file that lies in the folder into the list; return its entry.

        Raises:
            ModelFileError: it is no whole model.
            RegistryError: the list is damaged, or cannot be written.
        """
        known = self.read()
        entry = describe_file(file, name=name or names_like(file.stem, [each.name for each in known.models]))
        self.change(lambda models: models.with_model(entry))
        return entry

    def _rebuilt(self) -> ModelList:
        try:
            known = decode_models((self.folder / _BACKUP).read_bytes())
        except (OSError, ValueError):
            known = ModelList(undecided=True)
        kept = tuple(entry for entry in known.models if self.path_of(entry).is_file())
        names = {entry.name for entry in kept}
        lost = known.current is not None and known.current not in names
        found = replace(
            known,
            models=kept,
            current=None if lost else known.current,
            history=tuple(name for name in known.history if name in names),
            undecided=known.undecided or lost,
        )
        for file in self.strangers(found):
            name = names_like(file.stem, [entry.name for entry in found.models])
            with contextlib.suppress(PersonaError):  # no language model, or damaged: not one to choose from
                found = found.with_model(describe_file(file, name=name))
        return replace(found, undecided=found.undecided and bool(found.models))

    def _damaged(self) -> bool:
        try:
            decode_models(self.file.read_bytes())
        except ValueError:
            return True
        except OSError:
            return False
        return False

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._explained(), locked(self.folder / _LOCK, seconds=_LOCK_SECONDS, what="changing the list of models"):
            clear_away(self.folder, f"*{REGISTRY_FILE}*")
            yield

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            cure = "make room there, and make it writable for this user"
            raise RegistryError(f"{self.folder} cannot be written: {error.strerror}", cure=cure) from error

    def _write(self, models: ModelList, *, keep_old: bool = True) -> None:
        with self._explained():
            if keep_old and self.file.exists():
                write_whole(self.folder / _BACKUP, self.file.read_bytes())
            write_whole(self.file, encode_models(models))


def _header(file: Path) -> GgufHeader | None:
    try:
        return read_header(file)
    except (GgufError, OSError):
        return None
