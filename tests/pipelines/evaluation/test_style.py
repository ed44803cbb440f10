"""The classifier finds what differs in style, and nothing where nothing differs."""

import pytest

from pipelines.evaluation.samples import by_conversation
from pipelines.evaluation.style import TooLittleError, separability
from tests.fakes.dialogues import OFFICE, constant, people, shuffled


def test_people_of_one_server_cannot_be_told_apart():
    found = separability(by_conversation(people(2), people(1)), rounds=100)
    assert 0.4 < found.value < 0.56  # below one half where the same phrases come again: seen with the other label


@pytest.mark.parametrize(
    ("replies", "least"),
    [
        (people(3, phrases=OFFICE), 0.95),
        (constant(people(2), "I am happy to help!"), 0.95),
        (shuffled(people(2)), 0.6),
    ],
    ids=["another server", "a constant", "shuffled words"],
)
def test_what_is_not_from_here_is_told_apart(replies, least):
    found = separability(by_conversation(replies, people(1)), rounds=50)
    assert found.value > least
    assert found.low > 0.5


def test_the_same_seed_gives_the_same_answer():
    groups = by_conversation(people(2), people(1))
    assert separability(groups, rounds=20, seed=3) == separability(groups, rounds=20, seed=3)


def test_too_few_conversations_are_one_clear_line():
    with pytest.raises(TooLittleError, match="4 conversations are too few"):
        separability(by_conversation(people(2, conversations=4), people(1, conversations=4)))
