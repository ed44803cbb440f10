"""The pure decisions behind a search."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.adapters.lance.ranking import merged, query_words, ranked, word_count
from persona.adapters.lance.tidying import Litter
from persona.domain.chat import snowflake_at, snowflake_time
from persona.domain.recall import age_factor, best_first
from tests.fakes.talk import NOON


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Does anyone remember the WIFI password?", ("anyone", "remember", "wifi", "password")),
        ("who are you", ("who", "are", "you")),
        ("don't; DON\N{RIGHT SINGLE QUOTATION MARK}T you know", ("know",)),
        ("<@42> look <:party_cat:7> at <#9> <t:17:R> https://www.example.org/cats", None),
        ("pizza pizza, Pizza! (pizza)", ("pizza",)),
        ("\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}", ()),
        ("... --- ___ ***", ()),
    ],
)
def test_query_words(text, words):
    if words is None:
        words = ("look", "party_cat", "example.org/cats")
    assert query_words(text) == words


@given(st.text(max_size=3_000))
def test_query_words_are_few_short_and_encodable_whatever_the_text(text):
    found = query_words(text)
    assert len(found) <= 64
    assert sum(map(len, found)) <= 2_000
    assert len(set(found)) == len(found)
    " ".join(found).encode()


def test_a_long_query_is_cut_and_keeps_its_beginning():
    found = query_words(" ".join(f"w{n}" for n in range(1_000)))
    assert found == tuple(f"w{n}" for n in range(64))
    assert [len(word) for word in query_words("x" * 5_000)] == [2_000]


@pytest.mark.parametrize(
    ("text", "enough"),
    [("ok", False), ("ok then", True), ("<@12> ok", False), ("今日は天気", True), ("!!! ok ???", False), ("", False)],
)
def test_word_count(text, enough):
    assert (word_count(text) >= 2) is enough


def test_two_searches_of_one_stage_become_one_ranking_by_score_and_of_equals_by_id():
    assert list(merged({1: 5.0, 2: 3.0}, {3: 4.0, 4: 3.0, 1: 5.0})) == [1, 3, 4, 2]
    assert merged({}, {}) == {}


@given(
    st.lists(st.integers(1, 40), unique=True, max_size=30),
    st.lists(st.integers(1, 40), unique=True, max_size=30),
    st.integers(0, 60),
)
def test_the_order_is_that_of_the_pure_functions(by_words, by_vector, now_hours):
    ids = {number: snowflake_at(NOON + timedelta(hours=number), number) for number in {*by_words, *by_vector}}
    words = {ids[number]: 9.0 - place for place, number in enumerate(by_words)}
    similar = {ids[number]: 1.0 - place / 100 for place, number in enumerate(by_vector)}
    now = NOON + timedelta(hours=now_hours)
    created = {i: round(snowflake_time(i).timestamp() * 1000) for i in sorted({*words, *similar}, reverse=True)}
    stages = [list(stage) for stage in (words, similar) if stage]
    expected = best_first(stages, created, now_ms=now.timestamp() * 1000)
    found = list(ranked(words, similar, now_ms=now.timestamp() * 1000))
    assert [(one.message_id, one.score) for one in found] == expected
    for one in found:
        assert one.word_rank == (list(words).index(one.message_id) + 1 if one.message_id in words else None)
        assert one.vector_rank == (list(similar).index(one.message_id) + 1 if one.message_id in similar else None)
        assert one.recency_rank == list(created).index(one.message_id) + 1
        assert one.age_factor == age_factor(now.timestamp() * 1000 - created[one.message_id])


def test_tidying_up_is_due_when_much_has_piled_up_or_a_little_long_ago():
    clean = Litter(at=0.0)
    assert not clean.due(1e9)
    assert not clean.after(rows=1).due(60)
    assert clean.after(rows=1).due(86_400)
    assert clean.after(rows=1_000).due(0)


def test_small_commits_are_gathered_and_still_tidied_up_in_the_end():
    busy = Litter(at=0.0)
    for _ in range(63):
        busy = busy.after(rows=1)
    assert not busy.scattered
    busy = busy.after(rows=1)
    assert busy.scattered
    assert not busy.due(0)
    gathered = busy.gathered()
    assert not gathered.scattered
    assert gathered.rows == 64
    assert gathered.due(86_400)


def test_tidied_up_is_looked_at_once_more_for_the_versions_it_replaced():
    before = Litter(at=0.0).after(rows=5)
    tidied = before.since(before, 100.0)
    assert not tidied.due(86_499)
    assert tidied.due(86_500)
    assert not tidied.since(tidied, 86_500.0).due(1e9)


def test_what_came_while_tidying_up_still_counts():
    before = Litter(at=0.0).after(rows=3_000)
    meanwhile = before.after(rows=999)
    assert not meanwhile.since(before, 10.0).due(10)
    assert meanwhile.after(rows=1).since(before, 10.0).due(10)
