"""What is heard is stored, in batches and once; what may not be stored is not; a full disk loses nothing."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from actors.ingest import IngestActor, IngestSettings
from actors.kernel import ActorSystem, AskTimeout, ChildSpec, SupervisorSpec, new_ref
from actors.messages import DescribeFetch, Fetch, FetchStatus, Forget, ForgottenNow, MessageArrived, Ping, StoreChanged
from actors.reading.live_storing import StoringSettings, may_store
from persona.adapters.sqlite import SqliteStore
from persona.adapters.sqlite.progress import SqliteProgress
from persona.domain.chat import Author, AuthorId, Channel, ChannelId, ChannelKind, GuildId, MessageId
from persona.errors import PersonaError, StoreError
from persona.ports import ReactionsCleared
from tests.fakes.ingesting import NOON, QUICK, Recorder, ingesting, run_ingest
from tests.fakes.scripted_history import ANN, ScriptedHistory
from tests.fakes.stores import query

BEN = Author(id=AuthorId(3), name="ben", display_name="Ben")


def one_room(there):
    there.room(5)


def reactions(tmp_path):
    return query(tmp_path / "persona.db", "SELECT emoji, count FROM reactions ORDER BY emoji")


@pytest.mark.parametrize(
    ("channel", "stored"),
    [
        (Channel(id=ChannelId(5), guild_id=GuildId(1), name="general", allowed=True), True),
        (Channel(id=ChannelId(6), guild_id=GuildId(1), name="secret"), False),
        (Channel(id=ChannelId(7), guild_id=GuildId(0), name="t", kind=ChannelKind.TERMINAL, allowed=True), False),
    ],
)
def test_only_allowed_channels_and_never_the_terminal(channel, stored):
    assert may_store(channel) is stored


def test_without_a_history_it_stores_what_it_hears_and_nothing_from_the_terminal(tmp_path):
    async def main():
        there = ScriptedHistory(start=NOON)
        general = there.room(5)
        terminal = Channel(id=ChannelId(7), guild_id=GuildId(0), name="t", kind=ChannelKind.TERMINAL, allowed=True)
        store = SqliteStore(tmp_path / "persona.db")
        await store.open()
        ingest, retriever = new_ref("ingest"), new_ref("retriever")
        actor = lambda: IngestActor(  # noqa: E731
            store=store,
            progress=SqliteProgress(store.database),
            history=None,
            retriever=retriever,
            responder=None,
            forgetter=None,
            settings=IngestSettings(),
        )
        children = (ChildSpec(ref=retriever, factory=lambda: Recorder([])), ChildSpec(ref=ingest, factory=actor))
        system = ActorSystem(SupervisorSpec(name="root", children=children))
        await system.start()
        for number in range(3):
            said = there.say(general.id, f"line {number}")
            ingest.tell(MessageArrived(arrival=said))
            ingest.tell(MessageArrived(arrival=replace(said, channel=terminal)))
        assert await ingest.ask(DescribeFetch(), timeout=1) == FetchStatus(running=False)
        with pytest.raises(PersonaError, match="no history"):
            await ingest.ask(Fetch(), timeout=1)
        await system.stop()
        assert await store.count() == 3
        assert [channel.id for channel in await store.channels()] == [general.id]
        assert await SqliteProgress(store.database).watermarks() == {}
        await store.close()

    asyncio.run(main())


def test_what_is_said_is_stored_soon_and_the_memory_is_woken(tmp_path):
    async def scenario(scene):
        await scene.caught_up()
        scene.hear(*(scene.there.say(5) for _ in range(10)))
        await scene.stored_truth()
        assert len(scene.there.truth) == 10
        await scene.until(lambda: scene.told_retriever)
        assert all(isinstance(message, StoreChanged) for message in scene.told_retriever)
        assert await scene.store.memory_changes_pending() == 10

    run_ingest(tmp_path, one_room, scenario)


def test_stopping_writes_what_is_left(tmp_path):
    async def scenario(scene):
        await scene.caught_up()
        scene.hear(*(scene.there.say(5) for _ in range(3)))
        await scene.ingest.ask(Ping(), timeout=1)
        await scene.system.stop()
        assert await scene.texts() == scene.there.truth

    slow = replace(QUICK, storing=StoringSettings(flush_seconds=60))
    run_ingest(tmp_path, one_room, scenario, settings=slow)


def test_edits_deletions_and_reactions_are_followed(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        first, second, third = said = [there.say(5) for _ in range(3)]
        scene.hear(*said, there.react(first.message, "👍"), there.react(first.message, "👍"))
        scene.hear(there.react(first.message, "🎉"), there.react(second.message, "🎉"))
        scene.hear(there.edit(first.message, "better"), there.delete(second.message, third.message))
        await scene.stored_truth()
        assert list(there.truth.values()) == ["better"]
        await scene.until(lambda: reactions(tmp_path) == [("🎉", 1), ("👍", 2)])
        scene.hear(there.react(first.message, "👍", -1), there.react(first.message, "🎉", -1))
        await scene.until(lambda: reactions(tmp_path) == [("👍", 1)])
        scene.hear(ReactionsCleared(channel_id=first.channel.id, message_id=first.message.id))
        await scene.until(lambda: not reactions(tmp_path))

    run_ingest(tmp_path, one_room, scenario)


def test_an_edit_or_deletion_that_comes_before_its_message_counts(tmp_path):
    async def scenario(scene):
        there = scene.there
        await scene.caught_up()
        edited, deleted = there.say(5), there.say(5)
        scene.hear(there.edit(edited.message, "better"), there.delete(deleted.message))
        await asyncio.sleep(0.1)
        scene.hear(edited, deleted)
        await scene.stored_truth()
        assert list(there.truth.values()) == ["better"]

    run_ingest(tmp_path, one_room, scenario)


def test_a_channel_off_the_list_is_neither_stored_nor_followed_but_deletions_there_count(tmp_path):
    async def scenario(scene):
        there = scene.there
        kept, gone = there.say(5, "stays"), there.say(5, "goes")
        await scene.fetch()
        await scene.store.set_allowed([ChannelId(5)], allowed=False)
        there.allowed.clear()
        stranger = there.say(5, "not for the store")
        scene.hear(stranger, there.edit(kept.message, "not for the store either"), there.delete(gone.message))
        scene.hear(there.delete(stranger.message))
        await scene.holds("stays")
        await asyncio.sleep(0.1)
        await scene.holds("stays")
        assert query(tmp_path / "persona.db", "SELECT message_id FROM tombstones") == [(gone.message.id,)]

    run_ingest(tmp_path, one_room, scenario)


def test_a_batch_that_waits_when_its_channel_leaves_the_list_is_not_stored(tmp_path):
    async def scenario(scene):
        await scene.caught_up()
        scene.hear(scene.there.say(5))
        await scene.ingest.ask(Ping(), timeout=1)
        await scene.store.set_allowed([ChannelId(5)], allowed=False)
        await asyncio.sleep(0.4)
        assert await scene.store.count() == 0

    slow = replace(QUICK, storing=StoringSettings(flush_seconds=0.2))
    run_ingest(tmp_path, one_room, scenario, settings=slow)


class FullDisk:
    """A progress store that cannot write for a while."""

    def __init__(self, real):
        self._real = real
        self.full = False
        self.refused = 0

    def __getattr__(self, name):
        return getattr(self._real, name)

    async def put_live(self, messages, advance):
        if self.full:
            self.refused += 1
            raise StoreError("no room left on the disk", cure="free some space")
        return await self._real.put_live(messages, advance)


def test_a_full_disk_keeps_everything_until_there_is_room(tmp_path):
    disks = []

    def disk(real):
        disks.append(FullDisk(real))
        return disks[0]

    async def scenario(scene):
        await scene.caught_up()
        disks[0].full = True
        scene.hear(*(scene.there.say(5) for _ in range(20)))
        await scene.until(lambda: disks[0].refused > 2)
        assert await scene.ingest.ask(Ping(), timeout=1) == "degraded: no room left on the disk"
        assert await scene.store.count() == 0
        disks[0].full = False
        await scene.stored_truth()
        assert len(scene.there.truth) == 20
        assert await scene.ingest.ask(Ping(), timeout=1) == "20 stored"

    run_ingest(tmp_path, one_room, scenario, progress=disk)


def test_what_finds_no_room_is_read_from_the_history_later(tmp_path):
    disks = []

    def disk(real):
        disks.append(FullDisk(real))
        return disks[0]

    async def scenario(scene):
        there = scene.there
        old = there.say(5)
        await scene.fetch()
        mark = await scene.progress.watermarks()
        disks[0].full = True
        scene.hear(*(there.say(5) for _ in range(20)))
        scene.hear(there.edit(old.message, "better"))
        await scene.until(lambda: disks[0].refused > 2)
        assert await scene.progress.watermarks() == mark
        disks[0].full = False
        await scene.stored_truth()
        assert len(there.truth) == 21

    small = replace(QUICK, storing=replace(QUICK.storing, limit=5))
    run_ingest(tmp_path, one_room, scenario, progress=disk, settings=small)


class Eraser:
    """Forgets in the store; may take its time or fail."""

    def __init__(self):
        self.store = None
        self.asked = []
        self.error = None
        self.go = asyncio.Event()
        self.go.set()

    async def forget_author(self, author_id):
        return await self._forget(author_id, "author_id")

    async def forget_messages(self, message_ids):
        return await self._forget(set(message_ids), "id")

    async def _forget(self, what, column):
        self.asked.append(what)
        await self.go.wait()
        if self.error:
            raise self.error
        ids = {what} if isinstance(what, int) else what

        def delete(connection):
            marks = ",".join("?" * len(ids))
            sql = f"DELETE FROM messages WHERE {column} IN ({marks})"  # noqa: S608 - fixed text
            return connection.execute(sql, tuple(ids)).rowcount

        return await self.store.database.write(delete)


def run_forgetting(tmp_path, scenario, **options):
    async def main():
        eraser = Eraser()
        there = ScriptedHistory(start=NOON)
        there.room(5)
        async with ingesting(tmp_path / "persona.db", there, forgetter=eraser, **options) as scene:
            eraser.store = scene.store
            await scenario(scene, eraser)

    asyncio.run(main())


def test_forgetting_reaches_the_store_the_batch_and_everybody_who_holds_something(tmp_path):
    async def scenario(scene, eraser):
        there = scene.there
        there.say(5, "old ann"), there.say(5, "old ben", author=BEN)
        await scene.fetch()
        scene.told_retriever.clear()
        scene.hear(there.say(5, "new ann"), there.say(5, "new ben", author=BEN))
        assert await scene.ingest.ask(Forget(author_id=ANN.id), timeout=5) == 2
        assert eraser.asked == [ANN.id]
        await scene.holds("old ben", "new ben")
        assert ForgottenNow(author_id=ANN.id) in scene.told_responder
        assert StoreChanged() in scene.told_retriever

    slow = replace(QUICK, storing=StoringSettings(flush_seconds=0.3))
    run_forgetting(tmp_path, scenario, settings=slow)


def test_a_page_that_is_on_its_way_does_not_bring_back_what_was_forgotten(tmp_path):
    async def scenario(scene, eraser):
        there = scene.there
        await scene.caught_up()
        there.say(5, "ann was here"), there.say(5, "ben was here", author=BEN)
        there.on_page = lambda _: scene.ingest.tell(Forget(author_id=ANN.id))
        await scene.fetch()
        await scene.until(lambda: eraser.asked)
        assert list((await scene.texts()).values()) == ["ben was here"]
        there.on_page = None
        late = there.say(5, "said before, heard after")
        scene.hear(late, there.say(5, "ann comes back", at=NOON + timedelta(hours=2)))
        await scene.holds("ben was here", "ann comes back")

    run_forgetting(tmp_path, scenario)


def test_single_messages_are_forgotten(tmp_path):
    async def scenario(scene, eraser):
        first, second = scene.there.say(5, "first"), scene.there.say(5, "second")
        await scene.fetch()
        ids = frozenset({first.message.id, MessageId(12345)})
        assert await scene.ingest.ask(Forget(message_ids=ids), timeout=5) == 1
        assert list(await scene.texts()) == [second.message.id]
        assert ForgottenNow(message_ids=ids) in scene.told_responder

    run_forgetting(tmp_path, scenario)


def test_forgetting_that_fails_says_so_and_holds_up_nothing(tmp_path):
    async def scenario(scene, eraser):
        eraser.error = StoreError("no room left on the disk")
        with pytest.raises(StoreError, match="no room"):
            await scene.ingest.ask(Forget(author_id=ANN.id), timeout=5)
        eraser.go.clear()
        with pytest.raises(AskTimeout):
            await scene.ingest.ask(Forget(author_id=ANN.id), timeout=0.05)
        scene.hear(scene.there.say(5, author=BEN))
        await scene.stored_truth()

    run_forgetting(tmp_path, scenario)


def test_without_a_forgetter_nothing_can_be_forgotten(tmp_path):
    async def scenario(scene):
        with pytest.raises(PersonaError, match="nothing is kept here"):
            await scene.ingest.ask(Forget(author_id=ANN.id), timeout=5)

    run_ingest(tmp_path, one_room, scenario)
