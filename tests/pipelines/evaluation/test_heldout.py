"""Which held-out replies are asked about: conversations as a whole, halves that do not overlap, always the same."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from persona.domain.prompt import Role, Turn
from persona.errors import PersonaError
from pipelines.evaluation.heldout import draw, lines_of, read_split, who
from tests.pipelines.evaluation.run_world import write_split


@pytest.fixture
def contexts(tmp_path):
    write_split(tmp_path, "test", conversations=20, replies=7)
    return read_split(tmp_path, "test")


def ids(contexts):
    return {context.context_id for context in contexts}


def test_a_context_is_what_the_model_reads_and_what_the_person_wrote(contexts):
    first = contexts[0]
    assert (first.channel, who(first.turns)[:2]) == ("general", ("Pip", "the attic"))
    assert len(first.said) == 1
    assert first.sample().messages == lines_of(first.reply)
    assert first.created_at is not None


def test_the_repliers_own_lines_stand_under_their_name(contexts):
    turns = contexts[0].turns
    own = Turn(role=Role.ASSISTANT, lines=("no", "not yet"))
    assert replace(contexts[0], turns=(*turns, own)).said == (*contexts[0].said, "Pip: no", "Pip: not yet")


def test_the_halves_have_nothing_in_common_and_are_of_the_same_conversations(contexts):
    drawn = draw(contexts, wanted=30, seed=3)
    assert len(drawn.asked) == len(drawn.others) == 30
    assert not ids(drawn.asked) & ids(drawn.others)
    clusters = [Counter(drawn.clusters[one.context_id] for one in half) for half in (drawn.asked, drawn.others)]
    assert clusters[0] == clusters[1]
    assert set(clusters[0].values()) == {1, 2}  # 30 of 20 conversations: each has a say


def test_the_same_seed_draws_the_same_and_more_contains_less(contexts):
    small, large = draw(contexts, wanted=12, seed=3), draw(contexts, wanted=48, seed=3)
    assert draw(contexts, wanted=12, seed=3) == small
    assert ids(small.asked) < ids(large.asked)
    assert ids(draw(contexts, wanted=12, seed=4).asked) != ids(small.asked)


def test_a_long_conversation_is_cut_and_single_replies_are_put_together(tmp_path):
    write_split(tmp_path / "long", "test", conversations=1, replies=60)
    drawn = draw(read_split(tmp_path / "long", "test"), wanted=100, seed=1)
    assert len(set(drawn.clusters.values())) == 5
    write_split(tmp_path / "short", "test", conversations=21, replies=1)
    drawn = draw(read_split(tmp_path / "short", "test"), wanted=100, seed=1)
    assert len(drawn.asked) == 10
    assert set(Counter(drawn.clusters.values()).values()) == {2}


def test_three_parts_leave_some_people_to_check_the_measures_with(contexts):
    drawn = draw(contexts, wanted=30, seed=3, parts=3)
    parts = [ids(part) for part in (drawn.asked, drawn.others, drawn.further)]
    assert len(set.union(*parts)) == 90


def test_the_brief_form_keeps_what_was_answered(tmp_path):
    write_split(tmp_path, "train", conversations=2)
    file = tmp_path / "sft" / "train-00000.jsonl"
    row = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
    row["prompt"][1]["content"] = "\n".join(f"ann: line {number}" for number in range(50))
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (brief,) = read_split(tmp_path, "train", brief=True)
    assert brief.said == ("ann: line 47", "ann: line 48", "ann: line 49")
    assert brief.channel == "general"


def test_what_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(PersonaError, match="no test part"):
        read_split(tmp_path, "test")
    write_split(tmp_path, "test", conversations=1, replies=2)
    with (tmp_path / "sft" / "test-00000.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"prompt": 3}\n')
    with pytest.raises(PersonaError, match=r"test-00000\.jsonl:3 cannot be read"):
        read_split(tmp_path, "test")
