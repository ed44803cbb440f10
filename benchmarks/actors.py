"""What a message costs: this kernel beside pykka and a bare asyncio.Queue with futures, on asyncio and uvloop.

    python benchmarks/actors.py [--rounds 9] [--messages 10000] [--output build/benchmarks/actors.json]

tell: leave messages, a thousand at a time, until all are handled. send: the same with backpressure (room for 64).
ask: one question after the other, each waiting for its answer. Every round measures everything, in a new order, so
that whatever else the machine does hits all alike; ratios are taken within a round. Spreads are quartiles.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pykka
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from actors.kernel import Actor, ActorRef, ActorSystem, ChildSpec, Request, SupervisorSpec, new_ref  # noqa: E402

BATCH = 1000
ROOM = 64
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
OPERATIONS = ("tell", "send", "ask")


@dataclass(frozen=True, slots=True)
class Add(Request[int]):
    """Adds to a sum and answers with it."""

    number: int


# --- this kernel ----------------------------------------------------------------------------------------------------


class Adder(Actor):
    """Sums up what it is told."""

    def __init__(self) -> None:
        self.sum = 0

    async def receive(self, message: object) -> object:
        """Add."""
        match message:
            case Add(number):
                self.sum += number
        return self.sum


async def with_actor(work: Callable[[ActorRef, int], Awaitable[int]], messages: int, room: int) -> float:
    """Return the seconds that some work with a supervised actor takes."""
    ref = new_ref("adder", mailbox=room)
    system = ActorSystem(SupervisorSpec(name="root", children=(ChildSpec(ref=ref, factory=Adder),)))
    await system.start()
    began = time.perf_counter()
    total = await work(ref, messages)
    seconds = time.perf_counter() - began
    await system.stop()
    check(total, messages)
    return seconds


async def kernel_tell(ref: ActorRef, messages: int) -> int:
    """Tell in batches; an ask at the end of each waits until it is handled."""
    total = 0
    for _ in range(messages // BATCH):
        for _ in range(BATCH):
            ref.tell(Add(1))
        total = await ref.ask(Add(0), timeout=60)
    return total


async def kernel_send(ref: ActorRef, messages: int) -> int:
    """Send with backpressure."""
    for _ in range(messages):
        await ref.send(Add(1))
    return await ref.ask(Add(0), timeout=60)


async def kernel_ask(ref: ActorRef, messages: int) -> int:
    """Ask one after the other."""
    total = 0
    for _ in range(messages):
        total = await ref.ask(Add(1), timeout=60)
    return total


# --- a bare queue ---------------------------------------------------------------------------------------------------

Item = tuple[Add, asyncio.Future[int] | None]


async def with_queue(work: Callable[["asyncio.Queue[Item]", int], Awaitable[int]], messages: int, room: int) -> float:
    """Return the seconds that some work with a task that reads a queue takes."""
    queue: asyncio.Queue[Item] = asyncio.Queue(room)

    async def serve() -> None:
        total = 0
        while True:
            message, reply = await queue.get()
            total += message.number
            if reply is not None:
                reply.set_result(total)

    server = asyncio.create_task(serve())
    began = time.perf_counter()
    total = await work(queue, messages)
    seconds = time.perf_counter() - began
    server.cancel()
    await asyncio.wait({server})
    check(total, messages)
    return seconds


async def queue_question(queue: "asyncio.Queue[Item]", number: int) -> int:
    """Ask through a queue."""
    reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    await queue.put((Add(number), reply))
    return await reply


async def queue_tell(queue: "asyncio.Queue[Item]", messages: int) -> int:
    """Put in batches without waiting."""
    total = 0
    for _ in range(messages // BATCH):
        for _ in range(BATCH):
            queue.put_nowait((Add(1), None))
        total = await queue_question(queue, 0)
    return total


async def queue_send(queue: "asyncio.Queue[Item]", messages: int) -> int:
    """Put with backpressure."""
    for _ in range(messages):
        await queue.put((Add(1), None))
    return await queue_question(queue, 0)


async def queue_ask(queue: "asyncio.Queue[Item]", messages: int) -> int:
    """Put a future along and wait for it, one after the other."""
    total = 0
    for _ in range(messages):
        total = await queue_question(queue, 1)
    return total


# --- pykka ----------------------------------------------------------------------------------------------------------


class PykkaAdder(pykka.ThreadingActor):
    """Sums up what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = 0

    def on_receive(self, message: Any) -> Any:
        """Add."""
        self.sum += message.number
        return self.sum


def pykka_tell(messages: int) -> float:
    """Tell in batches; an ask at the end of each waits until it is handled."""
    ref = PykkaAdder.start()
    total: Any = 0
    began = time.perf_counter()
    for _ in range(messages // BATCH):
        for _ in range(BATCH):
            ref.tell(Add(1))
        total = ref.ask(Add(0), timeout=60)
    seconds = time.perf_counter() - began
    ref.stop()
    check(total, messages)
    return seconds


def pykka_ask(messages: int) -> float:
    """Ask one after the other."""
    ref = PykkaAdder.start()
    total: Any = 0
    began = time.perf_counter()
    for _ in range(messages):
        total = ref.ask(Add(1), timeout=60)
    seconds = time.perf_counter() - began
    ref.stop()
    check(total, messages)
    return seconds


# --- measuring ------------------------------------------------------------------------------------------------------

Key = tuple[str, str, str]
"""Operation, implementation, loop ("threads" for pykka)."""


def check(total: int, messages: int) -> None:
    """Refuse a measurement in which messages were lost.

    Raises:
        RuntimeError: some were.
    """
    if total != messages:
        raise RuntimeError(f"{messages} messages were sent, but {total} handled")


def measurements() -> dict[Key, Callable[[int], float]]:
    """Return everything that is measured, as functions from a number of messages to seconds."""

    def on(loop: str, run: Callable[..., Any], work: Callable[..., Any], room: int) -> Callable[[int], float]:
        def measure(messages: int) -> float:
            with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
                return float(runner.run(run(work, messages, room)))

        return measure

    cases: dict[Key, Callable[[int], float]] = {
        ("tell", "pykka", "threads"): pykka_tell,
        ("ask", "pykka", "threads"): pykka_ask,
    }
    kernel = {"tell": kernel_tell, "send": kernel_send, "ask": kernel_ask}
    queue = {"tell": queue_tell, "send": queue_send, "ask": queue_ask}
    for loop in LOOPS:
        for operation in OPERATIONS:
            room = 2 * BATCH if operation == "tell" else ROOM
            cases[operation, "kernel", loop] = on(loop, with_actor, kernel[operation], room)
            cases[operation, "queue", loop] = on(loop, with_queue, queue[operation], room)
    return cases


def measure(rounds: int, messages: int) -> dict[Key, list[float]]:
    """Return the microseconds a message of every round; an unmeasured round warms up first."""
    cases = measurements()
    times: dict[Key, list[float]] = {key: [] for key in cases}
    order = random.Random(0)
    with Progress(transient=True) as progress:
        for number in progress.track(range(rounds + 1), description="measuring"):
            keys = list(cases)
            order.shuffle(keys)
            for key in keys:
                seconds = cases[key](messages)
                if number:
                    times[key].append(seconds / messages * 1e6)
    return times


def spread(values: list[float]) -> dict[str, float]:
    """Return the median and the quartiles."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": round(median, 3), "q1": round(low, 3), "q3": round(high, 3)}


def ratios(times: dict[Key, list[float]]) -> dict[Key, dict[str, float]]:
    """Return how many times an alternative's cost the kernel's is (below 1: the kernel is cheaper), by round."""
    result = {}
    for (operation, implementation, loop), values in times.items():
        if implementation == "kernel":
            continue
        for own_loop in LOOPS if loop == "threads" else (loop,):
            own = times[operation, "kernel", own_loop]
            pairs = [ours / theirs for theirs, ours in zip(values, own, strict=True)]
            result[operation, implementation, own_loop] = spread(pairs)
    return result


# --- reporting ------------------------------------------------------------------------------------------------------


def costs_table(costs: dict[Key, dict[str, float]], title: str) -> Table:
    """Return what everything costs, to be read by people."""
    shown = Table("operation", "implementation", "loop", Column("us a message", justify="right"), title=title)
    for operation in OPERATIONS:
        for key in (key for key in sorted(costs) if key[0] == operation):
            shown.add_row(*key, _text(costs[key]))
        shown.add_section()
    return shown


def ratios_table(compared: dict[Key, dict[str, float]]) -> Table:
    """Return how the kernel compares, to be read by people."""
    shown = Table(
        "operation",
        "loop",
        Column("kernel / bare queue", justify="right"),
        Column("kernel / pykka", justify="right"),
        title="times the cost of the alternative, below 1 the kernel is cheaper",
    )
    for operation in OPERATIONS:
        for loop in LOOPS:
            beside = [compared.get((operation, other, loop)) for other in ("queue", "pykka")]
            shown.add_row(operation, loop, *(_text(ratio) if ratio else "" for ratio in beside))
    return shown


def _text(values: dict[str, float]) -> str:
    return f"{values['median']:.2f} ({values['q1']:.2f} to {values['q3']:.2f})"


def report(costs: dict[Key, dict[str, float]], compared: dict[Key, dict[str, float]], arguments: Any) -> dict[str, Any]:
    """Return the same, to be read by programs."""
    return {
        "rounds": arguments.rounds,
        "messages": arguments.messages,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "versions": {name: version(name) for name in ("pykka", "uvloop")},
        "microseconds_a_message": {"/".join(key): value for key, value in sorted(costs.items())},
        "kernel_cost_divided_by": {"/".join(key): value for key, value in sorted(compared.items())},
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds (default 9, at least 2)")
    parser.add_argument("--messages", type=int, default=10_000, help=f"messages a measurement, a multiple of {BATCH}")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build" / "benchmarks" / "actors.json")
    arguments = parser.parse_args()
    if arguments.rounds < 2 or arguments.messages < BATCH or arguments.messages % BATCH:
        parser.error(f"at least 2 rounds, and a multiple of {BATCH} messages")
    times = measure(arguments.rounds, arguments.messages)
    costs = {key: spread(values) for key, values in times.items()}
    compared = ratios(times)
    console = Console()
    console.print(costs_table(costs, f"{arguments.messages} messages, {arguments.rounds} rounds: median (quartiles)"))
    console.print(ratios_table(compared))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report(costs, compared, arguments), indent=2) + "\n", encoding="utf-8")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
