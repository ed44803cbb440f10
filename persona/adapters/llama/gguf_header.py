"""Reads the header of a GGUF file: its metadata, and whether all of its tensors are really there.

The format is described in https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. llama.cpp maps the file into
memory, and touching a mapped page that the file does not have kills the process: that is why this is checked first.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "?", 10: "<Q", 11: "<q", 12: "<d"}
_LIMIT = 1 << 24
"""More entries, tensors or array items than this are taken for damage: the largest vocabularies have 2**18."""
_ALIGNMENT = "general.alignment"

Scalar = int | float | bool | str

BLOCKS: Mapping[int, tuple[int, int]] = {
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    9: (32, 40),  # Q8_1
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    24: (1, 1),  # I8
    25: (1, 2),  # I16
    26: (1, 4),  # I32
    27: (1, 8),  # I64
    28: (1, 8),  # F64
    29: (256, 56),  # IQ1_M
    30: (1, 2),  # BF16
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
    40: (64, 36),  # NVFP4
    41: (128, 18),  # Q1_0
}
"""Elements and bytes of one block, by ggml tensor type."""


class GgufError(Exception):
    """The file is not a whole GGUF file; the text says what is wrong with it, without the path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """What a GGUF file says about itself; `metadata` leaves the arrays (the vocabulary) out, `arrays` has their sizes.

    `needed_bytes` is the file size up to which the last tensor reaches.
    """

    metadata: Mapping[str, Scalar]
    arrays: Mapping[str, int]
    tensors: int
    parameters: int
    needed_bytes: int

    def text(self, key: str) -> str | None:
        """Return a metadata value when it is there and is text."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    @property
    def architecture(self) -> str:
        """The model family, such as `qwen2`; empty when the file does not say."""
        return self.text("general.architecture") or ""


def read_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file of version 2 or 3, whatever its size.

    Raises:
        GgufError: it is no GGUF file, its header is damaged, or the file ends before its tensors do.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        size = path.stat().st_size
        reader = _Reader(stream, size)
        tensor_count, entry_count = reader.start()
        metadata, arrays = _read_metadata(reader, entry_count)
        header = _read_tensors(reader, tensor_count, metadata, arrays)
    if header.needed_bytes > size:
        raise GgufError(f"is cut off: it has {size:,} of {header.needed_bytes:,} bytes")
    return header


class _Reader:
    """Reads little-endian values and never believes a length that the file cannot hold."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size

    def start(self) -> tuple[int, int]:
        """Read the fixed part; return the numbers of tensors and of metadata entries."""
        magic = self._stream.read(4)
        if magic != MAGIC:
            raise GgufError(_what_else(magic + self._stream.read(508), self._size))
        version = self.number("<I")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
            raise GgufError("is big-endian" if swapped else f"has GGUF version {version}, not 2 or 3")
        return self.count("<Q"), self.count("<Q")

    def number(self, form: str) -> int:
        """Read one number of a `struct` format."""
        return int(self.scalar(form))

    def scalar(self, form: str) -> Scalar:
        """Read one value of a `struct` format."""
        value: Scalar = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def count(self, form: str) -> int:
        """Read a number of things that follow."""
        value = self.number(form)
        if value > _LIMIT:
            raise GgufError(f"has a damaged header: it speaks of {value:,} entries")
        return value

    def string(self) -> bytes:
        """Read a string behind its 64-bit length."""
        return self.take(self.number("<Q"))

    def take(self, length: int) -> bytes:
        """Read exactly so many bytes."""
        if length > self._size - self._stream.tell():
            raise GgufError(f"is cut off: it ends after {self._size:,} bytes, within its header")
        return self._stream.read(length)

    def value(self, kind: int) -> Scalar:
        """Read a metadata value that is no array."""
        if kind == _STRING:
            return self.string().decode("utf-8", "replace")
        if kind not in _SCALARS:
            raise GgufError(f"has a damaged header: there is no value type {kind}")
        return self.scalar(_SCALARS[kind])

    def skip_array(self) -> int:
        """Read over an array; return how many items it had."""
        kind = self.number("<I")
        count = self.count("<Q")
        if kind in _SCALARS:
            self.take(struct.calcsize(_SCALARS[kind]) * count)
            return count
        for _ in range(count):
            if kind == _ARRAY:
                self.skip_array()
            else:
                self.value(kind)
        return count

    def position(self) -> int:
        """Return how many bytes were read."""
        return self._stream.tell()


def _what_else(start: bytes, size: int) -> str:
    """Say what a file that is not GGUF looks like."""
    if not size:
        return "is empty"
    head = start.lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a model: the download went wrong"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the model itself"
    if start.startswith(b"PK\x03\x04"):
        return "is a ZIP or PyTorch file, not GGUF"
    return "is not a GGUF file"


def _read_metadata(reader: _Reader, entries: int) -> tuple[dict[str, Scalar], dict[str, int]]:
    metadata: dict[str, Scalar] = {}
    arrays: dict[str, int] = {}
    for _ in range(entries):
        key = reader.string().decode("utf-8", "replace")
        kind = reader.number("<I")
        if kind == _ARRAY:
            arrays[key] = reader.skip_array()
        else:
            metadata[key] = reader.value(kind)
    return metadata, arrays


def _read_tensors(reader: _Reader, count: int, metadata: Mapping[str, Scalar], arrays: Mapping[str, int]) -> GgufHeader:
    """Read the list of tensors and work out where the last one ends (an unknown type counts as no bytes)."""
    alignment = metadata.get(_ALIGNMENT, 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise GgufError(f"has a damaged header: {_ALIGNMENT} is {alignment}")
    parameters, end = 0, 0
    for _ in range(count):
        reader.string()
        dimensions = [reader.number("<Q") for _ in range(reader.count("<I"))]
        kind = reader.number("<I")
        offset = reader.number("<Q")
        elements = math.prod(dimensions)
        block, size = BLOCKS.get(kind, (1, 0))
        parameters += elements
        end = max(end, offset + -(-elements // block) * size)
    data_start = -(-reader.position() // alignment) * alignment
    return GgufHeader(
        metadata=metadata,
        arrays=arrays,
        tensors=count,
        parameters=parameters,
        needed_bytes=data_start + end if count else reader.position(),
    )
