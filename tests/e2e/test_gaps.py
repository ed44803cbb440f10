"""Nothing said is lost: thousands of messages while the gateway, the requests and the process itself keep failing."""

import asyncio
import random
import time
from collections import Counter

import pytest

from tests.fakes.crowd import Crowd, compare, explain
from tests.fakes.discord import FakeDiscord
from tests.fakes.live import LiveProcess
from tests.fakes.trouble import Trouble

MESSAGES = 4_200
PAST_MESSAGES = 150
"""In each channel, older than what is read again in any case: only looking for changes finds theirs."""

FAULTS = 42
KILLS = 5
TALK_SECONDS = 45.0
"""How long the crowd takes for its messages; it waits for the faults when they take longer."""

CATCH_UP_SECONDS = 45.0
QUIET_SECONDS = 2.0


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_missing_stale_undeleted_or_double_after_faults_and_kills(seed, tmp_path, scripted_gguf):
    asyncio.run(live_through(seed, tmp_path, scripted_gguf))


async def live_through(seed, folder, model):
    async with FakeDiscord(seed=seed, heartbeat_seconds=0.5) as fake:
        guild = fake.world.add_guild("the night kitchen")
        channels = [fake.world.add_channel(guild, name) for name in ("kitchen", "pantry", "garden", "cellar")]
        forum = fake.world.add_channel(guild, "recipes", kind="forum")
        crowd = Crowd(
            fake.world,
            channels=channels,
            forum=forum,
            members=[fake.world.add_member(guild, name) for name in ("ann", "ben", "cleo", "dora", "emil")],
            bot=fake.world.bot,
            rng=random.Random(seed),
        )
        crowd.reminisce(PAST_MESSAGES)
        settings = {"model": {"path": str(model)}, "discord": {"reconcile_messages": 3000}}
        live = LiveProcess(folder, fake, channels=[*channels, forum], settings=settings)
        trouble = Trouble(fake, rng=random.Random(seed + 1000))
        async with live:
            await live.start()
            crowd.begin()
            trouble.begin()
            suffering = asyncio.create_task(suffer(live, trouble, random.Random(seed + 2000)))
            await talk(crowd, until=suffering)
            await suffering
            trouble.heal()
            await caught_up(live, crowd, trouble)
            await asyncio.sleep(QUIET_SECONDS)
            assert await live.stop() == 0, live.output[-4000:]
        faults = Counter(name for _, name in trouble.timeline)
        told = f"seed {seed}: {crowd.counts}, {len(trouble.timeline)} faults {dict(faults)}"
        print(told)  # noqa: T201 - shown when it fails
        assert crowd.counts["said"] >= MESSAGES, told
        assert sum(faults.values()) >= FAULTS + KILLS, told
        assert faults["kill"] == KILLS, told
        check_store(live, crowd, trouble)
        await check_memory(live, crowd)
        check_replies(fake, live, crowd, trouble)


async def talk(crowd, *, until):
    """Say everything at an even pace, with the edits and deletions in between, until the trouble is over, too."""
    pause = TALK_SECONDS / MESSAGES
    due = time.monotonic()
    while crowd.counts["said"] < MESSAGES or not until.done():
        if until.done() and until.exception() is not None:
            return
        slow = crowd.counts["said"] >= MESSAGES
        crowd.step()
        due += 20 * pause if slow else pause
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def suffer(live, trouble, rng):
    """Make all faults; at random moments among them the process is killed and started again."""
    kills = set(rng.sample(range(3, FAULTS), KILLS))
    for number in range(FAULTS):
        if number in kills:
            await asyncio.sleep(rng.uniform(0, 0.4))
            trouble.note("kill")
            await live.kill()
            trouble.heal()
            await live.start()
        await trouble.one()
        await asyncio.sleep(rng.uniform(0.05, 0.6))


async def caught_up(live, crowd, trouble):
    """Wait until the store agrees with the truth; what never agrees is explained by the checks that follow."""
    ends = time.monotonic() + CATCH_UP_SECONDS
    trouble.note("quiet")
    behind = "SELECT count(*) FROM memory_outbox"
    while time.monotonic() < ends and (compare(crowd.book, live.stored()) or live.rows(behind) != [(0,)]):
        await asyncio.sleep(0.3)


def check_store(live, crowd, trouble):
    """Assert that the store holds what stands, as it stands, and nothing else that people said."""
    differences = compare(crowd.book, live.stored())
    assert not differences, explain(differences, crowd.book, trouble.timeline)
    people = "SELECT count(*) FROM messages JOIN authors ON authors.id = author_id WHERE NOT is_bot"
    assert live.rows(people) == [(len(crowd.book.standing),)]


async def check_memory(live, crowd):
    """Assert that the memory holds each message at most once, as it stands, and none that is gone."""
    rows = await live.remembered()
    counts = Counter(number for number, _ in rows)
    assert [number for number, count in counts.items() if count > 1] == []
    assert crowd.book.gone.keys() & counts.keys() == set()
    standing = crowd.book.standing
    assert [number for number, text in rows if number in standing and standing[number].text != text] == []
    assert standing.keys() - counts.keys() == set()


def check_replies(fake, live, crowd, trouble):
    """Assert that nothing was answered twice, and that nobody who spoke to the bot was overlooked."""
    answers = Counter()
    nonces = Counter()
    for message in fake.world.messages_by(fake.world.bot):
        if message.reference is not None:
            answers[message.reference] += 1
        nonces[message.get("nonce")] += 1
    assert {target: count for target, count in answers.items() if count > 1} == {}, trouble.timeline
    assert {nonce: count for nonce, count in nonces.items() if count > 1} == {}, trouble.timeline
    decided = {number for (number,) in live.rows("SELECT message_id FROM replies")}
    overlooked = crowd.book.addressed - decided - crowd.book.gone.keys()
    assert overlooked == set(), trouble.timeline
    assert len(answers) >= 0.5 * len(crowd.book.addressed)
    assert live.rows("SELECT message_id FROM pending_replies") == []
