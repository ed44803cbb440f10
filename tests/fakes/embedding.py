"""An embedder without a model: texts that share words lie close together."""

import asyncio
import hashlib

import numpy as np

from persona.errors import PersonaError
from persona.ports import VectorSpace

SYNONYMS = {"automobile": "car", "feline": "cat", "physician": "doctor"}


def vector_of(text, dimensions=64):
    """The sum of a direction for every word, of unit length; synonyms share their direction."""
    total = np.zeros(dimensions, dtype=np.float32)
    for word in text.lower().split():
        seed = int.from_bytes(hashlib.blake2b(SYNONYMS.get(word, word).encode(), digest_size=8).digest())
        total += np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)
    norm = float(np.linalg.norm(total))
    return total / norm if norm else np.eye(1, dimensions, dtype=np.float32)[0]


class WordEmbedder:
    """Stands in for a real model where a test is about what happens around it."""

    def __init__(self, *, model_id="words/test", dimensions=64):
        self.model_id = model_id
        self.dimensions = dimensions
        self.open_error = self.error = None
        self.seconds = 0.0
        self.embedded = []
        self.closed = False

    @property
    def space(self):
        """Its vector space."""
        return VectorSpace(model_id=self.model_id, dimensions=self.dimensions)

    async def open(self):
        """Load nothing, or fail as told."""
        if self.open_error is not None:
            raise PersonaError(self.open_error)

    async def close(self):
        """Note that it was closed."""
        self.closed = True

    async def embed(self, texts):
        """Return the vectors of texts."""
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise PersonaError(self.error)
        self.embedded.extend(texts)
        return np.stack([vector_of(text, self.dimensions) for text in texts])

    async def embed_query(self, text):
        """Return the vector of a question."""
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise PersonaError(self.error)
        return vector_of(text, self.dimensions)
