"""A reply on its way out: what happens while it types stops it, and a restart repeats nothing that was sent."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog

from actors.messages import ForgottenNow, Muted
from actors.replying.lanes import Job
from actors.replying.sent_before import SentBefore
from actors.replying.settings import ReplyFailedError
from persona.domain.chat import Author, ChannelId, MessageKind
from persona.domain.delivery import Delivery, Outgoing
from persona.domain.speaking import Decision, Reason, SpeakingRules
from persona.errors import AccessError, TransportError
from persona.ports import Arrival, LinkUp, PendingReply, Removed
from tests.fakes.reply_stage import ANN, BEN, CHANNEL, NOW, SELF, play
from tests.fakes.scripted_history import ScriptedHistory

ME = Author(id=SELF, name="pip", display_name="Pip", is_bot=True)
YES = Decision(speak=True, reason=Reason.MENTIONED, detail="Ann mentioned it")
LOG = structlog.stdlib.get_logger()


def deleted(stage, message):
    stage.responder.tell(Removed(channel_id=CHANNEL.id, message_ids=(message.id,), at=NOW))


def forgotten(stage, message):
    stage.responder.tell(ForgottenNow(message_ids=frozenset({message.id})))


def author_forgotten(stage, message):
    stage.responder.tell(ForgottenNow(author_id=message.author.id))


def muted(stage, _message):
    stage.responder.tell(Muted(channel_id=CHANNEL.id, until=NOW + timedelta(minutes=5)))


def off_the_list(stage, _message):
    stage.off_the_list.add(CHANNEL.id)


def switched_off(stage, _message):
    stage.rules = SpeakingRules(names=("Pip",), rate=0.0, enabled=False)


ENDS = [
    (deleted, "deleted"),
    (forgotten, "forgotten"),
    (author_forgotten, "forgotten"),
    (muted, "muted"),
    (off_the_list, "not on the list"),
    (switched_off, "switched it off"),
]


@pytest.mark.parametrize("out", [0, 1])
@pytest.mark.parametrize(("happens", "why"), ENDS)
def test_what_happens_while_it_types_stops_the_rest(tmp_path, happens, why, out):
    async def scenario(stage, world):
        world.hold_typing = asyncio.Semaphore(out)
        message = stage.hear(ANN, "pip?")
        await stage.eventually(lambda: len(world.typing) == out + 1)
        happens(stage, message)
        await asyncio.sleep(0.05)
        world.hold_typing.release()
        outcome = await stage.outcome()
        assert why in outcome.result
        assert outcome.texts == ("one", "two", "three")[:out]
        assert stage.texts() == ["one", "two", "three"][:out]
        assert await stage.store.journal.pending() == []

    play(tmp_path, scenario, journal=True, replies=["one\ntwo\nthree"])


def test_what_was_said_before_it_was_stopped_is_part_of_the_talk(tmp_path):
    async def scenario(stage, world):
        world.hold_typing = asyncio.Semaphore(1)
        stage.hear(ANN, "pip?")
        await stage.eventually(lambda: len(world.typing) == 2)
        muted(stage, None)
        await asyncio.sleep(0.05)
        world.hold_typing.release()
        await stage.outcome()
        stage.responder.tell(Muted(channel_id=CHANNEL.id, until=None))
        world.hold_typing = None
        stage.hear(BEN, "pip, what did you say?")
        await stage.outcome()
        said = [line for turn in world.requests[-1].turns for line in (turn.text or "", *turn.lines)]
        assert any("one" in line for line in said)
        assert not any("two" in line for line in said)

    play(tmp_path, scenario, journal=True, replies=["one\ntwo", "fine"])


def test_a_reply_made_of_the_words_of_somebody_who_is_forgotten_is_not_sent(tmp_path):
    async def scenario(stage, world):
        stage.hear(ANN, "my diagnosis is lupus")
        await stage.outcome()
        world.hold_typing = asyncio.Semaphore(0)
        stage.hear(BEN, "pip, what did ann say?")
        await stage.eventually(lambda: world.typing)
        stage.responder.tell(ForgottenNow(author_id=ANN.id))
        await asyncio.sleep(0.05)
        world.hold_typing.release()
        assert "forgotten" in (await stage.outcome()).result
        assert world.sent == []

    play(tmp_path, scenario, journal=True, replies=["lupus"])


def test_age_does_not_cut_a_reply_short_that_was_begun_in_time(tmp_path):
    async def scenario(stage, world):
        world.hold_typing = asyncio.Semaphore(1)
        stage.hear(ANN, "pip?")
        await stage.eventually(lambda: len(world.typing) == 2)
        stage.now = NOW + timedelta(hours=1)
        world.hold_typing.release()
        assert (await stage.outcome()).texts == ("one", "two")

    play(tmp_path, scenario, journal=True, replies=["one\ntwo"])


def test_what_is_kept_is_cut_as_it_is_sent(tmp_path):
    def halves(delivery):
        (whole,) = delivery.messages
        middle = len(whole.text) // 2
        return Delivery(
            messages=tuple(Outgoing(text=text, typing_seconds=0) for text in (whole.text[:middle], whole.text[middle:]))
        )

    async def scenario(stage, world):
        world.hold_typing = asyncio.Semaphore(1)
        stage.hear(ANN, "pip?")
        await stage.eventually(lambda: len(world.typing) == 2)
        (held,) = await stage.store.journal.pending()
        assert (held.texts, held.sent) == (("sure ", "thing"), 1)
        world.hold_typing.release()
        assert (await stage.outcome()).texts == ("sure ", "thing")

    play(tmp_path, scenario, journal=True, fit=halves)


# --- after a restart ---


def history_with(*texts, between=()):
    """Return a channel on the other side in which Ann asked and some of the answer stands; and her message."""
    history = ScriptedHistory(start=NOW - timedelta(minutes=5))
    history.room(CHANNEL.id)
    asked = history.say(CHANNEL.id, "pip?").message
    for line in between:
        history.say(CHANNEL.id, line, author=BEN)
    for number, text in enumerate(texts):
        kind = MessageKind.DEFAULT if number else MessageKind.REPLY
        history.say(CHANNEL.id, text, author=ME, kind=kind, reply_to=None if number else asked.id)
        history.say(CHANNEL.id, "hm", author=BEN)
    return history, asked


@pytest.mark.parametrize("out", [0, 1, 2])
@pytest.mark.parametrize("crowd", [0, 250])
@pytest.mark.parametrize("is_stored", [True, False])
def test_what_stands_in_the_channel_is_not_said_again(tmp_path, out, crowd, is_stored):
    """The store has not seen it: nobody has caught up yet."""
    history, asked = history_with(*("one", "two")[:out], between=[f"line {n}" for n in range(crowd)])

    async def scenario(stage, world):
        stage.responder.tell(LinkUp(resumed=False, self_id=SELF))
        if not is_stored:
            stage.arrive(asked, live=False)
        assert (await stage.outcome()).texts == ("one", "two")
        assert [(number, text) for _, number, text in world.sent] == [(0, "one"), (1, "two")][out:]
        assert await stage.store.journal.pending() == []

    async def before(stage, _world):
        await stage.store.put_channels([CHANNEL])
        await stage.store.put_messages([asked] if is_stored else [])
        held = PendingReply(
            message_id=asked.id, channel_id=CHANNEL.id, decided_at=asked.created_at, decision=YES, texts=("one", "two")
        )
        await stage.store.journal.begin(held)

    play(tmp_path, before, journal=True)
    play(tmp_path, scenario, journal=True, history=history)


def job(asked, *, age, sent=0):
    arrival = Arrival(message=asked, channel=replace(CHANNEL, id=ChannelId(5)), self_id=SELF, live=False)
    return Job(arrival=arrival, decision=YES, texts=("one", "two"), sent=sent, resumed=True, decided_at=NOW - age)


def count(history, what):
    return asyncio.run(SentBefore(history, now=lambda: NOW, log=LOG, waits=(0.0, 0.0)).count(what))


@pytest.mark.parametrize("trouble", [AccessError("it may not be read"), TransportError("no connection")])
def test_when_nobody_can_say_only_a_young_answer_is_sent_again(trouble):
    def fresh():
        history, asked = history_with("one")
        history.faults.extend([trouble] * 3)
        return history, asked

    history, asked = fresh()
    assert count(history, job(asked, age=timedelta(minutes=1))) == 0  # its nonce is still known
    history, asked = fresh()
    with pytest.raises(ReplyFailedError, match="may have been sent"):
        count(history, job(asked, age=timedelta(minutes=3)))


def test_it_asks_again_before_it_gives_up():
    history, asked = history_with("one")
    history.faults.extend([TransportError("no connection"), TransportError("no connection")])
    assert count(history, job(asked, age=timedelta(minutes=3))) == 1


def test_what_is_noted_counts_even_when_it_was_deleted_there():
    history, asked = history_with()
    assert count(history, job(asked, age=timedelta(minutes=3), sent=1)) == 1
    assert count(None, job(asked, age=timedelta(minutes=3), sent=1)) == 1


def test_a_whole_answer_that_is_noted_needs_no_look():
    history, asked = history_with()
    history.faults.append(AccessError("not asked"))
    assert count(history, job(asked, age=timedelta(minutes=3), sent=2)) == 2
    assert not history.asked
