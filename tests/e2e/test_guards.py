"""The guards that watch over every test with the fake Discord: they must be able to fail."""

import asyncio

import aiohttp
import pytest

from tests.fakes.crowd import Book, Said, compare, explain
from tests.fakes.discord import FakeDiscord
from tests.fakes.live import LiveProcess


async def post(fake, channel, body):
    headers = {"Authorization": f"Bot {fake.token}"}
    url = f"{fake.api_url}/channels/{channel.id}/messages"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("text", "allowed", "loud"),
    [
        ("hi <@{ann}>", None, True),
        ("hi <@&{role}>", None, True),
        ("hi @everyone", None, True),
        ("hi <@{ann}> <@&{role}> @everyone", {"parse": []}, False),
        ("hi <@{ann}>", {"parse": [], "users": ["{ann}"]}, True),
        ("hi ann", None, False),
    ],
)
def test_a_message_that_pings_fails_the_test_that_sent_it(text, allowed, loud):
    async def main():
        async with FakeDiscord(seed=0) as fake:
            guild = fake.world.add_guild("the night kitchen")
            role = fake.world.add_role(guild, "cooks", mentionable=True)
            channel, ann = fake.world.add_channel(guild, "kitchen"), fake.world.add_member(guild, "ann")
            fake.world.allow(channel, "mention_everyone")
            body = {"content": text.format(ann=ann.id, role=role.id)}
            if allowed is not None:
                people = [one.format(ann=ann.id) for one in allowed.get("users", ())]
                body["allowed_mentions"] = {**allowed, "users": people}
            await post(fake, channel, body)

    if not loud:
        asyncio.run(main())
        return
    with pytest.raises(AssertionError, match="ping"):
        asyncio.run(main())


@pytest.mark.parametrize("where", ["data/logs/persona.jsonl", "err.1.txt", "data/persona.db"])
def test_a_token_that_was_written_down_fails_the_test(tmp_path, where):
    async def main():
        async with FakeDiscord(seed=0) as fake, LiveProcess(tmp_path, fake) as live:
            (live.folder / where).parent.mkdir(parents=True, exist_ok=True)
            (live.folder / where).write_text(f"it begins {fake.token.rpartition('.')[2]} and ends", encoding="utf-8")

    with pytest.raises(AssertionError, match=where.rpartition("/")[2]):
        asyncio.run(main())


def test_a_token_that_was_said_fails_the_test(tmp_path):
    async def main():
        async with FakeDiscord(seed=0) as fake, LiveProcess(tmp_path, fake):
            channel = fake.world.add_channel(fake.world.add_guild("the night kitchen"), "kitchen")
            await post(fake, channel, {"content": f"my token is {fake.token}"})

    with pytest.raises(AssertionError, match="POST /channels"):
        asyncio.run(main())


def test_what_is_missing_stale_or_undeleted_is_told_with_the_faults_around_it():
    book = Book()
    for number in (1, 2, 3):
        book.standing[number] = Said(id=number, channel_id=9, text=f"text {number}", at=number, changed_at=number)
    book.gone[4] = Said(id=4, channel_id=9, text="gone", at=1.0, changed_at=4.0)
    found = compare(book, {2: "text 2", 3: "another text", 4: "gone"})
    assert (found.missing, found.stale, found.undeleted) == ({1}, {3}, {4})
    told = explain(found, book, [(0.5, "drop"), (3.5, "kill"), (5.0, "freeze")])
    assert "missing 1 in 9" in told
    assert "undeleted 4 in 9: said at 1.00, changed at 4.00 s (0 edits); between drop at 0.50, kill at 3.50" in told
    assert not compare(book, {1: "text 1", 2: "text 2", 3: "text 3"})
