import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona.domain.chat import AuthorId, ChannelId
from pipelines.preferences import (
    Generated,
    Judged,
    Liked,
    Rules,
    Thumbs,
    Verdict,
    as_json,
    dpo_row,
    generated_from_json,
    judge_message,
    judge_thumbs,
    kto_row,
    liked_from_json,
    thumbs,
    usual_reactions,
)

START = datetime(2026, 1, 10, tzinfo=UTC)
PROMPT = ({"role": "system", "content": "You are Pip."}, {"role": "user", "content": "Ann: tea?"})
RULES = Rules()


def said(
    reactions: int, *, author: int = 1, channel: int = 1, days: float = 0, tokens: int = 10, allowed: bool = True
) -> Judged:
    return Judged(
        example_id=f"{author}-{channel}-{days}",
        author_id=AuthorId(author),
        channel_id=ChannelId(channel),
        created_at=START + timedelta(days=days),
        reactions=reactions,
        tokens=tokens,
        allowed=allowed,
    )


def many(number: int, reactions: int, **where: int) -> list[Judged]:
    return [said(reactions, **where) for _ in range(number)]


def test_what_is_usual_is_learned_for_each_channel():
    usual = usual_reactions(
        many(500, 0, channel=1, author=1) + many(500, 3, channel=2, author=1) + many(500, 0, channel=1, author=2)
    )
    assert usual.expected(said(0, channel=1, author=9)) < 0.2
    assert 2.4 < usual.expected(said(0, channel=2, author=9)) < 3.1
    assert judge_message(said(3, channel=1, author=9), usual, RULES) is Verdict.LIKED
    assert judge_message(said(3, channel=2, author=9), usual, RULES) is Verdict.UNCLEAR
    assert judge_message(said(5, channel=2, author=9), usual, RULES) is Verdict.LIKED


def test_people_who_always_get_reactions_need_more_of_them():
    usual = usual_reactions(many(300, 3, author=1) + many(300, 0, author=2) + many(300, 0, author=3))
    assert usual.expected(said(0, author=1)) > 2.5
    assert usual.expected(said(0, author=2)) < 0.3
    assert judge_message(said(3, author=1), usual, RULES) is Verdict.UNCLEAR
    assert judge_message(said(3, author=2), usual, RULES) is Verdict.LIKED


def test_what_was_usual_when_the_server_was_young_counts_for_then():
    young, grown = many(400, 0, days=0, author=1), many(400, 3, days=200, author=2)
    usual = usual_reactions(young + grown)
    stranger_then, stranger_now = said(3, days=0, author=9), said(3, days=200, author=9)
    assert usual.surplus(stranger_then) > 2.5
    assert usual.surplus(stranger_now) < 0.5


def test_strangers_and_new_channels_lean_on_what_is_usual_everywhere():
    usual = usual_reactions(many(100, 2, author=1))
    assert usual.expected(said(0, author=77, channel=88, days=900)) == pytest.approx(2.0)
    assert usual_reactions([]).expected(said(0)) == 0.0


def test_one_message_does_not_decide_what_is_usual_for_its_author():
    usual = usual_reactions([*many(1_000, 1, author=1), said(5, author=2)])
    assert usual.expected(said(0, author=2)) == pytest.approx(1.2, abs=0.05)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 4), st.integers(1, 3), st.integers(0, 400)), max_size=60))
def test_what_is_expected_lies_between_nothing_and_what_counts(data):
    messages = [said(reactions, author=a, channel=c, days=d) for reactions, a, c, d in data]
    usual = usual_reactions(messages)
    assert usual == usual_reactions(messages)
    assert all(0.0 <= usual.expected(message) <= 5.0 for message in messages)


def test_at_most_five_reactions_count():
    usual = usual_reactions([said(4_000), *many(19, 0)])
    assert usual.everywhere == 5 / 20
    assert usual.surplus(said(4_000)) == usual.surplus(said(5))


def test_short_messages_and_other_channels_are_not_judged():
    usual = usual_reactions(many(100, 0))
    assert judge_message(said(5, tokens=3), usual, RULES) is Verdict.TOO_SHORT
    assert judge_message(said(5, tokens=4), usual, RULES) is Verdict.LIKED
    assert judge_message(said(5, allowed=False), usual, RULES) is Verdict.NOT_ALLOWED
    assert judge_thumbs(said(0, tokens=3), Thumbs(down=5), RULES) is Verdict.TOO_SHORT
    assert judge_thumbs(said(0, allowed=False), Thumbs(down=5), RULES) is Verdict.NOT_ALLOWED


def test_silence_is_a_weak_negative_only_where_reactions_are_usual():
    busy, quiet = usual_reactions(many(100, 3)), usual_reactions(many(100, 0))
    assert judge_message(said(0), busy, RULES) is Verdict.IGNORED
    assert judge_message(said(1), busy, RULES) is Verdict.UNCLEAR
    assert judge_message(said(0), quiet, RULES) is Verdict.UNCLEAR


def test_thumbs_are_counted_in_every_skin_and_spelling():
    assert thumbs({"\U0001f44d": 1, "\U0001f44d\U0001f3fd": 1, "\U0001f44e\ufe0f": 2, "\U0001f602": 9}) == Thumbs(
        up=2, down=2
    )
    assert thumbs({":thumbsup:": 40, ":-1:": 1}) == Thumbs(up=5, down=1)
    assert thumbs({}) == Thumbs()


@pytest.mark.parametrize(
    ("votes", "verdict"),
    [
        (Thumbs(up=2), Verdict.LIKED),
        (Thumbs(up=4, down=2), Verdict.LIKED),
        (Thumbs(down=2), Verdict.DISLIKED),
        (Thumbs(up=1, down=4), Verdict.DISLIKED),
        (Thumbs(up=3, down=2), Verdict.UNCLEAR),
        (Thumbs(up=1), Verdict.UNCLEAR),
        (Thumbs(), Verdict.UNCLEAR),
    ],
)
def test_thumbs_need_a_margin(votes, verdict):
    assert judge_thumbs(said(0), votes, RULES) is verdict


def liked() -> Liked:
    return Liked(example_id="a1", split="train", prompt=PROMPT, chosen="always")


def test_both_sides_of_a_pair_answer_the_same_prompt():
    row = dpo_row(liked(), Generated(example_id="a1", text="no thanks", ended=True))
    assert row == {
        "prompt": list(PROMPT),
        "chosen": [{"role": "assistant", "content": "always"}],
        "rejected": [{"role": "assistant", "content": "no thanks"}],
    }
    with pytest.raises(ValueError, match="example a1 was paired with the reply to a2"):
        dpo_row(liked(), Generated(example_id="a2", text="no thanks", ended=True))


@pytest.mark.parametrize(("text", "ended"), [("", True), ("  \n", True), (" Always ", True), ("so, the thing", False)])
def test_what_teaches_nothing_is_no_pair(text, ended):
    assert dpo_row(liked(), Generated(example_id="a1", text=text, ended=ended)) is None


@pytest.mark.parametrize(
    ("verdict", "label"),
    [
        (Verdict.LIKED, True),
        (Verdict.DISLIKED, False),
        (Verdict.IGNORED, False),
        (Verdict.UNCLEAR, None),
        (Verdict.TOO_SHORT, None),
        (Verdict.NOT_ALLOWED, None),
    ],
)
def test_kto_rows_have_the_verdict_as_their_label(verdict, label):
    row = kto_row(PROMPT, "always", verdict)
    assert (row["label"] if row else None) is label
    if row:
        assert row["prompt"] == list(PROMPT)
        assert row["completion"] == [{"role": "assistant", "content": "always"}]


@given(st.text(max_size=30), st.text(max_size=30), st.booleans())
def test_records_survive_the_disk(text, name, ended):
    record = Liked(example_id=name, split="train", prompt=({"role": "user", "content": text},), chosen=text)
    assert liked_from_json(as_json(record)) == record
    assert "\n" not in as_json(record)
    generated = Generated(example_id=name, text=text, ended=ended)
    assert generated_from_json(as_json(generated)) == generated


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[]", "no JSON object"),
        ("{", "Expecting"),
        (json.dumps({"example_id": "a", "split": "train", "prompt": [1], "chosen": "x"}), "no chat message"),
        (json.dumps({"example_id": "a", "split": "train", "prompt": []}), "'chosen' is missing"),
    ],
)
def test_damaged_lines_are_named(line, problem):
    with pytest.raises(ValueError, match=problem):
        liked_from_json(line)
