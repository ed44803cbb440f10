import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from persona.adapters.llama.sequences import SequenceBook, common_prefix

SLOTS = 2
LONG = list(range(100, 150))


def finish(book, placement, prompt, reply=()):
    """Do what an engine does: compute the rest of the prompt and a reply, then leave the sequence in the cache."""
    placement.target.tokens.extend([*prompt[placement.keep :], *reply])
    book.release(placement.target)


def test_the_next_reply_in_a_conversation_reuses_all_but_what_is_new():
    book = SequenceBook(count=4)
    first = book.place([1, 2, 3, 4], conversation="a")
    finish(book, first, [1, 2, 3, 4], [5])
    second = book.place([1, 2, 3, 4, 5, 6], conversation="a")
    assert (second.target, second.keep, second.source) == (first.target, 5, None)


def test_the_last_token_of_a_prompt_is_always_computed():
    book = SequenceBook(count=4)
    finish(book, book.place([1, 2, 3], conversation="a"), [1, 2, 3])
    again = book.place([1, 2, 3], conversation="a")
    assert again.keep == 2
    assert again.target.tokens == [1, 2]


def test_another_conversation_copies_a_long_shared_beginning_and_leaves_the_original():
    book = SequenceBook(count=4)
    first = book.place([*LONG, 1, 2], conversation="a")
    finish(book, first, [*LONG, 1, 2])
    second = book.place([*LONG, 9], conversation="b")
    assert second.source is first.target
    assert second.target is not first.target
    assert second.keep == len(LONG)
    assert first.target.tokens == [*LONG, 1, 2]


def test_a_short_shared_beginning_is_not_worth_a_copy():
    book = SequenceBook(count=4)
    finish(book, book.place([1, 2, 3, 4], conversation="a"), [1, 2, 3, 4])
    second = book.place([1, 2, 9], conversation="b")
    assert (second.source, second.keep, second.target.index) == (None, 0, 1)


def test_a_running_reply_lends_its_beginning():
    book = SequenceBook(count=4)
    running = book.place([*LONG, 1])
    running.target.tokens.extend([*LONG, 1])
    other = book.place([*LONG, 7])
    assert other.source is running.target
    assert other.keep == len(LONG)


def test_a_nameless_prompt_goes_on_where_little_is_lost():
    book = SequenceBook(count=4)
    first = book.place([1, 2, 3, 4])
    finish(book, first, [1, 2, 3, 4])
    assert book.place([1, 2, 3, 9]).target is first.target
    book.release(first.target)
    assert book.place([1, 8, 8, 8]).target is not first.target


def test_a_prompt_waits_while_every_sequence_is_in_use():
    book = SequenceBook(count=2)
    first = book.place([1, 2])
    assert book.place([3]) is not None
    assert book.place([4]) is None
    finish(book, first, [1, 2])
    assert book.place([4]).target is first.target


def test_the_longest_unused_conversation_is_overwritten():
    book = SequenceBook(count=2)
    for name, token in (("a", 1), ("b", 2)):
        finish(book, book.place([token] * 6, conversation=name), [token] * 6)
    finish(book, book.place([1] * 7, conversation="a"), [1] * 7)
    third = book.place([3] * 4, conversation="c")
    assert third.target.index == 1
    assert book.sequences[0].tokens == [1] * 7


def test_without_reuse_every_prompt_starts_from_nothing():
    book = SequenceBook(count=2, reuse=False)
    finish(book, book.place([1, 2, 3], conversation="a"), [1, 2, 3])
    assert book.place([1, 2, 3, 4], conversation="a").keep == 0


@pytest.mark.parametrize(
    ("left", "right", "limit", "length"), [([1, 2, 3], [1, 2, 4], 9, 2), ([1, 2], [1, 2, 3], 1, 1), ([], [1], 1, 0)]
)
def test_common_prefix(left, right, limit, length):
    assert common_prefix(left, right, limit) == length


class Cache(RuleBasedStateMachine):
    """Drives the books like an engine does, beside a model of what the cache really holds."""

    def __init__(self):
        super().__init__()
        self.book = SequenceBook(count=4)
        self.real = {index: [] for index in range(4)}
        self.running = []

    @precondition(lambda self: len(self.running) < SLOTS)
    @rule(
        start=st.sampled_from([[], LONG, LONG[:40]]),
        rest=st.lists(st.integers(1, 2), min_size=1, max_size=12),
        conversation=st.sampled_from(["", "a", "b", "c"]),
    )
    def place(self, start, rest, conversation):
        prompt = [*start, *rest]
        placement = self.book.place(prompt, conversation=conversation)
        assert placement is not None, "with a free slot there is always room"
        target = placement.target.index
        assert target not in [sequence.index for sequence, _ in self.running]
        if placement.source is not None:
            assert placement.source.index != target
            self.real[target] = list(self.real[placement.source.index])
        self.real[target] = self.real[target][: placement.keep]
        assert self.real[target] == prompt[: placement.keep]
        assert placement.keep < len(prompt)
        self.running.append((placement.target, prompt[placement.keep :]))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data):
        """Compute some of the prompt and reply of a running job; it ends at any point, well or not."""
        sequence, pending = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        count = data.draw(st.integers(0, len(pending)))
        reply = [5] * data.draw(st.integers(0, 3)) if count == len(pending) else []
        sequence.tokens.extend([*pending[:count], *reply])
        self.real[sequence.index] += [*pending[:count], *reply]
        if data.draw(st.booleans()):
            self.book.release(sequence)
        else:
            self.book.forget(sequence)
            self.real[sequence.index] = []

    @invariant()
    def books_are_true(self):
        for sequence in self.book.sequences:
            assert sequence.tokens == self.real[sequence.index]
            assert sequence.running == any(sequence is other for other, _ in self.running)


TestCache = Cache.TestCase
TestCache.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
