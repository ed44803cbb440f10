"""After an outage everything is there that should be, nothing else, and nothing twice, whatever comes in between."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from actors.messages import Fetch, MessageArrived, Missed
from persona.domain.chat import AuthorId, ChannelId, ChannelKind, MessageKind, snowflake_time
from persona.errors import AccessError, TransportError
from persona.ports import ChannelGone, ChannelSeen, LinkDown, LinkUp
from tests.fakes.ingesting import NOON, QUICK, run_ingest, with_rules
from tests.fakes.scripted_history import SELF, outage
from tests.fakes.stores import query


def rooms(*numbers, messages=0, **more):
    def prepare(there):
        for number in numbers:
            there.room(number, **more)
            for _ in range(messages):
                there.say(number)

    return prepare


def newest(there, number):
    return max(there.rooms[ChannelId(number)].messages)


def reactions(tmp_path):
    return query(tmp_path / "persona.db", "SELECT emoji, count FROM reactions ORDER BY emoji")


# --- reading ---


def test_the_whole_history_is_read_oldest_first_and_the_watermarks_are_at_its_end(tmp_path):
    async def scenario(scene):
        status = await scene.caught_up()
        assert await scene.texts() == scene.there.truth
        assert len(scene.there.truth) == 750
        assert await scene.progress.watermarks() == {n: newest(scene.there, n) for n in (5, 6, 7)}
        for number in (5, 6, 7):
            asked = [each.after for each in scene.there.asked if each.channel_id == number]
            assert asked == sorted(asked)
            assert len(asked) == 3
        assert (status.running, status.channels_done, status.channels_total) == (False, 3, 3)
        assert (status.messages, status.added, status.troubles) == (750, 750, ())
        assert status.seconds_left is None
        assert status.messages_per_second > 0

    run_ingest(tmp_path, rooms(5, 6, 7, messages=250), scenario)


def test_what_has_not_changed_needs_no_request(tmp_path):
    async def scenario(scene):
        await scene.caught_up()
        scene.there.asked.clear()
        await scene.link()
        assert scene.there.asked == []

    def long_ago(there):
        there.room(5)
        there.room(6)  # nobody ever spoke here
        for number in range(120):
            there.say(5, at=NOON - timedelta(days=30, minutes=number))

    run_ingest(tmp_path, long_ago, scenario)


def test_what_was_missed_is_found_new_edited_and_deleted(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        said = [there.say(5) for _ in range(5)]
        scene.hear(*said)
        await scene.stored_truth()
        scene.hear(LinkDown(reason="cut"))
        there.edit(said[0].message, "better")
        there.delete(said[1].message, said[4].message)
        there.react(said[2].message, "👍")
        for _ in range(130):
            there.say(5)
        await scene.link()
        assert await scene.texts() == there.truth
        assert await scene.progress.watermarks() == {5: newest(there, 5)}
        assert reactions(tmp_path) == [("👍", 1)]

    run_ingest(tmp_path, rooms(5, messages=150), scenario)


def test_after_a_resumption_nothing_is_asked_for(tmp_path):
    async def scenario(scene):
        await scene.caught_up()
        scene.there.asked.clear()
        scene.hear(LinkDown(reason="cut"))
        scene.hear(scene.there.say(5))
        await scene.link(resumed=True)
        await scene.stored_truth()
        scene.hear(scene.there.say(5))
        await scene.stored_truth()
        assert scene.there.asked == []
        await scene.until(lambda: marks_are(scene, {5: newest(scene.there, 5)}))

    run_ingest(tmp_path, rooms(5, messages=3), scenario)


async def marks_are(scene, marks):
    return await scene.progress.watermarks() == marks


def test_deletions_are_looked_for_only_as_far_back_as_told(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        messages = sorted(there.rooms[ChannelId(5)].messages.values(), key=lambda message: message.id)
        there.delete(messages[100], messages[260], messages[299])
        scene.there.asked.clear()
        await scene.link()
        stored = await scene.texts()
        assert messages[100].id in stored
        assert messages[260].id not in stored
        assert messages[299].id not in stored
        assert len(scene.there.asked) == 1

    run_ingest(tmp_path, rooms(5, messages=300), scenario, settings=with_rules(hours=48, messages=60))


def test_a_large_window_is_looked_through_after_what_is_new(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        messages = sorted(there.rooms[ChannelId(5)].messages.values(), key=lambda message: message.id)
        there.delete(messages[3], messages[777])
        there.edit(messages[400], "better")
        fresh = there.say(5, "fresh", seconds=600)
        there.asked.clear()
        await scene.link()
        assert await scene.texts() == there.truth
        assert there.asked[0].after > messages[-1].id - (61_000 << 22)
        assert there.asked[0].after < fresh.message.id
        assert there.asked[1].after < messages[3].id

    run_ingest(tmp_path, rooms(5, messages=800), scenario)


def test_everything_that_was_deleted_is_gone_also_when_nothing_is_left(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        there.delete(*there.rooms[ChannelId(5)].messages.values())
        await scene.link()
        assert await scene.texts() == {}
        assert (await scene.status()).troubles == ()

    run_ingest(tmp_path, rooms(5, messages=3), scenario)


def test_a_window_that_was_not_looked_through_to_the_end_is_looked_through_the_next_time(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        (before,) = await scene.progress.progress()
        messages = sorted(there.rooms[ChannelId(5)].messages.values(), key=lambda message: message.id)
        there.delete(messages[3])
        there.say(5, "fresh", seconds=600)
        real = there.page

        async def no_window(channel_id, *, after, limit=100):
            if after < messages[-1].id - (61_000 << 22):
                raise AccessError("not now")
            return await real(channel_id, after=after, limit=limit)

        there.page = no_window
        scene.clock += timedelta(days=9)
        await scene.link()
        (between,) = await scene.progress.progress()
        assert between.watermark > before.watermark
        assert between.fetched_at == before.fetched_at
        there.page = real
        await scene.link()
        assert await scene.texts() == there.truth
        (after,) = await scene.progress.progress()
        assert after.fetched_at == scene.clock

    run_ingest(tmp_path, rooms(5, messages=800), scenario)


def test_a_channel_is_never_asked_for_two_pages_at_a_time(tmp_path):
    async def scenario(scene):
        fetches = [asyncio.create_task(scene.fetch(5)) for _ in range(3)]
        scene.hear(Missed(channel_ids=frozenset({ChannelId(5)})))
        await asyncio.gather(*fetches)
        scene.hear(LinkUp(resumed=False, self_id=SELF))
        await scene.caught_up()
        assert await scene.texts() == scene.there.truth
        assert len(scene.there.asked) > 10
        assert scene.there.crowding == 1

    run_ingest(tmp_path, rooms(5, messages=250), scenario, history={"latency": 0.003})


def test_an_archive_that_was_imported_is_not_thinned_out_to_what_is_left_on_the_other_side(tmp_path):
    def prepare(there):
        there.room(5)
        for days in (30, 20, 3):
            there.say(5, f"{days} days ago", at=NOON - timedelta(days=days))
        there.say(5, "an hour ago", at=NOON - timedelta(hours=1))
        there.connected.clear()

    async def scenario(scene):
        there = scene.there
        everything = list(there.rooms[ChannelId(5)].messages.values())
        await scene.store.put_channels([there.channel(ChannelId(5))])
        await scene.store.put_messages(everything)
        there.delete(everything[1], everything[3])
        there.connected.set()
        await scene.caught_up()
        await scene.holds("30 days ago", "20 days ago", "3 days ago")

    run_ingest(tmp_path, prepare, scenario)


# --- permissions ---


def test_an_empty_list_for_want_of_permission_buries_nothing_and_moves_nothing(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        mark = await scene.progress.watermarks()
        before = await scene.texts()
        there.say(5)
        real = there.page

        async def forbidden_meanwhile(channel_id, *, after, limit=100):
            there.rooms[ChannelId(5)].may_read = False
            return await real(channel_id, after=after, limit=limit)

        there.page = forbidden_meanwhile
        await scene.link()
        assert await scene.texts() == before
        assert await scene.progress.watermarks() == mark
        (trouble,) = (await scene.status()).troubles
        assert trouble.startswith("#room-5: reading its history is not permitted")
        scene.hear(there.say(5, "heard, but not the one before"))
        await scene.until(lambda: stored_more_than(scene, len(before)))
        assert await scene.progress.watermarks() == mark
        there.page = real
        there.rooms[ChannelId(5)].may_read = True
        await scene.link()
        assert await scene.texts() == there.truth

    run_ingest(tmp_path, rooms(5, messages=3), scenario)


async def stored_more_than(scene, number):
    return await scene.store.count() > number


def test_a_channel_that_may_not_be_read_is_named_and_not_asked_for(tmp_path):
    def prepare(there):
        rooms(5, 6, messages=2)(there)
        there.rooms[ChannelId(5)].may_read = False

    async def scenario(scene):
        status = await scene.caught_up()
        assert {each.channel_id for each in scene.there.asked} == {6}
        (trouble,) = status.troubles
        assert trouble.startswith("#room-5: ")
        assert "Read Message History" in trouble

    run_ingest(tmp_path, prepare, scenario)


def test_a_channel_that_is_gone_or_closed_is_skipped_with_its_name(tmp_path):
    async def scenario(scene):
        real = scene.there.page

        async def closed(channel_id, *, after, limit=100):
            if channel_id == 5:
                raise AccessError("missing access")
            return await real(channel_id, after=after, limit=limit)

        scene.there.page = closed
        status = await scene.fetch()
        assert status.troubles == ("#room-5: missing access",)
        assert set(await scene.progress.watermarks()) == {6}
        asked = status.requests
        await asyncio.sleep(0.2)
        assert (await scene.status()).requests == asked  # it is not asked for again by itself

    def empty(there):
        rooms(5, 6, messages=2)(there)

    run_ingest(tmp_path, empty, scenario)


def test_what_is_not_allowed_is_never_read_nor_stored(tmp_path):
    def prepare(there):
        rooms(5, messages=2)(there)
        rooms(6, messages=2, allowed=False)(there)
        there.room(60, kind=ChannelKind.THREAD, parent=6)
        there.room(61, kind=ChannelKind.THREAD, parent=6, archived=True)
        there.say(60), there.say(61)

    async def scenario(scene):
        await scene.caught_up()
        scene.hear(scene.there.say(6), scene.there.say(60))
        scene.hear(ChannelSeen(channel=scene.there.channel(ChannelId(60))))
        scene.hear(Missed(channel_ids=frozenset({ChannelId(6)})))
        await scene.fetch(6, 60)
        assert {each.channel_id for each in scene.there.asked} == {5}
        assert await scene.texts() == scene.there.truth
        assert [channel.id for channel in await scene.store.channels()] == [5]

    run_ingest(tmp_path, prepare, scenario)


def test_a_channel_that_leaves_the_list_while_it_is_read_is_read_no_further(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        real = there.page
        for _ in range(300):
            there.say(5)

        async def leaves(channel_id, *, after, limit=100):
            page = await real(channel_id, after=after, limit=limit)
            await scene.store.set_allowed([ChannelId(5)], allowed=False)
            return page

        there.page = leaves
        there.asked.clear()
        status = await scene.fetch()
        assert len(there.asked) == 1
        assert "not on the list of allowed channels" in status.troubles[0]
        assert len(await scene.texts()) == 2

    run_ingest(tmp_path, rooms(5, messages=2), scenario)


def test_a_newly_allowed_channel_is_read_from_its_beginning_with_its_threads(tmp_path):
    def prepare(there):
        rooms(5, messages=2)(there)
        rooms(6, messages=150, allowed=False)(there)
        there.room(60, kind=ChannelKind.THREAD, parent=6, archived=True)
        there.say(60)

    async def scenario(scene):
        await scene.caught_up()
        scene.there.allowed.add(ChannelId(6))
        await scene.store.set_allowed([ChannelId(6)], allowed=True)
        status = await scene.fetch(6)
        assert await scene.texts() == scene.there.truth
        assert len(scene.there.truth) == 153
        assert (status.channels_total, status.messages) == (2, 151)

    run_ingest(tmp_path, prepare, scenario)


def test_a_thread_that_the_store_had_off_the_list_follows_its_channel(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        thread = there.room(50, kind=ChannelKind.THREAD, parent=5)
        there.say(50)
        await scene.store.set_allowed([thread.id], allowed=False)  # known by its id alone
        scene.hear(ChannelSeen(channel=thread))
        await scene.stored_truth()
        names = {channel.id: (channel.name, channel.allowed) for channel in await scene.store.channels()}
        assert names[50] == ("room-50", True)

    run_ingest(tmp_path, rooms(5), scenario)


def test_a_channel_that_the_store_has_off_the_list_stays_off_it(tmp_path):
    """Whoever took it off did so while the other side was asked for its channels."""

    def prepare(there):
        rooms(5, messages=3)(there)
        there.connected.clear()

    async def scenario(scene):
        there = scene.there
        await scene.store.put_channels([there.channel(ChannelId(5))])
        await scene.store.set_allowed([ChannelId(5)], allowed=False)
        there.connected.set()
        status = await scene.caught_up()
        assert await scene.texts() == {}
        assert status.troubles == ("#room-5: channel 5 is not on the list of allowed channels",)
        assert not await scene.store.channels(allowed_only=True)
        assert there.channel(ChannelId(5)).allowed  # the other side still takes it for allowed

    run_ingest(tmp_path, prepare, scenario)


# --- threads ---


def test_threads_archived_ones_and_forum_posts_are_read_and_the_forum_is_not(tmp_path):
    def prepare(there):
        rooms(5, messages=2)(there)
        there.room(50, kind=ChannelKind.THREAD, parent=5)
        for number in range(70):
            there.room(1000 + number, kind=ChannelKind.THREAD, parent=5, archived=True)
            there.say(1000 + number)
        there.room(6, kind=ChannelKind.FORUM)
        there.room(60, kind=ChannelKind.THREAD, parent=6)
        there.room(61, kind=ChannelKind.THREAD, parent=6, archived=True)
        for number in (50, 60, 61):
            there.say(number)

    async def scenario(scene):
        await scene.caught_up()
        assert await scene.texts() == scene.there.truth
        assert len(scene.there.truth) == 75
        assert 6 not in {each.channel_id for each in scene.there.asked}
        allowed = await scene.store.channels(allowed_only=True)
        assert {50, 60, 61, 1069} <= {channel.id for channel in allowed}

    run_ingest(tmp_path, prepare, scenario)


def test_a_thread_made_while_it_listens_is_adopted_at_once(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        thread = there.room(50, kind=ChannelKind.THREAD, parent=5)
        missed = there.say(50, "said before anybody could hear it")
        scene.hear(ChannelSeen(channel=thread))
        await scene.stored_truth()
        assert list(there.truth) == [missed.message.id]
        scene.hear(there.say(50))
        await scene.until(lambda: marks_are(scene, {5: 0, 50: newest(there, 50)}))
        lists = there.lists
        other = there.room(51, kind=ChannelKind.THREAD, parent=5)
        there.say(51)
        scene.hear(replace(there.say(51), channel=other))  # nobody said that it was made
        await scene.stored_truth()
        assert there.lists == lists

    run_ingest(tmp_path, rooms(5), scenario)


def test_a_thread_made_while_the_channels_are_listed_is_read_too(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        real = there.channels

        async def just_before():
            listed = await real()
            there.channels = real
            thread = there.room(50, kind=ChannelKind.THREAD, parent=5)
            there.say(50)
            scene.hear(ChannelSeen(channel=thread))
            await asyncio.sleep(0.05)
            return listed

        there.channels = just_before
        await scene.link()
        assert await scene.texts() == there.truth
        assert len(there.truth) == 2

    run_ingest(tmp_path, rooms(5, messages=1), scenario)


def test_a_channel_that_comes_and_goes_is_read_again(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        scene.hear(ChannelGone(channel_id=ChannelId(5)))
        there.say(5)
        scene.hear(ChannelSeen(channel=there.channel(ChannelId(5))))
        await scene.stored_truth()

    run_ingest(tmp_path, rooms(5, messages=1), scenario)


# --- live and history at the same time ---


def on_the_way_back(scene, make_events):
    """Let something happen, and be heard, while the first page is on its way back."""
    there = scene.there

    def happen(_):
        there.on_page = None
        scene.hear(*make_events())

    there.on_page = happen


def test_a_deletion_heard_while_the_page_is_on_its_way_wins(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        message = there.say(5).message
        on_the_way_back(scene, lambda: [there.delete(message)])
        await scene.link()
        await asyncio.sleep(0.1)
        await scene.stored_truth()
        assert there.truth == {}

    run_ingest(tmp_path, rooms(5), scenario)


def test_an_edit_heard_while_the_page_is_on_its_way_wins(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        message = there.say(5).message
        on_the_way_back(scene, lambda: [there.edit(message, "newest")])
        await scene.link()
        await scene.stored_truth()
        assert list(there.truth.values()) == ["newest"]

    run_ingest(tmp_path, rooms(5), scenario)


def test_what_is_said_while_the_page_is_on_its_way_is_not_taken_for_deleted(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        there.say(5)
        on_the_way_back(scene, lambda: [there.say(5, "meanwhile")])
        real = scene.there.page

        async def slow(channel_id, *, after, limit=100):
            page = await real(channel_id, after=after, limit=limit)
            await asyncio.sleep(0.1)  # the batch is written before the page
            return page

        there.page = slow
        await scene.link()
        await scene.stored_truth()
        assert len(there.truth) == 2

    run_ingest(tmp_path, rooms(5), scenario)


def test_what_was_heard_but_not_written_when_the_question_is_asked_can_be_missed(tmp_path):
    """Deleted in the outage right after it was heard: the page shows nothing, the batch must not bring it back."""

    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        anchor, short_lived = there.say(5), there.say(5)
        scene.hear(anchor, short_lived)
        there.delete(short_lived.message)
        await scene.link()
        assert await scene.texts() == there.truth
        await asyncio.sleep(0.3)
        assert await scene.texts() == there.truth

    lazy = replace(QUICK, storing=replace(QUICK.storing, flush_seconds=0.2))
    run_ingest(tmp_path, rooms(5, messages=2), scenario, settings=lazy)


def test_a_reaction_that_is_in_the_page_and_heard_while_it_is_on_its_way_is_counted_once(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        message = there.say(5).message
        there.react(message, "👍")
        real = there.page

        async def reacted_to(channel_id, *, after, limit=100):
            there.page = real
            event = there.react(message, "👍")
            page = await real(channel_id, after=after, limit=limit)
            scene.hear(event)
            await asyncio.sleep(0.02)  # it is taken in, and not written yet
            return page

        there.page = reacted_to
        await scene.link()
        assert reactions(tmp_path) == [("👍", 2)]
        await asyncio.sleep(0.3)
        assert reactions(tmp_path) == [("👍", 2)]

    lazy = replace(QUICK, storing=replace(QUICK.storing, flush_seconds=0.2))
    run_ingest(tmp_path, rooms(5), scenario, settings=lazy)


def test_live_messages_do_not_move_a_watermark_over_what_is_not_read_yet(tmp_path):
    async def scenario(scene):
        there = scene.there
        hold = asyncio.Event()
        real = there.page

        async def held(channel_id, *, after, limit=100):
            page = await real(channel_id, after=after, limit=limit)
            if len(there.asked) >= 2:
                await hold.wait()
            return page

        there.page = held
        await scene.until(lambda: len(there.asked) == 2)
        live = there.say(5, "live")
        scene.hear(live)
        await scene.until(lambda: scene.store.messages_by_id([live.message.id]))
        (mark,) = (await scene.progress.watermarks()).values()
        oldest = sorted(there.rooms[ChannelId(5)].messages)
        assert mark == oldest[99]  # where the first page ended
        hold.set()
        await scene.caught_up()
        await scene.until(lambda: marks_are(scene, {5: live.message.id}))
        assert await scene.texts() == there.truth

    run_ingest(tmp_path, rooms(5, messages=250), scenario)


# --- outages, faults ---


def test_pages_are_asked_for_again_after_failures(tmp_path):
    def prepare(there):
        rooms(5, messages=250)(there)
        there.faults.extend(outage(3))

    async def scenario(scene):
        status = await scene.caught_up()
        assert await scene.texts() == scene.there.truth
        assert status.troubles == ()

    run_ingest(tmp_path, prepare, scenario)


def test_a_channel_that_fails_for_long_is_named_and_tried_again_later(tmp_path):
    def prepare(there):
        rooms(5, messages=50)(there)
        there.faults.extend(outage(6))

    async def scenario(scene):
        await scene.until(lambda: named(scene, "#room-5: the other side is down"))
        await scene.stored_truth()
        status = await scene.caught_up()
        assert status.troubles == ()

    run_ingest(tmp_path, prepare, scenario)


async def named(scene, trouble):
    return trouble in (await scene.status()).troubles


def test_a_list_of_channels_that_fails_for_long_is_tried_again_and_whoever_waits_learns_of_it(tmp_path):
    def prepare(there):
        rooms(5, messages=50)(there)
        there.connected.clear()
        there.list_faults.extend(outage(5))

    async def scenario(scene):
        waiting = asyncio.create_task(scene.ingest.ask(Fetch(), timeout=10))
        await asyncio.sleep(0.05)
        scene.there.connected.set()
        with pytest.raises(TransportError, match="the other side is down"):
            await waiting
        await scene.stored_truth()

    run_ingest(tmp_path, prepare, scenario)


def test_a_new_session_in_the_middle_begins_anew_and_loses_nothing(tmp_path):
    def prepare(there):
        rooms(5, 6, 7, messages=450)(there)

    async def scenario(scene):
        there = scene.there
        fetched = asyncio.create_task(scene.ingest.ask(Fetch(), timeout=20))
        for _ in range(6):
            await asyncio.sleep(0.02)
            first = next(iter(there.rooms[ChannelId(5)].messages.values()))
            there.delete(first)
            there.say(6)
            scene.hear(LinkDown(reason="cut"), LinkUp(resumed=False, self_id=SELF))
        await fetched
        await scene.caught_up()
        assert await scene.texts() == there.truth
        assert await scene.progress.watermarks() == {n: newest(there, n) for n in (5, 6, 7)}

    run_ingest(tmp_path, prepare, scenario, history={"latency": 0.005})


def test_what_the_full_mailbox_turned_away_is_read_again(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        kept = [there.say(5) for _ in range(3)]
        scene.hear(*kept)
        await scene.stored_truth()
        there.delete(kept[0].message)
        there.edit(kept[1].message, "better")
        lost = there.say(5)
        scene.hear(there.say(5), Missed(channel_ids=frozenset({ChannelId(5)})))
        await scene.stored_truth()
        assert lost.message.id in there.truth

    run_ingest(tmp_path, rooms(5), scenario)


def test_a_gap_that_is_heard_of_while_reading_keeps_the_watermark_down(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        there.say(5)
        hold, real = asyncio.Event(), there.page

        async def held(channel_id, *, after, limit=100):
            page = await real(channel_id, after=after, limit=limit)
            await hold.wait()
            return page

        there.page = held
        count = len(there.asked)
        scene.hear(LinkUp(resumed=False, self_id=SELF))
        await scene.until(lambda: len(there.asked) > count)
        lost = there.say(5)
        scene.hear(Missed(channel_ids=frozenset({ChannelId(5)})))
        later = there.say(5)
        hold.set()
        scene.hear(later)
        await scene.stored_truth()
        assert lost.message.id in await scene.texts()

    run_ingest(tmp_path, rooms(5), scenario)


# --- telling the responder ---


def forwarded(scene):
    return [each.arrival for each in scene.told_responder if isinstance(each, MessageArrived)]


def test_fresh_talk_found_in_history_is_told_once_stored_and_old_talk_is_not(tmp_path):
    now = NOON + timedelta(hours=1)

    def prepare(there):
        there.room(5)
        there.say(5, "old", at=now - timedelta(minutes=11))
        there.say(5, "fresh", at=now - timedelta(minutes=9))
        there.say(5, "for it", at=now - timedelta(minutes=8), addressed=True)
        there.say(5, "joined", at=now - timedelta(minutes=7), kind=MessageKind.SYSTEM)

    async def scenario(scene):
        await scene.caught_up()
        fresh, meant = forwarded(scene)
        assert (fresh.message.content, fresh.addressed, fresh.live) == ("fresh", False, False)
        assert (meant.message.content, meant.addressed, meant.live) == ("for it", True, False)
        assert fresh.channel.allowed
        assert fresh.self_id == AuthorId(1)
        assert fresh.message.id in await scene.texts()
        await scene.link()
        assert len(forwarded(scene)) == 2

    run_ingest(tmp_path, prepare, scenario, now=lambda: now)


def test_what_was_heard_live_is_not_told_again(tmp_path):
    now = NOON + timedelta(hours=1)

    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        scene.hear(there.say(5, "live", at=now - timedelta(minutes=2)))
        there.say(5, "missed", at=now - timedelta(minutes=1))
        await scene.link()
        assert [arrival.message.content for arrival in forwarded(scene)] == ["missed"]

    run_ingest(tmp_path, rooms(5), scenario, now=lambda: now)


# --- order ---


def test_the_liveliest_channels_with_little_to_read_come_first(tmp_path):
    def prepare(there):
        for number in (5, 6, 7):
            there.room(number)
            there.say(number, at=NOON - timedelta(days=40))

    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        there.room(8)  # unknown until now
        there.say(8)
        for number, days in ((5, 30), (6, 35), (7, 10)):
            there.say(number, at=NOON - timedelta(days=days))
        there.asked.clear()
        await scene.link()
        first = list(dict.fromkeys(each.channel_id for each in there.asked))
        assert first == [6, 5, 7, 8]
        assert snowflake_time(there.asked[0].after) < NOON

    one = replace(QUICK, catch_up=replace(QUICK.catch_up, channels_at_once=1))
    run_ingest(tmp_path, prepare, scenario, settings=one)
