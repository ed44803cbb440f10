"""Finds what was said before, within a budget of time, and keeps the memory in step with the store."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors.kernel import LATER, Actor, Responder
from actors.messages import Ping, Recall, StoreChanged
from persona.domain.chat import ChannelId, Recollection
from persona.domain.recall import QUERY_WEIGHTS, mixed_vector
from persona.errors import EmbedderMissingError, MemoryIndexError, PersonaError
from persona.ports import Embedder, EmbeddingCache, Memory, MemoryQuery, MessageStore, VectorSpace
from persona.projection import Embedding, embed_waiting, open_memory, project

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VisibleChannels = Callable[[ChannelId], Awaitable[Collection[ChannelId]]]
"""Gives the channels that everybody who reads a channel may read too (itself included, where it is stored)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverSettings:
    """How long things may take, in seconds.

    `budget` for one search, `poll` between two looks at the outbox when nothing wakes it, `settle` to let changes
    gather after it was woken, `retry` to `longest_retry` between attempts after a failure. `searches` may run at the
    same time; a further one is answered with nothing. `patience` is how long the start waits for the memory to catch
    up with the store: for where the first question should find something; 0 for where being there matters more.
    A question has `embed_share` of the budget to become a vector; after that its words alone are looked for.
    """

    budget: float = 1.5
    poll: float = 5.0
    settle: float = 1.0
    retry: float = 1.0
    longest_retry: float = 60.0
    searches: int = 32
    patience: float = 0.0
    embed_share: float = 0.5


class RetrieverActor(Actor):
    """Answers `Recall`; a memory that is slow, broken or not there yet means that nothing comes to mind.

    `memory_factory` builds the memory on a thread (its library is slow to import). Opening it and catching up with the
    store happen in the background, also again after a failure: a broken memory is replaced by an empty one and filled.

    `embedder_factory` (on a thread, too) builds the model that finds what means the same in other words; `cache` keeps
    its vectors. Without it, or while it is broken, words alone count, and `describe` says so.
    """

    def __init__(
        self,
        *,
        memory_factory: Callable[[], Memory],
        store: MessageStore,
        visible_channels: VisibleChannels,
        settings: RetrieverSettings | None = None,
        embedder_factory: Callable[[], Embedder] | None = None,
        cache: EmbeddingCache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._memory_factory = memory_factory
        self._embedder_factory = embedder_factory
        self._cache = cache
        self._embedder: Embedder | None = None
        self._filling: asyncio.Task[None] | None = None
        self._to_embed = 0
        self._store = store
        self._visible_channels = visible_channels
        self._settings = settings or RetrieverSettings()
        self._clock = clock
        self._memory: Memory | None = None
        self._news = asyncio.Event()
        self._broken = asyncio.Event()
        self._searching = 0
        self._behind = 0
        self._opening = True
        self._troubles: dict[str, str] = {}
        self._following: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()

    async def started(self) -> None:
        """Be ready at once, or when patience ends; the memory follows when it can."""
        self._following = self.spawn(self._follow(), name="follow the store")
        if self._settings.patience:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.patience):
                    await self._tried.wait()

    async def stopping(self) -> None:
        """Let go of the memory; tidying up is broken off."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        await self._let_go()
        if self._embedder is not None:
            await self._embedder.close()

    async def receive(self, message: object) -> object:
        """Search in the background, so that no search waits for another one."""
        match message:
            case Recall():
                return self._recall(message)
            case StoreChanged():
                self._news.set()
            case Ping():
                return self.describe()
        return None

    def describe(self) -> str:
        """Say what state the memory is in, in a few words."""
        if self._troubles:
            return "degraded: " + "; ".join(sorted(set(self._troubles.values())))
        if self._opening:
            return "opening"
        if self._behind:
            return f"catching up, {self._behind} to go"
        return f"ready, {self._to_embed} to embed" if self._to_embed else "ready"

    # --- searching ----------------------------------------------------------------------------------------------------

    def _recall(self, request: Recall) -> object:
        if self._memory is None:
            return ()
        if self._searching >= self._settings.searches:
            self._degrade("search", "too many searches at once")
            return ()
        self._searching += 1
        self.spawn(self._answer(self._memory, request, self.respond_later()), name="search")
        return LATER

    async def _answer(self, memory: Memory, request: Recall, responder: Responder[Sequence[Recollection]]) -> None:
        began = self._clock()
        found: Sequence[Recollection] = ()
        try:
            async with asyncio.timeout(self._settings.budget):
                found = await self._search(memory, request)
            self._recover("search")
        except TimeoutError:
            self._degrade("search", f"a search took more than {self._settings.budget:g} s")
        except PersonaError as error:
            if memory is self._memory:
                self._degrade("search", error.problem)
            if memory is self._memory and isinstance(error, MemoryIndexError):
                self._broken.set()
                self._news.set()
        finally:
            self._searching -= 1
        took_ms = round((self._clock() - began) * 1000, 1)
        self.context.log.debug("recalled", channel_id=request.channel_id, found=len(found), ms=took_ms)
        responder.set_result(found)

    async def _search(self, memory: Memory, request: Recall) -> Sequence[Recollection]:
        visible = frozenset(await self._visible_channels(request.channel_id))
        if not visible:
            return ()
        query = MemoryQuery(
            text=request.text,
            vector=await self._vector(memory, request),
            channel_id=request.channel_id,
            channel_ids=visible,
            exclude=request.exclude,
            exclude_authors=request.exclude_authors,
            limit=request.limit,
        )
        return await memory.search(query)

    async def _vector(self, memory: Memory, request: Recall) -> "NDArray[np.float32] | None":
        """Return what the last messages mean together, or None when nobody can say so in time."""
        texts = [text for text in request.last or (request.text,) if text.strip()][-len(QUERY_WEIGHTS) :]
        if self._embedder is None or memory.space is None or not texts:
            return None
        try:
            async with asyncio.timeout(self._settings.embed_share * self._settings.budget):
                vector = await self._mixed(self._embedder, memory.space, texts)
        except TimeoutError:
            self._degrade("query", "a question took too long to embed: words alone count")
            return None
        except PersonaError as error:
            self._degrade("query", error.problem)
            return None
        self._recover("query")
        return vector

    async def _mixed(self, embedder: Embedder, space: VectorSpace, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Mix the vectors of texts, oldest first; those of earlier messages are known as a rule, the newest is not."""
        known = await self._cache.known(space, texts[:-1]) if self._cache is not None and len(texts) > 1 else {}
        vectors = [known[text] if text in known else await embedder.embed_query(text) for text in texts]
        try:
            return mixed_vector(vectors)
        except ValueError:
            return vectors[-1]  # they cancel each other out

    # --- following the store ------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Open the memory and keep it up to date; after a failure wait, longer each time, and open it anew.

        While waiting, the memory at hand goes on answering.
        """
        delay = self._settings.retry
        while True:
            try:
                await self._open()
                while not self._broken.is_set():
                    await self._catch_up()
                    self._tried.set()
                    delay = self._settings.retry
                    await self._wait_for_news()
            except PersonaError as error:
                self._degrade("follow", error.problem)
            self._tried.set()
            await asyncio.sleep(delay)
            delay = min(delay * 2, self._settings.longest_retry)

    async def _open(self) -> None:
        """Open the memory: this checks it, and starts a new one where it is damaged."""
        self._opening = True
        await self._let_go()
        space = await self._open_embedder()
        memory = await asyncio.to_thread(self._memory_factory)
        try:
            held = await open_memory(self._store, memory, space)
            self._behind = await self._store.memory_changes_pending()
        except PersonaError:
            await memory.close()
            raise
        self._memory = memory
        self._opening = False
        self._broken.clear()
        self._recover("search")
        self.context.log.info("memory_opened", new=not held)

    async def _open_embedder(self) -> VectorSpace | None:
        """Load the model, once; without it the memory goes on with what vectors it has, and with words."""
        if self._embedder_factory is None or self._cache is None:
            return None
        try:
            if self._embedder is None:
                embedder = await asyncio.to_thread(self._embedder_factory)
                await embedder.open()
                self._embedder = embedder
        except PersonaError as error:
            never_fetched = isinstance(error, EmbedderMissingError)
            self._degrade("embedding", f"{error}: words alone count", warn=not never_fetched)
            return None
        self._recover("embedding")
        return VectorSpace(model_id=self._embedder.model_id, dimensions=self._embedder.dimensions)

    async def _catch_up(self) -> None:
        if self._memory is None:
            return
        self._news.clear()
        embedding = self._embedding()
        done = await project(self._store, self._memory, on_progress=self._progress, embedding=embedding)
        self._behind = 0
        self._fill(self._memory, embedding)
        self._recover("follow")
        if done:
            self.context.log.debug("memory_followed", changes=done)

    def _embedding(self) -> Embedding | None:
        return Embedding(cache=self._cache, embedder=self._embedder) if self._cache is not None else None

    def _fill(self, memory: Memory, embedding: Embedding | None) -> None:
        """Embed in the background what has no vector yet; what is new does not wait for it."""
        if embedding is None or memory.space is None or (self._filling is not None and not self._filling.done()):
            return
        self._filling = self.spawn(self._embed_waiting(memory, embedding), name="embed")

    async def _embed_waiting(self, memory: Memory, embedding: Embedding) -> None:
        def progress(done: int, total: int) -> None:
            self._to_embed = total - done

        try:
            done = await embed_waiting(memory, embedding, on_progress=progress)
        except PersonaError as error:
            if memory is self._memory:  # the one that was let go may well fail; the next look tries again
                self._degrade("embedding", error.problem)
            return
        finally:
            self._to_embed = 0
        if embedding.embedder is not None:
            self._recover("embedding")
        if done:
            self.context.log.info("memory_embedded", messages=done)

    async def _wait_for_news(self) -> None:
        """Wait until the store changes and let a few more changes gather, or until it is time to look anyway."""
        try:
            async with asyncio.timeout(self._settings.poll):
                await self._news.wait()
                if not self._broken.is_set():
                    await asyncio.sleep(self._settings.settle)
        except TimeoutError:
            return

    def _progress(self, done: int, total: int) -> None:
        self._behind = total - done

    async def _let_go(self) -> None:
        memory, self._memory = self._memory, None
        filling, self._filling = self._filling, None
        if filling is not None:
            filling.cancel()
            await asyncio.wait({filling})
        if memory is not None:
            await memory.close()

    def _degrade(self, part: str, reason: str, *, warn: bool = True) -> None:
        """Say once what is wrong, however often it happens."""
        if self._troubles.get(part) != reason:
            self._troubles[part] = reason
            log = self.context.log.warning if warn else self.context.log.info
            log("memory_degraded", part=part, reason=reason)

    def _recover(self, part: str) -> None:
        if self._troubles.pop(part, None):
            self.context.log.info("memory_recovered", part=part)
