"""What should come to mind: fusion, age, mixing of queries, variety."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.domain.recall import (
    RANK_CONSTANT,
    Ranking,
    age_factor,
    best_first,
    by_recency,
    distinct_texts,
    diverse_texts,
    fuse,
    mixed_query,
    mixed_vector,
)

HOUR = 3_600_000

keys = st.lists(st.integers(0, 20), unique=True, max_size=10)


def by_score(scores: dict[object, float]) -> list[object]:
    """Return keys by falling score."""
    return sorted(scores, key=lambda key: -scores[key])


def test_fusion_adds_reciprocal_ranks() -> None:
    """The formula of the paper, by hand."""
    fused = fuse([Ranking(keys=["a", "b"]), Ranking(keys=["b", "c"])], constant=60)
    assert fused == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62})


def test_fusion_puts_what_two_stages_agree_on_first() -> None:
    """Second in both beats first in one."""
    assert by_score(fuse([Ranking(keys=["a", "x"]), Ranking(keys=["b", "x"])]))[0] == "x"


def test_fusion_heeds_weights() -> None:
    """A ranking that counts double wins, one that counts nothing adds keys but no score."""
    assert by_score(fuse([Ranking(keys=["a"]), Ranking(keys=["b"], weight=2.0)])) == ["b", "a"]
    assert fuse([Ranking(keys=["a"], weight=0.0)]) == {"a": 0.0}


def test_fusion_counts_a_repeated_key_once_by_its_better_rank() -> None:
    """What stands twice in a ranking takes no place from those after it."""
    assert fuse([Ranking(keys=["a", "a", "b"])], constant=60) == pytest.approx({"a": 1 / 61, "b": 1 / 62})


def test_fusion_of_nothing_is_nothing() -> None:
    """No rankings, and empty ones."""
    assert fuse([]) == {}
    assert fuse([Ranking(keys=[]), Ranking(keys=())]) == {}


def test_fusion_refuses_negative_numbers() -> None:
    """They would turn the order around."""
    with pytest.raises(ValueError, match="constant"):
        fuse([Ranking(keys=["a"])], constant=-1)
    with pytest.raises(ValueError, match="weight"):
        fuse([Ranking(keys=["a"], weight=-0.5)])


@given(st.lists(keys, min_size=1, max_size=4))
def test_fusion_keeps_every_key_within_bounds(rankings: list[list[int]]) -> None:
    """Every key of some ranking has a score, above zero and at most that of first place everywhere."""
    fused = fuse([Ranking(keys=one) for one in rankings])
    assert fused.keys() == {key for one in rankings for key in one}
    assert all(0 < score <= len(rankings) / (RANK_CONSTANT + 1) + 1e-12 for score in fused.values())


@given(keys)
def test_fusion_of_one_ranking_keeps_its_order(ranking: list[int]) -> None:
    """One opinion is not changed."""
    assert by_score(fuse([Ranking(keys=ranking)])) == ranking


def test_recency_is_newest_first() -> None:
    """By time, not by the order given; equal times stay in order."""
    assert by_recency({"old": 1, "new": 9, "middle": 5, "also middle": 5}) == ["new", "middle", "also middle", "old"]


def test_age_costs_by_a_power_law() -> None:
    """Nothing at once; at three scales of age and a power of one half, half; the future counts as now."""
    assert age_factor(0, scale_hours=1, power=0.5, floor=0) == 1.0
    assert age_factor(-HOUR, scale_hours=1, power=0.5, floor=0) == 1.0
    assert age_factor(3 * HOUR, scale_hours=1, power=0.5, floor=0) == pytest.approx(0.5)
    assert age_factor(9 * HOUR, scale_hours=3, power=0.5, floor=0) == pytest.approx(0.5)


def test_age_stops_at_the_floor() -> None:
    """However old, the floor is left; without a power nothing is taken."""
    assert age_factor(1e15, scale_hours=1, power=2, floor=0.3) == pytest.approx(0.3, abs=1e-6)
    assert age_factor(1e15, scale_hours=1, power=0, floor=0) == 1.0


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.floats(0, 1))
def test_age_never_helps(one: float, other: float, floor: float) -> None:
    """The older of two messages keeps no more."""
    younger, older = sorted((one, other))
    left = [age_factor(age, scale_hours=1, power=0.5, floor=floor) for age in (younger, older)]
    assert 1.0 >= left[0] >= left[1] >= floor - 1e-12


@pytest.mark.parametrize("wrong", [{"scale_hours": 0}, {"power": -1}, {"floor": 1.5}, {"floor": -0.1}])
def test_age_refuses_what_is_no_decay(wrong: dict[str, float]) -> None:
    """Each of the three numbers has bounds."""
    with pytest.raises(ValueError, match="no decay"):
        age_factor(HOUR, **{"scale_hours": 1.0, "power": 0.5, "floor": 0.0, **wrong})


def test_best_first_weighs_agreement_novelty_and_age() -> None:
    """Equal in both stages, the newer wins; a clearly better match of the same hour stays ahead of a newer one."""
    now = 1_000 * HOUR
    times = {"old": now - 24 * HOUR, "new": now - HOUR // 2}
    order = best_first([["old"], ["new"]], times, now_ms=now)
    assert [key for key, _ in order] == ["new", "old"]
    assert order[0][1] == pytest.approx((1 / 21 + 1 / 21) * age_factor(HOUR // 2))
    assert order[1][1] == pytest.approx((1 / 21 + 1 / 22) * age_factor(24 * HOUR))
    close = {"match": now - HOUR, "newer": now - HOUR + 60_000}
    assert best_first([["match"], ["match"]], close, now_ms=now)[0][0] == "match"


def test_best_first_knows_every_key_it_ranks() -> None:
    """Candidates that no stage named are ranked by age alone; a key without a time is a mistake."""
    assert best_first([], {}, now_ms=0) == []
    assert [key for key, _ in best_first([["a"]], {"a": 1, "b": 2}, now_ms=2)] == ["a", "b"]
    with pytest.raises(KeyError):
        best_first([["a", "z"]], {"a": 1}, now_ms=2)


def test_mixed_query_takes_the_last_messages_newest_first() -> None:
    """Three of them, each on a line of its own, however it was broken."""
    assert mixed_query(["zero", "one", "two  \n words", "three"]) == "three\ntwo words\none"


def test_mixed_query_leaves_out_what_says_nothing_or_the_same() -> None:
    """Empty messages take no place, nor does what is repeated."""
    assert mixed_query(["first", "again", "", "  ", "again"], count=2) == "again\nfirst"
    assert mixed_query([]) == ""
    assert mixed_query(["", " "]) == ""
    assert mixed_query(["a", "b"], count=0) == ""


def test_mixed_vector_leans_towards_the_newest() -> None:
    """Weights 1, 1/2 and 1/4 from the newest back, of unit length; older ones do not count."""
    last = np.eye(4, dtype=np.float32)
    mixed = mixed_vector(list(last))
    assert mixed.dtype == np.float32
    assert mixed.tolist() == pytest.approx([0.0, 0.25 / 1.3125**0.5, 0.5 / 1.3125**0.5, 1 / 1.3125**0.5])
    assert mixed_vector([last[0]]).tolist() == last[0].tolist()


def test_mixed_vector_needs_something_to_mix() -> None:
    """No vectors, or opposite ones of equal weight, have no direction."""
    one = np.array([1.0, 0.0], dtype=np.float32)
    with pytest.raises(ValueError, match="no vectors"):
        mixed_vector([])
    with pytest.raises(ValueError, match="cancel"):
        mixed_vector([-one, one], weights=(1.0, 1.0))


def test_near_identical_texts_are_told_once() -> None:
    """Punctuation and case make no difference; other words do."""
    texts = ["How do I mount a disk?", "how do i mount a disk", "reboot and try again", "HOW DO I MOUNT A DISK!!"]
    assert distinct_texts(texts, limit=5) == [0, 2]
    assert distinct_texts(texts, limit=1) == [0]
    assert distinct_texts(texts, limit=0) == []


def test_texts_of_symbols_are_compared_as_they_stand() -> None:
    """Emoji have no letters: equal ones repeat, others do not."""
    assert distinct_texts(["\U0001f600", "\U0001f622", "\U0001f600"], limit=3) == [0, 1]


def test_variety_prefers_what_has_not_been_said() -> None:
    """A close second that repeats most of the first gives way to a third about something else."""
    texts = ["the printer on floor two is broken", "the printer on floor two is slow", "lunch is at noon today"]
    scores = [1.0, 0.9, 0.8]
    assert diverse_texts(scores, texts, limit=2, variety=0.5) == [0, 2]
    assert diverse_texts(scores, texts, limit=2, variety=0.0) == [0, 1]
    assert diverse_texts(scores, texts, limit=3, variety=0.5) == [0, 2, 1]


def test_variety_needs_a_score_a_text() -> None:
    """Anything else is a mistake of the caller."""
    with pytest.raises(ValueError, match="1 scores for 2 texts"):
        diverse_texts([1.0], ["a", "b"], limit=1)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.text("abc ", max_size=12)), max_size=12),
    st.integers(0, 12),
    st.floats(0, 1),
)
def test_variety_chooses_as_the_plain_algorithm_does(
    scored: list[tuple[float, str]], limit: int, variety: float
) -> None:
    """Looking at only as many texts as needed gives what looking at all of them gives."""
    scored.sort(key=lambda one: -one[0])
    scores, texts = [score for score, _ in scored], [text for _, text in scored]
    assert diverse_texts(scores, texts, limit=limit, variety=variety) == plain_choice(scores, texts, limit, variety)


def plain_choice(scores: list[float], texts: list[str], limit: int, variety: float) -> list[int]:
    """Choose greedily, comparing everything with everything each time."""
    chosen: list[int] = []
    while len(chosen) < limit:
        best: tuple[float, int] | None = None
        for position, text in enumerate(texts):
            overlap = max((likeness(text, texts[other]) for other in chosen), default=0.0)
            if position in chosen or overlap >= 0.7:
                continue
            score = scores[position] * (1.0 - variety * overlap)
            if best is None or score > best[0]:
                best = (score, position)
        if best is None:
            break
        chosen.append(best[1])
    return chosen


def likeness(one: str, other: str) -> float:
    """Return how much of their trigrams two texts share (Jaccard)."""
    first, second = trigrams(one), trigrams(other)
    return len(first & second) / len(first | second)


def trigrams(text: str) -> set[str]:
    """Return the three-letter pieces of a text without its spaces; a shorter text is one piece."""
    bare = "".join(character for character in text.casefold() if character.isalnum())
    if not bare:
        return {text}
    return {bare[i : i + 3] for i in range(len(bare) - 2)} or {bare}
