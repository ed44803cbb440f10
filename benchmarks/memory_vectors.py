"""Vectors for the benchmarks: real ones of a local ONNX sentence model, kept in a file, or made from real ones."""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

_TOKENS_PER_BATCH = 1_024
_LONGEST = 256


def embed(texts: Sequence[str], model: Path, *, threads: int, report: Callable[[str], None] = print) -> Vectors:
    """Embed texts with the mean-pooled model in a folder (model.onnx, tokenizer.json): unit length, one row a text.

    Equal texts are embedded once, texts of like length together (at most 1,024 padded tokens a batch).

    Raises:
        OSError: a file is missing.
    """
    import onnxruntime  # noqa: PLC0415 - only who embeds pays for the import
    from tokenizers import Tokenizer  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model / "model.onnx"), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(_LONGEST)
    distinct = list(dict.fromkeys(texts))
    tokens = [encoding.ids for start in range(0, len(distinct), 1024) for encoding in
              tokenizer.encode_batch(distinct[start : start + 1024])]  # fmt: skip
    order = sorted(range(len(distinct)), key=lambda i: len(tokens[i]))
    made: Vectors | None = None
    began = said = time.perf_counter()
    done = 0
    while done < len(order):
        batch = _batch(order, tokens, done)
        vectors = _run(session, [tokens[i] for i in batch])
        if made is None:
            made = np.empty((len(distinct), vectors.shape[1]), dtype=np.float32)
        made[batch] = vectors
        done += len(batch)
        if time.perf_counter() - said > 10:
            said = time.perf_counter()
            report(f"embedded {done:,} of {len(order):,} texts, {done / (said - began):.0f}/s")
    if made is None:
        raise ValueError("no texts to embed")
    row = {text: i for i, text in enumerate(distinct)}
    return made[[row[text] for text in texts]]


def cached(
    texts: Sequence[str], model: Path, cache: Path, *, threads: int, report: Callable[[str], None] = print
) -> Vectors:
    """Embed texts, or read what the same model made of the same texts earlier."""
    digest = hashlib.sha256()
    digest.update(hashlib.sha256((model / "model.onnx").read_bytes()).digest())
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "replace")).digest())
    path = cache / f"vectors-{digest.hexdigest()[:16]}.npy"
    if path.is_file():
        kept: Vectors = np.load(path).astype(np.float32)
        return kept
    vectors = embed(texts, model, threads=threads, report=report)
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npy")
    np.save(unfinished, vectors.astype(np.float16))
    unfinished.replace(path)
    return vectors


def _batch(order: Sequence[int], tokens: Sequence[Sequence[int]], start: int) -> list[int]:
    end = start
    while end < len(order) and (end == start or len(tokens[order[end]]) * (end - start + 1) <= _TOKENS_PER_BATCH):
        end += 1
    return list(order[start:end])


def _run(session: object, batch: Sequence[Sequence[int]]) -> Vectors:
    longest = max(map(len, batch))
    ids = np.zeros((len(batch), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    names = {wanted.name for wanted in session.get_inputs()}  # type: ignore[attr-defined]
    hidden = session.run(None, {k: v for k, v in feed.items() if k in names})[0]  # type: ignore[attr-defined]
    pooled = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    return np.asarray(pooled / np.linalg.norm(pooled, axis=1, keepdims=True), dtype=np.float32)
