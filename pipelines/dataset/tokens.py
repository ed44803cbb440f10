"""Counts tokens as the model will: with the vocabulary in a GGUF file, or with a `tokenizer.json`."""

import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from persona.domain.prompt import prompt_hash
from persona.errors import ConfigError

_CACHED_LINES = 1 << 15
_TOKENIZER = "tokenizer.json"


class Tokens(Protocol):
    """A model's own way of cutting text into tokens. `sha256` is of the file it was read from."""

    name: str
    sha256: str

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a prompt; the names of command tokens become those tokens."""

    def count(self, text: str) -> int:
        """Return how many tokens a piece of text takes; nothing in it is a command."""

    def harmless(self, text: str) -> str:
        """Return the text with the names of command tokens broken up, as the running bot does it."""


def open_tokens(path: Path) -> Tokens:
    """Open a vocabulary: a GGUF file, a tokenizer.json, or a model folder that holds one.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    file = path / _TOKENIZER if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"there is no vocabulary at {file}", cure="give a GGUF file, or a folder with tokenizer.json")
    return _GgufTokens(file) if file.suffix.lower() == ".gguf" else _FileTokens(file)


def hash_of_prompts(tokens: Tokens) -> str:
    """Return the prompt hash of this version's renderer with these tokens."""
    return prompt_hash(tokens.tokenize)


class _GgufTokens:
    """The vocabulary of a GGUF file; its weights are not loaded."""

    def __init__(self, file: Path) -> None:
        from persona.adapters.llama.native import api, native_log  # noqa: PLC0415 - loads llama.cpp
        from persona.adapters.llama.vocabulary import Vocabulary  # noqa: PLC0415 - as above

        native_log().take_error()
        params = api.llama_model_default_params()
        params.vocab_only = True
        model = api.llama_model_load_from_file(os.fsencode(file), params)
        if not model:
            raise ConfigError(f"llama.cpp cannot read {file}: {native_log().take_error()}", cure="use another file")
        self._model: Any = model
        self._vocabulary = Vocabulary(model)
        self.name = file.name
        self.sha256 = _sha256(file)
        self.count: Callable[[str], int] = self._vocabulary.count
        self.harmless: Callable[[str], str] = self._vocabulary.harmless

    def tokenize(self, text: str) -> list[int]:
        return self._vocabulary.tokenize(text)


class _FileTokens:
    """A `tokenizer.json` of Hugging Face."""

    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415 - only for this kind of file

        from persona.adapters.llama.vocabulary import CommandGuard  # noqa: PLC0415 - loads llama.cpp

        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises plain exceptions
            raise ConfigError(f"{file} cannot be read: {error}", cure="give a whole tokenizer.json") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._plain = Tokenizer.from_file(str(file))
        self._plain.encode_special_tokens = True
        self._plain.no_padding()
        self._plain.no_truncation()
        self._guard = CommandGuard(
            token.content for token in self._tokenizer.get_added_tokens_decoder().values() if token.special
        )
        self.harmless: Callable[[str], str] = self._guard.harmless
        self.name = file.parent.name
        self.sha256 = _sha256(file)
        self.count: Callable[[str], int] = functools.lru_cache(maxsize=_CACHED_LINES)(self._count)

    def tokenize(self, text: str) -> list[int]:
        return self._encoded(self._tokenizer, text)

    def _count(self, text: str) -> int:
        return len(self._encoded(self._plain, text))

    @staticmethod
    def _encoded(tokenizer: Any, text: str) -> list[int]:
        ids: Sequence[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return list(ids)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
