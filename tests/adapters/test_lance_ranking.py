"""The pure decisions behind a search."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.adapters.lance.ranking import decayed, query_words, word_count
from persona.adapters.lance.tidying import Litter

DAY_MS = 86_400_000


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


def test_decay_halves_towards_the_floor():
    weigh = lambda days: decayed(8.0, days * DAY_MS, half_life_days=10, floor=0.5)  # noqa: E731
    assert weigh(0) == 8.0
    assert weigh(10) == pytest.approx(6.0)
    assert weigh(20) == pytest.approx(5.0)
    assert weigh(100_000) == pytest.approx(4.0)
    assert weigh(-5) == 8.0


def test_tidying_up_is_due_when_much_has_piled_up_or_a_little_long_ago():
    clean = Litter(at=0.0)
    assert not clean.due(1e9)
    assert not clean.after(rows=1).due(60)
    assert clean.after(rows=1).due(21_600)
    assert clean.after(rows=2_000).due(0)
    busy = clean
    for _ in range(32):
        busy = busy.after(rows=1)
    assert busy.due(0)


def test_tidied_up_is_looked_at_once_more_for_the_versions_it_replaced():
    before = Litter(at=0.0).after(rows=5)
    tidied = before.since(before, 100.0)
    assert not tidied.due(21_699)
    assert tidied.due(21_700)
    assert not tidied.since(tidied, 21_700.0).due(1e9)


def test_what_came_while_tidying_up_still_counts():
    before = Litter(at=0.0).after(rows=3_000)
    meanwhile = before.after(rows=1_999)
    assert not meanwhile.since(before, 10.0).due(10)
    assert meanwhile.after(rows=1).since(before, 10.0).due(10)
