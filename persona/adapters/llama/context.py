"""A model's working memory: decodes batches of tokens and edits the attention cache."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from persona.adapters.llama.exit_guard import exit_guard
from persona.adapters.llama.native import api, native_log
from persona.adapters.llama.settings import LlamaSettings, default_threads
from persona.errors import InferenceError, ModelFileError

_MICRO_BATCH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Tokens that continue one sequence from a position on; `wants_next` asks for what follows the last of them."""

    sequence: int
    position: int
    tokens: Sequence[int]
    wants_next: bool


class Batch:
    """The arrays of one llama.cpp batch, filled through NumPy: storing tokens one by one through ctypes is slow."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._token = np.zeros(capacity, dtype=np.int32)
        self._position = np.zeros(capacity, dtype=np.int32)
        self._sequence = np.zeros(capacity, dtype=np.int32)
        self._sequence_count = np.ones(capacity, dtype=np.int32)
        self._output = np.zeros(capacity, dtype=np.int8)
        start, step = self._sequence.ctypes.data, self._sequence.itemsize
        self._sequence_pointer = (start + step * np.arange(capacity, dtype=np.uintp)).astype(np.uintp)
        self.native: Any = self._build()

    def fill(self, pieces: Sequence[Piece]) -> list[int | None]:
        """Put pieces into the batch; return for each where its next token can be drawn, None when it is not wanted."""
        at = 0
        outputs: list[int | None] = []
        for piece in pieces:
            end = at + len(piece.tokens)
            self._token[at:end] = piece.tokens
            self._position[at:end] = np.arange(piece.position, piece.position + len(piece.tokens), dtype=np.int32)
            self._sequence[at:end] = piece.sequence
            self._output[at:end] = 0
            if piece.wants_next:
                self._output[end - 1] = 1
            outputs.append(end - 1 if piece.wants_next else None)
            at = end
        self.native.n_tokens = at
        return outputs

    def _build(self) -> Any:
        batch = api.llama_batch()
        batch.n_tokens = 0
        batch.token = _pointer(self._token, ctypes.c_int32)
        batch.pos = _pointer(self._position, ctypes.c_int32)
        batch.n_seq_id = _pointer(self._sequence_count, ctypes.c_int32)
        batch.seq_id = ctypes.cast(
            ctypes.c_void_p(self._sequence_pointer.ctypes.data), ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))
        )
        batch.logits = _pointer(self._output, ctypes.c_int8)
        return batch


class Context:
    """The attention cache of one model and the computation on it; one thread uses it, `close` it before the model."""

    def __init__(
        self, model: Any, settings: LlamaSettings, *, context_tokens: int, sequences: int, outputs: int = 0
    ) -> None:
        """Make room for so many sequences of `context_tokens` each, and for so many `outputs` of one batch.

        Raises:
            ModelFileError: the memory for it is not there.
        """
        threads = settings.threads or default_threads(int(api.llama_model_n_params(model)))
        params = api.llama_context_default_params()
        params.n_ctx = sequences * context_tokens
        params.n_batch = max(settings.batch_tokens, sequences)
        params.n_ubatch = min(params.n_batch, _MICRO_BATCH)
        params.n_seq_max = sequences
        # One row of logits for each sequence; the default would reserve one for every token of a batch.
        params.n_outputs_max = max(sequences, outputs)
        # A buffer for each sequence: in a common one every reply would look at the tokens of all others.
        params.kv_unified = False
        if not settings.gpu_layers:
            # Measured on CPUs: flash attention takes up to eight times as long for pieces of less than 64 tokens,
            # and those are what a chat is made of (a new message, or one token for each of several replies).
            params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.n_threads = params.n_threads_batch = threads
        if settings.exact_cache:
            params.type_k = params.type_v = api.GGML_TYPE_F32
            params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        messages = native_log()
        messages.take_error()
        with exit_guard():
            self.handle: Any = api.llama_init_from_model(model, params)
        if not self.handle:
            raise ModelFileError(
                f"the model {settings.path} does not fit into memory: {messages.take_error()}",
                cure="set [model] context_tokens or slots lower, or use a smaller model",
            )
        self._memory = api.llama_get_memory(self.handle)
        self._batch = Batch(params.n_batch)

    @property
    def batch_capacity(self) -> int:
        """Tokens that fit into one `decode`."""
        return self._batch.capacity

    def decode(self, pieces: Sequence[Piece]) -> list[int | None]:
        """Compute pieces; return where each one's next token can be drawn (None where it was not asked for).

        Raises:
            InferenceError: the computation failed; the cache of these sequences can no longer be trusted.
        """
        outputs = self._batch.fill(pieces)
        with exit_guard():
            code = api.llama_decode(self.handle, self._batch.native)
        if code != 0:
            raise InferenceError(f"llama.cpp could not compute {self._batch.native.n_tokens} tokens (code {code})")
        return outputs

    def logits(self, index: int, size: int) -> npt.NDArray[np.float32]:
        """Return a copy of the scores behind position `index` of the last batch, one for each of `size` tokens."""
        return np.ctypeslib.as_array(api.llama_get_logits_ith(self.handle, index), shape=(size,)).copy()

    def cut(self, sequence: int, keep: int) -> bool:
        """Remove all but the first `keep` tokens of a sequence; False when its kind of cache cannot do that."""
        return bool(api.llama_memory_seq_rm(self._memory, sequence, keep, -1))

    def clear(self, sequence: int) -> None:
        """Remove a sequence."""
        api.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def copy(self, source: int, target: int) -> None:
        """Replace a sequence by a copy of another one (only whole ones can be copied: cut it afterwards)."""
        self.clear(target)
        api.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def close(self) -> None:
        """Free the cache; safe to call twice."""
        handle, self.handle = self.handle, None
        if handle is not None:
            api.llama_free(handle)


def _pointer(array: npt.NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))
