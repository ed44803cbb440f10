"""A program that ingests a scripted life in stages, made to be killed: `python ingest_program.py DB SEED STAGE [last]`.

The other side's life follows from the seed alone: stages that are over have happened, whether they were heard or not.
Half of the running stage happened before the start, the other half is heard live. With `last` it prints as JSON what
it holds and what it should hold, and ends.
"""

import asyncio
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from persona.domain.chat import ChannelId, ChannelKind
from persona.ports import LinkDown, LinkUp
from tests.fakes.ingesting import NOON, ingesting
from tests.fakes.scripted_history import SELF, ScriptedHistory, outage

ROOMS = (5, 6, 7, 50, 51)
STEPS = 400


def build() -> ScriptedHistory:
    there = ScriptedHistory(start=NOON, latency=0.002)
    for number in (5, 6, 7):
        there.room(number)
    there.room(50, kind=ChannelKind.THREAD, parent=5)
    there.room(51, kind=ChannelKind.THREAD, parent=6, archived=True)
    return there


def step(there: ScriptedHistory, rng: random.Random):
    """Let one thing happen; return its event."""
    room = there.rooms[ChannelId(rng.choice(ROOMS))]
    recent = sorted(room.messages)[-60:]
    what = rng.random()
    if what < 0.7 or not recent:
        return there.say(room.channel.id, f"text {rng.random()}", seconds=rng.choice((0.001, 0.2, 5)))
    message = room.messages[rng.choice(recent)]
    if what < 0.87:
        return there.edit(message, f"edit {rng.random()}", minutes=rng.uniform(0.1, 2))
    return there.delete(message)


async def live(scene, there: ScriptedHistory, rng: random.Random, faults: random.Random) -> None:
    """Live through the second half of a stage, with an unsteady connection."""
    linked = True
    for _ in range(STEPS // 2):
        event = step(there, rng)
        if faults.random() < 0.03:
            linked = not linked
            scene.hear(LinkUp(resumed=False, self_id=SELF) if linked else LinkDown(reason="cut"))
        if faults.random() < 0.02:
            there.faults.extend(outage(faults.randint(1, 3)))
        if linked:
            scene.hear(event)
        await asyncio.sleep(faults.choice((0, 0, 0.001, 0.004)))
    if not linked:
        scene.hear(LinkUp(resumed=False, self_id=SELF))


async def main(path: Path, seed: int, stage: int, *, last: bool) -> None:
    there = build()
    for number in range(stage):
        rng = random.Random(f"{seed} {number}")
        for _ in range(STEPS):
            step(there, rng)
    rng = random.Random(f"{seed} {stage}")
    for _ in range(STEPS // 2):
        step(there, rng)
    async with ingesting(path, there) as scene:
        print("started", flush=True)  # noqa: T201 - its answer
        await live(scene, there, rng, random.Random(f"{seed} {stage} faults"))
        if not last:
            await asyncio.sleep(60)
        await scene.caught_up()
        await asyncio.sleep(0.1)
        held = await scene.texts()
        print(json.dumps({"held": held, "truth": there.truth}), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), last=sys.argv[4:] == ["last"]))
