"""The rules of consent: newest first, the server before everywhere, and no training without storing."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.domain.chat import AuthorId, GuildId
from persona.domain.consent import EVERYWHERE, Choice, Entry, Scope, Source, Standing, choices_on, standing

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOME, AWAY = GuildId(1), GuildId(2)
ANN, BEN = AuthorId(2), AuthorId(3)


def entry(scope, choice, *, guild=HOME, minutes=0, author=ANN):
    return Entry(
        author_id=author,
        scope=Scope(scope),
        choice=Choice(choice),
        at=NOON + timedelta(minutes=minutes),
        source=Source.COMMAND,
        guild_id=guild,
    )


@pytest.mark.parametrize(
    ("entries", "guild", "store", "train"),
    [
        ([], HOME, True, False),
        ([entry("train", "yes")], HOME, True, True),
        ([entry("train", "yes")], AWAY, True, False),
        ([entry("train", "yes", guild=EVERYWHERE)], AWAY, True, True),
        ([entry("store", "no")], HOME, False, False),
        ([entry("store", "no")], AWAY, True, False),
        ([entry("store", "no", guild=EVERYWHERE)], AWAY, False, False),
        # opting out of being stored implies no training, whichever came first
        ([entry("train", "yes"), entry("store", "no", minutes=1)], HOME, False, False),
        ([entry("store", "no"), entry("train", "yes", minutes=1)], HOME, False, False),
        # newest wins, by its time and not by its place
        ([entry("store", "no"), entry("store", "yes", minutes=1)], HOME, True, False),
        ([entry("store", "yes", minutes=1), entry("store", "no")], HOME, True, False),
        # of the same moment the later line
        ([entry("store", "yes"), entry("store", "no")], HOME, False, False),
        # the server goes before everywhere, however old
        ([entry("store", "yes"), entry("store", "no", guild=EVERYWHERE, minutes=9)], HOME, True, False),
        ([entry("store", "yes"), entry("store", "no", guild=EVERYWHERE, minutes=9)], AWAY, False, False),
    ],
)
def test_what_holds(entries, guild, store, train):
    assert standing(entries, guild) == Standing(store=store, train=train)


def test_where_the_server_is_unknown_any_no_counts_and_a_yes_only_for_everywhere():
    assert not standing([entry("store", "no")], EVERYWHERE).store
    both = [entry("store", "yes", guild=EVERYWHERE, minutes=5), entry("store", "no")]
    assert not standing(both, EVERYWHERE).store
    assert not standing([entry("train", "yes")], EVERYWHERE).train
    assert standing([entry("train", "yes", guild=EVERYWHERE)], EVERYWHERE).train
    taken_back = [entry("store", "no"), entry("store", "yes", minutes=1)]
    assert standing(taken_back, EVERYWHERE).store


def test_choices_are_kept_apart_by_person_and_leave_defaults_out():
    entries = [entry("store", "no"), entry("train", "yes", author=BEN), entry("store", "no", guild=AWAY, author=BEN)]
    assert choices_on(entries, HOME) == {ANN: {Scope.STORE: Choice.NO}, BEN: {Scope.TRAIN: Choice.YES}}


ENTRIES = st.lists(
    st.builds(
        entry,
        st.sampled_from(["store", "train"]),
        st.sampled_from(["yes", "no"]),
        guild=st.sampled_from([EVERYWHERE, HOME, AWAY]),
        minutes=st.integers(0, 5),
    ),
    max_size=8,
)


@given(ENTRIES, st.sampled_from([EVERYWHERE, HOME, AWAY]), st.sampled_from([EVERYWHERE, HOME, AWAY]))
def test_nobody_is_trained_on_who_is_not_stored_and_a_fresh_no_always_holds(entries, where, guild):
    held = standing(entries, guild)
    assert held.store or not held.train
    after = standing([*entries, entry("store", "no", guild=guild, minutes=9)], guild)
    assert after == Standing(store=False, train=False)
    if where == guild and guild != EVERYWHERE:
        assert standing([*entries, entry("store", "yes", guild=where, minutes=9)], guild).store
