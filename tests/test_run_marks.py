"""Marks on runs: exact, repeatable, and on the safe side where nobody can tell."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from persona.domain.lineage import LINEAGE_FILE, LineageKey, encode_lineage, lineage_of
from persona.errors import PersonaError
from persona.run_marks import MARK_FILE, RunMark, mark_runs, read_mark

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=1)
KEY, OTHER = LineageKey(secret=b"k" * 32), LineageKey(secret=b"o" * 32)


def run_with(runs, name, messages, authors=(), *, key=KEY, read_at=NOON):
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / LINEAGE_FILE).write_bytes(encode_lineage(lineage_of(key, read_at, messages, authors)))
    return folder


def mark(runs, messages=(), authors=None, at=LATER):
    digests = {KEY.message(each) for each in messages}
    people = {KEY.author(author): when for author, when in (authors or {}).items()}
    return mark_runs(runs, key=KEY.fingerprint, messages=digests, authors=people, at=at)


def test_only_runs_that_hold_something_forgotten_are_marked(tmp_path):
    touched, untouched = run_with(tmp_path, "a", [1, 2, 3]), run_with(tmp_path, "b", [4])
    (tmp_path / "no-lineage").mkdir()
    marks = mark(tmp_path, [2, 3, 9])
    assert marks == (RunMark(run="a", at=LATER, messages=2),)
    assert read_mark(touched) == marks[0]
    assert json.loads((touched / MARK_FILE).read_text(encoding="utf-8"))["messages"] == 2
    assert read_mark(untouched) is None
    assert [path.name for path in touched.iterdir() if path.name.startswith(".")] == []


def test_people_count_even_when_their_messages_are_not_known_any_more(tmp_path):
    before, after = run_with(tmp_path, "before", [1], [7]), run_with(tmp_path, "after", [2], [7], read_at=LATER)
    (found,) = mark(tmp_path, authors={7: NOON + timedelta(hours=1)})
    assert (found.run, found.messages, found.authors) == ("before", 0, 1)
    assert read_mark(before)
    assert read_mark(after) is None


def test_marking_again_changes_a_mark_only_when_there_is_more_to_say(tmp_path):
    folder = run_with(tmp_path, "a", [1, 2])
    mark(tmp_path, [1])
    first = (folder / MARK_FILE).read_bytes()
    again = mark(tmp_path, [1], at=LATER + timedelta(days=1))
    assert (folder / MARK_FILE).read_bytes() == first
    assert again[0].at == LATER
    more = mark(tmp_path, [1, 2], at=LATER + timedelta(days=1))
    assert (more[0].messages, more[0].at) == (2, LATER + timedelta(days=1))


def test_where_nobody_can_tell_a_run_is_marked(tmp_path):
    run_with(tmp_path, "foreign", [1], key=OTHER)
    damaged = run_with(tmp_path, "damaged", [1])
    (damaged / LINEAGE_FILE).write_bytes((damaged / LINEAGE_FILE).read_bytes()[:-1])
    found = {each.run: each.problem for each in mark(tmp_path, [99])}
    assert "another database" in found["foreign"]
    assert "cannot be read" in found["damaged"]


def test_without_anything_forgotten_or_runs_nothing_happens(tmp_path):
    run_with(tmp_path, "foreign", [1], key=OTHER)
    assert mark(tmp_path) == ()
    assert mark(tmp_path / "missing", [1]) == ()


def test_a_mark_that_cannot_be_read_still_is_one(tmp_path):
    (tmp_path / MARK_FILE).write_text("{", encoding="utf-8")
    found = read_mark(tmp_path)
    assert found is not None
    assert "cannot be read" in found.problem


def test_a_run_that_cannot_be_marked_is_named_and_the_others_are_marked(tmp_path):
    run_with(tmp_path, "a", [1])
    (tmp_path / "a" / MARK_FILE).mkdir()
    good = run_with(tmp_path, "b", [1])
    with pytest.raises(PersonaError, match=r"cannot be marked: .*/a"):
        mark(tmp_path, [1])
    assert read_mark(good) == RunMark(run="b", at=LATER, messages=1)
