import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona.domain.chat import AuthorId
from pipelines.balance import DEFAULT_CAP, Quotas, balance

COUNTS = st.one_of(
    st.dictionaries(st.integers(1, 10_000), st.integers(0, 5_000), max_size=40),
    st.dictionaries(st.integers(1, 10_000), st.sampled_from([0, 1, 2, 7, 100, 100_000]), max_size=30),
)
CAPS = st.one_of(st.just(DEFAULT_CAP), st.sampled_from([0.01, 0.05, 0.1, 0.125, 0.2, 0.333, 0.5, 1.0]))


def people(*counts: int) -> dict[AuthorId, int]:
    return {AuthorId(number): count for number, count in enumerate(counts, start=1)}


def largest_share(quotas: Quotas) -> float:
    return max(quotas.counts.values()) / quotas.total


@settings(deadline=None, max_examples=300)
@given(COUNTS, CAPS)
def test_nobody_exceeds_the_effective_cap_or_what_they_have(available, cap):
    quotas = balance(available, cap)
    assert set(quotas.counts) == set(available)
    assert all(0 <= quotas.counts[author] <= available[author] for author in available)
    assert all(count / quotas.total <= quotas.effective_cap for count in quotas.counts.values() if count)
    assert quotas.effective_cap >= cap
    assert (quotas.reason == "") == (quotas.effective_cap == cap)


@settings(deadline=None, max_examples=300)
@given(COUNTS, CAPS)
def test_at_least_half_is_kept(available, cap):
    assert 2 * balance(available, cap).total >= sum(available.values())


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.integers(1, 50), st.integers(1, 60), min_size=1, max_size=12), CAPS)
def test_the_total_is_the_largest_that_the_effective_cap_allows(available, cap):
    quotas = balance(available, cap)
    effective = Fraction(str(cap)) if not quotas.reason else Fraction(quotas.effective_cap).limit_denominator(2_000)

    def feasible(total: int) -> bool:
        return sum(min(count, math.floor(effective * total)) for count in available.values()) >= total

    assert quotas.total == max(total for total in range(sum(available.values()) + 1) if feasible(total))


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.integers(1, 50), st.integers(1, 60), min_size=1, max_size=12), CAPS)
def test_a_relaxed_cap_is_the_smallest_that_keeps_half(available, cap):
    quotas = balance(available, cap)
    total = sum(available.values())
    shares = [
        Fraction(most, kept)
        for most in range(1, max(available.values()) + 1)
        if 2 * (kept := sum(min(count, most) for count in available.values())) >= total
    ]
    if quotas.reason:
        assert quotas.effective_cap == float(min(shares))
    else:
        assert min(shares) <= Fraction(str(cap))


@settings(deadline=None, max_examples=300)
@given(COUNTS, CAPS)
def test_more_examples_never_mean_a_smaller_quota_on_the_same_side_of_20_percent(available, cap):
    quotas = balance(available, cap)
    total = sum(available.values())
    for side in (True, False):
        group = [author for author, count in available.items() if (count * 5 <= total) is side]
        group.sort(key=lambda author: available[author])
        for fewer, more in pairwise(group):
            slack = 1 if available[fewer] == available[more] else 0
            assert quotas.counts[fewer] <= quotas.counts[more] + slack


@settings(deadline=None, max_examples=200)
@given(COUNTS, CAPS, st.randoms(use_true_random=False))
def test_the_order_of_the_authors_does_not_matter(available, cap, chance):
    shuffled = list(available.items())
    chance.shuffle(shuffled)
    assert balance(dict(shuffled), cap) == balance(available, cap)


def test_nothing_is_dropped_where_nobody_has_too_much():
    available = people(12, 11, 10, 10, 10, 10, 10, 9, 9, 9)
    assert balance(available) == Quotas(counts=available, effective_cap=0.12)


def test_a_little_more_than_the_cap_is_cut_to_the_cap():
    available = people(200, *([100] * 10))
    quotas = balance(available)
    assert quotas.reason == ""
    assert quotas.counts[AuthorId(1)] == math.floor(0.12 * quotas.total) == 136
    assert quotas.total == 1136
    assert all(quotas.counts[author] == 100 for author in available if author != 1)


def test_ties_share_alike_and_the_lower_id_gets_the_odd_one():
    quotas = balance(people(*([100] * 11), 1300))
    assert quotas.counts == people(*([100] * 11), 150)
    assert quotas.total == 1250
    assert balance(people(*([100] * 12)), most=1_000).counts == people(84, 84, 84, 84, *([83] * 8))


def test_fewer_examples_are_shared_out_by_the_formula():
    """Of 1,000: 190 weigh (19 % + 5 %) / 2, 80 weigh 6.5 %, 50 and 40 what they are; nobody is at a limit."""
    available = people(190, 80, *([50] * 12), 40, 40, 50)
    quotas = balance(available, most=500)
    assert quotas.reason == ""
    weights = {1: 0.12, 2: 0.065, 3: 0.05, 15: 0.04}
    assert quotas.total == 500
    # Clipped at 12 % of 500, the first gives 60; the other 440 go by weight: 0.065 + 13 x 0.05 + 2 x 0.04 = 0.795.
    assert quotas.counts[AuthorId(1)] == 60
    assert quotas.counts[AuthorId(2)] == round(440 * weights[2] / 0.795) == 36
    assert {quotas.counts[AuthorId(number)] for number in (*range(3, 15), 17)} == {27, 28}
    assert {quotas.counts[AuthorId(number)] for number in (15, 16)} == {22}


def test_between_5_and_20_percent_the_weight_is_not_the_share_and_falls_at_20():
    """The formula's one step down: 20 % weighs 0.125, a little more than 20 % weighs the cap."""
    available = people(2_001, 2_000, *([400] * 15))
    quotas = balance(available, 0.2, most=1_000)
    assert quotas.counts[AuthorId(1)] == 200  # the weight is the cap itself, and the cap is reached
    assert quotas.counts[AuthorId(2)] == round(800 * 0.125 / (0.125 + 15 * 400 / 10_001)) == 138


@settings(deadline=None, max_examples=300)
@given(COUNTS, CAPS, st.integers(0, 20_000))
def test_asking_for_fewer_keeps_cap_supply_and_monotony(available, cap, most):
    quotas, whole = balance(available, cap, most=most), balance(available, cap)
    assert quotas.total <= min(most, whole.total)
    assert (quotas.effective_cap, quotas.reason) == (whole.effective_cap, whole.reason)
    assert all(count <= available[author] for author, count in quotas.counts.items())
    assert all(count / quotas.total <= quotas.effective_cap for count in quotas.counts.values() if count)
    total = sum(available.values())
    for side in (True, False):
        group = sorted((a for a, count in available.items() if (count * 5 <= total) is side), key=available.__getitem__)
        for fewer, more in pairwise(group):
            assert quotas.counts[fewer] <= quotas.counts[more] + (available[fewer] == available[more])


@pytest.mark.parametrize("most", [9, 100, 333, 1_000])
def test_asking_for_fewer_gives_nearly_that_many(most):
    available = people(*(5_000 // rank for rank in range(1, 61)))
    assert most - 25 <= balance(available, most=most).total <= most


def test_fewer_than_one_divided_by_the_cap_cannot_be_shared_out():
    assert balance(people(*([100] * 20)), most=8).total == 0
    assert balance(people(*([100] * 20)), most=9).total == 9


@pytest.mark.parametrize("authors", range(1, 9))
def test_with_fewer_than_nine_authors_the_cap_is_what_one_of_n_has(authors):
    quotas = balance(people(*([50] * authors)))
    assert quotas.counts == people(*([50] * authors))
    assert quotas.effective_cap == 1 / authors
    assert f"with {authors} author" in quotas.reason


def test_nine_equal_authors_need_no_relaxing():
    quotas = balance(people(*([50] * 9)))
    assert (quotas.total, quotas.effective_cap, quotas.reason) == (450, 0.12, "")


def test_one_giant_author_is_cut_but_half_is_kept():
    quotas = balance(people(10_000, *([10] * 20)))
    assert quotas.total == 5_100
    assert quotas.counts[AuthorId(1)] == 4_900
    assert quotas.effective_cap == 4_900 / 5_100
    assert quotas.reason == (
        "a cap of 0.12 would keep only 227 of 10,200 examples; 0.9608 is the smallest cap that keeps at least half"
    )


def test_a_strict_cap_does_not_destroy_the_data():
    quotas = balance(people(*([1_000] * 7), 10))
    assert quotas.total == 3_510
    assert quotas.counts[AuthorId(8)] == 10
    assert quotas.effective_cap == 500 / 3_510
    # Eight people cannot all stay below 12 %; at one eighth, the floor, 80 of 7,010 examples would be left.
    assert balance(people(*([1_000] * 7), 10), 0.125).reason.startswith("a cap of 0.125 would keep only 80 of 7,010")


def test_nobody_and_nothing():
    assert balance({}) == Quotas(counts={}, effective_cap=0.12)
    assert balance(people(0, 0)) == Quotas(counts=people(0, 0), effective_cap=0.12)


@pytest.mark.parametrize("cap", [0.0, -0.1, 1.01, math.nan])
def test_a_cap_outside_its_range_is_refused(cap):
    with pytest.raises(ValueError, match="a cap is a share above 0 and up to 1"):
        balance(people(1), cap)


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="fewer than 0"):
        balance(people(5, -1))


# Three mistakes that balancing is easily made with.


def test_weights_are_per_person_not_per_message():
    """Weights given to every message, not divided by how many there are, raise somebody with 40 % to over 80 %."""
    available = people(4_000, *([300] * 20))
    quotas = balance(available)
    assert quotas.reason == ""
    assert quotas.counts[AuthorId(1)] / quotas.total <= 0.12
    assert quotas.counts[AuthorId(1)] == math.floor(0.12 * quotas.total)


@pytest.mark.parametrize(
    ("available", "wrong"),
    [(people(*(10_000 // rank for rank in range(1, 31))), 0.157), (people(60, 25, 10, 5), 0.329)],
    ids=["30 people by Zipf's law", "60/25/10/5"],
)
def test_the_cap_holds_after_everything_is_normalised(available, wrong):
    """Clamping the weights and then making them sum to one again lifts the largest share above the cap."""
    total = sum(available.values())
    shares = [count / total for count in available.values()]
    clamped = [s if s <= 0.05 else (s + 0.05) / 2 if s <= 0.2 else 0.12 for s in shares]
    clamped = [min(weight, 0.12) for weight in clamped]
    assert max(clamped) / sum(clamped) == pytest.approx(wrong, abs=0.01)  # the mistake, for comparison
    quotas = balance(available)
    assert largest_share(quotas) <= quotas.effective_cap
    if len(available) >= 9:
        assert quotas.effective_cap == 0.12
    else:
        assert "smallest cap that keeps at least half" in quotas.reason


def test_balancing_is_not_a_no_op():
    available = people(5_000, 2_000, *([200] * 30))
    quotas = balance(available)
    before = max(available.values()) / sum(available.values())
    assert before > 0.38
    assert largest_share(quotas) <= 0.12
    assert quotas.total < sum(available.values())
