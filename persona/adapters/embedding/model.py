"""A fastembed model, loaded from a folder and asked batch by batch."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from fastembed import TextEmbedding

from persona.adapters.embedding.files import PULL, ModelFolder
from persona.errors import EmbedderError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TextModel:
    """Makes vectors of texts, on the thread that calls it; several may call at the same time.

    Raises:
        EmbedderError: the files are damaged, or do not go together.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self._name = folder.name
        with _explained(f"the embedding model in {folder.path} cannot be loaded", cure=PULL):
            # With a path of its own fastembed never looks at the network or at its cache in the temporary folder.
            self._model = TextEmbedding(folder.name, threads=1, specific_model_path=str(folder.path))

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens the model makes of each text.

        Raises:
            EmbedderError: the tokenizer failed.
        """
        with self._working():
            return [self._model.token_count(text) for text in texts]

    def vectors(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return the vectors of one batch of texts (n x dimensions, unit length).

        Raises:
            EmbedderError: the model failed.
        """
        with self._working():
            return _unit(self._model.passage_embed(list(texts), batch_size=len(texts)))

    def question(self, text: str) -> "NDArray[np.float32]":
        """Return the vector of a question (1 x dimensions, unit length): some models treat questions otherwise.

        Raises:
            EmbedderError: the model failed.
        """
        with self._working():
            return _unit(self._model.query_embed(text))

    def _working(self) -> contextlib.AbstractContextManager[None]:
        return _explained(f"the embedding model {self._name} failed", cure=f"if it fails again, {PULL}")


def try_model(folder: ModelFolder) -> TextModel:
    """Load a model and ask it for a vector: only its answer tells whether it is the one that its name promises.

    Raises:
        EmbedderError: it is damaged, or another model.
    """
    model = TextModel(folder)
    found = model.vectors(["hello"]).shape[1]
    if found != folder.dimensions:
        raise EmbedderError(
            f"{folder.path} holds a model with {found} dimensions, {folder.name} has {folder.dimensions}",
            cure=f"correct [memory] embedding or embedding_path, or {PULL}",
        )
    return model


def _unit(made: "Iterable[NDArray[Any]]") -> "NDArray[np.float32]":
    """Return vectors of unit length, as not every model makes them; one of nothing points somewhere, too."""
    vectors = np.asarray(list(made), dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise EmbedderError("the embedding model made numbers that are none", cure=PULL)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[lengths[:, 0] == 0, 0] = 1
    vectors /= np.where(lengths == 0, 1, lengths)
    return vectors


@contextlib.contextmanager
def _explained(problem: str, *, cure: str) -> Iterator[None]:
    """Give every failure of the libraries below one line: what they raise for a damaged file is of many types."""
    try:
        yield
    except EmbedderError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EmbedderError(f"{problem}: {reason}", cure=cure) from error
