"""An ingest actor at work over a real store and a scripted history, for tests."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from actors.ingest import IngestActor, IngestSettings
from actors.kernel import Actor, ActorSystem, ChildSpec, SupervisorSpec, new_ref
from actors.messages import DescribeFetch, Fetch, MessageArrived, Ping
from actors.reading.catch_up_round import CatchUpSettings
from actors.reading.history_reader import Patience
from actors.reading.live_storing import StoringSettings
from persona.adapters.sqlite import SqliteStore
from persona.adapters.sqlite.progress import SqliteProgress
from persona.domain.catching_up import Rules
from persona.ports import Arrival, LinkUp
from tests.fakes.scripted_history import SELF, ScriptedHistory

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)

QUICK = IngestSettings(
    catch_up=CatchUpSettings(
        requests_per_second=2000,
        patience=Patience(attempts=4, first_seconds=0.01, longest_seconds=0.02),
        retry_seconds=0.05,
        gather_seconds=0.01,
        rules=Rules(hours=48, messages=1000),
    ),
    storing=StoringSettings(flush_seconds=0.02, retry_seconds=0.02, longest_retry=0.05),
)


class Recorder(Actor):
    """Keeps what it is told."""

    def __init__(self, seen: list[object]):
        self.seen = seen

    async def receive(self, message: object) -> None:
        self.seen.append(message)


class Scene:
    """Everything a scenario needs: the other side, the store, the actor, and what the others were told."""

    def __init__(self, there: ScriptedHistory, store: SqliteStore, progress, ingest, system) -> None:
        self.there = there
        self.store = store
        self.progress = progress
        self.ingest = ingest
        self.system = system
        self.clock = NOON + timedelta(hours=1)
        self.told_responder: list[object] = []
        self.told_retriever: list[object] = []

    def hear(self, *events: object) -> None:
        """Let events come in live."""
        for event in events:
            assert self.ingest.tell(MessageArrived(arrival=event) if isinstance(event, Arrival) else event)

    async def link(self, *, resumed: bool = False) -> None:
        """Let a connection begin, and wait until everything is read."""
        self.hear(LinkUp(resumed=resumed, self_id=SELF))
        await self.caught_up()

    async def caught_up(self):
        """Wait until nothing is being read; return the figures."""
        await self.ingest.ask(Ping(), timeout=5)
        await self.until(self._idle)
        return await self.status()

    async def status(self):
        return await self.ingest.ask(DescribeFetch(), timeout=5)

    async def fetch(self, *numbers: int):
        await self.ingest.ask(Fetch(channel_ids=frozenset(numbers) if numbers else None), timeout=10)
        return await self.status()

    async def texts(self) -> dict[int, str]:
        """What is stored, by id."""
        ids: set[int] = set()
        for channel in await self.store.channels():
            ids |= await self.progress.stored_ids(channel.id, after=0, through=2**63 - 1)
        return {key: message.content for key, message in (await self.store.messages_by_id(ids)).items()}

    async def holds(self, *texts: str) -> None:
        """Wait until exactly these texts are stored."""
        await self.until(lambda: self._has(sorted(texts)))

    async def until(self, condition: Callable, seconds: float = 10.0) -> None:
        """Wait for something to become true."""
        async with asyncio.timeout(seconds):
            while True:
                value = condition()
                if asyncio.iscoroutine(value):
                    value = await value
                if value:
                    return
                await asyncio.sleep(0.005)

    async def stored_truth(self) -> None:
        """Wait until the store holds what the other side shows, no more and no less."""
        try:
            await self.until(self._is_truth, 5)
        except TimeoutError:
            assert await self.texts() == self.there.truth

    async def _idle(self) -> bool:
        return not (await self.status()).running

    async def _has(self, texts: list[str]) -> bool:
        return sorted((await self.texts()).values()) == texts

    async def _is_truth(self) -> bool:
        return await self.texts() == self.there.truth


@contextlib.asynccontextmanager
async def ingesting(path, there, *, settings=QUICK, forgetter=None, progress=None, now=None, mailbox=5000):
    """Run an ingest actor; `progress` may wrap the real one."""
    store = SqliteStore(path)
    await store.open()
    real = SqliteProgress(store.database)
    watched = real if progress is None else progress(real)
    ingest, retriever, responder = (
        new_ref("ingest", mailbox=mailbox),
        new_ref("retriever", mailbox=5000),
        new_ref("responder", mailbox=5000),
    )
    scene = Scene(there, store, real, ingest, None)

    def actor() -> IngestActor:
        return IngestActor(
            store=store,
            progress=watched,
            history=there,
            retriever=retriever,
            responder=responder,
            forgetter=forgetter,
            settings=settings,
            now=now or (lambda: scene.clock),
        )

    children = (
        ChildSpec(ref=retriever, factory=lambda: Recorder(scene.told_retriever)),
        ChildSpec(ref=responder, factory=lambda: Recorder(scene.told_responder)),
        ChildSpec(ref=ingest, factory=actor),
    )
    scene.system = ActorSystem(SupervisorSpec(name="root", children=children, intensity=0))
    await scene.system.start()
    try:
        yield scene
    finally:
        await scene.system.stop()
        await store.close()


def run_ingest(tmp_path, prepare, scenario, *, history=None, **options):
    """Prepare the other side, then run `await scenario(scene)` beside an ingest actor."""

    async def main():
        there = ScriptedHistory(start=NOON, **(history or {}))
        prepare(there)
        async with ingesting(tmp_path / "persona.db", there, **options) as scene:
            await scenario(scene)

    asyncio.run(main())


def with_rules(settings=QUICK, **rules):
    """Return settings with other rules of how far back to look."""
    return replace(settings, catch_up=replace(settings.catch_up, rules=Rules(**rules)))
