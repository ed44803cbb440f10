"""Texts as vectors of unit length: from an embedding model where there is one, otherwise from their letters."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from persona.ports.embedder import Embedder

_DIMENSIONS = 1024
_BATCH = 256

Vectors = NDArray[np.float32]


class TextVectors(Protocol):
    """Makes vectors of texts."""

    @property
    def name(self) -> str:
        """What made them, in words for the report."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors (n x dimensions, unit length, in order)."""
        ...

    def close(self) -> None:
        """Let go of a model."""
        ...


class LetterVectors:
    """Hashed runs of three to five characters: close are texts that share words and spellings, whatever they mean.

    The hashing trick (Weinberger et al. 2009). Without a model, and honest about it: it says nothing about meaning.
    """

    name = "letters (hashed runs of 3 to 5 characters; no embedding model)"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors; a text without letters has one of its own direction."""
        from sklearn.feature_extraction.text import HashingVectorizer  # noqa: PLC0415 - an extra, and slow to import

        if not texts:
            return np.zeros((0, _DIMENSIONS), dtype=np.float32)
        hashing = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=_DIMENSIONS, lowercase=True)
        found: Vectors = hashing.transform(list(texts)).toarray().astype(np.float32)
        found[~found.any(axis=1), 0] = 1.0
        return found

    def close(self) -> None:
        """Nothing to let go of."""


class ModelVectors:
    """The vectors of the embedder that memory uses; owns an event loop of its own.

    Everybody answers the same contexts: what was embedded once is remembered.
    """

    def __init__(self, embedder: Embedder) -> None:
        """Open it.

        Raises:
            EmbedderError: there is no model, or it is damaged.
        """
        self._embedder = embedder
        self._runner = asyncio.Runner()
        try:
            self._runner.run(embedder.open())
        except BaseException:
            self._runner.close()
            raise
        self.name = f"embeddings ({embedder.model_id})"
        self._known: dict[str, Vectors] = {}

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors; new texts are embedded a batch at a time."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        for at in range(0, len(missing), _BATCH):
            batch = missing[at : at + _BATCH]
            self._known.update(zip(batch, self._runner.run(self._embedder.embed(batch)), strict=True))
        if not texts:
            return np.zeros((0, self._embedder.dimensions), dtype=np.float32)
        return np.stack([self._known[text] for text in texts])

    def close(self) -> None:
        """Let go of the model."""
        self._runner.run(self._embedder.close())
        self._runner.close()
