"""When a watermark may move with live messages: only where nothing can be missing below."""

from actors.reading.link_session import LinkSession
from persona.domain.chat import ChannelId, MessageId

HERE, THERE = ChannelId(5), ChannelId(6)


def in_step():
    session = LinkSession()
    for channel_id in (HERE, THERE):
        session.caught_up(channel_id, session.mark(channel_id))
    return session


def test_only_after_catching_up():
    session = LinkSession()
    assert not session.may_advance(HERE)
    session.caught_up(HERE, session.mark(HERE))
    assert session.may_advance(HERE)
    assert not session.may_advance(THERE)


def test_a_lost_connection_stops_it_and_a_resumption_goes_on():
    session = in_step()
    session.link_down()
    assert not session.may_advance(HERE)
    session.link_up(resumed=True)
    assert session.may_advance(HERE)


def test_a_new_session_starts_from_nothing():
    session = in_step()
    mark = session.mark(HERE)
    session.link_down()
    session.link_up(resumed=False)
    assert not session.may_advance(HERE)
    session.caught_up(HERE, mark)  # a page that was asked for in the old session
    assert not session.may_advance(HERE)
    session.caught_up(HERE, session.mark(HERE))
    assert session.may_advance(HERE)


def test_a_gap_counts_also_for_a_page_that_is_on_its_way():
    session = in_step()
    flight = session.take_off(HERE)
    session.missed([HERE])
    assert not session.may_advance(HERE)
    assert session.may_advance(THERE)
    session.caught_up(HERE, flight.mark)
    assert not session.may_advance(HERE)


def test_a_new_session_counts_as_a_gap_where_nothing_was_in_step_yet():
    session = LinkSession()
    flight = session.take_off(HERE)
    session.link_up(resumed=False)
    session.caught_up(HERE, flight.mark)
    assert not session.may_advance(HERE)


def test_a_flight_hears_what_happens_in_its_channel_until_it_lands():
    session = LinkSession()
    session.heard(HERE, MessageId(1))
    flight = session.take_off(HERE)
    session.heard(HERE, MessageId(2))
    session.heard(THERE, MessageId(3))
    session.reacted(HERE, MessageId(1))
    session.land(HERE)
    session.heard(HERE, MessageId(4))
    assert flight.heard == {2}
    assert flight.reacted == {1}
