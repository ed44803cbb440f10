import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.domain.verbatim import copied

OLD = "Honestly, I don't think the fern will ever forgive us for what we did last summer."


@pytest.mark.parametrize(
    ("draft", "run"),
    [
        (OLD, OLD.removesuffix(".")),
        (
            "so: i DONT think   the fern, will ever forgive us for lunch",
            "i DONT think   the fern, will ever forgive us for",
        ),
        ("i don\u2019t think\nthe fern will ever forgive us", "i don\u2019t think\nthe fern will ever forgive us"),
        ("I don't think the fern will ever forgive", None),
        ("the fern will ever forgive us and what we did last summer", None),
        ("", None),
        ("something else entirely that is rather long and was never said by anybody here", None),
    ],
)
def test_copied(draft: str, run: str | None) -> None:
    assert copied(draft, ["hi", OLD, ""]) == run


def test_the_longest_run_of_all_sources_is_returned() -> None:
    draft = "a b c d e f g h i j k"
    assert copied(draft, ["a b c d e f g h i", "x b c d e f g h i j k", "a b c"]) == "b c d e f g h i j k"


def test_a_run_may_not_be_pieced_together_from_two_sources() -> None:
    assert copied("a b c d e f g h i j", ["a b c d e", "f g h i j"]) is None


def test_the_number_of_words_can_be_set() -> None:
    assert copied("one two three", ["one two three"], max_words=2) == "one two three"
    assert copied("one two three", ["one two three"], max_words=3) is None


def test_ids_are_no_words() -> None:
    assert copied("we :wave: at you", ["we <:wave:123456789012345678> at you"], max_words=3) == "we :wave: at you"


def test_scripts_without_spaces_are_compared_by_character() -> None:
    assert (
        copied(
            "\u4eca\u65e5\u306f\u3068\u3066\u3082\u3044\u3044\u5929\u6c17",
            ["\u4eca\u65e5\u306f\u3068\u3066\u3082\u3044\u3044\u5929\u6c17\u3067\u3059\u306d"],
        )
        is not None
    )
    assert (
        copied(
            "\u4eca\u65e5\u306f\u3044\u3044\u5929\u6c17",
            ["\u4eca\u65e5\u306f\u3044\u3044\u5929\u6c17\u3067\u3059\u306d"],
        )
        is None
    )


def test_a_chant_is_compared_in_reasonable_time() -> None:
    assert copied("ha " * 400, ["ha " * 2000]) is not None


WORDS = st.lists(st.sampled_from("abcdef"), max_size=14)


@given(WORDS, st.lists(WORDS, max_size=3), st.integers(1, 5))
def test_agrees_with_looking_everywhere(draft: list[str], sources: list[list[str]], max_words: int) -> None:
    texts = [f" {' '.join(source)} " for source in sources]
    runs = [
        draft[start:end]
        for start in range(len(draft))
        for end in range(start + max_words + 1, len(draft) + 1)
        if any(f" {' '.join(draft[start:end])} " in text for text in texts)
    ]
    found = copied(" ".join(draft), texts, max_words=max_words)
    assert (found is None) == (not runs)
    if found is not None:
        assert found.split() in runs
        assert len(found.split()) == max(map(len, runs))


@given(st.text(max_size=60), st.lists(st.text(max_size=60), max_size=3), st.integers(0, 5))
def test_never_raises_and_returns_a_part_of_the_draft(draft: str, sources: list[str], max_words: int) -> None:
    found = copied(draft, sources, max_words=max_words)
    assert found is None or found in draft
