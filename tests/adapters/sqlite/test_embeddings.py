"""The cache of vectors: half precision, by text and model; it forgets with the messages."""

import asyncio
from datetime import timedelta

import numpy as np
import pytest

from persona.adapters.sqlite import SqliteStore
from persona.ports import ForgettingStep, VectorSpace
from tests.fakes.embedding import vector_of
from tests.fakes.talk import BEN, KITCHEN, NOON, allowed_channel, said

SPACE = VectorSpace(model_id="words/test", dimensions=64)
OTHER = VectorSpace(model_id="words/test-v2", dimensions=64)


async def stored(folder, *messages):
    store = SqliteStore(folder / "store.db")
    await store.open()
    await store.put_channels([allowed_channel(KITCHEN)])
    await store.put_messages(messages)
    await store.embeddings.keep(SPACE, {m.content: vector_of(m.content) for m in messages}, [m.id for m in messages])
    return store


def test_gives_back_unit_vectors_by_text_and_model(tmp_path):
    async def scenario():
        store = await stored(tmp_path, *(said(n, f"word number {n}") for n in range(1200)))
        texts = [f"word number {n}" for n in range(0, 1200, 7)]
        known = await store.embeddings.known(SPACE, [*texts, "never said"])
        other = await store.embeddings.known(OTHER, texts)
        spaces = await store.embeddings.spaces()
        await store.close()
        return texts, known, other, spaces

    texts, known, other, spaces = asyncio.run(scenario())
    assert sorted(known) == sorted(texts)
    for text, vector in known.items():
        assert vector.dtype == np.float32
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
        assert float(vector @ vector_of(text)) > 0.9999
    assert other == {}
    assert spaces == {SPACE: 1200}


def test_keeps_nothing_that_no_stored_message_says_and_no_wrong_length(tmp_path):
    async def scenario():
        message = said(1, "still here")
        store = await stored(tmp_path, message)
        await store.embeddings.keep(SPACE, {"forgotten meanwhile": vector_of("x")}, [message.id])
        with pytest.raises(ValueError, match="64 dimensions"):
            await store.embeddings.keep(SPACE, {"still here": np.ones(3, dtype=np.float32)}, [message.id])
        known = await store.embeddings.known(SPACE, ["still here", "forgotten meanwhile"])
        await store.close()
        return list(known)

    assert asyncio.run(scenario()) == ["still here"]


def test_forgetting_takes_vectors_that_no_other_message_needs_and_scrubs_the_file(tmp_path):
    async def scenario():
        mine, shared = said(1, "only ben said this", author=BEN), said(2, "everybody says this", author=BEN)
        store = await stored(tmp_path, mine, shared, said(3, "everybody says this"))
        raw = vector_of(mine.content).astype("<f2").tobytes()
        await store.ledger.forget_author(BEN.id, NOON + timedelta(days=1))
        for step, through in (await store.ledger.steps_due()).items():
            if step is not ForgettingStep.MEMORY:
                await store.ledger.step_done(step, through)
        await store.purge_done(await store.purge_due())
        known = await store.embeddings.known(SPACE, [mine.content, shared.content])
        due = set(await store.ledger.steps_due())
        await store.ledger.scrub()
        await store.close()
        return list(known), due, raw in (tmp_path / "store.db").read_bytes()

    assert asyncio.run(scenario()) == (["everybody says this"], {ForgettingStep.DATABASE}, False)
