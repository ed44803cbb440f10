"""Delivers replies: typing, mentions and emoji mapped back, one message after another, each shown once at most."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import discord
import structlog
from discord.http import MultipartParameters

from persona.adapters.discord.connection import DiscordConnection
from persona.adapters.discord.errors import (
    CANNOT_REPLY_WITHOUT_HISTORY,
    TROUBLE,
    described,
    not_delivered,
    worth_retrying,
)
from persona.adapters.discord.line import delay
from persona.domain.chat import MessageId
from persona.domain.delivery import DISCORD_LIMIT, Delivery, fitted
from persona.domain.markup import break_pings, to_discord
from persona.errors import DeliveryError, TransportError
from persona.ports.transport import Arrival

log = structlog.get_logger(__name__)

_TRIES = 6


class _ObjectedError(Exception):
    """The message is not wanted any more."""


class Sender:
    """Sends replies through whatever client the connection has at the moment.

    The nonce of a message is made of what it answers and its number, so that Discord recognises one that is sent again
    after a crash or a lost connection (within minutes).
    """

    def __init__(self, connection: DiscordConnection) -> None:
        self._connection = connection
        self._options = connection.options
        self._rng = random.Random()  # noqa: S311 - spreads retries, keeps no secret
        self._sending = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def fitted(self, arrival: Arrival, delivery: Delivery) -> Delivery:
        """Return the answer with those messages cut that Discord's markup makes too long."""
        return fitted(delivery, partial(to_discord, **self._names(arrival)))

    async def send(
        self, arrival: Arrival, delivery: Delivery, first: int, objection: Callable[[], str]
    ) -> AsyncIterator[MessageId]:
        """Deliver the messages from number `first` on; yield the id of each; see `ports.transport.Transport.send`."""
        self._sending += 1
        self._idle.clear()
        names = self._names(arrival)
        try:
            for number, part in enumerate(delivery.messages[first:], start=first):
                await self._type(arrival.channel.id, part.typing_seconds, objection)
                yield await self._deliver(arrival, _written(part.text, names), number, objection)
        except _ObjectedError as error:
            log.info("discord_rest_not_sent", message_id=arrival.message.id, reason=str(error))
        finally:
            self._sending -= 1
            if not self._sending:
                self._idle.set()

    async def finish(self) -> None:
        """Wait until nothing is being sent, for a while."""
        try:
            async with asyncio.timeout(self._options.drain_seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("discord_sending_not_finished", replies=self._sending)

    # --- what is said ---

    def _names(self, arrival: Arrival) -> dict[str, Any]:
        """Return whom, which channels and which emoji a reply may name."""
        channel, message = arrival.channel, arrival.message
        people = self._connection.people.by_name(channel.guild_id, (*message.mentions, message.author))
        guild = self._guild(arrival)
        if guild is None:
            return {"people": people, "channels": {}, "emoji": {}}
        readable = self._connection.places.readable_with(channel.id, guild)
        usable = [emoji for emoji in reversed(guild.emojis) if _usable(emoji, guild)]
        return {
            "people": people,
            "channels": {one.name: one.id for one in guild.channels if one.id in readable},
            "emoji": {emoji.name: emoji.id for emoji in usable},
            "animated": {emoji.name for emoji in usable if emoji.animated},
        }

    def _guild(self, arrival: Arrival) -> discord.Guild | None:
        try:
            return self._connection.now().get_guild(arrival.channel.guild_id)
        except TransportError:
            return None

    # --- how it gets there ---

    async def _type(self, channel_id: int, seconds: float, objection: Callable[[], str]) -> None:
        """Show "is typing" for a while, or until there is an objection; whether that works does not matter."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0 and not objection():
            try:
                async with asyncio.timeout(left):
                    client = await self._connection.client(left)
                    await client.http.send_typing(channel_id)
            except (*TROUBLE, TransportError) as error:
                log.debug("discord_typing_not_shown", channel_id=channel_id, reason=type(error).__name__)
            await asyncio.sleep(max(0.0, min(end - loop.time(), self._options.typing_renewal_seconds)))

    async def _deliver(self, arrival: Arrival, text: str, number: int, objection: Callable[[], str]) -> MessageId:
        """Send one message, again and again with the same nonce while that may help.

        Raises:
            DeliveryError: it did not help.
            _ObjectedError: it is not wanted any more.
        """
        options = self._options
        is_reply = number == 0
        try:
            async with asyncio.timeout(options.send_seconds):
                for tries in range(1, _TRIES + 1):
                    try:
                        client = await self._connection.client(options.patience_seconds)
                        if why := objection():
                            raise _ObjectedError(why)
                        return await _post(client, arrival, text, number, is_reply=is_reply)
                    except discord.HTTPException as error:
                        if is_reply and error.code == CANNOT_REPLY_WITHOUT_HISTORY:
                            is_reply = False
                        elif tries == _TRIES or not worth_retrying(error):
                            raise not_delivered(error) from error
                    except (*TROUBLE, TransportError) as error:
                        if tries == _TRIES or not (isinstance(error, TransportError) or worth_retrying(error)):
                            raise not_delivered(error) from error
                        log.info("discord_sending_again", reason=described(error), message_id=arrival.message.id)
                    await asyncio.sleep(delay(tries + 1, base=0.5, cap=options.backoff_cap_seconds, rng=self._rng))
        except TimeoutError as error:
            raise DeliveryError(f"the message could not be sent within {options.send_seconds:.0f} s") from error
        raise AssertionError("the last try returns or raises")


async def _post(client: discord.Client, arrival: Arrival, text: str, number: int, *, is_reply: bool) -> MessageId:
    message = arrival.message
    payload: dict[str, Any] = {
        "content": text,
        "nonce": f"{message.id}-{number}",
        "enforce_nonce": True,
        "allowed_mentions": {"parse": [], "replied_user": False},
        # Links that a model makes up should not unfold into pictures of unknown pages.
        "flags": discord.MessageFlags(suppress_embeds=True).value,
    }
    if is_reply:
        payload["message_reference"] = {"message_id": str(message.id), "channel_id": str(message.channel_id)}
    parameters = MultipartParameters(payload=payload, multipart=None, files=None)
    sent = await client.http.send_message(message.channel_id, params=parameters)
    return MessageId(int(sent["id"]))


def _written(text: str, names: Mapping[str, Any]) -> str:
    """Return a message in Discord's markup; without its names when they have grown since it was cut to fit."""
    written = to_discord(text, **names)
    return written if len(written) <= DISCORD_LIMIT else break_pings(text)


def _usable(emoji: discord.Emoji, guild: discord.Guild) -> bool:
    """Say whether the bot may write an emoji: some are for certain roles, some are lost with the server's level."""
    return emoji.available and (not emoji.roles or (guild.me is not None and emoji.is_usable()))
