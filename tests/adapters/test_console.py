"""The terminal as a transport: what a line becomes, in which order, and what is shown."""

import asyncio
import io
import json
import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.adapters.console import ConsoleTransport, build_console
from persona.adapters.console.faces import JsonFace, PlainFace, explain
from persona.domain.chat import ChannelKind
from persona.domain.delivery import Delivery, Outgoing
from persona.domain.speaking import Decision, Reason
from persona.ports import Outcome

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
YES = Decision(speak=True, reason=Reason.CONVERSATION, detail="everything here is meant for it")
NO = Decision(speak=False, reason=Reason.SWITCHED_OFF, detail="the owner switched it off")


def console(typed, *, as_json=False, patience=5.0):
    out = io.StringIO()
    face = (
        JsonFace(out=out, name=lambda: "Pip") if as_json else PlainFace(out=out, name=lambda: "Pip", interactive=False)
    )
    transport = ConsoleTransport(
        stdin=io.StringIO(typed), face=face, speaker="you", patience_seconds=patience, now=lambda: NOON
    )
    return transport, out


def hear(typed, *, answer=None, **options):
    """Let the transport hear everything; `answer` makes an outcome of each arrival."""
    transport, out = console(typed, **options)
    heard = []

    async def main():
        async for arrival in transport.listen():
            heard.append(arrival)
            outcome = answer(arrival) if answer else Outcome(arrival=arrival, decision=NO, result="silent")
            await transport.report(outcome)

    asyncio.run(main())
    return heard, out.getvalue()


@pytest.mark.parametrize(
    ("line", "name", "text"),
    [
        ("hello", "you", "hello"),
        ("ann: hello", "ann", "hello"),
        ("Dr. No: two: colons", "Dr. No", "two: colons"),
        ("see http://example.org now", "you", "see http://example.org now"),
        ("http://example.org", "you", "http://example.org"),
        ("no space:here", "you", "no space:here"),
        ("ann:", "you", "ann:"),
        (":) hi", "you", ":) hi"),
    ],
)
def test_who_says_what(line, name, text):
    (arrival,), _ = hear(line + "\n")
    assert (arrival.message.author.display_name, arrival.message.content) == (name, text)


def test_the_same_name_is_the_same_person_in_any_case_and_never_the_persona():
    heard, _ = hear("ann: one\nANN: two\nben: three\nPip: four\n")
    ids = [arrival.message.author.id for arrival in heard]
    assert ids[0] == ids[1] != ids[2]
    assert all(arrival.message.author.id != arrival.self_id for arrival in heard)


def test_every_run_is_a_channel_of_its_own_that_is_not_stored():
    (first, second), _ = hear("one\ntwo\n")
    assert first.channel == second.channel
    assert first.channel.kind is ChannelKind.TERMINAL
    assert first.message.id < second.message.id


def test_quit_ends_it_and_blank_lines_are_nothing():
    heard, _ = hear("\n   \none\n/quit\ntwo\n")
    assert [arrival.message.content for arrival in heard] == ["one"]


def test_why_before_and_after_the_first_line():
    _, out = hear("/why\nhi\n/why\n")
    assert out.splitlines()[0] == "(nothing has been said yet)"
    assert out.splitlines()[1] == NO.explain()


def test_a_line_that_should_have_been_answered_is_explained():
    _, out = hear("hi\n", answer=lambda arrival: Outcome(arrival=arrival, decision=YES, result="too slow"))
    assert out == "(Pip has no answer: too slow)\n"


def test_json_gives_one_object_a_reply_and_nothing_for_silence():
    def answer(arrival):
        if arrival.message.content == "quiet":
            return Outcome(arrival=arrival, decision=NO, result="silent")
        return Outcome(arrival=arrival, decision=YES, result="sent", texts=("a", "b"), stage_ms={"send": 1.0})

    _, out = hear("ann: loud\nquiet\n", answer=answer, as_json=True)
    (reply,) = map(json.loads, out.splitlines())
    assert reply["messages"] == ["a", "b"]
    assert reply["text"] == "a\nb"
    assert (reply["name"], reply["answers"], reply["error"]) == ("Pip", "ann", None)


def test_a_lost_answer_does_not_block_the_next_line():
    transport, out = console("one\ntwo\n", patience=0.05)

    async def main():
        return [arrival.message.content async for arrival in transport.listen()]

    assert asyncio.run(main()) == ["one", "two"]
    assert out.getvalue().count("no answer came") == 2


def test_sending_prints_each_message_and_gives_each_an_id():
    transport, out = console("")
    delivery = Delivery(
        messages=(Outgoing(text="one", typing_seconds=9), Outgoing(text="two\nlines", typing_seconds=9))
    )

    async def main():
        (arrival,), _ = await asyncio.to_thread(hear, "hi\n")
        return [sent_id async for sent_id in transport.send(arrival, delivery)]

    ids = asyncio.run(main())
    assert len(set(ids)) == 2
    assert out.getvalue() == "Pip: one\nPip: two\n  lines\n"


def test_closing_ends_the_listening():
    class Waiting(io.StringIO):
        def __next__(self):
            never.wait(5)
            raise StopIteration

    never = threading.Event()
    transport, _ = console("")
    transport._stdin = Waiting()

    async def main():
        async with asyncio.timeout(3):
            await transport.close()
            return [arrival async for arrival in transport.listen()]

    try:
        assert asyncio.run(main()) == []
    finally:
        never.set()


@given(st.text(max_size=200))
def test_no_line_breaks_it(text):
    for arrival in hear(text.replace("/quit", "") + "\n")[0]:
        assert arrival.message.content.strip()
        assert len(arrival.message.content) <= 4000


def test_a_pipe_is_neither_paced_nor_prompted():
    transport = build_console(
        stdin=io.StringIO(""),
        stdout=io.StringIO(),
        as_json=False,
        speaker="you",
        name=lambda: "Pip",
        patience_seconds=1,
    )
    assert transport._paced is False


def test_explain_names_decision_result_memory_and_time():
    (arrival,), _ = hear("hi\n")
    outcome = Outcome(
        arrival=arrival, decision=YES, result="sent", retries=1, stage_ms={"recall": 2.0, "generate": 30.0}
    )
    text = "\n".join(explain(outcome))
    assert "It speaks because everything here is meant for it." in text
    assert "after 1 more try" in text
    assert "nothing came to mind" in text
    assert "recall 2 ms, generate 30 ms" in text
