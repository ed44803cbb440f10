"""Replies as they reach the server: shown once, pinging nobody, and failing with one clear reason."""

import asyncio
import time
from typing import Any, NamedTuple

import pytest

from persona.domain.delivery import Delivery, Outgoing
from persona.errors import DeliveryError
from persona.ports import Arrival
from tests.adapters.discord.test_discord_connection import stage
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord_bot import bot


class Place(NamedTuple):
    """Where it happens, and who is there."""

    guild: Any
    channel: Any
    ann: Any


def posts(fake, channel):
    """What was posted in a channel, as JSON."""
    return [post.body for post in fake.posts if f"/channels/{channel['id']}/messages" in post.path]


def replying(play, **options):
    """Let `play(fake, one, arrival, place)` answer a first message of Ann's."""

    async def run():
        async with FakeDiscord(seed=0) as fake:
            guild, channel, ann = stage(fake)
            async with bot(fake, **options) as one:
                said = fake.world.say(channel, ann, "hello")
                await play(fake, one, await one.arrival(int(said["id"])), Place(guild, channel, ann))

    asyncio.run(run())


def test_the_first_message_is_a_reply_and_every_one_has_its_nonce():
    async def play(fake, one, arrival, place):
        ids = await one.say(arrival, "one", "two", "three")
        sent = posts(fake, place.channel)
        assert [post["content"] for post in sent] == ["one", "two", "three"]
        assert [post["nonce"] for post in sent] == [f"{arrival.message.id}-{number}" for number in range(3)]
        assert all(post["enforce_nonce"] is True and len(post["nonce"]) <= 25 for post in sent)
        assert int(sent[0]["message_reference"]["message_id"]) == arrival.message.id
        assert not any("message_reference" in post for post in sent[1:])
        assert all(post["allowed_mentions"] == {"parse": [], "replied_user": False} for post in sent)
        mine = [one.message.id for one in one.heard(Arrival) if one.message.author.id == arrival.self_id]
        assert len(set(ids)) == 3
        await one.until(lambda: len([1 for a in one.heard(Arrival) if a.message.id in ids]) == 3)
        assert set(mine) <= set(ids)

    replying(play)


def test_sent_again_after_a_crash_it_is_shown_once():
    async def play(fake, one, arrival, place):
        first = await one.say(arrival, "one", "two")
        again = await one.say(arrival, "one", "two")
        rest = await one.say(arrival, "one", "two", "three", first=2)
        assert again == first
        await one.until(lambda: len([1 for a in one.heard(Arrival) if a.message.author.id == a.self_id]) == 3)
        await asyncio.sleep(0.05)
        shown = [a.message.content for a in one.heard(Arrival) if a.message.author.id == a.self_id]
        assert shown == ["one", "two", "three"]
        assert rest[0] not in first
        assert len(posts(fake, place.channel)) == 5

    replying(play)


def test_nobody_is_pinged_whatever_the_model_writes():
    async def play(fake, one, arrival, place):
        role = fake.world.add_role(place.guild, "staff", mentionable=True)
        text = f"@everyone @here @Ann <@{place.ann['id']}> <@&{role['id']}> @staff"
        await one.say(arrival, text)
        (sent,) = posts(fake, place.channel)
        assert "@everyone" not in sent["content"]
        assert f"<@&{role['id']}>" not in sent["content"]
        assert f"<@{place.ann['id']}>" in sent["content"]
        assert sent["allowed_mentions"] == {"parse": [], "replied_user": False}

    replying(play)


def test_names_become_mentions_channels_and_emoji():
    async def play(fake, one, arrival, place):
        emoji = fake.world.add_emoji(place.guild, "wave")
        await one.until(lambda: one.transport._connection.now().get_emoji(int(emoji["id"])))
        await one.say(arrival, "@ann :wave: :nope: see #general and #nowhere")
        (sent,) = posts(fake, place.channel)
        assert sent["content"] == (
            f"<@{place.ann['id']}> <:wave:{emoji['id']}> :nope: see <#{place.channel['id']}> and #nowhere"
        )

    replying(play)


def test_a_private_channel_is_not_named_to_those_who_cannot_see_it():
    async def play(fake, one, arrival, place):
        private = fake.world.add_channel(place.guild, "secret-plans", private=True)
        await asyncio.sleep(0.1)
        await one.say(arrival, "look at #secret-plans")
        (sent,) = posts(fake, place.channel)
        assert str(private["id"]) not in sent["content"]

    replying(play)


def test_typing_is_shown_for_as_long_as_it_takes():
    async def play(fake, one, arrival, _place):
        start = time.monotonic()
        await one.say(arrival, "one", typing=0.5)
        assert time.monotonic() - start >= 0.5
        typed = [request for request in fake.requests if request.path.endswith("/typing")]
        assert 3 <= len(typed) <= 6

    replying(play, typing_renewal_seconds=0.12)


def test_a_message_that_grows_by_its_mentions_comes_in_pieces():
    async def play(fake, one, arrival, place):
        text = " ".join(["@Ann"] * 300)
        ids = await one.say(arrival, text, "end")
        sent = posts(fake, place.channel)
        assert len(ids) == len(sent) >= 4
        assert all(len(post["content"]) <= 2000 for post in sent)
        assert sum(post["content"].count(f"<@{place.ann['id']}>") for post in sent) == 300
        assert [post["nonce"].split("-")[1] for post in sent] == [str(number) for number in range(len(sent))]

    replying(play)


def test_one_that_grew_is_gone_on_with_where_it_was_broken_off():
    async def play(fake, one, arrival, place):
        emoji = fake.world.add_emoji(place.guild, "wave")
        await one.until(lambda: one.transport._connection.now().get_emoji(int(emoji["id"])))
        text = " ".join([":wave:"] * 150)
        planned = Delivery(messages=(Outgoing(text=text, typing_seconds=0), Outgoing(text="the end", typing_seconds=0)))
        cut = one.transport.fitted(arrival, planned)
        assert [part.text for part in cut.messages[:-1]] != [text]
        assert all("<" not in part.text for part in cut.messages)  # it is kept as people read it
        sending = one.transport.send(arrival, cut)
        async for _ in sending:
            break
        await sending.aclose()
        assert len(posts(fake, place.channel)) == 1
        # A life later; so long after that Discord would take it for new.
        _ = [sent async for sent in one.transport.send(arrival, cut, first=1)]
        sent = [post["content"] for post in posts(fake, place.channel)]
        assert len(sent) == len(cut.messages)
        assert "".join(sent).count(f"<:wave:{emoji['id']}>") == 150
        assert sent[-1] == "the end"

    replying(play)


def test_a_part_whose_markup_has_grown_since_it_was_cut_is_still_one_message():
    async def play(fake, one, arrival, place):
        planned = Delivery(messages=(Outgoing(text="@everyone " + ":wave: " * 280, typing_seconds=0),))
        assert one.transport.fitted(arrival, planned).messages[0].text.count(":wave:") == 280
        emoji = fake.world.add_emoji(place.guild, "wave")
        await one.until(lambda: one.transport._connection.now().get_emoji(int(emoji["id"])))
        assert len([sent async for sent in one.transport.send(arrival, planned)]) == 1
        (sent,) = posts(fake, place.channel)
        assert sent["content"].count(":wave:") == 280
        assert "@everyone" not in sent["content"]

    replying(play)


def test_what_is_not_wanted_any_more_is_not_sent_though_it_was_typed():
    async def play(fake, one, arrival, place):
        reasons = []
        asyncio.get_running_loop().call_later(0.3, reasons.append, "the channel was muted")
        ids = await one.say(arrival, "one", "two", typing=0.2, objection=lambda: "".join(reasons))
        assert len(ids) == 1
        assert [post["content"] for post in posts(fake, place.channel)] == ["one"]
        await one.transport.close()  # nothing counts as being sent any more

    replying(play, typing_renewal_seconds=0.05)


def test_what_is_not_wanted_any_more_is_not_sent_again_after_trouble():
    async def play(fake, one, arrival, place):
        reasons = []

        def objection():
            return "the message was forgotten" if len(posts(fake, place.channel)) else "".join(reasons)

        fake.faults.fail("POST /channels/*/messages", status=503, times=1)
        assert await one.say(arrival, "one", objection=objection) == []
        assert len(posts(fake, place.channel)) == 1

    replying(play)


def test_what_it_answers_was_deleted_meanwhile():
    async def play(fake, one, arrival, place):
        fake.world.delete(place.channel, arrival.message.id)
        with pytest.raises(DeliveryError, match="message it answers is gone"):
            await one.say(arrival, "one")

    replying(play)


def test_the_right_to_write_is_gone():
    async def play(fake, one, arrival, place):
        fake.world.deny(place.channel, "send_messages")
        with pytest.raises(DeliveryError, match="may not"):
            await one.say(arrival, "one")

    replying(play)


def test_a_connection_that_breaks_while_sending_is_made_good_with_the_same_nonce():
    async def play(fake, one, arrival, place):
        fake.faults.cut("POST /channels/*/messages", times=2)
        (sent,) = await one.say(arrival, "one")
        await one.arrival(sent)
        assert len([a for a in one.heard(Arrival) if a.message.author.id == a.self_id]) == 1
        assert {post["nonce"] for post in posts(fake, place.channel)} == {f"{arrival.message.id}-0"}

    replying(play)


def test_an_unavailable_server_is_tried_again_and_given_up():
    async def play(fake, one, arrival, _place):
        fake.faults.fail("POST /channels/*/messages", status=503, times=2)
        assert await one.say(arrival, "one")
        fake.faults.fail("POST /channels/*/messages", status=503, times=50)
        with pytest.raises(DeliveryError, match="503"):
            await one.say(arrival, "two", "three", first=1)

    replying(play)


def test_slow_mode_that_takes_too_long_is_a_reason():
    async def play(fake, one, arrival, _place):
        fake.limits.force(1, 300.0, route="POST /channels/{}/messages")
        with pytest.raises(DeliveryError, match="wait"):
            await one.say(arrival, "one")

    replying(play)


def test_in_a_locked_thread_nothing_can_be_said():
    async def run():
        async with FakeDiscord(seed=0) as fake:
            _, channel, ann = stage(fake)
            thread = fake.world.add_thread(channel, "a thread")
            async with bot(fake) as one:
                arrival = await one.arrival(int(fake.world.say(thread, ann, "hello")["id"]))
                assert arrival.channel.parent_id == int(channel["id"])
                assert await one.say(arrival, "fine")
                fake.world.archive(thread, locked=True)
                with pytest.raises(DeliveryError):
                    await one.say(arrival, "too late", "at all", first=1)

    asyncio.run(run())


def test_closing_finishes_what_is_being_sent():
    async def play(fake, one, arrival, place):
        sending = asyncio.create_task(one.say(arrival, "one", "two", typing=0.3))
        await asyncio.sleep(0.05)
        await one.transport.close()
        assert sending.done()
        assert len(await sending) == 2
        assert len(posts(fake, place.channel)) == 2

    replying(play)
