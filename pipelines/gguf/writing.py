"""Writes a model folder as a GGUF file, one tensor at a time: memory stays at the size of the largest tensor."""

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from persona.errors import ModelFileError
from pipelines.gguf.architecture import Architecture
from pipelines.gguf.vocabulary import Vocabulary

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
_KINDS = {
    "BF16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "F16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "F32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
}
"""Matrices keep the precision they have in the folder, so nothing is lost before it is quantised on purpose."""

OnBytes = Callable[[int, int], None]
"""Called with the bytes that are written and those there will be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """A tensor of the folder: where it is, what it is called there and in GGUF, and what kind it becomes."""

    file: Path
    name: str
    target: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * (4 if self.kind is GGMLQuantizationType.F32 else 2)


def write_gguf(
    folder: Path, target: Path, keys: Mapping[str, str], *, on_bytes: OnBytes = lambda _done, _total: None
) -> None:
    """Write a model (config.json, tokenizer files, safetensors) as `target`, whole or not at all.

    Matrices keep their precision; vectors (norms, biases) are float32, as llama.cpp wants them. `keys` are added to the
    file's metadata.

    Raises:
        ModelFileError: a file is missing or damaged, or the model is of a kind that is not known here.
        OSError: the file cannot be written.
    """
    config = _config(folder)
    architecture = Architecture.of(config, place=str(folder))
    vocabulary = Vocabulary.read(folder, rows=architecture.vocabulary)
    tensors = list(_tensors(folder, architecture))
    draft = target.with_name(f".{target.name}.part")
    try:
        writer = GGUFWriter(str(draft), architecture.name)
        try:
            architecture.describe(writer)
            writer.add_name(keys.get("general.name", folder.name))
            writer.add_file_type(_file_type(tensors))
            vocabulary.write(writer)
            for key, value in keys.items():
                if key != "general.name":
                    writer.add_string(key, value)
            _write_tensors(writer, architecture, tensors, on_bytes)
        finally:
            writer.close()
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)  # gigabytes that nobody can use
        raise


def _write_tensors(writer: GGUFWriter, architecture: Architecture, tensors: list[_Tensor], on_bytes: OnBytes) -> None:
    factors = architecture.rope_factors()
    total = sum(tensor.nbytes for tensor in tensors)
    if factors is not None:
        name = gguf.TENSOR_NAMES[gguf.MODEL_TENSOR.ROPE_FREQS] + ".weight"
        writer.add_tensor_info(name, factors.shape, factors.dtype, factors.nbytes)
    for tensor in tensors:
        kept = np.dtype(np.float32 if tensor.kind is GGMLQuantizationType.F32 else np.float16)
        writer.add_tensor_info(tensor.target, tensor.shape, kept, tensor.nbytes, raw_dtype=tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        _put(writer, factors)
    done = 0
    for tensor in tensors:
        _put(writer, architecture.laid_out(tensor.name, _values(tensor)))
        done += tensor.nbytes
        on_bytes(done, total)


def _put(writer: GGUFWriter, values: NDArray[Any]) -> None:
    try:
        writer.write_tensor_data(values)
    except OSError as error:
        if error.errno is not None:
            raise
        # NumPy says only how much it could write; a file that takes no more is a full disk.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def _tensors(folder: Path, architecture: Architecture) -> Iterator[_Tensor]:
    """Yield what becomes part of the file, in the order of the model's own files."""
    seen = set()
    for file in _weight_files(folder):
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - it is no mapping
                    target = architecture.tensor_name(name)
                    if target is None:
                        continue
                    piece = opened.get_slice(name)
                    shape = tuple(int(size) for size in piece.get_shape())
                    kind = _kind(piece.get_dtype(), shape, file, name)
                    seen.add(target)
                    yield _Tensor(file=file, name=name, target=target, shape=shape, kind=kind)
        except (SafetensorError, OSError) as error:
            raise ModelFileError(f"{file} is damaged: {error}", cure="fetch or train the model again") from None
    missing = {"token_embd.weight", "output_norm.weight", *_per_layer(architecture.layers)} - seen
    if not architecture.tied and "output.weight" not in seen:
        missing.add("output.weight")
    if missing:
        raise ModelFileError(
            f"{folder} lacks {len(missing)} tensors, {min(missing)} for one", cure="fetch or train the model again"
        )


def _per_layer(layers: int) -> Iterator[str]:
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "attn_norm", "ffn_norm")
    for layer in range(layers):
        yield from (f"blk.{layer}.{part}.weight" for part in parts)


def _kind(dtype: str, shape: tuple[int, ...], file: Path, name: str) -> GGMLQuantizationType:
    if dtype not in _KINDS:
        raise ModelFileError(f"{file}: {name} is kept as {dtype}", cure="merge into a 16-bit model first")
    return GGMLQuantizationType.F32 if len(shape) == 1 else _KINDS[dtype][0]


def _file_type(tensors: list[_Tensor]) -> LlamaFileType:
    kind = next(tensor.kind for tensor in tensors if len(tensor.shape) > 1)
    return next(file_type for known, file_type in _KINDS.values() if known is kind)


def _values(tensor: _Tensor) -> NDArray[Any]:
    """Read one tensor in the form in which it is written (bfloat16 as its 16 bits)."""
    import torch  # noqa: PLC0415 - NumPy has no bfloat16

    with safe_open(tensor.file, framework="pt") as opened:
        values = opened.get_tensor(tensor.name)
    if tensor.kind is GGMLQuantizationType.F32:
        return values.to(torch.float32).numpy()  # type: ignore[no-any-return]
    if tensor.kind is GGMLQuantizationType.BF16:
        return values.contiguous().view(torch.uint16).numpy()  # type: ignore[no-any-return]
    return values.numpy()  # type: ignore[no-any-return]


def _weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX
    try:
        if index.is_file():
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        else:
            names = [WEIGHTS]
    except (ValueError, KeyError):
        raise ModelFileError(f"{index} is damaged", cure="fetch or train the model again") from None
    files = [folder / name for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise ModelFileError(f"there is no {missing[0]}", cure="the model folder is not whole: fetch or train it again")
    return files


def _config(folder: Path) -> Mapping[str, Any]:
    file = folder / "config.json"
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except OSError:
        raise ModelFileError(f"there is no {file}", cure="name a model folder in Hugging Face's layout") from None
    except ValueError:
        raise ModelFileError(f"{file} is damaged", cure="fetch or train the model again") from None
