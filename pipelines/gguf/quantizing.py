"""Makes a GGUF file smaller with llama.cpp's own quantisation."""

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path

import llama_cpp

from persona.adapters.llama.gguf_header import GgufError, read_header
from persona.errors import PersonaError

BITS = {
    "Q8_0": 8.5,
    "Q6_K": 6.6,
    "Q5_K_M": 5.7,
    "Q5_K_S": 5.5,
    "Q4_K_M": 4.9,
    "Q4_K_S": 4.6,
    "IQ4_XS": 4.3,
    "Q3_K_M": 3.9,
    "Q2_K": 3.2,
}
"""What a model can be quantised to, with roughly how many bits a weight takes then."""

_LOOK_SECONDS = 0.2


def quantize(
    source: Path, target: Path, kind: str, *, threads: int = 0, on_bytes: Callable[[int], None] = lambda _: None
) -> None:
    """Quantise a 16- or 32-bit file; `target` is there as a whole or not at all. `on_bytes` gets the bytes written.

    Rows whose length is no multiple of 256 (of very small models) are kept in a coarser-grained kind by llama.cpp.

    Raises:
        PersonaError: llama.cpp refused, or the disk is full.
        ValueError: `kind` is unknown.
    """
    if kind not in BITS:
        raise ValueError(f"{kind} is none of {', '.join(BITS)}")
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    params.nthread = threads or os.cpu_count() or 1
    draft = target.with_name(f".{target.name}.part")
    draft.unlink(missing_ok=True)
    with _Watch(draft, on_bytes):
        code = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(draft), ctypes.byref(params))
    if code:
        draft.unlink(missing_ok=True)
        raise PersonaError(f"llama.cpp could not quantise {source} to {kind}", cure="is the disk full?")
    try:
        # A full disk cuts the file off without an error: its tensors must be there to the last byte.
        read_header(draft)
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
    except (GgufError, OSError) as error:
        draft.unlink(missing_ok=True)
        problem = f"the file that {source} was quantised to {error}"
        raise PersonaError(problem, cure="make room on the disk and try again") from None
    draft.replace(target)


class _Watch:
    """Looks how large a file has become while another thread of C code writes it."""

    def __init__(self, file: Path, on_bytes: Callable[[int], None]) -> None:
        self._file, self._on_bytes = file, on_bytes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="quantise progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            if self._file.is_file():
                self._on_bytes(self._file.stat().st_size)
