"""The retriever in a real kernel, over real SQLite and real LanceDB; scripted memories where that cannot fail."""

import asyncio
import shutil
import threading
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from actors.kernel import ActorSystem, ChildSpec, SupervisorSpec, new_ref
from actors.messages import Ping, Recall, StoreChanged
from actors.retriever import RetrieverActor, RetrieverSettings
from persona.adapters.lance import LanceMemory
from persona.adapters.sqlite import SqliteStore
from persona.domain.chat import Edit, Tombstone, TombstoneReason
from persona.errors import MemoryIndexError, StoreError
from tests.fakes.talk import ATTIC, BEN, KITCHEN, NOON, allowed_channel, chatter, said

QUICK = RetrieverSettings(budget=1.5, poll=0.1, settle=0.01, retry=0.02, longest_retry=0.1)
UNTIL = 10.0


async def kitchen_sees_all(channel_id):
    return {KITCHEN, ATTIC} if channel_id == KITCHEN else {channel_id}


class ScriptedMemory(LanceMemory):
    """A real memory that can be told to be slow or to fail."""

    def __init__(self, folder):
        super().__init__(folder)
        self.search_seconds = 0.0
        self.search_error = self.apply_error = self.open_error = None
        self.opened = self.searching = 0

    async def open(self, space=None):
        self.opened += 1
        if self.open_error is not None:
            raise self.open_error
        return await super().open(space)

    async def apply(self, changes, vectors=None):
        if self.apply_error is not None:
            raise self.apply_error
        await super().apply(changes, vectors)

    async def search(self, query):
        self.searching += 1
        try:
            await asyncio.sleep(self.search_seconds)
            if self.search_error is not None:
                raise self.search_error
            return await super().search(query)
        finally:
            self.searching -= 1


async def eventually(look, wanted):
    """Look again and again until it is as wanted; how long that takes is another thread's business."""
    async with asyncio.timeout(UNTIL):
        while not wanted(await look()):
            await asyncio.sleep(0.01)


class World:
    """A store, a retriever that follows it, and what it said in the log."""

    def __init__(self, store, ref, system, events):
        self.store = store
        self.ref = ref
        self.system = system
        self._events = events

    async def recall(self, text, *, channel=KITCHEN, **more):
        found = await self.ref.ask(Recall(text=text, channel_id=channel, **more), timeout=5)
        return [one.text for one in found]

    async def state(self):
        return await self.ref.ask(Ping(), timeout=2)

    async def say(self, *messages):
        await self.store.put_messages(messages)
        self.ref.tell(StoreChanged())

    async def until(self, state):
        await eventually(self.state, lambda answer: answer.startswith(state))

    async def until_recalled(self, text, expected, **more):
        await eventually(lambda: self.recall(text, **more), lambda found: found == expected)

    def logged(self, event):
        return [entry for entry in self._events if entry["event"] == event]


@asynccontextmanager
async def world(folder, *messages, factory=None, settings=QUICK, visible=kitchen_sees_all):
    store = SqliteStore(folder / "store.db")
    await store.open()
    await store.put_channels([allowed_channel(KITCHEN), allowed_channel(ATTIC)])
    await store.put_messages(messages)
    ref = new_ref("retriever", mailbox=64)

    def build():
        return RetrieverActor(
            memory_factory=factory or (lambda: LanceMemory(folder / "memory", messages=store.messages_by_id)),
            store=store,
            visible_channels=visible,
            settings=settings,
        )

    tree = SupervisorSpec(name="root", children=(ChildSpec(ref=ref, factory=build),))
    with structlog.testing.capture_logs() as events:
        system = ActorSystem(tree)
        await system.start()
        try:
            yield World(store, ref, system, events)
        finally:
            await system.stop()
            await store.close()


def test_follows_the_store_and_recalls_what_was_said(tmp_path):
    async def scenario():
        async with world(tmp_path, said(1, "the kettle is broken", author=BEN)) as w:
            await w.until("ready")
            before = await w.recall("is the kettle ok?")
            await w.say(said(2, "a new kettle came today", at=NOON + timedelta(minutes=1)))
            await w.until_recalled("new kettle today", ["a new kettle came today", "the kettle is broken"])
            without_ben = await w.recall("kettle", exclude_authors=frozenset({BEN.id}))
            limited = await w.recall("new kettle today", limit=1)
            return before, without_ben, limited

    before, without_ben, limited = asyncio.run(scenario())
    assert before == ["the kettle is broken"]
    assert without_ben == ["a new kettle came today"]
    assert limited == ["a new kettle came today"]


def test_notices_changes_nobody_told_it_of(tmp_path):
    async def scenario():
        async with world(tmp_path) as w:
            await w.until("ready")
            await w.store.put_messages([said(1, "written by an import")])
            await w.until_recalled("import", ["written by an import"])
            return w.logged("memory_degraded")

    assert asyncio.run(scenario()) == []


def test_recalls_only_what_the_audience_may_read(tmp_path):
    async def scenario():
        secret = said(1, "the secret recipe needs nutmeg", channel=KITCHEN)
        public = said(2, "nutmeg grows on trees", channel=ATTIC)
        async with world(tmp_path, secret, public) as w:
            await w.until("ready")
            return await w.recall("nutmeg", channel=KITCHEN), await w.recall("nutmeg", channel=ATTIC)

    kitchen, attic = asyncio.run(scenario())
    assert set(kitchen) == {"the secret recipe needs nutmeg", "nutmeg grows on trees"}
    assert attic == ["nutmeg grows on trees"]


def test_edits_and_removals_count_before_the_memory_follows(tmp_path):
    async def scenario():
        buried, edited = said(1, "my address is elm street"), said(2, "meet me in elm street")
        slow = RetrieverSettings(poll=60, settle=60)
        async with world(tmp_path, buried, edited, settings=slow) as w:
            await w.until("ready")
            before = await w.recall("elm street")
            at = NOON + timedelta(minutes=1)
            await w.store.bury(
                [Tombstone(message_id=buried.id, channel_id=KITCHEN, reason=TombstoneReason.FORGOTTEN, at=at)]
            )
            await w.store.apply_edits(
                [Edit(message_id=edited.id, channel_id=KITCHEN, content="meet me in oak street", edited_at=at)]
            )
            return len(before), await w.recall("elm street"), await w.store.memory_changes_pending()

    before, after, pending = asyncio.run(scenario())
    assert before == 2
    assert after == ["meet me in oak street"]
    assert pending == 2


def test_ready_at_once_and_empty_until_the_memory_is_open(tmp_path):
    gate = threading.Event()

    def slow_factory():
        gate.wait(UNTIL)
        return LanceMemory(tmp_path / "memory")

    async def scenario():
        async with world(tmp_path, said(1, "worth the wait"), factory=slow_factory) as w:
            early = await w.recall("wait"), await w.state()
            gate.set()
            await w.until_recalled("wait", ["worth the wait"])
            return early

    assert asyncio.run(scenario()) == ([], "opening")


def test_with_patience_the_start_waits_until_the_first_question_finds_something(tmp_path):
    async def scenario():
        settings = RetrieverSettings(patience=UNTIL)
        async with world(tmp_path, said(1, "first of all things"), settings=settings) as w:
            return await w.recall("first things"), await w.state()

    assert asyncio.run(scenario()) == (["first of all things"], "ready")


def test_patience_ends_where_the_memory_does_not_open(tmp_path):
    gate = threading.Event()

    def stuck_factory():
        gate.wait(UNTIL)
        return LanceMemory(tmp_path / "memory")

    async def scenario():
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with world(tmp_path, factory=stuck_factory, settings=RetrieverSettings(patience=0.2)) as w:
            took = loop.time() - began
            state = await w.state()
            gate.set()
            return took, state

    took, state = asyncio.run(scenario())
    assert 0.2 <= took < 3
    assert state == "opening"


def test_a_slow_search_comes_to_nothing_within_the_budget_and_is_logged_once(tmp_path):
    memory = ScriptedMemory(tmp_path / "memory")
    settings = RetrieverSettings(budget=0.1, poll=60)

    async def scenario():
        async with world(tmp_path, said(1, "as slow as honey"), factory=lambda: memory, settings=settings) as w:
            await w.until("ready")
            memory.search_seconds = 30
            loop = asyncio.get_running_loop()
            began = loop.time()
            slow = await asyncio.gather(*(w.recall("honey") for _ in range(5)))
            took = loop.time() - began
            degraded = await w.state()
            left_running = memory.searching
            memory.search_seconds = 0
            again = await w.recall("honey")
            logs = len(w.logged("memory_degraded")), len(w.logged("memory_recovered"))
            return slow, took, degraded, left_running, again, await w.state(), logs

    slow, took, degraded, left_running, again, state, logs = asyncio.run(scenario())
    assert slow == [[]] * 5
    assert took < 2
    assert degraded == "degraded: a search took more than 0.1 s"
    assert left_running == 0
    assert again == ["as slow as honey"]
    assert state == "ready"
    assert logs == (1, 1)


def test_a_search_error_comes_to_nothing_and_the_memory_is_opened_anew(tmp_path):
    memory = ScriptedMemory(tmp_path / "memory")

    async def scenario():
        async with world(tmp_path, said(1, "strong as an ox"), factory=lambda: memory) as w:
            await w.until("ready")
            memory.search_error = MemoryIndexError("the index fell over", cure="none")
            failed = await w.recall("ox")
            state = await w.state()
            memory.search_error = None
            await eventually(lambda: asyncio.sleep(0, memory.opened), lambda times: times == 2)
            await w.until_recalled("ox", ["strong as an ox"])
            return failed, state, w.ref.incarnations, w.logged("memory_degraded")

    failed, state, incarnations, logs = asyncio.run(scenario())
    assert failed == []
    assert state == "degraded: the index fell over"
    assert incarnations == 1
    assert [entry["reason"] for entry in logs] == ["the index fell over"]


def test_searches_go_on_while_the_memory_cannot_be_written(tmp_path):
    memory = ScriptedMemory(tmp_path / "memory")

    async def scenario():
        async with world(tmp_path, said(1, "an old story"), factory=lambda: memory) as w:
            await w.until("ready")
            memory.apply_error = MemoryIndexError("no space left")
            await w.say(said(2, "a new story"))
            await w.until("degraded: no space left")
            await w.until_recalled("story", ["an old story"])
            memory.apply_error = None
            await w.until("ready")
            logged = [(entry["part"], entry["reason"]) for entry in w.logged("memory_degraded")]
            return sorted(await w.recall("story")), logged, await w.store.memory_changes_pending()

    found, logged, pending = asyncio.run(scenario())
    assert found == ["a new story", "an old story"]
    assert logged == [("follow", "no space left")]
    assert pending == 0


def test_keeps_trying_to_open_what_cannot_be_opened(tmp_path):
    (tmp_path / "memory").write_text("in the way")

    async def scenario():
        async with world(tmp_path, said(1, "patience pays off")) as w:
            await w.until("degraded")
            state, empty = await w.state(), await w.recall("patience")
            (tmp_path / "memory").unlink()
            await w.until_recalled("patience", ["patience pays off"])
            return state, empty

    state, empty = asyncio.run(scenario())
    assert "is a file, the memory index needs a folder" in state
    assert empty == []


def test_a_table_damaged_while_in_use_is_filled_again_from_the_store(tmp_path):
    async def scenario():
        messages = chatter(300)
        async with world(tmp_path, *messages) as w:
            await w.until("ready")
            wanted = messages[-1].content
            whole = await w.recall(wanted, limit=1)
            shutil.rmtree(tmp_path / "memory" / "messages.lance" / "data")
            # What is said next cannot be written, or the words are not found: either way the damage is noticed.
            await w.say(said(900, "a parrot that nobody mentioned before"))
            await w.until_recalled("parrot", ["a parrot that nobody mentioned before"])
            await eventually(lambda: w.recall(wanted, limit=1), lambda found: found == whole)
            return whole == [wanted], [entry["event"] for entry in w.logged("memory_moved_aside")], w.ref.incarnations

    assert asyncio.run(scenario()) == (True, ["memory_moved_aside"], 1)


def test_a_store_that_fails_means_nothing_comes_to_mind(tmp_path):
    trouble = []

    async def visible(channel_id):
        if trouble:
            raise StoreError("the disk is gone")
        return {channel_id}

    async def scenario():
        async with world(tmp_path, said(1, "forget me not"), visible=visible) as w:
            await w.until("ready")
            found = await w.recall("forget")
            trouble.append(1)
            failed, state = await w.recall("forget"), await w.state()
            trouble.clear()
            return found, failed, state, await w.recall("forget"), await w.state()

    found, failed, state, again, end = asyncio.run(scenario())
    assert found == again == ["forget me not"]
    assert failed == []
    assert state == "degraded: the disk is gone"
    assert end == "ready"


def test_too_many_searches_at_once_are_answered_with_nothing(tmp_path):
    memory = ScriptedMemory(tmp_path / "memory")
    settings = RetrieverSettings(searches=3, poll=60)

    async def scenario():
        async with world(tmp_path, said(1, "a crowded house"), factory=lambda: memory, settings=settings) as w:
            await w.until("ready")
            memory.search_seconds = 0.2
            return await asyncio.gather(*(w.recall("house") for _ in range(5)))

    found = asyncio.run(scenario())
    assert found.count([]) == 2
    assert found.count(["a crowded house"]) == 3


def test_stops_quickly_in_the_middle_of_catching_up(tmp_path):
    async def scenario():
        messages = chatter(6_000)
        async with world(tmp_path, *messages) as w:
            await w.until("catching up")
            began = asyncio.get_running_loop().time()
            await w.system.stop()
            took = asyncio.get_running_loop().time() - began
            left = await w.store.memory_changes_pending()
        async with world(tmp_path) as w:
            await w.until("ready")
            return took, left, await w.recall(messages[-1].content, limit=1), messages[-1].content

    took, left, found, wanted = asyncio.run(scenario())
    assert took < 3
    assert left > 0
    assert found == [wanted]
