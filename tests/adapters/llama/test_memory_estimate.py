"""Whether a second model fits into memory: an estimate that errs on the careful side."""

import sys
from dataclasses import replace

import pytest

from persona.adapters.llama.gguf_header import GgufHeader
from persona.adapters.llama.memory import fits_beside, free_bytes, needed_bytes
from persona.adapters.llama.model_file import FileStamp, ModelFile, check_model_file
from persona.adapters.llama.settings import LlamaSettings

QWEN_3B = {
    "general.architecture": "qwen2",
    "qwen2.block_count": 36,
    "qwen2.context_length": 32768,
    "qwen2.embedding_length": 2048,
    "qwen2.attention.head_count": 16,
    "qwen2.attention.head_count_kv": 2,
}
GB = 10**9


def model(path, metadata, size):
    header = GgufHeader(metadata=metadata, arrays={}, tensors=1, parameters=1, needed_bytes=size)
    return ModelFile(path=path, header=header, sha256="", stamp=FileStamp(inode=1, size=size, modified_ns=1))


def test_a_3b_model_needs_its_file_and_a_cache_for_every_conversation(tmp_path):
    file = model(tmp_path / "m", QWEN_3B, 2 * GB)
    settings = LlamaSettings(path=tmp_path / "m", slots=2, resident=2)
    # Keys and values of 36 layers, 2 heads of 128 numbers, 2 bytes each, 4096 tokens, 4 conversations.
    cache = 2 * 36 * 2 * 128 * 2 * 4096 * 4
    assert needed_bytes(file, settings) == int(1.1 * (2 * GB + cache))
    more = needed_bytes(file, replace(settings, context_tokens=8192))
    assert more == int(1.1 * (2 * GB + 2 * cache))
    assert needed_bytes(file, replace(settings, slots=4)) > needed_bytes(file, settings)


@pytest.mark.parametrize(
    ("free", "gpu_layers", "fits"),
    [
        (8 * GB, 0, True),
        (3 * GB, 0, False),
        (0, 0, False),
        (None, 0, False),
        (80 * GB, -1, False),
        (80 * GB, 20, False),
    ],
)
def test_only_what_surely_fits_is_loaded_beside_another_model(tmp_path, free, gpu_layers, fits):
    file = model(tmp_path / "m", QWEN_3B, 2 * GB)
    settings = LlamaSettings(path=tmp_path / "m", gpu_layers=gpu_layers)
    assert fits_beside(file, settings, free=lambda: free) is fits


def test_a_header_that_says_little_still_gives_an_estimate(tmp_path):
    file = model(tmp_path / "m", {"general.architecture": "new", "new.block_count": "many"}, GB)
    assert needed_bytes(file, LlamaSettings(path=tmp_path / "m")) >= GB


def test_a_real_file_can_be_estimated(scripted_gguf):
    file = check_model_file(scripted_gguf)
    size = scripted_gguf.stat().st_size
    assert size < needed_bytes(file, LlamaSettings(path=scripted_gguf)) < size + 10**7


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_this_machine_tells_how_much_is_free():
    found = free_bytes()
    assert found is not None
    assert 10**6 < found < 10**14
