from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from persona.adapters.llama.text import TextAssembler, first_stop, pending_length

SHORT = st.text(alphabet="ab<|>é🌱", max_size=24)
STOPS = st.lists(st.text(alphabet="ab<|>é🌱", min_size=1, max_size=4), max_size=3)


def assemble(data, cuts, stop=()):
    """Feed bytes cut at the given places; return what was given out piece by piece, and what the end released."""
    assembler = TextAssembler(stop)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    given_out = [assembler.feed(data[a:b]) for a, b in pairwise(edges)]
    return given_out, assembler.finish(), assembler.stopped


def test_characters_split_over_tokens_come_out_whole():
    pieces = ["🌱".encode()[:2], "🌱".encode()[2:3], "🌱".encode()[3:] + b"!"]
    assembler = TextAssembler()
    assert [assembler.feed(piece) for piece in pieces] == ["", "", "🌱!"]


def test_an_unfinished_character_at_the_end_is_dropped():
    assembler = TextAssembler()
    assert assembler.feed(b"hi \xf0\x9f") == "hi "
    assert assembler.finish() == ""


def test_bytes_that_are_no_text_become_replacement_characters():
    assembler = TextAssembler()
    assert assembler.feed(b"a\xff\xfeb") == "a\ufffd\ufffdb"


def test_a_stop_string_across_pieces_is_never_shown():
    assembler = TextAssembler(("<|im_end|>",))
    assert [assembler.feed(piece) for piece in (b"hello <", b"|im_", b"end|> more")] == ["hello ", "", ""]
    assert assembler.stopped
    assert assembler.feed(b"even more") == ""
    assert assembler.finish() == ""


def test_what_only_looked_like_a_stop_string_is_released():
    assembler = TextAssembler(("STOP",))
    assert [assembler.feed(piece) for piece in (b"go ST", b"ART")] == ["go ", "START"]
    assert assembler.feed(b" ST") == " "
    assert assembler.finish() == "ST"
    assert not assembler.stopped


@given(SHORT, st.lists(st.integers(0, 200), max_size=8), STOPS)
def test_the_result_does_not_depend_on_how_the_bytes_were_cut(text, cuts, stop):
    data = text.encode()
    pieces, tail, stopped = assemble(data, cuts, stop)
    whole, whole_tail, whole_stopped = assemble(data, [], stop)
    assert ("".join(pieces) + tail, stopped) == ("".join(whole) + whole_tail, whole_stopped)


@given(SHORT, st.lists(st.integers(0, 200), max_size=8), STOPS)
def test_nothing_is_lost_and_no_stop_string_is_shown(text, cuts, stop):
    pieces, tail, stopped = assemble(text.encode(), cuts, stop)
    said = "".join(pieces) + tail
    assert text.startswith(said)
    assert not any(word in said for word in stop)
    assert stopped == any(word in text for word in stop)
    if not stopped:
        assert said == text


@given(st.binary(max_size=40), st.lists(st.integers(0, 200), max_size=8))
def test_any_bytes_give_text_that_never_changes_afterwards(data, cuts):
    pieces, _, _ = assemble(data, cuts)
    assert data.decode("utf-8", "replace").startswith("".join(pieces))


@given(SHORT, STOPS)
def test_what_is_held_back_is_the_longest_beginning_of_a_stop_string(text, stop):
    length = pending_length(text, stop)
    fitting = [n for n in range(1, len(text) + 1) if any(len(w) > n and w.startswith(text[-n:]) for w in stop)]
    assert length == max(fitting, default=0)


def test_the_stop_string_that_is_complete_first_wins():
    assert first_stop("abcd", ("abcd", "bc")) == 1
    assert first_stop("abab", ("b", "ab")) == 0
    assert first_stop("nothing", ("x",)) is None
