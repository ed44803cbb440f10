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
        return await transport.send(arrival, delivery)

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
