import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from persona.domain.delivery import DISCORD_LIMIT, Delivery, DeliveryLimits, fitted, plan, split
from persona.domain.markup import WORD_JOINER

LIMITS = DeliveryLimits()
NAMES = ("Pip", "Ann", "Ben (2)", "Ann 2")


def texts(
    draft: str, *, complete: bool = True, limits: DeliveryLimits = LIMITS, names: tuple[str, ...] = NAMES
) -> list[str]:
    return [m.text for m in plan(draft, persona_name="Pip", names=names, limits=limits, complete=complete).messages]


@pytest.mark.parametrize(
    ("draft", "sent"),
    [
        ("hey", ["hey"]),
        ("  hey  \n\n\n you \n", ["hey", "you"]),
        ("a\nb\nc\nd\ne", ["a", "b", "c\nd\ne"]),
        ("", []),
        (" \n\u200b\n\u2060", []),
        ("```\n```", []),
        # Its own name in front, and other people's lines.
        ("Pip: hey", ["hey"]),
        ("pip: Pip (to Ann): hey\nPip: you", ["hey", "you"]),
        ("**Pip**: hey", ["hey"]),
        ("**Pip:** hey", ["hey"]),
        ("<Pip> hey", ["hey"]),
        ("pipe: hey", ["pipe: hey"]),
        ("sure\nAnn: thanks\nno worries", ["sure"]),
        ("sure\n  ann (to Pip): thanks\nmore", ["sure"]),
        ('sure\nAnn 2 (to Ann, "so (it) goes"): thanks', ["sure"]),
        ("sure\n**Ann**: thanks", ["sure"]),
        ("sure\n<Ann> thanks", ["sure"]),
        ("sure\nBen (2): thanks", ["sure"]),
        ("Ann: hi", []),
        ("so Ann: what now", ["so Ann: what now"]),
        ("@Ann: what now", ["@Ann: what now"]),
        ("Ann:) hi", ["Ann:) hi"]),
        ("Zed: hi", ["Zed: hi"]),
        ("```yaml\nAnn: 1\n```\nok", ["```yaml\nAnn: 1\n```", "ok"]),
        # The prompt's frame.
        ("hey<|im_end|>\n<|im_start|>user", ["hey"]),
        ("hey <|", ["hey"]),
        ("hey <|<|\nmore", ["hey"]),
        ("hey\nPip: [now]\nx", ["hey"]),
        ("```ini\n[now]\n```", ["```ini\n[now]\n```"]),
        ("hey</s> you", ["hey"]),
        ("hey\n[now]\nAnn: x", ["hey"]),
        ("hey\n[Earlier on this server]\nx", ["hey"]),
        ("in F# you write f <| x", ["in F# you write f <| x"]),
        ("it is [now] or never", ["it is [now] or never"]),
        # Loops.
        ("no\nNo\nyes\nno ", ["no", "yes"]),
        ("```\na\na\n```\n```\na\na\n```", ["```\na\na\n```", "```\na\na\n```"]),
        # Characters that nobody should send.
        ("a\r\nb\u2028c\x00d\x1b[1m\u202ee\ud800", ["a", "b", "cd[1me"]),
        ("cafe\u0301", ["caf\u00e9"]),
        # Nobody is pinged.
        ("@everyone <@&12> <@34>", [f"@{WORD_JOINER}everyone <{WORD_JOINER}@&12> <{WORD_JOINER}@34>"]),
        # Code stays together, and a fence that was left open is closed.
        ("look:\n```py\na = 1\n\n  b\n```\ndone", ["look:", "```py\na = 1\n\n  b\n```", "done"]),
        ("look: ```py\na\n``` ok\nbye", ["look: ```py\na\n``` ok", "bye"]),
        ("```py\na\nb", ["```py\na\nb\n```"]),
    ],
)
def test_plan(draft: str, sent: list[str]) -> None:
    assert texts(draft) == sent


@pytest.mark.parametrize(
    ("draft", "sent"),
    [
        ("I went there. It was gre", ["I went there."]),
        ('He said "no." And th', ['He said "no."']),
        ("I went there.", ["I went there."]),
        ("really?!", ["really?!"]),
        ("I went there\nit was gr", ["I went there"]),
        ("one two thr", ["one two\u2026"]),
        ("supercalifrag", ["supercalifrag"]),
        ("costs 3.5", ["costs\u2026"]),
        ("I think\n1. tea\n2. cof", ["I think", "1. tea"]),
        ("look\n```py\na = 1\nb =", ["look", "```py\na = 1\n```"]),
        ("", []),
    ],
)
def test_a_half_sentence_is_not_sent(draft: str, sent: list[str]) -> None:
    assert texts(draft, complete=False) == sent


def test_typing_takes_its_time_within_bounds() -> None:
    limits = DeliveryLimits(characters_per_second=10, min_typing_seconds=1, max_typing_seconds=3)
    sent = plan("hi\n" + "x" * 20 + "\n" + "y" * 500, persona_name="Pip", names=(), limits=limits)
    assert [m.typing_seconds for m in sent.messages] == [1, 2, 3]


def test_a_burst_is_as_long_as_it_may_be() -> None:
    draft = "\n".join("abcdef")
    assert texts(draft, limits=DeliveryLimits(max_burst=1)) == [draft]
    assert texts(draft, limits=DeliveryLimits(max_burst=9)) == list("abcdef")


def test_nothing_to_send() -> None:
    assert plan(" ", persona_name="", names=("", " "), limits=LIMITS) == Delivery()


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"max_burst": 0}, "max_burst = 0 is less than 1"),
        ({"max_characters": 63}, "max_characters = 63 is less than 64"),
        ({"characters_per_second": 0}, "characters_per_second = 0 is not more than 0"),
        ({"characters_per_second": float("nan")}, "characters_per_second = nan is not more than 0"),
    ],
)
def test_limits_nobody_can_keep(limits: dict[str, float], problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        DeliveryLimits(**limits)


def test_splits_where_a_reader_would() -> None:
    words = "word " * 9
    paragraphs = f"{words}one.\n\n{words}two."
    assert split(paragraphs, 64) == [f"{words}one.", f"{words}two."]
    sentences = f"{words}one. {words}two."
    assert split(sentences, 64) == [f"{words}one.", f"{words}two."]
    assert split("word " * 20, 64) == [("word " * 12).strip(), ("word " * 8).strip()]
    assert split("x" * 130, 64) == ["x" * 60, "x" * 60, "x" * 10]


def test_a_message_of_exactly_the_limit_is_not_split() -> None:
    assert [len(piece) for piece in split("x" * DISCORD_LIMIT)] == [2000]
    assert [len(piece) for piece in split("\U0001f331" * 2001)] == [1996, 5]


def test_a_split_fence_is_closed_and_opened_again_with_its_language() -> None:
    code = "\n".join(f"    line_{n} = {n}" for n in range(8))
    pieces = split(f"before\n```py\n{code}\n```\nafter", 64)
    assert all(re.search(r"```py\n    line_.*\n```\Z", piece, re.DOTALL) for piece in pieces[:-1])
    assert pieces[-1].endswith("```\nafter")
    assert [line for piece in pieces for line in piece.splitlines() if "line_" in line] == code.splitlines()


def test_a_fence_is_not_opened_for_nothing() -> None:
    text = "x" * 55 + "\n```py\n" + "y" * 40 + "\n```"
    assert split(text, 64) == ["x" * 55, "```py\n" + "y" * 40 + "\n```"]
    closing = "```\n" + "y" * 54 + "\n```\nafter"
    assert split(closing, 64) == ["```\n" + "y" * 54 + "\n```", "after"]


def test_joined_characters_are_not_torn_apart() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    for piece in split(family * 40, 64):
        assert piece.replace(family, "") == ""
    for piece in split("e\u0301" * 99, 65):
        assert not piece.startswith("\u0301")


PIECES = st.sampled_from(
    [
        *(
            "\n",
            "\n\n",
            " ",
            "  ",
            "```",
            "````",
            "`",
            "```py\n",
            "\n```\n",
            ". ",
            "word ",
            "Ann: ",
            "Pip: ",
            "<|",
            "\t",
        ),
        *("[now]", "@everyone", "<@&1>", "x" * 70, "y" * 30, "a b " * 20, "\u0301", "\u200d", "\U0001f468", "\u2028"),
    ]
)
DRAFTS = st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=30).map("".join))
ROOM = st.integers(64, 200)


def _bare(text: str) -> str:
    return "".join(text.split()).replace("`", "")


@given(DRAFTS, ROOM)
@example("```py " + " " * 80, 64)
@example("x" * 30 + "```" + " " * 99 + "y```", 64)
@example("```" + "a" * 20 + "\n" + "b" * 200, 64)
def test_pieces_keep_the_limit_and_their_fences(text: str, limit: int) -> None:
    for piece in split(text, limit):
        assert 0 < len(piece) <= limit
        assert piece.count("```") % 2 == 0


@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=30).map("".join), ROOM)
def test_splitting_loses_only_whitespace(text: str, limit: int) -> None:
    prose = text.replace("`", "")
    assert "".join("".join(split(prose, limit)).split()) == "".join(prose.split())


@given(st.lists(st.sampled_from(["def f():", "    return 1", "x = 'word'", "", "y" * 90]), max_size=20), ROOM)
def test_splitting_code_loses_only_whitespace(lines: list[str], limit: int) -> None:
    code = "\n".join(lines)
    sent = split(f"look\n```python\n{code}\n```\nbye", limit)
    assert _bare("".join(piece.replace("```python\n", "") for piece in sent)) == _bare(f"look{code}bye")


@given(DRAFTS, st.lists(st.text(max_size=6), max_size=3), ROOM, st.booleans())
def test_whatever_the_draft_what_is_sent_can_be_sent(draft: str, names: list[str], limit: int, complete: bool) -> None:
    limits = DeliveryLimits(max_characters=limit)
    sent = plan(draft, persona_name="Pip", names=(*NAMES, *names), limits=limits, complete=complete)
    for message in sent.messages:
        assert message.text.strip()
        assert len(message.text) <= limit
        assert message.text.count("```") % 2 == 0
        assert "@everyone" not in message.text
        assert "<@&1>" not in message.text
        assert limits.min_typing_seconds <= message.typing_seconds <= limits.max_typing_seconds
        message.text.encode()


@given(st.lists(st.text("abc .!?", min_size=1, max_size=40), max_size=6))
def test_a_harmless_draft_is_sent_whole(lines: list[str]) -> None:
    unlike = [f"{number} {line}" for number, line in enumerate(lines)]
    assert "".join("".join(texts("\n".join(unlike))).split()) == "".join("".join(unlike).split())


@given(DRAFTS)
def test_what_was_sent_would_be_sent_the_same_again(draft: str) -> None:
    once = texts(draft)
    if not any("```" in text for text in once):
        assert texts("\n".join(once)) == once


@pytest.mark.parametrize(
    "piece",
    ["<|", "<| ", "<|<", "<|\t", "</", ".", ".)", "\n", "\n 1.", "`", "` `` ", "*", "<@1> ", "Pip: ", "Pip (to "],
)
@pytest.mark.parametrize("complete", [True, False])
def test_a_draft_that_repeats_itself_endlessly_takes_no_time(piece, complete):
    text = (piece * 100_000)[:100_000] + "x"
    start = time.perf_counter()
    plan(text, persona_name="Pip", names={"Ann"}, limits=DeliveryLimits(), complete=complete)
    assert time.perf_counter() - start < 5  # before, the first of them took years


@pytest.mark.parametrize(
    ("draft", "kept"),
    [
        ("one <|im_end|> two", "one"),
        ("one <| <|\t<|im_start|>", "one"),
        ("one <|\ntwo", "one"),
        ("one <| <", "one"),
        ("one </s> two", "one"),
        ("one <</S> two", "one <"),
        ("f <| g x", "f <| g x"),
        ("a < b | c", "a < b | c"),
        ("a <<| b", "a <<| b"),
    ],
)
def test_the_template_is_cut_off_and_what_only_looks_like_it_is_kept(draft, kept):
    planned = plan(draft, persona_name="Pip", names=set(), limits=DeliveryLimits())
    assert [message.text for message in planned.messages] == [kept]


def test_what_grows_as_markup_is_cut_until_each_piece_fits():
    def written(text):
        return text.replace(":wave:", "<:wave:1234567890123456789>")

    planned = plan(":wave: " * 280 + "x", persona_name="Pip", names=set(), limits=DeliveryLimits())
    assert len(planned.messages) == 1
    cut = fitted(planned, written)
    assert 4 <= len(cut.messages) <= 6
    assert all(len(written(message.text)) <= 2000 for message in cut.messages)
    assert " ".join(message.text for message in cut.messages) == planned.messages[0].text
    assert cut.messages[0].typing_seconds == planned.messages[0].typing_seconds
    assert fitted(cut, written) == cut
    assert fitted(planned, str) == planned


def test_what_can_never_fit_is_cut_as_far_as_it_goes():
    planned = plan("a" * 300, persona_name="Pip", names=set(), limits=DeliveryLimits())
    cut = fitted(planned, lambda text: text * 1000)
    assert len(cut.messages) >= 5
    assert "".join(message.text for message in cut.messages) == "a" * 300
    assert all(len(message.text) <= 64 for message in cut.messages)
