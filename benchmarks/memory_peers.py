"""The peers of the memory benchmark, each measured in a process of its own: what else could hold the vectors."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from memory_data import SCOPES, Corpus, channels_of, disk, memory_mb, percentiles
from numpy.typing import NDArray

NEAREST = 10
_WARM = 10
_SINGLE_ADDS = 300
_FLAT_QUESTIONS = 60


def numpy_exact(corpus: Corpus, rows: int, questions: int, folder: Path) -> dict[str, Any]:
    """Exact search by one matrix product; writes the truth that recall is measured against."""
    began = time.perf_counter()
    held = np.empty((rows, corpus.dimensions), dtype=np.float32)
    for part in corpus.chunks(rows):
        held[part.first : part.first + len(part.vectors)] = part.vectors
    insert = time.perf_counter() - began
    channels = channels_of(0, rows)
    result: dict[str, Any] = {"insert_s": insert, "search_ms": {}, "recall": {}}
    for scope, allowed in SCOPES.items():
        inside = np.flatnonzero(np.isin(channels, allowed)) if allowed else None

        def search(vector: NDArray[np.float32], inside: NDArray[np.int64] | None = inside) -> NDArray[np.int64]:
            similar = held @ vector if inside is None else held[inside] @ vector
            top = np.argpartition(-similar, NEAREST)[:NEAREST]
            top = top[np.argsort(-similar[top])]
            return top if inside is None else inside[top]

        took, found = _timed(search, corpus, questions)
        np.save(folder / truth_name(rows, scope), np.array(found))
        result["search_ms"][scope], result["recall"][scope] = percentiles(took), 1.0
    return {**result, "memory_mb": memory_mb()}


def faiss_hnsw(corpus: Corpus, rows: int, questions: int, folder: Path) -> dict[str, Any]:
    """Faiss HNSW16 over 8-bit vectors; filtered with a list of allowed rows, searched deeper for it."""
    import faiss  # noqa: PLC0415 - a peer that may be missing

    faiss.omp_set_num_threads(4)
    index = faiss.index_factory(corpus.dimensions, "HNSW16,SQ8", faiss.METRIC_INNER_PRODUCT)
    began = time.perf_counter()
    sample = np.concatenate([corpus.rows(s, min(s + 500, rows)).vectors for s in range(0, rows, max(rows // 40, 500))])
    index.train(sample)
    for part in corpus.chunks(rows):
        index.add(part.vectors)
    result: dict[str, Any] = {"insert_s": time.perf_counter() - began, "search_ms": {}, "recall": {}}
    channels = channels_of(0, rows)
    faiss.omp_set_num_threads(1)
    for scope, allowed in SCOPES.items():
        params = faiss.SearchParametersHNSW(efSearch=128)
        if allowed:
            inside = np.flatnonzero(np.isin(channels, allowed)).astype(np.int64)
            params = faiss.SearchParametersHNSW(efSearch=128, sel=faiss.IDSelectorBatch(inside))

        def search(vector: NDArray[np.float32], params: Any = params) -> NDArray[np.int64]:
            nearest: NDArray[np.int64] = index.search(vector[None], NEAREST, params=params)[1][0]
            return nearest

        took, found = _timed(search, corpus, questions)
        result["search_ms"][scope] = percentiles(took)
        result["recall"][scope] = recall(found, folder, rows, scope)
    return {**result, "memory_mb": memory_mb()}


def plain_lancedb(corpus: Corpus, rows: int, questions: int, folder: Path) -> dict[str, Any]:
    """LanceDB the obvious way: blocking calls, one add a message, distances as they come (L2), the default index.

    Single adds are measured on the first few hundred messages; the rest is added in bulk, or this would take days.
    """
    import lancedb  # noqa: PLC0415 - only this process pays for the import

    table = lancedb.connect(folder / f"plain-{rows}").create_table(
        "messages", [_plain_row(corpus, 0)], mode="overwrite"
    )
    began = time.perf_counter()
    for number in range(1, _SINGLE_ADDS):
        table.add([_plain_row(corpus, number)])
    single = (time.perf_counter() - began) / (_SINGLE_ADDS - 1)
    for part in corpus.chunks(rows):
        fresh = [i for i in range(len(part.vectors)) if part.first + i >= _SINGLE_ADDS]
        table.add([
            {"id": part.first + i, "channel": int(part.channels[i]), "text": part.texts[i], "vector": part.vectors[i]}
            for i in fresh
        ]) if fresh else None  # fmt: skip
    result: dict[str, Any] = {
        "insert_s": single * rows, "insert_measured": _SINGLE_ADDS, "search_ms": {}, "recall": {}, "rebuilt_ms": {},
        "rebuilt_recall": {},
    }  # fmt: skip
    for scope, allowed in SCOPES.items():
        where = f"channel = {allowed[0]}" if allowed else ""

        def search(vector: NDArray[np.float32], where: str = where) -> NDArray[np.int64]:
            query = table.search(vector).limit(NEAREST)
            found = (query.where(where) if where else query).to_list()
            return np.array([row["id"] for row in found] + [-1] * (NEAREST - len(found)))

        took, found = _timed(search, corpus, min(questions, _FLAT_QUESTIONS))
        result["search_ms"][scope] = percentiles(took)
        result["recall"][scope] = recall(found, folder, rows, scope)
    began = time.perf_counter()
    table.create_index(metric="cosine", vector_column_name="vector")
    result["index_s"] = time.perf_counter() - began
    took, found = _timed(lambda vector: _rebuilt(table, vector), corpus, questions)
    result["rebuilt_ms"]["all"] = percentiles(took)
    result["rebuilt_recall"]["all"] = recall(found, folder, rows, "all")
    return {**result, "memory_mb": memory_mb(), "disk": disk(folder / f"plain-{rows}")}


def _rebuilt(table: Any, vector: NDArray[np.float32]) -> NDArray[np.int64]:
    found = table.search(vector).distance_type("cosine").limit(NEAREST).to_list()
    return np.array([row["id"] for row in found] + [-1] * (NEAREST - len(found)))


def _plain_row(corpus: Corpus, number: int) -> dict[str, Any]:
    part = corpus.rows(number, number + 1)
    return {"id": number, "channel": int(part.channels[0]), "text": part.texts[0], "vector": part.vectors[0]}


def truth_name(rows: int, scope: str) -> str:
    """Return the file that holds the numbers of the nearest messages, question by question."""
    return f"truth-{rows}-{list(SCOPES).index(scope)}.npy"


def recall(found: list[NDArray[np.int64]], folder: Path, rows: int, scope: str) -> float:
    """Return the share of the true ten nearest that were found."""
    truth = np.load(folder / truth_name(rows, scope))[: len(found)]
    hits = [len(set(mine.tolist()) & set(true.tolist())) for mine, true in zip(found, truth, strict=True)]
    return sum(hits) / (NEAREST * len(hits))


def _timed(
    search: Callable[[NDArray[np.float32]], NDArray[np.int64]], corpus: Corpus, questions: int
) -> tuple[list[float], list[NDArray[np.int64]]]:
    for vector in corpus.question_vectors[:_WARM]:
        search(vector)
    took, found = [], []
    for vector in corpus.question_vectors[:questions]:
        began = time.perf_counter()
        found.append(search(vector))
        took.append(time.perf_counter() - began)
    return took, found
