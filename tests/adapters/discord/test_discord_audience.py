"""What a channel shares with another one's audience: never more than every possible member may read."""

from itertools import chain, combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from persona.adapters.discord.audience import (
    ADMINISTRATOR,
    CONNECT,
    HISTORY,
    VIEW,
    Area,
    Overwrite,
    Server,
    is_seen,
    permissions,
    shared,
    sort_area,
)

EVERYONE, OWNER = 1, 100


def shares(server, seen, other):
    return shared(server, seen, {1: other}) == {1}


BITS = st.sampled_from([0, VIEW, HISTORY, VIEW | HISTORY, CONNECT, VIEW | HISTORY | CONNECT])
ROLES = st.integers(2, 6)
MEMBERS = st.sampled_from([OWNER, 101, 102])
OVERWRITES = st.builds(Overwrite, BITS, BITS)
AREAS = st.builds(
    lambda roles, members, everyone, voice: Area(
        roles={**roles, **({EVERYONE: everyone} if everyone else {})},
        members=members,
        needs=VIEW | HISTORY | (CONNECT if voice else 0),
    ),
    st.dictionaries(ROLES, OVERWRITES, max_size=3),
    st.dictionaries(MEMBERS, OVERWRITES, max_size=2),
    st.none() | OVERWRITES,
    st.booleans(),
)
SERVERS = st.builds(
    lambda everyone, roles: Server(everyone=EVERYONE, owner=OWNER, roles={EVERYONE: everyone, **roles}),
    BITS,
    st.dictionaries(ROLES, BITS | st.just(ADMINISTRATOR), max_size=5),
)


def everybody(server):
    """Every combination of roles, for somebody without and with an overwrite of their own."""
    roles = [role for role in server.roles if role != EVERYONE]
    subsets = chain.from_iterable(combinations(roles, size) for size in range(len(roles) + 1))
    return [(subset, member) for subset in subsets for member in (None, OWNER, 101, 102)]


@settings(max_examples=400)
@given(SERVERS, AREAS, AREAS)
def test_it_shares_exactly_what_nobody_who_could_see_it_may_not_read(server, seen, other):
    kept_out = [
        (roles, member)
        for roles, member in everybody(server)
        if permissions(server, seen, roles, member) & VIEW
        and permissions(server, other, roles, member) & other.needs != other.needs
    ]
    assert shares(server, seen, other) == (not kept_out)


@settings(max_examples=200)
@given(SERVERS, AREAS)
def test_who_sees_a_channel_is_whoever_has_the_right_to(server, area):
    channel = sort_area(area)
    for roles, member in everybody(server):
        if member is not None:
            sees = bool(permissions(server, area, roles, member) & VIEW)
            assert is_seen(server, channel, frozenset(roles), member) == sees


def server(**roles):
    return Server(everyone=EVERYONE, owner=OWNER, roles={EVERYONE: VIEW | HISTORY, 2: 0, 3: ADMINISTRATOR, **roles})


OPEN = Area()
STAFF = Area(roles={EVERYONE: Overwrite(0, VIEW), 2: Overwrite(VIEW, 0)})
INVITED = Area(roles={EVERYONE: Overwrite(0, VIEW)}, members={101: Overwrite(VIEW, 0)})


def test_the_staff_reads_the_open_channel_but_not_the_other_way_round():
    assert shares(server(), STAFF, OPEN)
    assert shares(server(), STAFF, STAFF)
    assert not shares(server(), OPEN, STAFF)


def test_an_invited_person_need_not_be_staff():
    assert shares(server(), INVITED, OPEN)
    assert not shares(server(), INVITED, STAFF)
    assert not shares(server(), STAFF, INVITED)


def test_somebody_banned_from_the_open_channel_keeps_it_from_all_where_they_are():
    banned = Area(members={102: Overwrite(0, VIEW)})
    assert not shares(server(), OPEN, banned)
    assert shares(server(), banned, OPEN)


def test_seeing_is_not_reading_what_was_said_before():
    fresh = Area(roles={EVERYONE: Overwrite(0, HISTORY)})
    assert not shares(server(), OPEN, fresh)
    assert not shares(server(), fresh, fresh)
    assert shares(server(), fresh, OPEN)


def test_admins_and_the_owner_read_everything():
    only_admins = Area(roles={EVERYONE: Overwrite(0, VIEW)}, members={OWNER: Overwrite(0, VIEW)})
    closed = Area(roles={EVERYONE: Overwrite(0, VIEW | HISTORY)})
    assert shares(server(), only_admins, closed)
    assert permissions(server(), closed, (3,), None) == -1
    assert permissions(server(), closed, (), OWNER) == -1


def test_text_in_a_voice_channel_takes_the_right_to_join_it():
    voice = Area(needs=VIEW | HISTORY | CONNECT)
    assert not shares(server(), OPEN, voice)
    joinable = Server(everyone=EVERYONE, owner=OWNER, roles={EVERYONE: VIEW | HISTORY | CONNECT})
    assert shares(joinable, OPEN, voice)
