"""Loads llama.cpp, sends its log lines to ours, and loads models: the only place that imports `llama_cpp`.

Import this as late as possible: loading the native library takes half a second.
"""

import ctypes
import functools
import os
import threading
from collections import deque
from pathlib import Path
from typing import Any

import structlog

# Both are read when the library loads. Without the first, idle compute threads spin and slow down everything else on
# a busy machine; without the second, an abort inside the library starts a debugger.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GGML_NO_BACKTRACE", "1")

import llama_cpp

from persona.adapters.llama.exit_guard import exit_guard
from persona.adapters.llama.settings import LlamaSettings
from persona.errors import ModelFileError

log = structlog.get_logger(__name__)

api: Any = llama_cpp
"""llama.cpp's C functions; untyped, because the wrapper's types do not tell pointers apart."""

_WARN, _ERROR, _CONTINUED = 3, 4, 5
_MEANT_SO = "n_ctx_train"
"""llama.cpp warns of every context window that is not exactly the model's own; ours is chosen."""
_LINE_LIMIT = 400


class NativeLog:
    """Takes llama.cpp's log lines, on whatever thread they come, and keeps the last errors to explain a failure."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=8)
        self._lock = threading.Lock()
        self._level = 0
        self._callback = api.llama_log_callback(self._receive)

    def install(self) -> None:
        """Become the library's log; the callback is kept alive until the process ends."""
        # The library may log from its own clean-up at exit: a callback that was collected by then is a crash.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._callback))
        api.llama_log_set(self._callback, ctypes.c_void_p(0))

    def take_error(self) -> str:
        """Return the last thing that went wrong in words, and forget it."""
        with self._lock:
            lines = list(self._errors)
            self._errors.clear()
        # The first line is the cause, the later ones are callers that pass it on.
        return lines[0].removeprefix("llama_model_load: error loading model: ") if lines else "no reason given"

    def _receive(self, level: int, text: bytes | None, _data: object) -> None:
        """Sort one line; a callback from native code must not raise."""
        line = (text or b"").decode("utf-8", "replace").strip()[:_LINE_LIMIT]
        if level != _CONTINUED:
            self._level = level
        if self._level < _WARN or len(line) < 2:  # noqa: PLR2004 - progress dots
            return
        if self._level >= _ERROR:
            with self._lock:
                self._errors.append(line)
        if _MEANT_SO in line:
            return
        log.info("llama_cpp", level_there="error" if self._level >= _ERROR else "warning", line=line)


@functools.cache
def native_log() -> NativeLog:
    """Return the process's one receiver of llama.cpp's log, installed; the library starts up on the first call."""
    receiver = NativeLog()
    receiver.install()
    api.llama_backend_init()
    return receiver


def load_model(settings: LlamaSettings, *, only_vocabulary: bool = False) -> Any:
    """Load a model, or its vocabulary alone, and return its handle (`llama_model_free` it).

    Raises:
        ModelFileError: llama.cpp cannot load it; says why.
    """
    messages = native_log()
    messages.take_error()
    if settings.gpu_layers and not only_vocabulary and not api.llama_supports_gpu_offload():
        log.warning("gpu_layers_ignored", reason="this build of llama-cpp-python has no GPU support")
    params = api.llama_model_default_params()
    params.n_gpu_layers = settings.gpu_layers
    params.vocab_only = only_vocabulary
    params.use_extra_bufts = not _crashes_on_amx()
    with exit_guard():
        model = api.llama_model_load_from_file(os.fsencode(settings.path), params)
    if not model:
        raise ModelFileError(
            f"llama.cpp cannot load {settings.path}: {messages.take_error()}",
            cure="use another model, or a newer llama-cpp-python",
        )
    problem = _unfit(model)
    if problem:
        api.llama_model_free(model)
        raise ModelFileError(f"the model {settings.path} {problem}", cure="use a chat model such as Qwen2.5-Instruct")
    return model


def _crashes_on_amx() -> bool:
    """Whether this build would compute with AMX (Intel's servers since Sapphire Rapids), and die of it.

    The compiler drops what it loads into the tile configuration (mended in llama.cpp's pull request 26954). Without
    these buffers the other instructions do the work. Our own build leaves AMX out, see pyproject.toml.
    """
    return b"AMX_INT8 = 1" in api.llama_print_system_info()


def _unfit(model: Any) -> str:
    """Say why a model cannot chat; empty when it can."""
    if api.llama_model_has_encoder(model):
        return "is an encoder-decoder model, not a chat model"
    if api.llama_model_is_diffusion(model):
        return "is a diffusion model, not a chat model"
    if not api.llama_model_has_decoder(model):
        return "only makes embeddings"
    return ""


def metadata_text(model: Any, key: str) -> str | None:
    """Return a metadata value as llama.cpp prints it; None when the model has none."""
    size = api.llama_model_meta_val_str(model, key.encode(), None, 0)
    if size < 0:
        return None
    buffer = ctypes.create_string_buffer(size + 1)
    api.llama_model_meta_val_str(model, key.encode(), buffer, size + 1)
    return buffer.value.decode("utf-8", "replace")


def model_name(model: Any, path: Path) -> str:
    """Return what the model calls itself, else its file name."""
    return metadata_text(model, "general.name") or path.stem
