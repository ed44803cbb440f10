import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona.domain.chat import AuthorId
from pipelines.balance import Candidate, Quotas, Span, Split, balance, boost, choose, split_bounds

START = datetime(2026, 1, 1, tzinfo=UTC)


def candidates(*counts: int, reactions: int = 0) -> list[Candidate]:
    return [
        Candidate(example_id=f"{author}-{number}", author_id=AuthorId(author), reactions=reactions)
        for author, count in enumerate(counts, start=1)
        for number in range(count)
    ]


def taken(everything: list[Candidate], quotas: Quotas, seed: int = 1) -> set[str]:
    choice = choose(iter(everything), quotas, seed)
    return {candidate.example_id for candidate in everything if choice.takes(candidate)}


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=15), st.integers(0, 2**40), st.randoms(use_true_random=False))
def test_each_author_gives_exactly_their_quota_whatever_the_order(counts, seed, chance):
    everything = candidates(*counts)
    available = {AuthorId(author): count for author, count in enumerate(counts, start=1)}
    quotas = balance(available)
    first = taken(everything, quotas, seed)
    chance.shuffle(everything)
    assert taken(everything, quotas, seed) == first
    given_by = Counter(int(example_id.split("-")[0]) for example_id in first)
    assert all(given_by[author] == count for author, count in quotas.counts.items())


def test_the_choice_depends_on_the_seed():
    everything = candidates(100)
    quotas = Quotas(counts={AuthorId(1): 50}, effective_cap=1.0)
    assert taken(everything, quotas, 1) != taken(everything, quotas, 2)


def test_authors_without_a_quota_give_nothing():
    quotas = Quotas(counts={AuthorId(1): 0}, effective_cap=1.0)
    assert taken(candidates(3, 3), quotas) == set()


def test_the_boost_rises_by_a_twentieth_a_reaction_and_really_reaches_one_and_a_half():
    """Counting only five reactions stops it at 1.25, and what is said to be the maximum is never reached."""
    assert [boost(n) for n in (0, 1, 5, 9)] == pytest.approx([1.0, 1.05, 1.25, 1.45])
    assert boost(10) == boost(11) == boost(10_000) == 1.5
    assert boost(-3) == 1.0


def test_liked_examples_are_chosen_in_proportion_to_the_boost():
    """With a small sample out of many, the odds of two examples are those of their weights."""
    plain, liked = candidates(20_000), candidates(20_000, reactions=10)
    liked = [Candidate(example_id=f"l{c.example_id}", author_id=c.author_id, reactions=10) for c in liked]
    quotas = Quotas(counts={AuthorId(1): 2_000}, effective_cap=1.0)
    chosen = taken(plain + liked, quotas)
    share = sum(example_id.startswith("l") for example_id in chosen) / len(chosen)
    assert share == pytest.approx(1.5 / 2.5, abs=0.035)  # three standard deviations


def test_without_reactions_every_example_has_the_same_chance():
    quotas = Quotas(counts={AuthorId(1): 5}, effective_cap=1.0)
    times = Counter(example_id for seed in range(2_000) for example_id in taken(candidates(10), quotas, seed))
    assert all(abs(count - 1_000) < 4 * 22.4 for count in times.values())
    assert len(times) == 10


def test_two_examples_with_one_id_are_refused():
    twice = [Candidate(example_id="same", author_id=AuthorId(7))] * 3
    with pytest.raises(ValueError, match="two examples of author 7 have the same id"):
        choose(twice, Quotas(counts={AuthorId(7): 1}, effective_cap=1.0), 1)


def spans(*sizes: int) -> list[Span]:
    return [
        Span(started_at=START + timedelta(hours=number), conversation_id=f"c{number:04}", examples=size)
        for number, size in enumerate(sizes)
    ]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 50), max_size=60), st.randoms(use_true_random=False))
def test_splits_are_whole_conversations_in_the_order_of_time(sizes, chance):
    ordered = spans(*sizes)
    shuffled = ordered[:]
    chance.shuffle(shuffled)
    bounds = split_bounds(shuffled)
    assert bounds == split_bounds(ordered)
    splits = [bounds.of(span.started_at, span.conversation_id) for span in ordered if span.examples]
    order = [Split.TRAIN, Split.VALIDATION, Split.TEST]
    assert splits == sorted(splits, key=order.index)
    assert set(order[: min(len(splits), 3)]) == set(splits)


def test_a_hundred_equal_conversations_split_85_10_5():
    bounds = split_bounds(spans(*([7] * 100)))
    found = Counter(bounds.of(span.started_at, span.conversation_id) for span in spans(*([7] * 100)))
    assert found == {Split.TRAIN: 85, Split.VALIDATION: 10, Split.TEST: 5}


def test_sizes_count_not_the_number_of_conversations():
    sizes = random.Random(3).choices(range(1, 40), k=2_000)
    everything = spans(*sizes)
    bounds = split_bounds(everything)
    examples: Counter[Split] = Counter()
    for span in everything:
        examples[bounds.of(span.started_at, span.conversation_id)] += span.examples
    total = sum(sizes)
    assert examples[Split.TRAIN] / total == pytest.approx(0.85, abs=0.002)
    assert examples[Split.VALIDATION] / total == pytest.approx(0.10, abs=0.002)


def test_conversations_that_begin_at_once_are_told_apart_by_id():
    same = [Span(started_at=START, conversation_id=name) for name in ("b", "a", "c")]
    bounds = split_bounds(same)
    assert [bounds.of(START, name) for name in "abc"] == [Split.TRAIN, Split.VALIDATION, Split.TEST]
