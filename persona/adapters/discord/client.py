"""The discord.py client, for one connection: its intents, its own address book and its own way of staying connected."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import discord
import structlog
import yarl
from discord.gateway import DiscordWebSocket

from persona.adapters.discord.errors import TROUBLE, described
from persona.adapters.discord.line import Line
from persona.adapters.discord.options import DiscordOptions
from persona.adapters.discord.wire import RedirectedHTTP

log = structlog.get_logger(__name__)

Parser = Callable[[Any], None]


def intents() -> discord.Intents:
    """Return what is asked of Discord: the talk and its text, never who is a member or online.

    Direct messages are heard so that they can be refused; emoji are needed to write them.
    """
    chosen = discord.Intents.none()
    chosen.guilds = True
    chosen.guild_messages = True
    chosen.dm_messages = True
    chosen.message_content = True
    chosen.guild_reactions = True
    chosen.emojis_and_stickers = True
    return chosen


class PersonaClient(discord.Client):
    """A client for one connection: made, logged in, connected, closed; never used again.

    `setup` runs after the login, before the connection. `before_session` is awaited before each new session. `lost` is
    called with the shard and the reason whenever a connection ended or did not come about.
    """

    def __init__(
        self,
        *,
        options: DiscordOptions,
        gateway: yarl.URL,
        shards: int | None,
        setup: Callable[[discord.Client], Awaitable[None]],
        before_session: Callable[[], Awaitable[None]],
    ) -> None:
        self._persona_options = options
        self.lost: Callable[[int | None, str], None] = _ignore
        super().__init__(
            intents=intents(),
            shard_count=shards,
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            allowed_mentions=discord.AllowedMentions.none(),
            heartbeat_timeout=options.heartbeat_seconds,
            guild_ready_timeout=options.guild_wait_seconds,
        )
        self._setup = setup
        shard_ids: list[int | None] = [None] if shards is None else list(range(shards))
        self._lines = {
            shard_id: Line(
                self,
                shard_id=shard_id,
                gateway=gateway,
                options=options,
                before_session=before_session,
                lost=self._lost,
                rng=random.Random(),  # noqa: S311 - spreads reconnects, keeps no secret
            )
            for shard_id in shard_ids
        }

    @property
    def shard_keys(self) -> frozenset[int | None]:
        """The shards' ids; None stands for the one connection of a client without shards."""
        return frozenset(self._lines)

    def established(self, shard_id: int | None) -> None:
        """Note that a shard's session began or was resumed."""
        if shard_id in self._lines:
            self._lines[shard_id].established()

    def hear(self, handlers: Mapping[str, Callable[[Parser], Parser]]) -> None:
        """Put handlers in the place of this client's event parsers, by gateway event name; each is given the old one.

        A parser runs at once, in the order of arrival, with the payload as it came: nothing can overtake it, and
        nothing of it is swallowed.
        """
        parsers = self._connection.parsers
        for event, handler in handlers.items():
            parsers[event] = handler(parsers[event])

    async def setup_hook(self) -> None:
        """Install the commands; without them the persona can still talk."""
        try:
            await self._setup(self)
        except TROUBLE as error:
            log.error("discord_commands_not_installed", reason=described(error))  # noqa: TRY400 - the words say it all

    async def connect(self, *, reconnect: bool = True) -> None:
        """Keep all connections up until one fails for good; see `Line`."""
        del reconnect
        if self.shard_count is not None:
            self._connection.shard_ids = range(self.shard_count)  # type: ignore[attr-defined]
            self._connection.shard_count = self.shard_count
        async with asyncio.TaskGroup() as lines:
            for line in self._lines.values():
                lines.create_task(line.keep(), name=f"discord shard {line.shard_id}")

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Go ahead: the wait for a new session lies before its connection, which would not stay open for long."""

    def _lost(self, shard_id: int | None, reason: str) -> None:
        self.lost(shard_id, reason)

    def _get_state(self, **options: Any) -> Any:
        # Called by discord.py's constructor, after it made an HTTPClient of its own.
        self.http = RedirectedHTTP(self._persona_options)
        return super()._get_state(**options)

    def _get_websocket(self, guild_id: int | None = None, *, shard_id: int | None = None) -> DiscordWebSocket:
        if self.shard_count is not None and shard_id is None:
            shard_id = (guild_id or 0) >> 22
            shard_id %= self.shard_count
        socket = self._lines[shard_id].socket
        if socket is None:
            raise discord.ClientException("not connected")
        return socket


def _ignore(_shard_id: int | None, _reason: str) -> None:
    """Nobody listens yet."""


class ShardedClient(PersonaClient, discord.AutoShardedClient):
    """The same for a bot that is on so many servers that Discord asks for several connections."""
