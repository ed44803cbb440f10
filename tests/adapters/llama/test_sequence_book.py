import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from persona.adapters.llama.sequences import SequenceBook, common_prefix

CONTEXT = 16
SLOTS = 2


def finish(book, placement, prompt, reply=()):
    """Do what an engine does: compute the rest of the prompt and a reply, then leave the sequence in the cache."""
    placement.target.tokens.extend([*prompt[placement.keep :], *reply])
    book.release(placement.target)


def test_the_next_reply_in_a_conversation_reuses_all_but_what_is_new():
    book = SequenceBook(count=4, cells=64)
    first = book.place([1, 2, 3, 4], reserve=10, conversation="a")
    finish(book, first, [1, 2, 3, 4], [5])
    second = book.place([1, 2, 3, 4, 5, 6], reserve=10, conversation="a")
    assert (second.target, second.keep, second.source) == (first.target, 5, None)


def test_the_last_token_of_a_prompt_is_always_computed():
    book = SequenceBook(count=4, cells=64)
    finish(book, book.place([1, 2, 3], reserve=5, conversation="a"), [1, 2, 3])
    again = book.place([1, 2, 3], reserve=5, conversation="a")
    assert again.keep == 2
    assert again.target.tokens == [1, 2]


def test_another_conversation_copies_a_shared_beginning_and_leaves_the_original():
    book = SequenceBook(count=4, cells=64)
    first = book.place([1, 2, 3, 4, 5, 6], reserve=8, conversation="a")
    finish(book, first, [1, 2, 3, 4, 5, 6])
    second = book.place([1, 2, 9], reserve=8, conversation="b")
    assert second.source is first.target
    assert second.target is not first.target
    assert second.keep == 2
    assert first.target.tokens == [1, 2, 3, 4, 5, 6]


def test_a_running_reply_lends_its_beginning():
    book = SequenceBook(count=4, cells=64)
    running = book.place([1, 2, 3, 4], reserve=8)
    running.target.tokens.extend([1, 2, 3, 4])
    other = book.place([1, 2, 7], reserve=8)
    assert other.source is running.target
    assert other.keep == 2


def test_a_prompt_waits_when_running_replies_need_the_room():
    book = SequenceBook(count=4, cells=20)
    running = book.place([1, 2], reserve=15)
    assert book.place([3], reserve=6) is None
    finish(book, running, [1, 2])
    assert book.place([3], reserve=6) is not None


def test_the_longest_unused_conversation_makes_room_first():
    book = SequenceBook(count=4, cells=20)
    for name, token in (("a", 1), ("b", 2)):
        finish(book, book.place([token] * 6, reserve=8, conversation=name), [token] * 6)
    again = book.place([1] * 6 + [9], reserve=9, conversation="a")
    finish(book, again, [1] * 6 + [9])
    third = book.place([3] * 4, reserve=8, conversation="c")
    assert [s.index for s in third.evicted] == [1]
    assert book.sequences[0].tokens == [1] * 6 + [9]


def test_without_reuse_every_prompt_starts_from_nothing():
    book = SequenceBook(count=2, cells=64, reuse=False)
    finish(book, book.place([1, 2, 3], reserve=8, conversation="a"), [1, 2, 3])
    assert book.place([1, 2, 3, 4], reserve=8, conversation="a").keep == 0


@pytest.mark.parametrize(
    ("left", "right", "limit", "length"), [([1, 2, 3], [1, 2, 4], 9, 2), ([1, 2], [1, 2, 3], 1, 1), ([], [1], 1, 0)]
)
def test_common_prefix(left, right, limit, length):
    assert common_prefix(left, right, limit) == length


class Cache(RuleBasedStateMachine):
    """Drives the books like an engine does, beside a model of what the cache really holds."""

    @initialize()
    def start(self):
        self.book = SequenceBook(count=4, cells=SLOTS * CONTEXT)
        self.real = {index: [] for index in range(4)}
        self.running = []

    @precondition(lambda self: len(self.running) < SLOTS)
    @rule(
        prompt=st.lists(st.integers(1, 2), min_size=1, max_size=12),
        room=st.integers(1, 4),
        conversation=st.sampled_from(["", "a", "b", "c"]),
    )
    def place(self, prompt, room, conversation):
        placement = self.book.place(prompt, reserve=len(prompt) + room, conversation=conversation)
        assert placement is not None, "with a free slot there is always room"
        target = placement.target.index
        assert target not in [sequence.index for sequence, _, _ in self.running]
        if placement.source is not None:
            self.real[target] = self.real[placement.source.index][: placement.keep]
        else:
            self.real[target] = self.real[target][: placement.keep]
        for sequence in placement.evicted:
            assert sequence.index != target
            self.real[sequence.index] = []
        assert self.real[target] == prompt[: placement.keep]
        assert placement.keep < len(prompt)
        self.running.append((placement.target, prompt[placement.keep :], room))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def compute(self, data):
        """Compute some of the prompt and reply of a running job; it may end at any point."""
        index = data.draw(st.integers(0, len(self.running) - 1))
        sequence, pending, room = self.running[index]
        count = data.draw(st.integers(0, len(pending)))
        reply = [5] * data.draw(st.integers(0, room - 1)) if count == len(pending) else []
        sequence.tokens.extend([*pending[:count], *reply])
        self.real[sequence.index] += [*pending[:count], *reply]
        self.running.pop(index)
        if data.draw(st.booleans()):
            self.book.release(sequence)
        else:
            self.book.forget(sequence)
            self.real[sequence.index] = []

    @invariant()
    def books_are_true(self):
        for sequence in getattr(self, "book", SequenceBook(count=0, cells=0)).sequences:
            assert sequence.tokens == self.real[sequence.index]

    @invariant()
    def nothing_is_promised_twice(self):
        if hasattr(self, "book"):
            assert sum(sequence.cells for sequence in self.book.sequences) <= SLOTS * CONTEXT


TestCache = Cache.TestCase
TestCache.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
