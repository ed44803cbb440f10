"""Who was heard lately: nicks for history pages, names for mentions, and nothing kept for ever."""

from datetime import UTC, datetime

import pytest

from persona.adapters.discord import people
from persona.adapters.discord.people import People
from persona.domain.chat import Author, Message

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def person(number, shown, *, is_bot=False):
    return Author(id=number, name=f"user{number}", display_name=shown, is_bot=is_bot)


def said(author, *mentions):
    return Message(id=1, channel_id=5, author=author, content="", created_at=NOW, mentions=mentions)


def test_a_nick_belongs_to_one_server():
    known = People()
    known.heard(1, said(person(11, "Annie")))
    assert known.nick(1, 11) == "Annie"
    assert known.nick(2, 11) is None


def test_history_adds_names_but_changes_none():
    known = People()
    known.heard(1, said(person(11, "Annie")))
    known.heard(1, said(person(12, "Annie"), person(13, "Cleo")), live=False)
    assert known.by_name(1) == {"user11": 11, "Annie": 11, "user12": 12, "user13": 13, "Cleo": 13}
    assert known.nick(1, 12) is None


def test_of_two_with_one_name_the_one_at_hand_is_meant():
    known = People()
    known.heard(1, said(person(11, "Ann")))
    known.heard(1, said(person(12, "Ann")))
    assert known.by_name(1)["Ann"] == 12
    assert known.by_name(1, [person(11, "Ann")])["Ann"] == 11


def test_bots_are_not_mentioned():
    known = People()
    known.heard(1, said(person(11, "Robot", is_bot=True), person(12, "Other", is_bot=True)))
    assert known.by_name(1, [person(13, "Third", is_bot=True)]) == {}


def test_only_the_last_ones_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(people, "_MOST_NAMES", 4)
    monkeypatch.setattr(people, "_MOST_NICKS", 2)
    known = People()
    for number in range(10):
        known.heard(1, said(person(number, f"name{number}")))
    assert set(known.by_name(1)) == {"user8", "name8", "user9", "name9"}
    assert [known.nick(1, number) for number in (7, 8, 9)] == [None, "name8", "name9"]
