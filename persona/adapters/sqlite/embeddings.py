"""`SqliteEmbeddings`: the `EmbeddingCache` port in the store's file, half precision, by a hash of the text."""

import hashlib
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from persona.adapters.sqlite.channels import ids_json
from persona.adapters.sqlite.database import Database
from persona.adapters.sqlite.writing import batches
from persona.domain.chat import MessageId
from persona.ports import VectorSpace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

_HASH_BYTES = 16
_BYTES_PER_NUMBER = 2
_ASKED_AT_ONCE = 500
_MODEL = "SELECT id FROM embedding_models WHERE model_id = ? AND dimensions = ?"
_NAME_MODEL = """INSERT INTO embedding_models (model_id, dimensions, used_at) VALUES (?,?,?)
    ON CONFLICT (model_id, dimensions) DO UPDATE SET used_at = excluded.used_at RETURNING id"""
_KEEP = """INSERT INTO embedding_cache (model, text_hash, vec_f16) VALUES (?,?,?)
    ON CONFLICT (model, text_hash) DO NOTHING"""
_SPACES = """SELECT m.model_id, m.dimensions, count(c.id) FROM embedding_models m
    LEFT JOIN embedding_cache c ON c.model = m.id GROUP BY m.id ORDER BY m.used_at DESC, m.id DESC"""
_SCRUB = "INSERT INTO forgetting (step) VALUES ('database')"


class SqliteEmbeddings:
    """Vectors by model and text. `clock` gives seconds since 1970.

    A vector lets one guess at its text: those of removed and edited messages go when something is forgotten (`sweep`).
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def known(self, space: VectorSpace, texts: Sequence[str]) -> "Mapping[str, Vector]":
        """Return the vectors that are known, unit length (half precision), by text.

        Raises:
            StoreError: the database failed.
        """
        return await self._database.read(partial(_known, space, texts))

    async def keep(self, space: VectorSpace, vectors: "Mapping[str, Vector]", said_in: Collection[MessageId]) -> None:
        """Keep vectors of texts that one of the stored messages `said_in` still has; the rest is left out.

        What was forgotten while it was embedded does not come back this way.

        Raises:
            StoreError: the database failed.
            ValueError: a vector has another length than the space.
        """
        wrong = next((v for v in vectors.values() if v.shape != (space.dimensions,)), None)
        if wrong is not None:
            raise ValueError(f"a vector of shape {wrong.shape}, the space has {space.dimensions} dimensions")
        rows = {text_hash(text): vector.astype("<f2").tobytes() for text, vector in vectors.items()}
        if rows:
            await self._database.write(partial(_keep, space, rows, tuple(said_in), int(self._clock() * 1e6)))

    async def spaces(self) -> Mapping[VectorSpace, int]:
        """Return how many vectors are kept of each space, the space used last first.

        Raises:
            StoreError: the database failed.
        """
        return await self._database.read(_spaces)


def text_hash(text: str) -> bytes:
    """Return what stands for a text in the cache: 16 bytes; half a surrogate pair counts as a question mark."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_HASH_BYTES).digest()


def _known(space: VectorSpace, texts: Sequence[str], connection: sqlite3.Connection) -> "dict[str, Vector]":
    import numpy as np  # noqa: PLC0415 - not needed where nothing is embedded

    row = connection.execute(_MODEL, (space.model_id, space.dimensions)).fetchone()
    if row is None:
        return {}
    by_hash = {text_hash(text): text for text in texts}
    found: dict[str, Vector] = {}
    for part in batches(list(by_hash), _ASKED_AT_ONCE):
        marks = ",".join("?" * len(part))
        sql = f"SELECT text_hash, vec_f16 FROM embedding_cache WHERE model = ? AND text_hash IN ({marks})"  # noqa: S608
        rows = connection.execute(sql, (row[0], *part)).fetchall()
        whole = [(key, blob) for key, blob in rows if len(blob) == _BYTES_PER_NUMBER * space.dimensions]
        numbers = np.frombuffer(b"".join(blob for _, blob in whole), dtype="<f2").astype(np.float32)
        vectors = numbers.reshape(-1, space.dimensions)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        found.update((by_hash[key], vector) for (key, _), vector in zip(whole, vectors, strict=True))
    return found


def _keep(
    space: VectorSpace, rows: Mapping[bytes, bytes], ids: Sequence[int], now: int, connection: sqlite3.Connection
) -> None:
    sql = "SELECT content FROM messages WHERE id IN (SELECT value FROM json_each(?))"
    said = {text_hash(content) for (content,) in connection.execute(sql, (ids_json(ids),))}
    (model,) = connection.execute(_NAME_MODEL, (space.model_id, space.dimensions, now)).fetchone()
    connection.executemany(_KEEP, [(model, key, blob) for key, blob in rows.items() if key in said])


def sweep(connection: sqlite3.Connection) -> int:
    """Remove the vectors of texts that no stored message has any more; return how many. A second for 365,000 messages.

    What is removed leaves free space in the file, so the database is scrubbed afterwards (a step of forgetting).
    """
    (anything,) = connection.execute("SELECT EXISTS (SELECT 1 FROM embedding_cache)").fetchone()
    if not anything:
        return 0
    needed = {text_hash(content) for (content,) in connection.execute("SELECT content FROM messages")}
    kept = connection.execute("SELECT id, text_hash FROM embedding_cache")
    doomed = [(key,) for key, digest in kept if digest not in needed]
    connection.executemany("DELETE FROM embedding_cache WHERE id = ?", doomed)
    if doomed:
        connection.execute(_SCRUB)
    return len(doomed)


def _spaces(connection: sqlite3.Connection) -> dict[VectorSpace, int]:
    rows = connection.execute(_SPACES)
    return {VectorSpace(model_id=model_id, dimensions=dimensions): count for model_id, dimensions, count in rows}
