"""Makes vectors of texts with a fastembed model on threads of its own: questions first, the rest in small batches."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from persona.adapters.embedding.batches import batches_by_length
from persona.adapters.embedding.files import ModelFolder
from persona.adapters.embedding.model import TextModel, try_model
from persona.errors import EmbedderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

_TEXTS_TO_MEASURE = 128
"""Texts whose tokens are counted in one go: few enough that a question does not wait for it."""


class FastEmbedder:
    """Implements `Embedder`.

    Each thread does one small batch after the other by itself: a model this small gains little (1.6 times with two
    threads) where several share a batch. A question waits for the first thread that is free and overtakes the rest,
    since whoever embeds in the background asks for the next batch only after the last one. Of those in the background
    one is served at a time: the others wait in line.
    """

    def __init__(self, folder: ModelFolder, *, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self._model: TextModel | None = None
        self._version = ""
        self._turn = asyncio.Lock()
        self._executor: ThreadPoolExecutor | None = None

    @property
    def model_id(self) -> str:
        """The model's name and the version of its files; known once it is open."""
        return f"{self._folder.name}@{self._version}"

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return self._folder.dimensions

    async def open(self) -> None:
        """Load the model from its folder; nothing is fetched from anywhere.

        Raises:
            EmbedderError: it is not there, damaged, or not the model that the settings name.
        """
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="embedding")
        try:
            self._version = await self._run(self._folder.version)
            self._model = await self._run(partial(try_model, self._folder))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the model; what waits is dropped."""
        executor, self._executor, self._model = self._executor, None, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return the vectors of texts (n x dimensions, unit length, in their order); equal texts are embedded once.

        Raises:
            EmbedderError: the model failed, or is closed.
        """
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        unique = list(places)
        vectors = np.empty((len(unique), self.dimensions), dtype=np.float32)
        async with self._turn:
            batches = batches_by_length(await self._lengths(unique))
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._threads):
                        group.create_task(self._fill(vectors, unique, batches))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
        return vectors[[places[text] for text in texts]] if len(unique) < len(texts) else vectors

    async def embed_query(self, text: str) -> "NDArray[np.float32]":
        """Return the vector of a question (dimensions), before anything that waits in `embed`.

        Raises:
            EmbedderError: the model failed, or is closed.
        """
        model = self._opened()
        vectors = await self._run(partial(model.question, text))
        vector: NDArray[np.float32] = vectors[0]
        return vector

    async def _lengths(self, texts: Sequence[str]) -> list[int]:
        model = self._opened()
        lengths: list[int] = []
        for start in range(0, len(texts), _TEXTS_TO_MEASURE):
            part = texts[start : start + _TEXTS_TO_MEASURE]
            lengths += await self._run(partial(model.lengths, part))
        return lengths

    async def _fill(
        self, vectors: "NDArray[np.float32]", texts: Sequence[str], batches: Iterator[tuple[int, ...]]
    ) -> None:
        """Put the vectors of texts in their places, batch by batch, as long as there are any."""
        model = self._opened()
        for batch in batches:
            vectors[list(batch)] = await self._run(partial(model.vectors, [texts[place] for place in batch]))

    async def _run(self, work: Callable[[], T]) -> T:
        if self._executor is None:
            raise EmbedderError("the embedding model is closed")
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _opened(self) -> TextModel:
        if self._model is None:
            raise EmbedderError("the embedding model is closed")
        return self._model
