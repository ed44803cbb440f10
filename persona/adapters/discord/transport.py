"""Discord as a transport: what is heard, what is said, and the answers to commands."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

import discord

from persona.adapters.discord.connection import DiscordConnection
from persona.adapters.discord.events import Emit
from persona.adapters.discord.history import DiscordHistory
from persona.adapters.discord.options import DiscordOptions
from persona.adapters.discord.places import Allowed
from persona.adapters.discord.sending import Sender
from persona.domain.chat import Channel, MessageId
from persona.domain.commands import Answer, Invocation
from persona.domain.delivery import Delivery
from persona.errors import DeliveryError, TransportError
from persona.ports.transport import Arrival, Outcome, TransportEvent


class CommandDoor(Protocol):
    """How commands come in and answers go out: slash commands, menus, buttons, and messages with a prefix."""

    def is_command(self, text: str) -> bool:
        """Say whether a message's text is meant as a command to the persona."""
        ...

    def from_message(
        self, payload: Mapping[str, Any], channel: Channel, guild: discord.Guild | None
    ) -> TransportEvent | None:
        """Return the command in a MESSAGE_CREATE payload, None when it holds none."""
        ...

    async def install(self, client: discord.Client, emit: Emit) -> None:
        """Take in the interactions of a client that has just logged in; called anew for each new client."""
        ...

    async def answer(self, client: discord.Client, invocation: Invocation, answer: Answer) -> None:
        """Show an answer; again for the same invocation replaces it.

        Raises:
            DeliveryError: it cannot be shown.
        """
        ...


class DiscordTransport(DiscordHistory):
    """Talks on Discord and reads its history, over one connection; see `ports.transport.Transport`, `ports.history`.

    `allowed` says whether a channel (given with its parent, for threads) is on the allow-list. `before_session` is
    awaited before each new session (see `IdentifyBudget.spend`).
    """

    def __init__(
        self,
        *,
        token: str,
        options: DiscordOptions,
        allowed: Allowed,
        commands: CommandDoor | None = None,
        before_session: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._commands = commands or NoCommands()
        connection = DiscordConnection(
            token=token,
            options=options,
            allowed=allowed,
            setup=self._commands.install,
            command=self._commands.from_message,
            is_command=self._commands.is_command,
            before_session=before_session,
        )
        super().__init__(connection)
        self._sender = Sender(connection)

    def listen(self) -> AsyncIterator[TransportEvent]:
        """Yield what happens until `close`; the connection is kept up and made anew as needed.

        Raises:
            ConfigError: Discord refuses the token or the message content intent.
            TransportError: something in discord.py failed; a new call starts afresh.
        """
        return self._connection.listen()

    def fitted(self, arrival: Arrival, delivery: Delivery) -> Delivery:
        """Return an answer with those messages cut that grow over Discord's limit when names become mentions."""
        return self._sender.fitted(arrival, delivery)

    def send(
        self, arrival: Arrival, delivery: Delivery, *, first: int = 0, objection: Callable[[], str] = lambda: ""
    ) -> AsyncIterator[MessageId]:
        """Deliver an answer, from message number `first` on, as long as there is no objection; yield each id.

        Raises:
            DeliveryError: the message is gone, the right to write is missing, or Discord does not take it.
        """
        return self._sender.send(arrival, delivery, first, objection)

    async def answer(self, invocation: Invocation, answer: Answer) -> None:
        """Answer a command; again for the same invocation replaces the text shown.

        Raises:
            DeliveryError: it cannot be delivered.
        """
        try:
            client = await self._connection.client(self._connection.options.patience_seconds)
        except TransportError as error:
            raise DeliveryError(f"the answer could not be shown: {error}") from error
        self._connection.answer_here()
        await self._commands.answer(client, invocation, answer)

    async def report(self, outcome: Outcome) -> None:
        """Learn what became of an arrival: on Discord nobody is shown that."""

    async def close(self) -> None:
        """Finish what is being sent, then disconnect; `listen` ends."""
        await self._sender.finish()
        await self._connection.close()


class NoCommands:
    """A door without commands."""

    def is_command(self, _text: str) -> bool:
        """Take no text for a command."""
        return False

    def from_message(
        self, _payload: Mapping[str, Any], _channel: Channel, _guild: discord.Guild | None
    ) -> TransportEvent | None:
        """Find no command."""
        return None

    async def install(self, client: discord.Client, emit: Emit) -> None:
        """Install nothing."""

    async def answer(self, client: discord.Client, invocation: Invocation, answer: Answer) -> None:
        """Never called: there are no commands to answer."""
