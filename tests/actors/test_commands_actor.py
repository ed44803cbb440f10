"""Commands are carried out for whom they are meant, answered in words, written down, and survive a restart."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from actors.commanding.quiz import QuizCommands
from actors.commanding.status import StatusReport
from actors.commands import CommandsActor
from actors.kernel import LATER, Actor, ActorSystem, ChildSpec, SupervisorSpec, new_ref
from actors.messages import ChannelTrouble, DescribeFetch, Fetch, FetchStatus, Forget, Muted, Ping, Respond
from persona.allow_list import AllowList
from persona.config import Settings
from persona.domain.chat import Author, AuthorId, Channel, ChannelId, ChannelKind, GuildId, MessageId
from persona.domain.command_rights import NO_ADMIN, NO_KEEPER, AdminRules
from persona.domain.command_texts import AboutBot
from persona.domain.commands import COMMANDS, Audience, Caller, Invocation, Via
from persona.domain.consent import Choice, Scope, Standing
from persona.domain.quiz import AskedQuestion, AskedQuiz, QuizError
from persona.errors import DeliveryError, PersonaError
from persona.live_settings import LiveSettings
from persona.mydata import mydata
from persona.ports import ChannelSeen, CommandInvoked, ReplyRecord
from tests.fakes.stores import execute, open_store, query
from tests.fakes.talk import said

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
GUILD = GuildId(1)
KITCHEN = Channel(id=ChannelId(100), guild_id=GUILD, name="kitchen", guild_name="home")
ATTIC = Channel(id=ChannelId(200), guild_id=GUILD, name="attic", guild_name="home")
ELSEWHERE = Channel(id=ChannelId(300), guild_id=GuildId(2), name="street", guild_name="town")
DIRECT = Channel(id=ChannelId(400), guild_id=GuildId(0), name="ann", kind=ChannelKind.DIRECT)
ANN = Author(id=AuthorId(2), name="ann", display_name="Ann")
BOSS = Author(id=AuthorId(9), name="boss", display_name="Boss")
RULES = AdminRules(author_ids=frozenset({20}), role_ids=frozenset({30}))

CALLERS = {
    "owner": Caller(author=BOSS, is_owner=True, sees=frozenset(map(ChannelId, (100, *range(110, 120), 300)))),
    "configured id": Caller(author=Author(id=AuthorId(20), name="x", display_name="x")),
    "configured role": Caller(author=Author(id=AuthorId(21), name="x", display_name="x"), role_ids=frozenset({30})),
    "manage server": Caller(
        author=Author(id=AuthorId(22), name="x", display_name="x"), may_manage=True, only_server=True
    ),
    "one of several": Caller(
        author=Author(id=AuthorId(23), name="x", display_name="x"), may_manage=True, sees=frozenset({ChannelId(100)})
    ),
    "member": Caller(author=ANN),
    "webhook": Caller(author=BOSS, is_owner=True, is_webhook=True),
    "bot": Caller(author=Author(id=AuthorId(20), name="x", display_name="x", is_bot=True), may_manage=True),
}
ADMINS = ("owner", "configured id", "configured role", "manage server")


class Answers(Actor):
    """Stands in for the gateway: keeps what it is told to show; `broken` ones cannot be shown."""

    def __init__(self, world):
        self.world = world

    async def receive(self, message):
        match message:
            case Respond(invocation=invocation, answer=answer):
                if self.world.broken_gateway:
                    later = self.respond_later()
                    later.set_error(DeliveryError("the channel is gone"))
                    return LATER
                self.world.answers.append((invocation.id, answer))
                self.world.answered.set()
            case Ping():
                return "connected"
        return None


class Ingest(Actor):
    """Stands in for the ingest: forgets through the real ledger, fetches until it is told that it is done."""

    def __init__(self, world):
        self.world = world

    async def receive(self, message):
        world = self.world
        world.told.append(message)
        match message:
            case Forget() if world.forget_error:
                later = self.respond_later()
                later.set_error(world.forget_error)
                return LATER
            case Forget(author_id=author_id, message_ids=message_ids):
                gone = 0
                if author_id is not None:
                    gone += (await world.store.ledger.forget_author(author_id, NOW)).messages
                if message_ids:
                    gone += (await world.store.ledger.forget_messages(message_ids, NOW)).messages
                return gone
            case Fetch():
                if world.crash_fetch:
                    raise RuntimeError("the fetch fell over")
                if world.fetch_done is not None:
                    self.spawn(self.later(self.respond_later()), name="fetch")
                    return LATER
            case DescribeFetch():
                return world.fetch_status
            case Ping():
                return "7 stored"
        return None

    async def later(self, answer):
        await self.world.fetch_done.wait()
        answer.set_result(None)


class Quiet(Actor):
    def __init__(self, told):
        self.told = told

    async def receive(self, message):
        self.told.append(message)


async def no_quiz():
    raise QuizError("there is no quiz yet")


async def nowhere(_channel_id):
    return frozenset()


class World:
    """A commands actor over a real store, with a gateway, an ingest and a responder that are watched."""

    def __init__(self, store, live, allow_list):
        self.store, self.live, self.allow_list = store, live, allow_list
        self.answers, self.told, self.heard, self.restarts = [], [], [], []
        self.answered = asyncio.Event()
        self.broken_gateway = self.crash_fetch = False
        self.forget_error = self.fetch_done = None
        self.fetch_status = FetchStatus(running=True, channels_total=2)
        self.ids = iter(range(1, 10_000))
        self.commands, self.gateway = new_ref("commands"), new_ref("gateway")
        self.ingest, self.responder = new_ref("ingest"), new_ref("responder")
        self.mydata_calls = 0
        self.quiz = QuizCommands(
            book=store.quizzes,
            load=no_quiz,
            key=store.ledger.lineage_key,
            store=store,
            ledger=store.ledger,
            visible=nowhere,
            about=AboutBot(name="Pip"),
            now=lambda: NOW,
        )
        self.system = ActorSystem(
            SupervisorSpec(
                name="root",
                children=(
                    ChildSpec(ref=self.ingest, factory=lambda: Ingest(self)),
                    ChildSpec(ref=self.responder, factory=lambda: Quiet(self.heard)),
                    ChildSpec(ref=self.commands, factory=self.make),
                    ChildSpec(ref=self.gateway, factory=lambda: Answers(self)),
                ),
            )
        )

    def make(self):
        return CommandsActor(
            desk=self.store.desk,
            ledger=self.store.ledger,
            store=self.store,
            progress=self.store.progress,
            live=self.live,
            allow_list=self.allow_list,
            gateway=self.gateway,
            ingest=self.ingest,
            responder=self.responder,
            mydata=self.mydata,
            quiz=self.quiz,
            status=lambda: StatusReport(started_at=NOW - timedelta(hours=3), model="pip-7b"),
            restart=lambda: self.restarts.append(len(self.answers)),
            rules=RULES,
            about=AboutBot(name="Pip", contact="mara"),
            progress_seconds=0.01,
            now=lambda: NOW,
        )

    async def mydata(self, author_id):
        self.mydata_calls += 1
        return await mydata(self.store.ledger, self.store, self.store.quizzes, author_id, at=NOW)

    def invoke(self, command, *, who="owner", via=Via.SLASH, channel=KITCHEN, options=None, **more):
        """Give a command; return its id."""
        invocation = Invocation(
            id=next(self.ids),
            command=command,
            caller=CALLERS[who],
            channel=channel,
            via=via,
            options=options or {},
            **more,
        )
        assert self.commands.tell(CommandInvoked(invocation=invocation))
        return invocation.id

    async def until(self, holds):
        while not holds():
            await asyncio.sleep(0.002)

    async def ask(self, command, **more):
        """Give a command and return the first answer that is final."""
        number = self.invoke(command, **more)
        await self.until(lambda: any(one == number and answer.done for one, answer in self.answers))
        return next(answer for one, answer in self.answers if one == number and answer.done)

    async def trail(self):
        return [(e.author_id, e.command, e.detail, e.outcome) for e in await self.store.desk.audit_trail(100)]


def playing(tmp_path, play, *, fixed=(), settings=None):
    async def run():
        async with open_store(tmp_path / "persona.db") as store:
            allow_list = await AllowList.load(store, store.desk, fixed=fixed)
            live = await LiveSettings.load(settings or Settings(), store.desk, now=lambda: NOW)
            world = World(store, live, allow_list)
            await world.system.start()
            try:
                async with asyncio.timeout(20):
                    await play(world)
            finally:
                await world.system.stop()

    asyncio.run(run())


# --- who may ---

HARMLESS = {
    "settings": {"name": "rate", "value": "0.2"},
    "setrate": {"value": 0.2},
    "settemp": {"value": 0.2},
    "setmaxlen": {"value": 20},
    "channels": {"action": "allow"},
    "forget": {"confirm": True},
}


@pytest.mark.parametrize("name", [spec.name for spec in COMMANDS])
def test_every_command_works_for_those_it_is_for_and_does_nothing_for_others(tmp_path, name):
    spec = next(spec for spec in COMMANDS if spec.name == name)
    database = tmp_path / "persona.db"

    def state():
        tables = ("settings", "mutes", "consent", "channels")
        return [query(database, f"SELECT * FROM {table}") for table in tables]  # noqa: S608 - the names above

    async def play(world):
        before, told = state(), list(world.told)
        for via in (Via.SLASH, Via.PREFIX):
            for who in ("webhook", "bot"):
                world.invoke(name, who=who, via=via, options=HARMLESS.get(name))
            if spec.audience is Audience.ADMIN:
                answer = await world.ask(name, who="member", via=via, options=HARMLESS.get(name))
                assert answer.text == NO_ADMIN
            if spec.everywhere:
                answer = await world.ask(name, who="one of several", via=via, options=HARMLESS.get(name))
                assert answer.text == NO_KEEPER
            if not spec.direct:
                who = "owner" if spec.audience is Audience.ADMIN else "member"
                answer = await world.ask(name, who=who, via=via, channel=DIRECT, options=HARMLESS.get(name))
                assert "works on a server only" in answer.text
        assert (state(), world.told, world.restarts) == (before, told, [])
        shown = len(world.answers)
        for who in ADMINS if spec.audience is Audience.ADMIN else (*ADMINS, "member"):
            answer = await world.ask(name, who=who, options=HARMLESS.get(name))
            assert "failed" not in answer.text
            assert "Only the people" not in answer.text
            assert "works on a server only" not in answer.text
        assert len(world.answers) >= shown + 4
        refused = [entry for entry in await world.trail() if entry[3] == "refused: not permitted"]
        expected = 4 if spec.audience is Audience.ADMIN else 0  # a member and a direct message, both ways
        assert len(refused) == expected + 2 * spec.everywhere
        assert {entry[2] for entry in refused} <= {"in 100", "in 400"}

    world_fetch_done(play, name, tmp_path)


def world_fetch_done(play, name, tmp_path):
    """A fetch is done at once here."""

    async def ready(world):
        world.fetch_done = asyncio.Event()
        world.fetch_done.set()
        await play(world)

    playing(tmp_path, ready)


# --- settings ---


def test_a_changed_setting_is_answered_audited_in_force_and_survives(tmp_path):
    async def play(world):
        assert "0.03" in (await world.ask("settings", options={"name": "rate"})).text
        answer = await world.ask("settings", options={"name": "rate", "value": "0.2"})
        assert answer.text == "rate is 0.2 now; it was 0.03."
        assert answer.private
        assert (await world.ask("settemp", options={"value": 1})).text == "temperature is 1 now; it was 0.7."
        assert (await world.ask("setmaxlen", via=Via.PREFIX, options={"value": 50})).text.startswith("max-length is 50")
        assert (await world.ask("settings", options={"name": "mentions-only", "value": "on"})).text.startswith(
            "mentions-only is yes now"
        )
        assert world.live.current.speaking.rate == 0.2
        assert await world.trail() == [
            (9, "settings", "name=mentions-only value=on in 100", "no -> yes"),
            (9, "setmaxlen", "value=50 in 100", "120 -> 50"),
            (9, "settemp", "value=1 in 100", "0.7 -> 1"),
            (9, "settings", "name=rate value=0.2 in 100", "0.03 -> 0.2"),
        ]

    async def again(world):
        text = (await world.ask("settings")).text
        assert "**rate** 0.2 (allowed: 0 to 1; changed here)" in text
        assert "**max-length** 50 (allowed: whole numbers, 1 to 4096; changed here)" in text
        answer = await world.ask("settings", options={"name": "rate", "value": "Reset"})
        assert answer.text == "rate is 0.03 again, as config.toml says."
        assert "**rate** 0.03 (allowed: 0 to 1; config.toml)" in (await world.ask("settings")).text

    playing(tmp_path, play)
    playing(tmp_path, again)


@pytest.mark.parametrize("value", ["nan", float("nan"), "1.5", -1, "lots", "", "true", "1e999"])
@pytest.mark.parametrize("command", ["settings", "setrate"])
def test_a_value_that_is_not_allowed_gets_the_range_as_the_answer(tmp_path, command, value):
    async def play(world):
        options = {"value": value} | ({"name": "rate"} if command == "settings" else {})
        answer = await world.ask(command, options=options)
        assert "allowed: 0 to 1" in answer.text
        assert world.live.current == Settings()
        assert (await world.trail())[0][2:] == ("in 100", "refused: not a value it can have")

    playing(tmp_path, play)


def test_what_a_refused_command_said_is_written_down_nowhere(tmp_path):
    words = "my address is 12 oak lane"
    given = [("settings", {"name": "rate", "value": words}), ("setrate", {"value": words}), ("restart", {"x": words})]

    async def play(world):
        with capture_logs() as lines:
            for command, options in given:
                await world.ask(command, who="member", options=options)
                if command != "restart":
                    await world.ask(command, options=options)
        assert words not in str(lines)
        trail = await world.trail()
        assert words not in str(trail)
        assert [entry[3] for entry in trail if entry[0] == 9] == ["refused: not a value it can have"] * 2
        assert [entry[3] for entry in trail if entry[0] == 2] == ["refused: not permitted"] * 3

    playing(tmp_path, play)


def test_what_was_typed_wrongly_is_answered_but_not_to_strangers(tmp_path):
    async def play(world):
        problem = "minutes must be a whole number. Write: `!mute [minutes]`"
        assert (await world.ask("mute", via=Via.PREFIX, problem=problem)).text == problem
        answer = await world.ask("mute", who="member", via=Via.PREFIX, problem=problem)
        assert answer.text.startswith("Only the people")
        assert await world.store.desk.mutes(NOW) == {}
        assert (await world.ask("settings", options={"value": "3"})).text.startswith("Which setting?")

    playing(tmp_path, play)


# --- channels ---


def test_channels_are_put_on_the_list_taken_off_and_listed_with_what_is_stored(tmp_path):
    async def play(world):
        assert "No channel of this server" in (await world.ask("channels")).text
        answer = await world.ask("channels", options={"action": "allow"})
        assert "<#100> is on the list now" in answer.text
        assert world.allow_list.allows(KITCHEN.id)
        kinds = [type(message) for message in world.told]
        assert kinds == [ChannelSeen, Fetch]
        assert world.told[0].channel.allowed
        assert world.told[1].channel_ids == {KITCHEN.id}
        await world.ask("channels", options={"action": "allow", "channel": "200"}, named=ATTIC)
        page = [said(number, "hello", channel=KITCHEN.id) for number in range(3)]
        await world.store.progress.put_page(KITCHEN.id, page, (), through=page[-1].id, at=NOW)
        stamp = int(NOW.timestamp())
        text = (await world.ask("channels", options={"action": "list"})).text
        assert text == f"<#100> 3 messages, last read <t:{stamp}:R>\n<#200> 0 messages, history not read yet"
        world.told.clear()
        answer = await world.ask("channels", options={"action": "disable", "channel": "100"}, named=KITCHEN)
        assert "stays stored, but is not searched" in answer.text
        assert not world.allow_list.allows(KITCHEN.id)
        assert not world.told[0].channel.allowed
        assert await world.store.count() == 3
        text = (await world.ask("channels")).text
        assert text.splitlines()[-1] == "<#100> off the list, 3 messages stored but not searched"
        assert [entry[3] for entry in await world.trail()] == ["disabled 100", "allowed 200", "allowed 100"]
        assert (await world.ask("channels", options={"action": "disable"})).text == "<#100> is not on the list."

    async def again(world):
        assert not world.allow_list.allows(KITCHEN.id)
        assert world.allow_list.allows(ATTIC.id)

    playing(tmp_path, play)
    playing(tmp_path, again, fixed=(100,))


def test_channels_of_other_servers_unknown_ones_and_categories_are_refused(tmp_path):
    async def play(world):
        category = Channel(id=ChannelId(500), guild_id=GUILD, name="rooms", kind=ChannelKind.OTHER)
        for named in (ELSEWHERE, None, category):
            options = {"action": "allow", "channel": "500"}
            answer = await world.ask("channels", options=options, named=named)
            assert "no such channel" in answer.text or "not categories" in answer.text
            assert (await world.ask("fetch", options={"channel": "500"}, named=named)).text
        assert world.told == []
        assert await world.store.channels(allowed_only=True) == []
        assert [entry[3].split(":")[0] for entry in await world.trail()] == ["refused"] * 6

    playing(tmp_path, play)


# --- fetch ---


def test_fetch_shows_how_far_it_is_in_place_and_what_it_brought(tmp_path):
    async def play(world):
        world.fetch_done = asyncio.Event()
        world.fetch_status = FetchStatus(
            running=True,
            channels_done=1,
            channels_total=2,
            messages=1500,
            added=700,
            messages_per_second=96,
            seconds_left=75,
        )
        number = world.invoke("fetch", options={"channel": "100"}, named=KITCHEN)
        first = "Reading: 1 of 2 channels, 1,500 messages (96 a second), 700 of them new, about 1 min left."
        await world.until(lambda: world.answers)
        assert [(one, answer.text, answer.done) for one, answer in world.answers] == [(number, first, False)]
        world.fetch_status = FetchStatus(running=True, channels_done=1, channels_total=2, messages=1600, added=800)
        await world.until(lambda: len(world.answers) > 1)
        assert len([1 for message in world.told if isinstance(message, Fetch)]) == 1
        assert (await world.ask("fetch")).text == "That is still being done."
        world.fetch_status = FetchStatus(
            running=False,
            channels_done=2,
            messages=2000,
            added=900,
            troubles=("#secret: gone",),
            channel_troubles=(
                ChannelTrouble(channel=replace(ELSEWHERE, name="secret"), problem="gone"),
                ChannelTrouble(channel=replace(KITCHEN, id=ChannelId(101), name="secret"), problem="gone"),
                *(ChannelTrouble(channel=replace(KITCHEN, id=ChannelId(110 + n)), problem="gone") for n in range(7)),
            ),
        )
        world.fetch_done.set()
        await world.until(lambda: any(one == number and answer.done for one, answer in world.answers))
        final = next(answer.text for one, answer in world.answers if one == number and answer.done)
        assert final.startswith("Done: 2,000 messages read in 2 channels, 900 of them new.\n• <#110>: gone")
        assert final.endswith("and 2 more; the log names them")
        assert not any(word in final for word in ("secret", "kitchen", "300", "101"))
        asked = [message.guild_id for message in world.told if isinstance(message, DescribeFetch)]
        assert set(asked) == {GUILD}
        assert (await world.trail())[0][3] == "2000 read, 900 new"

    playing(tmp_path, play, fixed=(100,))


def test_fetching_everything_is_everything_of_ones_own_server_but_for_keepers(tmp_path):
    async def play(world):
        world.fetch_done = asyncio.Event()
        world.fetch_done.set()
        answer = await world.ask("fetch", who="one of several")
        assert answer.text.startswith("No channel of this server is on the list")
        await world.store.put_channels([replace(each, allowed=True) for each in (KITCHEN, ELSEWHERE)])
        for who in ("one of several", "owner", "manage server"):
            assert (await world.ask("fetch", who=who)).text.startswith("Done")
        wanted = [message.channel_ids for message in world.told if isinstance(message, Fetch)]
        assert wanted == [{KITCHEN.id}, None, None]

    playing(tmp_path, play)


def test_a_thread_is_named_to_whoever_sees_its_channel(tmp_path):
    async def play(world):
        world.fetch_done = asyncio.Event()
        world.fetch_done.set()
        thread = Channel(id=ChannelId(190), guild_id=GUILD, name="t", kind=ChannelKind.THREAD, parent_id=KITCHEN.id)
        hidden = replace(thread, id=ChannelId(191), parent_id=ChannelId(101))
        troubles = tuple(ChannelTrouble(channel=each, problem="gone") for each in (thread, hidden))
        world.fetch_status = FetchStatus(running=False, channel_troubles=troubles)
        text = (await world.ask("fetch")).text
        assert "<#190>: gone" in text
        assert "191" not in text

    playing(tmp_path, play)


def test_the_reasons_for_messages_elsewhere_are_not_told(tmp_path):
    async def play(world):
        for channel, message in ((KITCHEN, 1), (ELSEWHERE, 2)):
            record = ReplyRecord(
                message_id=MessageId(message),
                channel_id=channel.id,
                decided_at=NOW,
                spoke=True,
                reason="mentioned",
                outcome="sent",
            )
            await world.store.put_replies([record])
            sent = f"INSERT INTO sent_messages (id, message_id, number) VALUES ({message + 10}, {message}, 0)"  # noqa: S608
            execute(tmp_path / "persona.db", sent)
        assert "spoke because" in (await world.ask("why", target=MessageId(11))).text
        assert "Nothing is known" in (await world.ask("why", target=MessageId(12))).text

    playing(tmp_path, play)


def test_fetch_of_a_channel_that_is_not_on_the_list_and_one_that_falls_over(tmp_path):
    async def play(world):
        answer = await world.ask("fetch", options={"channel": "200"}, named=ATTIC)
        assert answer.text == "<#200> is not on the list: `/channels action:allow` puts it there."
        world.crash_fetch = True
        answer = await world.ask("fetch")
        assert answer.text.startswith("Reading was interrupted; it goes on by itself")
        world.crash_fetch = False
        assert (await world.ask("help")).text

    playing(tmp_path, play, fixed=(100,))


# --- speaking ---


def test_mute_lasts_as_long_as_it_was_said_and_survives(tmp_path):
    async def play(world):
        assert "1 h 0 min" in (await world.ask("mute")).text
        assert world.heard == [Muted(channel_id=KITCHEN.id, until=NOW + timedelta(minutes=60))]
        assert "5 min" in (await world.ask("mute", options={"minutes": 5}, channel=ATTIC)).text
        assert await world.store.desk.mutes(NOW) == {
            KITCHEN.id: NOW + timedelta(minutes=60),
            ATTIC.id: NOW + timedelta(minutes=5),
        }

    async def again(world):
        assert (await world.ask("unmute")).text == "It may speak here again."
        assert world.heard == [Muted(channel_id=KITCHEN.id, until=None)]
        assert (await world.ask("unmute")).text == "It was not muted here."
        assert set(await world.store.desk.mutes(NOW)) == {ATTIC.id}

    playing(tmp_path, play)
    playing(tmp_path, again)


def test_why_gives_the_reasons_of_the_last_decisions_and_of_one_message(tmp_path):
    def record(number, **more):
        fields = {"spoke": False, "reason": "chance", "outcome": "silent", **more}
        return ReplyRecord(message_id=MessageId(number), channel_id=KITCHEN.id, decided_at=NOW, **fields)

    async def play(world):
        assert (await world.ask("why")).text == "Nothing has been decided in this channel yet."
        await world.store.put_replies([record(1)])
        spoke = record(
            2, spoke=True, reason="mentioned", outcome="sent", completion_tokens=12, stage_ms={"a": 900.0, "b": 300.0}
        )
        await world.store.put_replies([spoke])
        await world.store.put_replies([record(3, spoke=True, reason="brand_new", outcome="the channel is gone")])
        lines = (await world.ask("why")).text.splitlines()
        assert "it spoke because brand_new; the channel is gone" in lines[0]
        assert "it spoke because somebody mentioned it (1.2 s, 12 tokens" in lines[1]
        assert "it kept quiet because it was not spoken to, and chance said no." in lines[2]
        execute(tmp_path / "persona.db", "INSERT INTO sent_messages (id, message_id, number) VALUES (77, 2, 0)")
        text = (await world.ask("why", via=Via.PREFIX, target=MessageId(77))).text
        assert "\n" not in text
        assert "somebody mentioned it" in text
        assert "Nothing is known" in (await world.ask("why", via=Via.PREFIX, target=MessageId(78))).text
        assert await world.trail() == []

    playing(tmp_path, play)


def test_restart_is_answered_and_written_down_before_it_happens(tmp_path):
    async def play(world):
        assert "Back in a moment" in (await world.ask("restart")).text
        await world.until(lambda: world.restarts)
        assert world.restarts == [1]
        assert (await world.trail())[0][1:] == ("restart", "in 100", "done")
        world.broken_gateway = True
        world.invoke("restart")
        await world.until(lambda: len(world.restarts) > 1)

    playing(tmp_path, play)


def test_status_says_how_everything_is(tmp_path):
    async def play(world):
        text = (await world.ask("status")).text
        for line in ("**Running** for 3 h 0 min", "**Link** connected", "**Model** pip-7b", "not measured yet"):
            assert line in text
        assert "0 messages stored, index up to date" in text
        assert "7 stored; no history read yet" in text
        assert "**Replies** 0 in the last 24 hours" in text

    playing(tmp_path, play)


def test_help_lists_what_the_caller_may_use(tmp_path):
    async def play(world):
        assert "/restart" in (await world.ask("help")).text
        member = (await world.ask("help", who="member")).text
        assert "/restart" not in member
        assert "/optout" in member
        assert "/restart" not in (await world.ask("help", via=Via.PREFIX)).text

    playing(tmp_path, play)


# --- one's own data ---


def test_choices_hold_on_the_server_or_in_a_direct_message_everywhere(tmp_path):
    async def play(world):
        ledger = world.store.ledger

        async def held(guild=GUILD):
            return await ledger.standing(ANN.id, guild)

        text = (await world.ask("optin", who="member")).text
        assert "a model may be trained on it" in text
        assert await held() == Standing(store=True, train=True)
        assert await held(GuildId(2)) == Standing()
        answer = await world.ask("optout", who="member", options={"what": "training"})
        assert "may not be trained" in answer.text
        assert await held() == Standing(store=True, train=False)
        answer = await world.ask("optout", who="member", via=Via.BUTTON)
        assert "nothing you say is kept" in answer.text
        assert [button.command for button in answer.buttons] == ["forget"]
        assert await held() == Standing(store=False, train=False)
        await world.ask("optin", who="member", options={"what": "storing"})
        assert await held() == Standing(store=True, train=False)
        answer = await world.ask("optout", who="member", channel=DIRECT)
        assert "on every server" in answer.text
        assert await held(GuildId(2)) == Standing(store=False)
        entries = await ledger.entries(ANN.id)
        assert (entries[0].scope, entries[0].choice, entries[0].recorded_by) == (Scope.STORE, Choice.YES, ANN.id)
        assert "slash command" in entries[0].note
        assert await world.trail() == []

    playing(tmp_path, play)


def test_mydata_hands_over_a_file_for_the_callers_eyes_only(tmp_path):
    async def play(world):
        await world.store.put_messages([said(1, "my words", channel=KITCHEN.id)])
        answer = await world.ask("mydata", who="member")
        assert answer.private
        (file,) = answer.files
        assert file.name == "mydata.json"
        assert [one["text"] for one in json.loads(file.content)["messages"]] == ["my words"]
        refusal = await world.ask("mydata", who="member", via=Via.PREFIX)
        assert refusal.files == ()
        assert "slash command" in refusal.text
        assert world.mydata_calls == 1
        assert (await world.ask("mydata", who="member", via=Via.PREFIX, channel=DIRECT)).files

    playing(tmp_path, play, fixed=(100,))


def test_forget_asks_first_and_then_forgets(tmp_path):
    async def play(world):
        words = [said(number, "my words", channel=KITCHEN.id) for number in range(3)]
        await world.store.put_messages(words)
        question = await world.ask("forget", who="member")
        assert "cannot be undone" in question.text
        (button,) = question.buttons
        assert (button.command, button.options) == ("forget", {"confirm": True})
        typed = await world.ask("forget", who="member", via=Via.PREFIX, options={"confirm": False})
        assert typed.buttons == ()
        assert "`!forget yes`" in typed.text
        assert await world.store.count() == 3
        answer = await world.ask("forget", who="member", via=Via.BUTTON, options={"confirm": True})
        assert answer.text.startswith("Done: 3 messages of yours removed")
        assert await world.store.count() == 0
        world.forget_error = PersonaError("the memory could not be cleared", cure="try again")
        answer = await world.ask("forget", who="member", options={"confirm": True})
        assert answer.text == "The memory could not be cleared (try again)."
        assert await world.trail() == []

    playing(tmp_path, play, fixed=(100,))


def test_the_menu_forgets_ones_own_message_and_any_for_admins(tmp_path):
    async def play(world):
        mine, other, third = (said(number, "words", channel=KITCHEN.id) for number in range(3))
        await world.store.put_messages([mine, other, third])

        async def menu(who, message, author):
            return (await world.ask("forget", who=who, via=Via.MENU, target=message.id, target_author=author)).text

        assert "is forgotten" in await menu("member", mine, ANN.id)
        assert "not those of others" in await menu("member", other, BOSS.id)
        assert "not those of others" in await menu("member", other, None)  # a webhook's
        assert await world.store.count() == 2
        assert "is forgotten" in await menu("owner", other, ANN.id)
        assert await world.store.count() == 1
        trail = await world.trail()
        assert trail[0] == (9, "forget", "in 100", f"message {other.id} of 2")
        assert [entry[3] for entry in trail[1:]] == [
            "refused: You can have your own messages forgotten, not those of others."
        ] * 2

    playing(tmp_path, play, fixed=(100,))


def test_botdata_is_true_for_this_server(tmp_path):
    async def play(world):
        thread = Channel(id=ChannelId(101), guild_id=GUILD, name="t", kind=ChannelKind.THREAD, parent_id=KITCHEN.id)
        await world.store.put_channels([KITCHEN, ATTIC, ELSEWHERE, thread])
        await world.allow_list.set([KITCHEN.id, ELSEWHERE.id], allowed=True)
        text = (await world.ask("botdata", who="member")).text
        assert "<#100>, with their threads" in text
        assert not any(f"<#{other}>" in text for other in (101, 200, 300))
        assert "mara" in text
        assert "a model may not be trained on it" in text
        typed = (await world.ask("botdata", who="member", via=Via.PREFIX)).text
        assert "**You:**" not in typed  # everybody reads it
        direct = (await world.ask("botdata", who="member", channel=DIRECT)).text
        assert "<#" not in direct  # which servers they are on is not known there
        assert "on each server's list" in direct

    playing(tmp_path, play)


def test_the_consent_card_is_for_everybody(tmp_path):
    async def play(world):
        card = await world.ask("consentcard")
        assert not card.private
        assert "Pip is a bot" in card.text
        assert {button.command for button in card.buttons} == {"optin", "optout", "mydata", "forget"}

    playing(tmp_path, play)


# --- what goes wrong ---


def test_a_broken_store_is_answered_and_the_next_command_works(tmp_path):
    database = tmp_path / "persona.db"

    async def play(world):
        execute(
            database,
            "CREATE TRIGGER no_mutes BEFORE INSERT ON mutes BEGIN SELECT RAISE(ABORT, 'not now'); END",
            "CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'not now'); END",
        )
        assert (await world.ask("mute")).text == "That failed; the log says why."
        assert world.heard == []
        assert (await world.ask("settings", options={"name": "rate", "value": "0.5"})).text.startswith("rate is 0.5")
        execute(database, "DROP TRIGGER no_mutes")
        assert "Quiet in" in (await world.ask("mute")).text

    playing(tmp_path, play)


def test_an_unexpected_error_is_answered_logged_and_breaks_nothing_else(tmp_path):
    async def broken(*_):
        raise ZeroDivisionError("nobody expected this")

    async def play(world):
        world.fetch_done = asyncio.Event()
        number = world.invoke("fetch")
        world.store.desk.decisions = broken
        assert (await world.ask("why")).text == "That failed; the log says why."
        world.fetch_done.set()
        await world.until(lambda: any(one == number and answer.done for one, answer in world.answers))
        assert world.commands.incarnations == 1

    with capture_logs() as logs:
        playing(tmp_path, play)
    (crash,) = [entry for entry in logs if entry["event"] == "command_crashed"]
    assert crash["log_level"] == "error"


def test_an_answer_that_cannot_be_shown_harms_nobody(tmp_path):
    async def play(world):
        world.broken_gateway = True
        world.invoke("settings", options={"name": "rate", "value": "0.5"})
        await world.until(lambda: world.live.current.speaking.rate == 0.5)
        world.broken_gateway = False
        assert (await world.ask("help")).text
        while await world.commands.ask(Ping(), timeout=2) != "idle":  # it has answered, but may not be through yet
            await asyncio.sleep(0.002)

    playing(tmp_path, play)


def test_a_command_of_an_older_version_is_told_so(tmp_path):
    async def play(world):
        assert "is gone" in (await world.ask("dance")).text

    playing(tmp_path, play)


def test_a_hundred_presses_of_one_person_leave_room_for_the_others(tmp_path):
    async def play(world):
        gate = asyncio.Event()

        async def slow():
            await gate.wait()
            raise QuizError("there is no quiz")

        world.quiz._load = slow  # a slow disk, or a large file
        question = AskedQuestion(number=0, message_ids=frozenset({MessageId(5)}))
        until = NOW + timedelta(hours=1)
        asked = AskedQuiz(
            test_id="ab" * 32,
            guild_id=GUILD,
            channel_id=KITCHEN.id,
            asked_at=NOW,
            closes_at=until,
            questions=(question,),
        )
        await world.store.quizzes.begin(asked)
        for _ in range(100):
            world.invoke("quiz", who="member", via=Via.BUTTON)
            await asyncio.sleep(0)
        answer = await world.ask("help", who="owner")
        gate.set()
        assert "Too many commands" not in answer.text

    playing(tmp_path, play)
