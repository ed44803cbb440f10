"""Turns what discord.py, aiohttp and sockets raise into the errors an owner can read."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import aiohttp
import discord

from persona.errors import AccessError, ConfigError, DeliveryError, PersonaError, TransportError

TROUBLE = (discord.DiscordException, aiohttp.ClientError, OSError)
"""What a request or a connection fails with when the network, Discord or a permission is to blame."""

CANNOT_REPLY_WITHOUT_HISTORY = 160002

_INTENT_REFUSED = 4014
_NOT_DELIVERED = {
    10003: "the channel is gone",
    10008: "the message it answers is gone",
    20016: "slow mode asks to wait too long",
    20028: "the channel is at its rate limit",
    50001: "the bot may not see the channel",
    50007: "this person takes no direct messages from the bot",
    50008: "nothing can be written in this kind of channel",
    50013: "the bot may not write in the channel",
    50083: "the thread is archived and the bot may not open it again",
    160005: "the thread is locked",
}
_UNKNOWN_REFERENCE = "unknown message"


def refused(code: int | None) -> ConfigError | None:
    """Return why the gateway closed for good, or None when a restart may help (see Discord's gateway close codes)."""
    match code:
        case 4004:
            return bad_token()
        case 4014:
            return ConfigError(
                "Discord does not give the bot the text of messages",
                cure="open https://discord.com/developers/applications, choose the application, then Bot -> Privileged "
                "Gateway Intents, switch on Message Content Intent, and save",
            )
    return None


def bad_token() -> ConfigError:
    """Return the error for a token that Discord does not accept."""
    return ConfigError(
        "Discord does not accept the token in DISCORD_TOKEN",
        cure="open https://discord.com/developers/applications, choose the application, then Bot -> Reset Token, and "
        "set DISCORD_TOKEN to the new one",
    )


def ended(error: BaseException) -> PersonaError:
    """Return what the end of a connection means: a wrong setting, or something that a new connection may mend."""
    match error:
        case PersonaError():
            return error
        case discord.LoginFailure():
            return bad_token()
        case discord.PrivilegedIntentsRequired():
            return refused(_INTENT_REFUSED) or TransportError(described(error))
        case discord.ConnectionClosed(code=code):
            return refused(code) or TransportError(f"Discord closed the connection for good, code {code}")
    return TransportError(f"the connection to Discord failed: {described(error)}")


def described(error: BaseException) -> str:
    """Put an error into a few words without addresses or payloads: they may hold what nobody should read."""
    match error:
        case discord.HTTPException(status=status, code=code):
            words = f"Discord answered {status}" + (f", code {code}" if code else "")
        case discord.RateLimited(retry_after=seconds):
            words = f"Discord asks to wait {seconds:.0f} s"
        case discord.ConnectionClosed(code=code):
            words = f"Discord closed the connection, code {code}"
        case discord.GatewayNotFound():
            words = "Discord does not say where its gateway is"
        case TimeoutError():
            words = "Discord does not answer in time"
        case OSError(strerror=str(reason)) if reason:
            words = f"Discord cannot be reached: {reason}"
        case aiohttp.ClientError() | OSError():
            words = f"the connection broke: {type(error).__name__}"
        case asyncio.CancelledError():
            words = "closed"
        case _:
            words = type(error).__name__
    return words


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Raise what fails inside as `AccessError` (not allowed, gone) or `TransportError` (may be tried again)."""
    try:
        yield
    except (discord.Forbidden, discord.NotFound) as error:
        raise AccessError(f"cannot read {what}: {described(error)}") from None
    except TROUBLE as error:
        raise TransportError(f"cannot read {what}: {described(error)}") from error
    except ValueError as error:  # no JSON, or other JSON than Discord sends
        raise TransportError(f"cannot read {what}: Discord's answer makes no sense") from error
    except RuntimeError as error:
        if "closed" not in str(error):
            raise
        # The session of a client that is being replaced: aiohttp has no class of its own for this.
        raise TransportError(f"cannot read {what}: the connection was closed meanwhile") from error


def not_delivered(error: BaseException) -> DeliveryError:
    """Return why a message could not be delivered."""
    match error:
        case DeliveryError():
            return error
        case discord.HTTPException(code=code) if code in _NOT_DELIVERED:
            return DeliveryError(_NOT_DELIVERED[code])
        case discord.HTTPException(status=HTTPStatus.BAD_REQUEST, text=text) if _UNKNOWN_REFERENCE in text.casefold():
            return DeliveryError(_NOT_DELIVERED[10008])
        case discord.RateLimited(retry_after=seconds):
            return DeliveryError(f"slow mode or a rate limit asks to wait {seconds:.0f} s")
        case discord.Forbidden():
            return DeliveryError("the bot may not write in the channel")
    return DeliveryError(f"the message could not be sent: {described(error)}")


def worth_retrying(error: BaseException) -> bool:
    """Say whether sending the same message again may help; discord.py has retried 500, 502, 504 and 524 already."""
    match error:
        case discord.HTTPException(status=status, code=code):
            return status == HTTPStatus.SERVICE_UNAVAILABLE or (
                status == HTTPStatus.TOO_MANY_REQUESTS and code not in _NOT_DELIVERED
            )
        case discord.RateLimited():
            return False
    return isinstance(error, aiohttp.ClientError | OSError)
