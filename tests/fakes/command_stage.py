"""A server with people of every kind, and a whole persona on it that takes their commands."""

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from persona.domain.chat import ChannelId, GuildId
from persona.domain.commands import COMMANDS, find_command
from persona.domain.quiz import AskedQuestion, AskedQuiz
from tests.fakes.discord import FakeDiscord
from tests.fakes.live import LiveFolder, eventually, id_of
from tests.fakes.live_tree import living_tree

HISTORY = 5
STRANGER = "somebody else's owner"
CHANGED = """SELECT 'setting', key, value FROM settings WHERE key NOT LIKE 'note:discord.%'
    UNION ALL SELECT 'mute', channel_id, until FROM mutes
    UNION ALL SELECT 'consent', sequence, choice FROM consent
    UNION ALL SELECT 'forgotten', author_id, at FROM forgotten_authors
    UNION ALL SELECT 'tombstone', message_id, reason FROM tombstones
    UNION ALL SELECT 'allowed', id, allowed FROM channels WHERE allowed"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A command as it is given, `{n}` being another number each time, and what it does when it is permitted.

    `says` is found in the answer, `typed_says` in that to a typed one; `changes` tells whether the database is another
    afterwards; `on_the_list`, `muted` and `quiz` are how things are before.
    """

    command: str
    typed: str
    says: str
    options: Mapping[str, Any] = field(default_factory=dict)
    typed_says: str = ""
    changes: bool = False
    audited: bool = False
    public: bool = False
    on_the_list: bool = False
    muted: bool = False
    quiz: bool = False


class Stage:
    """A server with people of every kind, and a channel of its own for every cell of the matrix.

    With `elsewhere` the bot is on a second server, too, which belongs to "somebody else's owner".
    """

    def __init__(self, fake: FakeDiscord, *, elsewhere: bool = False) -> None:
        world = fake.world
        self.fake, self.world = fake, world
        oda = world.add_user("oda")
        self.guild = world.add_guild("the night kitchen", owner=oda)
        trusted = world.add_role(self.guild, "helpers")
        managing = ["manage_guild"]
        world.join(self.guild, world.owner)
        self.people = {
            "server owner": oda,
            "bot owner": world.owner,
            "configured id": world.add_member(self.guild, "ida"),
            "configured role": world.add_member(self.guild, "rolf", roles=[trusted]),
            "Manage Server": world.add_member(self.guild, "max", permissions=managing),
            "Administrator": world.add_member(self.guild, "adam", permissions=["administrator"]),
            "member": world.add_member(self.guild, "ann"),
            "another bot": world.add_member(self.guild, "robot", bot=True, roles=[trusted], permissions=managing),
        }
        self.config = {
            "admins": [id_of(self.people[who]) for who in ("configured id", "another bot")],
            "admin_roles": [id_of(trusted)],
            "contact": "mara",
        }
        self.kitchen = world.add_channel(self.guild, "kitchen")
        # On the list where `cellar` is wanted, but nobody sees it except those who see all; the bot cannot read it.
        self.cellar = world.add_channel(self.guild, "layoffs-in-may")
        world.allow(self.cellar, "view_channel")
        world.deny(self.cellar, "view_channel", role=self.guild)
        world.deny(self.cellar, "read_message_history")
        world.history(self.kitchen, HISTORY, [self.people["member"]])
        kinds = ("slash", "prefix")
        self.rooms = {
            (kind, who): world.add_channel(self.guild, f"{kind}-{who.replace(' ', '-').lower()}")
            for kind in kinds
            for who in self.people
        }
        if elsewhere:
            mallory = self.people[STRANGER] = world.add_user("mallory")
            there = world.add_guild("the day kitchen", owner=mallory)
            self.rooms |= {(kind, STRANGER): world.add_channel(there, f"{kind}-room") for kind in kinds}
        # None ends with a zero: as a fraction it would be shown shorter than it was given.
        self._numbers = iter(number for number in range(11, 1000) if number % 10)
        self.folder: LiveFolder
        self.life: Any

    def changed(self) -> list[tuple[Any, ...]]:
        """Return everything that a command could have changed."""
        return [*self.folder.rows(CHANGED), ("restarts", len(self.life.restarts))]

    def audits(self) -> list[tuple[Any, ...]]:
        """Return the audit trail: who, what, with which outcome."""
        return self.folder.rows("SELECT author_id, command, outcome FROM audit ORDER BY id")

    def number(self) -> str:
        """Return a number that was not used before."""
        return str(next(self._numbers))

    def offer_to_everybody(self) -> None:
        """Open all commands to all members in the server's settings: now only the bot itself can refuse."""
        for spec in COMMANDS:
            everyone = {"type": 1, "id": self.guild.id, "permission": True}
            self.fake.interactions.set_permissions(self.guild, spec.name, [everyone])

    # --- giving commands: each waits until the answer `says` so, and returns the messages that answer it ---

    async def slash(self, one: Case, who: str, says: str, *, direct: bool = False) -> list[Any]:
        """Give it as a slash command; in a direct message also what Discord would not offer there."""
        number = self.number()
        channel = self.world.direct_channel(self.people[who].id) if direct else self.rooms["slash", who]
        options = {name: self._filled(one.command, name, value, number) for name, value in one.options.items()}
        handle = self.fake.interactions.invoke(self.people[who].id, channel.id, one.command, options, force=direct)
        wanted = says.replace("{n}", number)
        await handle.wait_for(lambda it: re.search(wanted, it.text), 10)
        assert handle.deferred
        await self.life.idle()
        return handle.messages

    async def typed(self, one: Case, who: str, says: str, *, direct: bool = False) -> list[Any]:
        """Give it as a message."""
        number = self.number()
        text = one.typed.replace("{n}", number)
        if direct:
            said = self.world.say_directly(self.people[who], text)
        else:
            said = self.world.say(self.rooms["prefix", who], self.people[who], text)
        wanted = says.replace("{n}", number)
        await eventually(
            lambda: re.search(wanted, "\n".join(reply.content for reply in self.replies(said))),
            seconds=10,
            what=f"{wanted!r} as the answer to {text!r} of {who}; it is {self.replies(said)}",
        )
        await self.life.idle()
        return self.replies(said)

    def replies(self, said: Any) -> list[Any]:
        """Return the messages that answer a message."""
        found = self.world.messages(said["channel_id"])
        return [one for one in found if (one.get("message_reference") or {}).get("message_id") == said["id"]]

    def _filled(self, command: str, name: str, value: Any, number: str) -> Any:
        """Return an option's value as a client sends it."""
        option = next(each for each in find_command(command).options if each.name == name)
        if option.kind == "channel":
            return self.kitchen
        if isinstance(value, str) and option.kind in {"whole", "number"}:
            text = value.replace("{n}", number)
            return int(text) if option.kind == "whole" else float(text)
        return value.replace("{n}", number) if isinstance(value, str) else value


@contextlib.asynccontextmanager
async def stage(
    folder: Path, model: Path, one: Case | None = None, *, elsewhere: bool = False, cellar: bool = False
) -> AsyncIterator[Stage]:
    """Live on that server until the context ends; everything is offered to everybody, the history is read."""
    async with FakeDiscord(seed=0, heartbeat_seconds=1) as fake:
        here = Stage(fake, elsewhere=elsewhere)
        listed = [here.kitchen, *(here.rooms.values() if one and one.on_the_list else ())]
        listed += [here.cellar] if cellar else []
        settings = {
            "persona": {"name": "Pip"},
            "model": {"path": str(model)},
            "memory": {"enabled": False},
            "discord": here.config,
        }
        here.folder = LiveFolder(folder, fake, channels=listed, settings=settings)
        async with living_tree(here.folder) as here.life:
            until = datetime.now(UTC) + timedelta(hours=3)
            for room in here.rooms.values() if one and one.muted else ():
                await here.life.store.desk.mute(id_of(room), until)
            if one and one.quiz:
                quiz = AskedQuiz(
                    test_id="ab" * 32,
                    guild_id=GuildId(id_of(here.guild)),
                    channel_id=ChannelId(id_of(here.kitchen)),
                    asked_at=datetime.now(UTC),
                    closes_at=until,
                    questions=(AskedQuestion(number=0, message_ids=frozenset()),),
                )
                assert await here.life.store.quizzes.begin(quiz)
            here.offer_to_everybody()
            await eventually(lambda: len(here.folder.stored()) >= HISTORY, seconds=10, what="the history is read")
            yield here
