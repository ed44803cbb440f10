"""The talk of a channel as the responder keeps it."""

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from actors.replying.lanes import Job, Lane, Lanes, RecentIds, parts_out
from persona.domain.chat import (
    Attachment,
    Author,
    AuthorId,
    Channel,
    ChannelId,
    Edit,
    GuildId,
    Message,
    MessageId,
    MessageKind,
    snowflake_at,
)
from persona.domain.speaking import ChannelState, Decision, Reason
from persona.errors import StoreError
from persona.ports import Arrival

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SELF = AuthorId(1)
ANN = Author(id=AuthorId(2), name="ann", display_name="Ann")
ME = Author(id=SELF, name="pip", display_name="Pip", is_bot=True)


def said(number, *, author=ANN, reply_to=None, channel_id=5, text="words"):
    return Message(
        id=MessageId(snowflake_at(NOW, number)),
        channel_id=ChannelId(channel_id),
        author=author,
        content=f"{text} {number}",
        created_at=NOW,
        kind=MessageKind.DEFAULT if reply_to is None else MessageKind.REPLY,
        reply_to=reply_to,
    )


def lane_with(*numbers, window=30):
    lane = Lane(state=ChannelState(), talk=[])
    for number in numbers:
        lane.hear(said(number), self_id=SELF, window=window)
    return lane


def numbers_in(lane):
    return [int(message.content.split()[-1]) for message in lane.talk]


def test_a_full_window_loses_about_ten_messages_at_a_time_so_that_prompts_go_on_where_the_last_one_ended():
    lane = lane_with(window=30)
    starts = []
    for number in range(200):
        lane.hear(said(number), self_id=SELF, window=30)
        starts.append(numbers_in(lane)[0])
        assert len(lane.talk) <= 30
        assert number < 30 or len(lane.talk) >= 20
    changes = sum(a != b for a, b in itertools.pairwise(starts))
    assert changes <= 200 / 10


def test_a_message_from_the_history_goes_where_it_belongs_and_one_heard_twice_counts_once():
    lane = lane_with(1, 2, 5)
    lane.hear(said(3), self_id=SELF, window=30, live=False)
    lane.hear(said(2), self_id=SELF, window=30)
    assert numbers_in(lane) == [1, 2, 3, 5]
    assert lane.state.humans_since_spoke == 4


def test_an_edit_takes_away_whom_it_no_longer_mentions_and_what_was_attached():
    lane = Lane(state=ChannelState(), talk=[])
    file = Attachment(kind="image", name="cat.png")
    lane.hear(replace(said(1), mentions=(ME,), attachments=(file,)), self_id=SELF, window=30)
    edit = Edit(message_id=lane.talk[0].id, channel_id=ChannelId(5), content="new", edited_at=NOW)
    lane.edit(edit)
    assert (lane.talk[0].mentions, lane.talk[0].attachments) == ((ME,), (file,))
    lane.edit(replace(edit, edited_at=NOW + MINUTE, mentions=(ANN,), attachments=()))
    assert (lane.talk[0].content, lane.talk[0].mentions, lane.talk[0].attachments) == ("new", (ANN,), ())


def test_an_older_edit_does_not_undo_a_newer_one():
    lane = lane_with(1)
    for minutes, text in ((2, "newer"), (1, "older")):
        edit = Edit(message_id=lane.talk[0].id, channel_id=ChannelId(5), content=text, edited_at=NOW + minutes * MINUTE)
        lane.edit(edit)
    assert lane.talk[0].content == "newer"


def test_what_came_after_a_message_is_answered_later():
    lane = lane_with(1, 2, 3)
    assert [message.id for message in lane.up_to(lane.talk[1])] == [message.id for message in lane.talk[:2]]
    scrolled_out = said(0)
    assert lane.up_to(scrolled_out)[-1] == scrolled_out


def test_dropping_a_person_takes_their_words_and_calls_off_their_answers():
    lane = lane_with(1, 2)
    lane.hear(said(3, author=ME), self_id=SELF, window=30)
    decision = Decision(speak=True, reason=Reason.NAMED, detail="")
    jobs = [Job(arrival=Arrival(message=said(n), channel=CHANNEL, self_id=SELF), decision=decision) for n in (1, 2)]
    lane.current, lane.waiting = jobs[0], type(lane.waiting)([jobs[1]])
    lane.drop(None, {jobs[1].arrival.message.id}, why="deleted")
    assert [job.withdrawn for job in jobs] == ["", "deleted"]
    lane.drop(ANN.id, (), why="forgotten")
    assert [job.withdrawn for job in jobs] == ["forgotten", "forgotten"]
    assert numbers_in(lane) == [3]


def test_the_parts_of_an_answer_are_recognised_in_the_history():
    asked, other = said(1), said(2)
    first, second = said(3, author=ME, reply_to=asked.id), said(4, author=ME)
    next_answer = said(5, author=ME, reply_to=other.id)
    talk = [asked, other, first, second, next_answer, said(6, author=ME)]
    assert parts_out(asked.id, SELF, talk) == 2
    assert parts_out(other.id, SELF, talk) == 2
    assert parts_out(said(7).id, SELF, talk) == 0


def test_ids_are_remembered_up_to_a_number():
    ids = RecentIds(kept=2)
    assert [ids.add(MessageId(n)) for n in (1, 1, 2, 3, 1)] == [True, False, True, True, True]


CHANNEL = Channel(id=ChannelId(5), guild_id=GuildId(1), name="general", allowed=True)
MINUTE = timedelta(minutes=1)


class Past:
    """A store with nothing but a past, or none that can be read."""

    def __init__(self, *, broken=False):
        self.broken = broken
        self.reads = 0

    async def tail(self, channel_id, limit, *, before=None):
        self.reads += 1
        if self.broken:
            raise StoreError("the disk is gone")
        return [said(1, channel_id=channel_id)]


def arrival_in(number):
    channel = Channel(id=ChannelId(number), guild_id=GuildId(1), name=f"c{number}", allowed=True)
    return Arrival(message=said(9, channel_id=number), channel=channel, self_id=SELF)


def test_lanes_beyond_those_kept_are_dropped_and_loaded_again_but_never_a_busy_one():
    async def main():
        store = Past()
        lanes = Lanes(store, structlog.get_logger(), kept=3)
        busy = await lanes.open(arrival_in(1), window=10)
        busy.busy = True
        for number in range(2, 20):
            await lanes.open(arrival_in(number), window=10)
            assert len(lanes) <= 4
        assert await lanes.open(arrival_in(1), window=10) is busy
        assert lanes.known(ChannelId(2)) is None
        assert (await lanes.open(arrival_in(2), window=10)).talk
        assert store.reads == 20

    asyncio.run(main())


def test_a_history_that_cannot_be_read_costs_the_past_not_the_talk():
    async def main():
        lane = await Lanes(Past(broken=True), structlog.get_logger()).open(arrival_in(1), window=10)
        assert lane.talk == []

    asyncio.run(main())
