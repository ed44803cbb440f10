"""The retriever with an embedding model: by meaning where it can, by words where it cannot, and it says which."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

from actors.kernel import ActorSystem, ChildSpec, SupervisorSpec, new_ref
from actors.messages import Ping, Recall, StoreChanged
from actors.retriever import RetrieverActor, RetrieverSettings
from persona.adapters.lance import LanceMemory
from persona.adapters.sqlite import SqliteStore
from tests.fakes.embedding import WordEmbedder
from tests.fakes.talk import ATTIC, KITCHEN, NOON, allowed_channel, chatter, said

QUICK = RetrieverSettings(budget=1.0, poll=0.1, settle=0.01, retry=0.02, longest_retry=0.1)
CAR = said(2, "my car broke down on the hill")
SOUP = said(1, "soup for lunch again")


class World:
    """A retriever with a stand-in for the model, over real SQLite and LanceDB."""

    def __init__(self, store, ref):
        self.store = store
        self.ref = ref

    async def recall(self, text, last=()):
        found = await self.ref.ask(Recall(text=text, channel_id=KITCHEN, limit=1, last=last), timeout=5)
        return [one.text for one in found]

    async def until(self, wanted):
        async with asyncio.timeout(10):
            while (state := await self.ref.ask(Ping(), timeout=2)) != wanted:
                await asyncio.sleep(0.01)
        return state


@asynccontextmanager
async def world(folder, embedder, *messages, settings=QUICK):
    store = SqliteStore(folder / "store.db")
    await store.open()
    await store.put_channels([allowed_channel(KITCHEN), allowed_channel(ATTIC)])
    await store.put_messages(messages)
    ref = new_ref("retriever", mailbox=64)

    async def visible(channel_id):
        return {channel_id}

    def build():
        return RetrieverActor(
            memory_factory=lambda: LanceMemory(folder / "memory", messages=store.messages_by_id),
            store=store,
            visible_channels=visible,
            settings=settings,
            embedder_factory=lambda: embedder,
            cache=store.embeddings,
        )

    system = ActorSystem(SupervisorSpec(name="root", children=(ChildSpec(ref=ref, factory=build),)))
    await system.start()
    try:
        yield World(store, ref)
    finally:
        await system.stop()
        await store.close()


def test_recalls_what_means_the_same_also_when_it_was_just_said(tmp_path):
    async def scenario():
        embedder = WordEmbedder()
        async with world(tmp_path, embedder, CAR, SOUP) as w:
            await w.until("ready")
            before = await w.recall("automobile")
            await w.store.put_messages([said(3, "the doctor was kind", at=NOON + timedelta(minutes=1))])
            w.ref.tell(StoreChanged())
            async with asyncio.timeout(5):
                while await w.recall("physician") != ["the doctor was kind"]:
                    await asyncio.sleep(0.02)
        return before, embedder.closed

    assert asyncio.run(scenario()) == ([CAR.content], True)


def test_a_question_means_what_the_last_messages_mean_together_and_what_is_known_is_not_embedded_again(tmp_path):
    async def scenario():
        embedder = WordEmbedder()
        async with world(tmp_path, embedder, CAR, SOUP) as w:
            await w.until("ready")
            asked = []
            embed_query = embedder.embed_query

            async def noted(text):
                asked.append(text)
                return await embed_query(text)

            embedder.embed_query = noted
            both = await w.recall("hmm", last=(SOUP.content, "automobile automobile trouble", "hmm"))
            known = [*asked]
            asked.clear()
            await w.recall("hmm", last=("", "soup"))
            return both, known, asked

    both, known, asked = asyncio.run(scenario())
    assert both == [CAR.content]
    assert known == ["automobile automobile trouble", "hmm"]
    assert asked == ["soup"]


def test_without_a_model_words_alone_count_and_the_state_says_so(tmp_path):
    async def scenario():
        embedder = WordEmbedder()
        embedder.open_error = "no embedding model in the folder"
        async with world(tmp_path, embedder, CAR, SOUP) as w:
            state = await w.until("degraded: no embedding model in the folder: words alone count")
            async with asyncio.timeout(10):
                while not (by_words := await w.recall("car")):
                    await asyncio.sleep(0.01)
            return state, by_words, await w.recall("automobile")

    _, by_words, by_meaning = asyncio.run(scenario())
    assert by_words == [CAR.content]
    assert by_meaning == []


def test_a_model_that_fails_or_dawdles_costs_the_meaning_but_not_the_answer(tmp_path):
    async def scenario():
        embedder = WordEmbedder()
        settings = RetrieverSettings(budget=1.0, embed_share=0.1, poll=60)
        async with world(tmp_path, embedder, CAR, SOUP, settings=settings) as w:
            await w.until("ready")
            embedder.error = "the model fell over"
            failed = await w.recall("car"), await w.until("degraded: the model fell over")
            embedder.error, embedder.seconds = None, 30
            slow = await w.recall("car")
            await w.until("degraded: a question took too long to embed: words alone count")
            embedder.seconds = 0
            again = await w.recall("automobile")
            return failed[0], slow, again, await w.until("ready")

    failed, slow, again, _ = asyncio.run(scenario())
    assert failed == slow == again == [CAR.content]


def test_a_first_fill_is_found_by_words_at_once_and_nothing_is_embedded_twice(tmp_path):
    async def scenario():
        messages = chatter(400, channels=(KITCHEN,))
        embedder = WordEmbedder()
        embedder.seconds = 0.3
        async with world(tmp_path, embedder, *messages) as w:
            async with asyncio.timeout(10):
                while not await w.recall(messages[5].content):
                    await asyncio.sleep(0.01)
            early = len(embedder.embedded)
            await w.until("ready")
            async with asyncio.timeout(10):
                while len(embedder.embedded) < 400:
                    await asyncio.sleep(0.01)
            await w.until("ready")
        again = WordEmbedder()
        for path in sorted((tmp_path / "memory").rglob("*.lance"), reverse=True):
            if path.is_file():
                path.unlink()
        async with world(tmp_path, again) as w:
            async with asyncio.timeout(10):
                while not await w.recall(messages[5].content):
                    await asyncio.sleep(0.01)
            await w.until("ready")
            return early, sorted(embedder.embedded), sorted({m.content for m in messages}), again.embedded

    early, embedded, wanted, again = asyncio.run(scenario())
    assert early < 400
    assert embedded == wanted
    assert again == []
