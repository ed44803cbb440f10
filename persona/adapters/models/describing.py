"""Describes a model file from its own header, as an entry of the list of models."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from persona.adapters.llama.gguf_header import GgufHeader
from persona.adapters.llama.model_file import ModelFile, check_model_file
from persona.domain.model_list import ModelEntry

MANIFEST_KEY = "persona.manifest_sha256"
RUN_KEY = "persona.run"
BASE_KEY = "persona.base_model"

_FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
}
"""`general.file_type` in words: llama.cpp's enum llama_ftype."""


def describe_file(path: Path, *, name: str, on_bytes: Callable[[int], None] = lambda _: None) -> ModelEntry:
    """Check a model file and return its entry.

    Raises:
        ModelFileError: it is missing, damaged or no language model.
    """
    return describe(check_model_file(path, on_bytes=on_bytes), name=name)


def describe(
    file: ModelFile, *, name: str, created: datetime | None = None, run: str = "", base: str = "", manifest: str = ""
) -> ModelEntry:
    """Return the entry of a file that was found whole; what is not given is taken from its header."""
    header = file.header
    return ModelEntry(
        name=name,
        file=file.path.name,
        sha256=file.sha256,
        size=file.stamp.size,
        created=created or datetime.fromtimestamp(file.stamp.modified_ns / 1e9, tz=UTC).replace(microsecond=0),
        quantisation=quantisation(header),
        prompt_hash=file.prompt_hash or "",
        manifest=manifest or header.text(MANIFEST_KEY) or "",
        run=run or header.text(RUN_KEY) or "",
        base=base or header.text(BASE_KEY) or "",
    )


def quantisation(header: GgufHeader) -> str:
    """Return how the weights are stored, such as Q4_K_M; empty when the file does not say."""
    kind = header.metadata.get("general.file_type")
    return _FILE_TYPES.get(kind, f"type {kind}") if isinstance(kind, int) else ""
