"""One account's connection to Discord: logs in, stays connected, and is made anew by every call of `listen`."""

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import discord
import structlog
import yarl
from discord.gateway import DiscordWebSocket

from persona.adapters.discord.client import PersonaClient, ShardedClient
from persona.adapters.discord.errors import TROUBLE, described, ended
from persona.adapters.discord.events import Command, Ears, Emit
from persona.adapters.discord.line import delay
from persona.adapters.discord.options import DiscordOptions
from persona.adapters.discord.people import People
from persona.adapters.discord.places import Allowed, Places
from persona.adapters.discord.wire import RedirectedHTTP, RedirectedWebhooks, use_webhooks
from persona.domain.chat import AuthorId
from persona.errors import TransportError
from persona.ports.transport import LinkDown, LinkUp, TransportEvent

log = structlog.get_logger(__name__)

Setup = Callable[[discord.Client, Emit], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What Discord says before a connection: where the gateway is, and over how many shards."""

    gateway: yarl.URL
    shards: int | None


class DiscordConnection:
    """Holds the client of the moment; those who send and read ask for it each time.

    `before_session` is awaited before each new session (see `IdentifyBudget.spend`), `setup` once a client is logged
    in. `command` and `is_command` say what a message typed to the persona means. The token is never shown.
    """

    def __init__(
        self,
        *,
        token: str,
        options: DiscordOptions,
        allowed: Allowed,
        setup: Setup,
        command: Command,
        is_command: Callable[[str], bool],
        before_session: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._token = token
        self.options = options
        self._setup = setup
        self._command = command
        self.is_command = is_command
        self._budget = before_session
        self._webhooks = RedirectedWebhooks(options.api_url)
        self._rng = random.Random()  # noqa: S311 - spreads reconnects, keeps no secret
        self._runner: asyncio.Task[None] | None = None
        self._client: PersonaClient | None = None
        self._ears: Ears | None = None
        self._there = asyncio.Event()
        self._up = asyncio.Event()
        self._pace = asyncio.Lock()
        self._last_session = float("-inf")
        self.places = Places(allowed)
        self.people = People()
        # Below that level discord.py logs payloads: what people say, and interaction tokens.
        logging.getLogger("discord").setLevel(logging.INFO)
        # The persona does not use voice: that its libraries are missing is no news.
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False

    def __repr__(self) -> str:
        return f"<DiscordConnection {'up' if self.is_up else 'down'}>"

    @property
    def is_up(self) -> bool:
        """Whether the gateway is connected and every server has arrived."""
        return self._up.is_set()

    async def listen(self) -> AsyncIterator[TransportEvent]:
        """Yield events until `close`; a call while another listens takes its place.

        Raises:
            ConfigError: Discord refuses the token or the intents.
            TransportError: the connection failed in a way that only a new one can mend.
        """
        await self.close()
        events: asyncio.Queue[TransportEvent | None] = asyncio.Queue()
        runner = asyncio.create_task(self._run(events.put_nowait), name="discord")
        runner.add_done_callback(lambda _: events.put_nowait(None))
        self._runner = runner
        try:
            while (event := await events.get()) is not None:
                yield event
            if not runner.cancelled() and (error := runner.exception()):
                raise ended(_first(error)) from error
        finally:
            await _finish(runner)

    async def close(self) -> None:
        """Disconnect; `listen` ends."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await _finish(runner)

    async def client(self, patience: float) -> PersonaClient:
        """Return the client as soon as one is logged in.

        Raises:
            TransportError: none was within `patience` seconds.
        """
        try:
            async with asyncio.timeout(patience):
                await self._there.wait()
        except TimeoutError:
            raise TransportError("not connected to Discord") from None
        return self.now()

    def now(self) -> PersonaClient:
        """Return the logged-in client.

        Raises:
            TransportError: there is none at the moment.
        """
        if self._client is None:
            raise TransportError("not connected to Discord")
        return self._client

    async def ready(self) -> AuthorId:
        """Wait until the connection stands; return the persona's own id."""
        while self._client is None or self._client.user is None or not self.is_up:
            await self._up.wait()
            await asyncio.sleep(0)
        return AuthorId(self._client.user.id)

    def answer_here(self) -> None:
        """Let the running task answer interactions through the server that this connection talks to."""
        use_webhooks(self._webhooks)

    # --- one connection ---

    async def _run(self, emit: Emit) -> None:
        """Log in, for as long as it takes, and stay connected."""
        self.answer_here()

        def heard(event: TransportEvent) -> None:
            match event:
                case LinkUp():
                    self._up.set()
                case LinkDown():
                    self._up.clear()
            emit(event)

        try:
            client = await self._logged_in(heard)
            self._client = client
            self._there.set()
            await client.connect()
        except BaseException as error:
            heard(LinkDown(reason=described(_first(error))))
            raise
        finally:
            await self._part()

    async def _logged_in(self, emit: Emit) -> PersonaClient:
        """Return a client that is logged in, however long Discord cannot be reached."""
        told = ""
        for failures in itertools.count(2):
            try:
                return await self._log_in(emit)
            except discord.LoginFailure:
                raise
            except TROUBLE as trouble:
                if (reason := described(trouble)) != told:
                    told = reason
                    emit(LinkDown(reason=reason))
                options = self.options
                pause = delay(failures, base=options.backoff_seconds, cap=options.backoff_cap_seconds, rng=self._rng)
                await asyncio.sleep(pause)
        raise AssertionError("counting has no end")

    async def _log_in(self, emit: Emit) -> PersonaClient:
        advice = await self._ask(emit)

        async def setup(client: discord.Client) -> None:
            await self._setup(client, emit)

        kind = PersonaClient if advice.shards is None else ShardedClient
        client = kind(
            options=self.options,
            gateway=advice.gateway,
            shards=advice.shards,
            setup=setup,
            before_session=self._before_session,
        )
        ears = Ears(
            client,
            emit=emit,
            known=self.places,
            people=self.people,
            command=self._command,
            is_command=self.is_command,
            guild_wait_seconds=self.options.guild_wait_seconds,
        )
        ears.attach()
        try:
            await client.login(self._token)
        except BaseException:
            await _closed(client)
            raise
        self._ears = ears
        return client

    async def _ask(self, emit: Emit) -> Advice:
        """Ask Discord how to connect; wait when all sessions of the day are used up."""
        http = RedirectedHTTP(self.options)
        try:
            await http.static_login(self._token)
            shards, url, limit = await http.get_bot_gateway()
        except discord.GatewayNotFound as error:
            if not isinstance(error.__cause__, discord.NotFound):
                raise
            shards, url, limit = 1, str(DiscordWebSocket.DEFAULT_GATEWAY), None
        finally:
            await http.close()
        if limit is not None and limit["remaining"] < shards:
            seconds = limit["reset_after"] / 1000
            emit(
                LinkDown(reason=f"all sessions that Discord allows for a day are used up, going on in {seconds:.0f} s")
            )
            await asyncio.sleep(seconds)
        return Advice(gateway=yarl.URL(self.options.gateway_url or url), shards=shards if shards > 1 else None)

    async def _before_session(self) -> None:
        """Wait for the allowance of sessions, and until Discord takes the next one."""
        async with self._pace:
            if self._budget is not None:
                await self._budget()
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._last_session + self.options.identify_pause_seconds - loop.time()))
            self._last_session = loop.time()

    async def _part(self) -> None:
        self._there.clear()
        self._up.clear()
        client, self._client = self._client, None
        ears, self._ears = self._ears, None
        if ears is not None:
            ears.close()
        if client is not None:
            await _closed(client)


async def _closed(client: discord.Client) -> None:
    """Close a client; what goes wrong with the farewell does not matter any more."""
    with suppress(*TROUBLE):
        await client.close()


async def _finish(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end; what it failed with has been raised elsewhere."""
    task.cancel()
    await asyncio.wait([task])


def _first(error: BaseException) -> BaseException:
    """Return the first error of a group: one failed shard ends the others."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
