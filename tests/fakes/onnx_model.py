"""A tiny embedding model that fastembed loads: each word has a vector, a text is the mean of its words'."""

import json
import struct

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""The model of fastembed's list whose shape it has: 384 dimensions, mean of the tokens, unit length."""
DIMENSIONS = 384
_FLOAT, _INT64 = 1, 7


def write_model(folder, words, *, alike=(), dimensions=DIMENSIONS, longest=128):
    """Write the model's files into a folder and return it; words that are `alike` (pairs) get the same vector."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    vectors = np.random.default_rng(7).standard_normal((len(vocabulary), dimensions)).astype("<f4")
    for one, other in alike:
        vectors[vocabulary[other]] = vectors[vocabulary[one]]
    (folder / "model.onnx").write_bytes(_model(vectors))
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    files = {
        "config.json": {"pad_token_id": 0},
        "tokenizer_config.json": {"model_max_length": longest, "pad_token": "[PAD]"},
        "special_tokens_map.json": {"pad_token": "[PAD]", "unk_token": "[UNK]"},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def _model(vectors):
    """Return an ONNX file with one node: Gather(vectors, input_ids)."""
    table = _numbers(1, vectors.shape) + _number(2, _FLOAT) + _text(8, "vectors") + _bytes(9, vectors.tobytes())
    node = _text(1, "vectors") + _text(1, "input_ids") + _text(2, "last_hidden_state") + _text(4, "Gather")
    graph = (
        _bytes(1, node)
        + _text(2, "words")
        + _bytes(5, table)
        + _bytes(11, _value("input_ids", _INT64, ["batch", "sequence"]))
        + _bytes(11, _value("attention_mask", _INT64, ["batch", "sequence"]))
        + _bytes(12, _value("last_hidden_state", _FLOAT, ["batch", "sequence", vectors.shape[1]]))
    )
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _number(2, 17))


def _value(name, kind, shape):
    sizes = b"".join(_bytes(1, _text(2, size) if isinstance(size, str) else _number(1, size)) for size in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, sizes)))


def _varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + struct.pack("B", number)


def _number(field, number):
    return _varint(field << 3) + _varint(number)


def _numbers(field, numbers):
    return b"".join(_number(field, number) for number in numbers)


def _bytes(field, content):
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field, text):
    return _bytes(field, text.encode())
