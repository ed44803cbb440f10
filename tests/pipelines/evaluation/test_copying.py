"""A copy machine is caught, and the message is named."""

import random

import pytest

from persona.domain.chat import MessageId
from pipelines.evaluation.copying import CopyIndex, exposure
from pipelines.evaluation.samples import words

LONG = "the quick brown fox jumps over the lazy dog every single morning"


def index():
    return CopyIndex([(MessageId(1), LONG), (MessageId(2), "short one"), (MessageId(3), f"well, {LONG} and at night")])


def test_the_longest_run_names_its_message():
    found = index().longest(
        "i heard that The Quick brown FOX jumps over the lazy dog, every single morning and at night!"
    )
    assert found is not None
    assert (found.message_id, found.words) == (3, 15)
    assert found.text.startswith("the quick brown")


def test_a_phrase_that_everybody_uses_is_no_copy():
    assert index().longest("the quick brown fox jumps over dogs") is None
    assert index().longest("") is None


def test_it_finds_what_a_plain_search_finds():
    chance = random.Random(0)
    vocabulary = ["a", "b", "c", "d"]
    texts = [" ".join(chance.choices(vocabulary, k=30)) for _ in range(40)]
    searched = CopyIndex((MessageId(number), text) for number, text in enumerate(texts))
    for _ in range(100):
        reply = " ".join(chance.choices(vocabulary, k=25))
        longest = max(
            (
                length
                for text in texts
                for length in range(8, 26)
                for start in range(26 - length)
                if f" {' '.join(words(reply)[start : start + length])} " in f" {text} "
            ),
            default=0,
        )
        found = searched.longest(reply)
        assert (found.words if found else 0) == longest


def test_exposure_is_in_bits():
    assert exposure(1, 1024) == 10
    assert exposure(1024, 1024) == 0
    with pytest.raises(ValueError, match="rank 0"):
        exposure(0, 10)
