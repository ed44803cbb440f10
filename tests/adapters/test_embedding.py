"""The embedding model: fastembed over a tiny ONNX file."""

import asyncio
import itertools
import socket
import threading
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest
from fastembed import TextEmbedding
from hypothesis import given
from hypothesis import strategies as st

from persona.adapters.embedding import FastEmbedder, model_folder, wanted_files
from persona.adapters.embedding.batches import batches_by_length
from persona.adapters.embedding.model import TextModel
from persona.errors import EmbedderError
from tests.fakes.onnx_model import DIMENSIONS, MODEL, write_model

WORDS = ["cat", "kitten", "soup", "hot", "the"]


@pytest.fixture
def folder(tmp_path):
    return write_model(tmp_path / "model", WORDS, alike=[("cat", "kitten")])


@asynccontextmanager
async def opened(folder, name=MODEL, *, threads=2):
    embedder = FastEmbedder(model_folder(name, folder), threads=threads)
    await embedder.open()
    try:
        yield embedder
    finally:
        await embedder.close()


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("something goes to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@given(st.lists(st.integers(1, 600)), st.integers(1, 1024))
def test_every_text_is_in_one_batch_and_no_batch_is_too_large(lengths, tokens):
    batches = list(batches_by_length(lengths, tokens=tokens))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= tokens


@given(st.lists(st.integers(1, 64), min_size=1))
def test_batches_are_as_full_as_they_may_be(lengths):
    batches = list(batches_by_length(lengths, tokens=64))
    for batch, after in itertools.pairwise(batches):
        assert (len(batch) + 1) * lengths[after[0]] > 64


def test_what_means_the_same_is_close_and_the_order_is_kept(folder, offline):
    async def main():
        async with opened(folder) as embedder:
            texts = ["cat", "hot soup", "kitten", "cat", "soup", "the the the the the cat"]
            vectors = await embedder.embed(texts)
            assert vectors.shape == (6, DIMENSIONS)
            assert vectors.dtype == np.float32
            assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
            assert vectors[0] @ vectors[2] == pytest.approx(1, abs=1e-5)
            assert (vectors[0] == vectors[3]).all()
            assert vectors[1] @ vectors[4] > 0.5 > vectors[1] @ vectors[0]
            assert await embedder.embed_query("cat") @ vectors[0] == pytest.approx(1, abs=1e-5)
            assert (await embedder.embed([])).shape == (0, DIMENSIONS)

    asyncio.run(main())


def test_vectors_are_those_that_fastembed_makes_one_by_one(folder):
    texts = ["hot soup", "cat", "the kitten", "cat soup " * 100, "nothing of this is known", "   ", "soup"]
    bare = TextEmbedding(MODEL, specific_model_path=str(folder))
    expected = np.array([next(iter(bare.embed([text]))) for text in texts])

    async def main():
        async with opened(folder) as embedder:
            return await embedder.embed(texts)

    made = asyncio.run(main())
    known = np.linalg.norm(expected, axis=1) > 0
    assert np.allclose(made[known], expected[known], atol=1e-5)
    assert np.linalg.norm(made, axis=1) == pytest.approx(1, abs=1e-5)


def test_equal_texts_are_embedded_once(folder, monkeypatch):
    seen = []
    vectors = TextModel.vectors
    monkeypatch.setattr(TextModel, "vectors", lambda self, texts: seen.extend(texts) or vectors(self, texts))

    async def main():
        async with opened(folder) as embedder:
            seen.clear()
            await embedder.embed(["cat", "soup", "cat", "cat"])

    asyncio.run(main())
    assert sorted(seen) == ["cat", "soup"]


def test_a_question_overtakes_what_is_embedded_in_the_background(folder, monkeypatch):
    done, batches = [], []
    vectors = TextModel.vectors

    def slow(self, texts):
        time.sleep(0.02)
        batches.append(len(texts))
        return vectors(self, texts)

    async def main():
        async with opened(folder) as embedder:
            monkeypatch.setattr(TextModel, "vectors", slow)
            texts = [f"cat soup {number} " * 30 for number in range(400)]
            background = [asyncio.create_task(embedder.embed(texts)) for _ in range(2)]
            for task in background:
                task.add_done_callback(lambda _: done.append("background"))
            while not batches:
                await asyncio.sleep(0.005)
            before = len(batches)
            await embedder.embed_query("cat")
            assert len(batches) - before <= 4
            assert done == []
            await asyncio.gather(*background)

    asyncio.run(main())


def test_the_event_loop_goes_on_meanwhile(folder, monkeypatch):
    threads = set()
    vectors = TextModel.vectors

    def noticed(self, texts):
        threads.add(threading.current_thread())
        return vectors(self, texts)

    monkeypatch.setattr(TextModel, "vectors", noticed)

    async def main():
        async with opened(folder) as embedder:
            await embedder.embed(["cat soup"] * 10)
        assert threads
        assert threading.main_thread() not in threads

    asyncio.run(main())


def test_each_thread_does_a_batch_of_its_own_and_no_more_are_under_way(folder, monkeypatch):
    together = threading.Barrier(3, timeout=20)
    calls, under_way = itertools.count(), []
    vectors = TextModel.vectors
    seen = []

    def counted(self, texts):
        under_way.append(texts)
        seen.append(len(under_way))
        if next(calls) < 3:
            together.wait()
        under_way.remove(texts)
        return vectors(self, texts)

    async def main():
        async with opened(folder, threads=3) as embedder:
            monkeypatch.setattr(TextModel, "vectors", counted)
            texts = [f"cat soup {number} " * 30 for number in range(12)]
            alone = [await embedder.embed_query(text) for text in texts]
            assert np.allclose(await embedder.embed(texts), alone, atol=1e-5)

    asyncio.run(main())
    assert max(seen) == 3


def test_a_failure_in_the_background_is_told_as_it_is_and_ends_the_rest(folder, monkeypatch):
    calls = []

    def broken(self, texts):
        calls.append(len(texts))
        raise EmbedderError("the model is tired")

    async def main():
        async with opened(folder) as embedder:
            with monkeypatch.context() as patched:
                patched.setattr(TextModel, "vectors", broken)
                with pytest.raises(EmbedderError, match="tired"):
                    await embedder.embed([f"cat soup {number} " * 30 for number in range(100)])
            assert len(calls) <= 4
            assert (await embedder.embed(["cat"])).shape == (1, DIMENSIONS)

    asyncio.run(main())


def test_giving_up_on_a_background_batch_leaves_it_usable(folder):
    async def main():
        async with opened(folder) as embedder:
            for _ in range(20):
                task = asyncio.create_task(embedder.embed([f"cat {number}" for number in range(500)]))
                await asyncio.sleep(0.001)
                task.cancel()
                await asyncio.wait({task})
            assert (await embedder.embed(["cat"])).shape == (1, DIMENSIONS)

    asyncio.run(main())


def test_after_closing_it_says_that_it_is_closed(folder):
    async def main():
        async with opened(folder) as embedder:
            await embedder.embed(["cat"])
        await embedder.close()
        with pytest.raises(EmbedderError, match="closed"):
            await embedder.embed(["cat"])
        with pytest.raises(EmbedderError, match="closed"):
            await embedder.embed_query("cat")

    asyncio.run(main())


def test_another_model_has_another_id(folder, tmp_path):
    other = write_model(tmp_path / "other", [*WORDS, "dog"])

    async def id_of(path):
        async with opened(path) as embedder:
            return embedder.model_id

    one, again, different = (asyncio.run(id_of(path)) for path in (folder, folder, other))
    assert one.startswith(f"{MODEL}@")
    assert one == again != different


def spoilt(folder, name, content):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.onnx", None, "is not there: .*model.onnx: no such file"),
        ("tokenizer.json", None, "is not there: .*tokenizer.json: no such file"),
        ("tokenizer_config.json", None, "cannot be loaded"),
        ("model.onnx", b"", "cannot be loaded"),
        ("model.onnx", b"<html>sorry</html>", "cannot be loaded"),
        ("tokenizer.json", b"{", "cannot be loaded"),
        ("config.json", b"[]", "cannot be loaded"),
    ],
)
def test_a_damaged_folder_is_one_line_with_the_cure(folder, offline, name, content, words):
    spoilt(folder, name, content)

    async def main():
        with pytest.raises(EmbedderError, match=words) as caught:
            async with opened(folder):
                pass
        assert "\n" not in str(caught.value)
        assert "persona model pull --embedding" in caught.value.cure

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 20


def test_a_truncated_model_is_noticed(folder):
    whole = (folder / "model.onnx").read_bytes()
    spoilt(folder, "model.onnx", whole[: len(whole) // 2])
    with pytest.raises(EmbedderError, match="cannot be loaded"):
        asyncio.run(open_and_close(folder))


async def open_and_close(folder, name=MODEL):
    async with opened(folder, name):
        pass


def test_a_folder_with_another_models_files_is_noticed(tmp_path):
    folder = write_model(tmp_path / "model", WORDS, dimensions=16)
    with pytest.raises(EmbedderError, match=r"16 dimensions, .* has 384"):
        asyncio.run(open_and_close(folder))


def test_an_unknown_name_proposes_known_ones(folder):
    with pytest.raises(EmbedderError, match=r"bge-smal-en-v1\.5.*BAAI/bge-small-en-v1\.5"):
        model_folder("BAAI/bge-smal-en-v1.5", folder)


def test_every_model_of_fastembed_can_be_named_and_fetched():
    for known in TextEmbedding.list_supported_models():
        files = wanted_files(known["model"].upper())
        assert known["model_file"] in files.needed
        assert files.repo
