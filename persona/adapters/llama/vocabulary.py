"""A model's vocabulary: text to tokens, tokens to bytes, and which tokens are commands rather than text."""

import ctypes
import functools
import re
from collections.abc import Iterable
from typing import Any

from persona.adapters.llama.native import api

_CACHED_LINES = 8192
_CONTROL_ATTRIBUTES = 1 << 3
_PIECE_BYTES = 256


class CommandGuard:
    """Breaks up the names of command tokens wherever somebody wrote them."""

    def __init__(self, names: Iterable[str]) -> None:
        # A single character cannot be broken up; no vocabulary in use has such a command.
        ordered = sorted((name for name in names if len(name) > 1), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def harmless(self, text: str) -> str:
        """Return a text in which nothing is the name of a command token."""
        # Loops because breaking up one name may complete another.
        while self._pattern is not None and self._pattern.search(text):
            text = self._pattern.sub(_broken_up, text)
        return text


class Vocabulary:
    """Wraps the vocabulary of one loaded model; safe to use from any thread, not after the model is freed."""

    def __init__(self, model: Any) -> None:
        self._vocab = api.llama_model_get_vocab(model)
        self.size: int = api.llama_vocab_n_tokens(self._vocab)
        self._first = self._first_token()
        self._control = self._find_control()
        self._guard = CommandGuard(self._control.values())
        self.count = functools.lru_cache(maxsize=_CACHED_LINES)(self._count)
        """How many tokens one line of text takes; remembered, because most lines come again with the next reply."""

    @property
    def first_token(self) -> int | None:
        """The token every prompt must begin with; None when the model wants none."""
        return self._first

    @property
    def control_texts(self) -> frozenset[str]:
        """How the command tokens are written."""
        return frozenset(self._control.values())

    def text_of(self, token: int) -> str:
        """Return how a token is written, commands included; "" for -1 (no such token)."""
        if token < 0:
            return ""
        return self._piece(token, special=True).decode("utf-8", "replace")

    def beginning(self) -> str:
        """Return how the beginning-of-text token is written; "" when there is none."""
        return self.text_of(api.llama_vocab_bos(self._vocab))

    def end(self) -> str:
        """Return how the end-of-text token is written; "" when there is none."""
        return self.text_of(api.llama_vocab_eos(self._vocab))

    def is_control(self, token: int) -> bool:
        """Whether a token is a command, such as the end of a turn: never part of a reply."""
        return token in self._control

    def piece(self, token: int) -> bytes:
        """Return the bytes a token stands for (perhaps part of a character); commands stand for none."""
        return self._piece(token, special=False)

    def tokenize(self, text: str, *, commands: bool = True) -> list[int]:
        """Return the tokens of a text, without any added at the beginning or end.

        Args:
            text: any text; what UTF-8 cannot say (lone surrogates) becomes "?".
            commands: whether the names of command tokens in the text become those tokens.
        """
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            buffer = (ctypes.c_int32 * room)()
            count = api.llama_tokenize(self._vocab, data, len(data), buffer, room, False, commands)
            if count >= 0:
                return buffer[:count]
            room = -count

    def prompt_tokens(self, text: str) -> list[int]:
        """Return the tokens of a whole prompt, beginning as the model wants it, commands included."""
        tokens = self.tokenize(text)
        if self._first is not None and tokens[:1] != [self._first]:
            tokens.insert(0, self._first)
        return tokens

    def harmless(self, text: str) -> str:
        """Return a text in which nothing is the name of a command token: nobody can end a turn by writing so."""
        return self._guard.harmless(text)

    def _count(self, line: str) -> int:
        return len(self.tokenize(line, commands=False))

    def _first_token(self) -> int | None:
        if not api.llama_vocab_get_add_bos(self._vocab):
            return None
        token = int(api.llama_vocab_bos(self._vocab))
        return token if token >= 0 else None

    def _find_control(self) -> dict[int, str]:
        vocab, attributes, ends = self._vocab, api.llama_vocab_get_attr, api.llama_vocab_is_eog
        tokens = [t for t in range(self.size) if attributes(vocab, t) & _CONTROL_ATTRIBUTES or ends(vocab, t)]
        return {token: self.text_of(token) for token in tokens}

    def _piece(self, token: int, *, special: bool) -> bytes:
        room = _PIECE_BYTES
        while True:
            buffer = ctypes.create_string_buffer(room)
            length = api.llama_token_to_piece(self._vocab, token, buffer, room, 0, special)
            if length >= 0:
                return buffer.raw[:length]
            room = -length


def _broken_up(match: re.Match[str]) -> str:
    """Write a command's name so that it reads the same and is none."""
    name = match.group()
    return "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}" + name[1:] if name[0] == "<" else f"{name[0]} {name[1:]}"
