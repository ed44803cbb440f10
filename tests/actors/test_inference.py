"""The inference actor in a real kernel, over a real llama.cpp engine on its own thread."""

import asyncio
import contextlib
import threading
import time

import pytest

from actors.inference import InferenceActor
from actors.kernel import (
    ActorCrashed,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Backoff,
    ChildSpec,
    Escalated,
    Hung,
    StartFailed,
    SupervisorSpec,
    ThreadDied,
    new_ref,
)
from actors.messages import DescribeModel, Generate, Ping
from actors.threaded_model import ThreadedChatModel
from persona.adapters.llama import LlamaSettings, llama_engine_factory
from persona.domain.prompt import Role, Turn
from persona.errors import InferenceError, ModelFileError, PromptTooLongError
from persona.ports import ChatRequest, Finished, FinishReason, Sampling, TextDelta
from tests.fakes.crashing_engine import CrashingEngine

GREEDY = Sampling(temperature=0, repetition_penalty=1, max_tokens=12)
SAID = "hello stop 🌱!"


def request(line="ann: hey", **fields):
    turns = (Turn(role=Role.SYSTEM, lines=("You are Pip.",)), Turn(role=Role.USER, lines=(line,)))
    return ChatRequest(turns=turns, sampling=GREEDY, **fields)


def factory_for(path, **settings):
    return llama_engine_factory(LlamaSettings(path=path, threads=1, **settings))


class GatedEngine:
    """A real engine that takes no step while its gate is shut, except `free` ones; counts what it was told."""

    def __init__(self, inner, gate, free=0):
        self.inner, self.gate, self.free = inner, gate, free
        self.cancelled = []
        self.stepping = threading.Event()

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def cancel(self, job):
        self.cancelled.append(job)
        self.inner.cancel(job)

    def step(self):
        self.stepping.set()
        if self.free:
            self.free -= 1
        else:
            self.gate.wait(20)
        return self.inner.step()


class World:
    """A running tree with one inference actor."""

    def __init__(self, system, ref, restarts):
        self.system, self.ref, self.restarts = system, ref, restarts

    async def say(self, line="ann: hey", *, timeout=15.0, **fields):  # noqa: ASYNC109 - it is the ask's
        return await self.ref.ask(Generate(request=request(line, **fields)), timeout=timeout)


@contextlib.asynccontextmanager
async def running(open_engine, *, intensity=5, **options):
    ref = new_ref("inference")
    restarts = []

    def make():
        return InferenceActor(lambda: ThreadedChatModel(open_engine), watch_seconds=0.02, **options)

    root = SupervisorSpec(
        name="root",
        children=(ChildSpec(ref=ref, factory=make, stop_timeout=20.0),),
        intensity=intensity,
        backoff=Backoff(base=0.01),
    )
    system = ActorSystem(root, fatal=(Hung, ModelFileError), on_restart=lambda name, error: restarts.append(error))
    await system.start()
    try:
        yield World(system, ref, restarts)
    finally:
        await system.stop()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def test_it_writes_drafts_describes_its_model_and_answers_pings(scripted_gguf):
    async def scenario():
        async with running(factory_for(scripted_gguf)) as world:
            draft = await world.say()
            info = await world.ref.ask(DescribeModel(), timeout=5)
            return draft, info, await world.ref.ask(Ping(), timeout=5)

    draft, info, state = asyncio.run(scenario())
    assert draft.text == SAID
    assert (draft.finished.reason, draft.finished.completion_tokens) == (FinishReason.END, 8)
    assert (info.path, info.name) == (str(scripted_gguf), "tiny")
    assert state == "idle"


def test_several_conversations_are_answered_at_once(babbling_gguf):
    lines = [f"u{n}: tell me of {n}" for n in range(8)]

    async def scenario():
        async with running(factory_for(babbling_gguf, exact_cache=True)) as world:
            alone = [(await world.say(line)).text for line in lines]
            together = await asyncio.gather(*(world.say(line, conversation=line) for line in lines))
            return alone, [draft.text for draft in together]

    alone, together = asyncio.run(scenario())
    assert together == alone
    assert len(set(alone)) > 1


def test_a_refused_request_is_its_askers_affair(scripted_gguf):
    async def scenario():
        async with running(factory_for(scripted_gguf, context_tokens=256)) as world:
            with pytest.raises(PromptTooLongError):
                await world.say("ann: " + "long " * 500)
            with pytest.raises(InferenceError, match="no turns"):
                await world.ref.ask(Generate(request=ChatRequest(turns=())), timeout=5)
            return (await world.say()).text, world.restarts

    assert asyncio.run(scenario()) == (SAID, [])


def test_a_request_that_trips_the_engine_up_fails_alone(scripted_gguf):
    def open_engine():
        engine = factory_for(scripted_gguf)()
        real = engine.submit

        def submit(job, wanted):
            if wanted.conversation == "odd":
                raise ValueError("what is this")
            real(job, wanted)

        engine.submit = submit
        return engine

    async def scenario():
        async with running(open_engine) as world:
            fine = asyncio.create_task(world.say())
            with pytest.raises(InferenceError, match="ValueError: what is this"):
                await world.say(conversation="odd")
            return (await fine).text, world.restarts

    assert asyncio.run(scenario()) == (SAID, [])


def test_a_reply_that_nobody_waits_for_any_more_is_cancelled(scripted_gguf):
    gate = threading.Event()
    engines = []

    def open_engine():
        engines.append(GatedEngine(factory_for(scripted_gguf)(), gate, free=3))
        return engines[0]

    async def scenario():
        async with running(open_engine) as world:
            with pytest.raises(AskTimeout):
                await world.say(timeout=0.2)
            gone = asyncio.create_task(world.say())
            await until(engines[0].stepping.is_set)
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone
            await asyncio.sleep(0.1)
            state = await world.ref.ask(Ping(), timeout=5)
            gate.set()
            text = (await world.say()).text
            await until(lambda: {1, 2} <= set(engines[0].cancelled) and not engines[0].inner.busy)
            return state, text, world.restarts

    assert asyncio.run(scenario()) == ("idle", SAID, [])


def test_a_dead_thread_is_a_crash_and_the_restarted_model_answers(scripted_gguf):
    budget = [1]

    def open_engine():
        return CrashingEngine(factory_for(scripted_gguf)(), "poison", budget)

    async def scenario():
        async with running(open_engine) as world:
            with pytest.raises(ActorCrashed) as caught:
                await world.say("ann: poison")
            text = (await world.say("ann: poison")).text
            return caught.value.__cause__, text, world.restarts

    cause, text, restarts = asyncio.run(scenario())
    assert isinstance(cause, ThreadDied)
    assert isinstance(cause.__cause__, SystemExit)
    assert text == SAID
    assert len(restarts) == 1


def test_replies_in_the_making_all_learn_of_the_crash(scripted_gguf):
    budget = [1]

    def open_engine():
        return CrashingEngine(factory_for(scripted_gguf, slots=4)(), "poison", budget)

    async def scenario():
        async with running(open_engine) as world:
            lines = ("ann: hey", "ben: poison", "eve: hey")
            return await asyncio.gather(*map(world.say, lines), return_exceptions=True)

    assert [type(result) for result in asyncio.run(scenario())] == [ActorCrashed] * 3


def test_a_model_that_keeps_dying_escalates(scripted_gguf):
    budget = [99]

    def open_engine():
        return CrashingEngine(factory_for(scripted_gguf)(), "poison", budget)

    async def scenario():
        async with running(open_engine, intensity=2) as world:
            crashes = 0
            with contextlib.suppress(ActorStopped):
                while True:
                    with contextlib.suppress(ActorCrashed):
                        await world.say("ann: poison")
                    crashes += 1
            with pytest.raises(Escalated):
                await world.system.wait()
            return crashes

    assert asyncio.run(scenario()) == 3


def test_a_model_that_hangs_is_fatal(scripted_gguf):
    gate = threading.Event()

    def open_engine():
        return GatedEngine(factory_for(scripted_gguf)(), gate, free=2)

    async def scenario():
        async with running(open_engine, stall_seconds=0.3) as world:
            began = time.monotonic()
            asked = asyncio.create_task(world.say())
            # The gate opens again, or nobody could end the thread of the test.
            asyncio.get_running_loop().call_later(1.0, gate.set)
            with pytest.raises(Hung):
                await world.system.wait()
            with pytest.raises((ActorCrashed, ActorStopped)):
                await asked
            return time.monotonic() - began, world.restarts

    seconds, restarts = asyncio.run(scenario())
    assert seconds > 0.3
    assert restarts == []


def test_a_slow_model_says_so_before_it_counts_as_hanging(scripted_gguf):
    gate = threading.Event()

    def open_engine():
        return GatedEngine(factory_for(scripted_gguf)(), gate)

    async def scenario():
        async with running(open_engine, stall_seconds=4) as world:
            asked = asyncio.create_task(world.say())
            await asyncio.sleep(1.3)
            state = await world.ref.ask(Ping(), timeout=5)
            gate.set()
            return state, (await asked).text

    assert asyncio.run(scenario()) == ("no progress for 1 s", SAID)


def test_a_wrong_model_file_is_why_the_start_failed(tmp_path):
    path = tmp_path / "none.gguf"

    async def scenario():
        async with running(factory_for(path)):
            pass

    with pytest.raises(StartFailed) as caught:
        asyncio.run(scenario())
    assert isinstance(caught.value.__cause__, ModelFileError)
    assert str(path) in str(caught.value.__cause__)


def test_stopping_frees_the_model_and_tells_those_who_wait(scripted_gguf):
    gate = threading.Event()
    closed = []

    def open_engine():
        engine = GatedEngine(factory_for(scripted_gguf)(), gate)
        real = engine.inner.close
        engine.inner.close = lambda: closed.append(threading.current_thread().name) or real()
        return engine

    async def scenario():
        async with running(open_engine) as world:
            asked = asyncio.create_task(world.say())
            await asyncio.sleep(0.05)
            asyncio.get_running_loop().call_later(0.1, gate.set)
        with pytest.raises(ActorStopped):
            await asked

    asyncio.run(scenario())
    assert closed == ["model"]


# --- the threaded model by itself -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def opened(open_engine, **options):
    model = ThreadedChatModel(open_engine, **options)
    await model.open()
    try:
        yield model
    finally:
        await model.close()


def test_text_comes_while_it_is_written(scripted_gguf):
    async def scenario():
        async with opened(factory_for(scripted_gguf)) as model:
            return [event async for event in model.stream(request())]

    *deltas, last = asyncio.run(scenario())
    assert [delta.text for delta in deltas] == ["hel", "lo ", "st", "op ", "🌱", "!"]
    assert all(isinstance(delta, TextDelta) for delta in deltas)
    assert isinstance(last, Finished)


def test_closing_the_stream_cancels_between_two_tokens(scripted_gguf):
    engines = []

    def open_engine():
        engines.append(GatedEngine(factory_for(scripted_gguf)(), threading.Event(), free=10_000))
        return engines[0]

    async def scenario():
        async with opened(open_engine) as model:
            async with contextlib.aclosing(model.stream(request())) as events:
                first = await anext(events)
            await until(lambda: engines[0].cancelled == [1] and not engines[0].inner.busy)
            rest = [event async for event in model.stream(request())]
            return first.text, model.running, "".join(e.text for e in rest[:-1])

    assert asyncio.run(scenario()) == ("hel", 0, SAID)


def test_the_deadline_of_a_request_ends_it_with_what_there_is(scripted_gguf):
    gate = threading.Event()

    def open_engine():
        return GatedEngine(factory_for(scripted_gguf)(), gate, free=3)

    async def scenario():
        async with opened(open_engine) as model:
            asyncio.get_running_loop().call_later(0.5, gate.set)
            return [event async for event in model.stream(request(deadline=time.monotonic() + 0.4))]

    *deltas, last = asyncio.run(scenario())
    assert last.reason is FinishReason.DEADLINE
    assert 0 < len("".join(delta.text for delta in deltas)) < len(SAID)


def test_the_loop_goes_on_while_the_model_computes(scripted_gguf):
    gate = threading.Event()

    def open_engine():
        return GatedEngine(factory_for(scripted_gguf)(), gate)

    async def scenario():
        async with opened(open_engine) as model:
            task = asyncio.create_task(anext(model.stream(request())))
            ticks = 0
            while ticks < 20:
                await asyncio.sleep(0.005)
                ticks += 1
            stalled = model.stalled_seconds()
            gate.set()
            return stalled, (await task).text, model

    stalled, text, model = asyncio.run(scenario())
    assert stalled > 0.05
    assert text == "hel"
    assert model.stalled_seconds() == 0


def test_a_dead_model_refuses_and_says_why(scripted_gguf):
    budget = [1]

    def open_engine():
        return CrashingEngine(factory_for(scripted_gguf)(), "poison", budget)

    async def scenario():
        async with opened(open_engine) as model:
            with pytest.raises(ThreadDied):
                [event async for event in model.stream(request("ann: poison"))]
            with pytest.raises(ThreadDied) as caught:
                await model.closed()
            with pytest.raises(ThreadDied):
                await anext(model.stream(request()))
            return caught.value.__cause__

    assert isinstance(asyncio.run(scenario()), SystemExit)


def test_a_thread_that_does_not_end_is_reported_as_hung(scripted_gguf):
    gate = threading.Event()

    def open_engine():
        return GatedEngine(factory_for(scripted_gguf)(), gate)

    async def scenario():
        model = ThreadedChatModel(open_engine, close_seconds=0.1)
        await model.open()
        task = asyncio.create_task(anext(model.stream(request())))
        await asyncio.sleep(0.05)
        with pytest.raises(Hung):
            await model.close()
        with pytest.raises(ThreadDied):
            await task
        gate.set()
        await asyncio.to_thread(model._host._thread.join, 10)
        return model._host._thread.is_alive()

    assert asyncio.run(scenario()) is False


def test_information_needs_an_open_model(scripted_gguf):
    with pytest.raises(InferenceError, match="not loaded"):
        _ = ThreadedChatModel(factory_for(scripted_gguf)).info
