"""The embedder: turns texts into vectors that lie close where texts mean the same."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Embedder(Protocol):
    """A model that turns texts into vectors of unit length, on its own thread."""

    @property
    def model_id(self) -> str:
        """The model and its version; vectors of two models say nothing about each other."""
        ...

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has; known once it is open."""
        ...

    async def open(self) -> None:
        """Load the model.

        Raises:
            EmbedderError: there is none, or it is damaged; the line names the cure.
        """
        ...

    async def close(self) -> None:
        """Let go of the model; safe to call twice."""
        ...

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return the vectors of texts (n x dimensions, unit length, in their order), when nothing else is to do.

        Raises:
            EmbedderError: the model failed.
        """
        ...

    async def embed_query(self, text: str) -> "NDArray[np.float32]":
        """Return the vector of a question (dimensions), before anything that waits in `embed`.

        Raises:
            EmbedderError: the model failed.
        """
        ...
