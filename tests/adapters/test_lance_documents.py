"""Messages searched in memory: the same words, the same scores and the same order as the table's own indices give."""

import asyncio
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.adapters.lance import LanceMemory
from persona.adapters.lance import table as shape
from persona.adapters.lance.addresses import Addresses
from persona.adapters.lance.documents import Stacked, Statistics, Tokenizer, by_words, document_of
from persona.adapters.lance.opening import text_search
from persona.adapters.lance.tail import Tail
from tests.fakes.talk import KITCHEN, chatter, put, said

ENGLISH = Tokenizer("English")


def document(number, text="", *, vector=None, author=1, channel=1):
    row = shape.Row(
        message_id=number, channel_id=channel, author_id=author, author_name="x", text=text, created_at=number
    )
    return document_of(row, ENGLISH(text), vector)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Running dogs ran", ["run", "dog", "ran"]),
        ("Crème brûlée, naïve!", ["creme", "brulee", "naiv"]),
        ("don't stop", ["don", "t", "stop"]),
        ("v2.5 at 10:30", ["v2", "5", "at", "10", "30"]),
        ("2つの猫が好き", ["2", "つ", "の", "猫", "が", "好", "き"]),
        ("Йод и чай", ["йод", "и", "чай"]),
        ("snake_case <@123> :)", ["snake", "case", "123"]),
        ("", []),
    ],
)
def test_words_are_those_of_the_text_index(text, tokens):
    assert ENGLISH(text) == tokens


def test_scores_are_those_of_the_text_index(tmp_path):
    rng = random.Random(3)
    words = ["soup", "bread", "running", "cheese", "the", "and", "window", "cats", "don't", "café", "rain", "2026"]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    messages = [
        said(n % 4096, " ".join(rng.choices(words, weights, k=rng.randint(2, 30))), at=one.created_at)
        for n, one in enumerate(chatter(900, channels=(KITCHEN,)))
    ]

    async def scenario():
        memory = LanceMemory(tmp_path)
        await memory.open()
        await memory.apply(put(*messages))
        memory._litter = memory._litter.after(rows=10**6)
        await memory.refresh()
        found = {}
        for asked in ("soup and bread", "run", "cafe window", "don't", "cat rain 2026"):
            query = text_search(memory._opened.table, asked).select(["message_id", "_score"]).limit(2_000)
            found[asked] = {row["message_id"]: row["_score"] for row in await query.to_list()}
        await memory.close()
        return found

    documents = [document_of(shape.row_of(m), ENGLISH(m.content), None) for m in messages]
    statistics = Statistics(ENGLISH(m.content) for m in messages)
    for asked, scores in asyncio.run(scenario()).items():
        mine = by_words(documents, ENGLISH(asked), statistics, 2_000)
        assert mine.keys() == scores.keys(), asked
        assert mine == pytest.approx(scores, rel=0.1), asked


def test_vectors_of_any_length_are_compared_by_direction_and_only_those_that_fit():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((60, 8)).astype(np.float32)
    documents = [document(n, vector=None if n % 7 == 0 else vectors[n] * (n + 1), author=n % 2) for n in range(60)]
    wanted = vectors[5]
    exact = {
        n: float(vectors[n] @ wanted / np.linalg.norm(vectors[n]) / np.linalg.norm(wanted)) for n in range(60) if n % 7
    }
    order = sorted(exact, key=lambda n: -exact[n])
    found = Stacked(documents).by_vector(wanted * 3, 10)
    assert list(found) == order[:10]
    assert found == pytest.approx({n: exact[n] for n in order[:10]}, abs=1e-5)
    odd = Stacked(documents).by_vector(wanted, 5, fits=lambda one: one.author_id == 1)
    assert list(odd) == [n for n in order if n % 2][:5]
    assert Stacked([]).by_vector(wanted, 5) == {}
    assert Stacked([document(1)]).by_vector(wanted, 5) == {}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), unique=True), st.randoms(use_true_random=False))
def test_a_row_is_the_message_that_was_read_there_and_no_other_row_is_any(places, rng):
    rows = [(fragment << 32) + offset for fragment, offset in places]
    read = pa.table({
        "message_id": pa.array([row * 7 for row in rows], pa.int64()),
        "channel_id": pa.array([row % 3 for row in rows], pa.int64()),
        "_rowid": pa.array(rows, pa.uint64()),
    })  # fmt: skip
    addresses = Addresses(read)
    asked = np.array(rng.sample(rows, len(rows)), dtype=np.int64)
    ids, channels = addresses.messages(asked)
    assert ids.tolist() == [row * 7 for row in asked.tolist()]
    assert channels.tolist() == [row % 3 for row in asked.tolist()]
    for missing in {7 << 32, 99, (2 << 32) + 41} - set(rows):
        with pytest.raises(LookupError):
            addresses.messages(np.array([*rows[:1], missing], dtype=np.int64))


def found_by(tail, text):
    return set(tail.words(ENGLISH(text), Statistics([ENGLISH(text)]), fits=lambda _: True, limit=100))


def test_what_is_indexed_leaves_the_tail_and_what_came_after_stays():
    tail = Tail(whole=True)
    tail.put([document(1, "old soup"), document(2, "old bread")])
    tail.remove([9])
    mark = tail.mark()
    tail.put([document(3, "new soup")])
    tail.remove([8, 2])
    assert found_by(tail, "soup") == {1, 3}
    assert found_by(tail, "bread") == set()
    assert tail.deleted() == {2, 8, 9}
    tail.indexed(mark)
    assert found_by(tail, "soup") == {3}
    assert tail.deleted() == {2, 8}
    tail.indexed(tail.mark())
    assert found_by(tail, "soup") == set()
    assert tail.deleted() == set()


def test_what_was_edited_since_is_found_by_its_new_words_and_vector_alone():
    tail = Tail(whole=True)
    tail.put([document(1, "soup", vector=np.array([1.0, 0.0], dtype=np.float32))])
    tail.remove([1])
    tail.put([document(1, "bread", vector=np.array([0.0, 1.0], dtype=np.float32))])
    assert (found_by(tail, "soup"), found_by(tail, "bread")) == (set(), {1})
    nearest = tail.similar(np.array([0.0, 2.0], dtype=np.float32), fits=lambda _: True, limit=5)
    assert nearest == {1: pytest.approx(1.0)}


def test_too_much_makes_it_partial_until_all_of_that_is_indexed(monkeypatch):
    monkeypatch.setattr("persona.adapters.lance.tail._MOST", 10)
    tail = Tail(whole=True)
    assert tail.room_for(8)
    tail.put([document(n, "soup") for n in range(8)])
    before = tail.mark()
    assert not tail.room_for(3)
    assert not tail.whole
    assert not tail.room_for(1), "one that lost some does not fill up again by itself"
    tail.put([document(20, "soup")])
    assert found_by(tail, "soup") == set()
    tail.indexed(before)
    assert not tail.whole, "what was let go came after the mark"
    tail.indexed(tail.mark())
    assert tail.whole
    assert tail.room_for(10)
    assert not Tail(whole=False).whole
