"""What fails on the wire becomes one line that says what to do, and never shows the token."""

import aiohttp
import discord
import pytest

from persona.adapters.discord import errors
from persona.errors import EXIT_CONFIG, AccessError, ConfigError, DeliveryError, TransportError


class Response:
    """What discord.py's errors want to know of a response."""

    def __init__(self, status):
        self.status, self.reason = status, "because"


def http(status, code=0, text="", kind=discord.HTTPException):
    return kind(Response(status), {"code": code, "message": text})


def test_a_refused_token_and_a_refused_intent_are_settings_with_a_cure():
    for code, words in ((4004, "DISCORD_TOKEN"), (4014, "Message Content Intent")):
        closed = discord.ConnectionClosed(_Socket(), shard_id=None, code=code)
        error = errors.ended(closed)
        assert isinstance(error, ConfigError)
        assert error.exit_code == EXIT_CONFIG
        assert words in str(error)
    assert "DISCORD_TOKEN" in str(errors.ended(discord.LoginFailure("no")))
    assert "Privileged Gateway Intents" in str(errors.ended(discord.PrivilegedIntentsRequired(None)))


def test_everything_else_may_be_mended_by_a_new_connection():
    assert errors.refused(4009) is None
    for error in (KeyError("guild_id"), discord.ConnectionClosed(_Socket(), shard_id=0, code=4013), OSError(5, "io")):
        ended = errors.ended(error)
        assert isinstance(ended, TransportError)
        assert not isinstance(ended, ConfigError)
    assert errors.ended(already := ConfigError("x")) is already


class _Socket:
    close_code = None


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (http(403, 50001, kind=discord.Forbidden), AccessError),
        (http(404, 10003, kind=discord.NotFound), AccessError),
        (http(500, kind=discord.DiscordServerError), TransportError),
        (http(429, 0), TransportError),
        (discord.RateLimited(99), TransportError),
        (aiohttp.ServerDisconnectedError(), TransportError),
        (ConnectionResetError(104, "reset"), TransportError),
        (TimeoutError(), TransportError),
        (RuntimeError("Session is closed"), TransportError),
        (ValueError("no json"), TransportError),
    ],
)
def test_reading_fails_in_two_ways(raised, expected):
    with pytest.raises(TransportError, match="cannot read a page") as caught, errors.reading("a page"):
        raise raised
    assert type(caught.value) is expected


def test_a_mistake_of_ones_own_is_not_hidden():
    with pytest.raises(RuntimeError, match="of my own"), errors.reading("a page"):
        raise RuntimeError("a mistake of my own")


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (http(404, 10003, kind=discord.NotFound), "channel is gone"),
        (http(400, 50035, "message_reference: Unknown message"), "message it answers is gone"),
        (http(403, 50013, kind=discord.Forbidden), "may not write"),
        (http(403, 160005, kind=discord.Forbidden), "locked"),
        (http(403, 1, kind=discord.Forbidden), "may not write"),
        (http(400, 50083), "archived"),
        (http(400, 50006), "could not be sent"),
        (discord.RateLimited(300), "300 s"),
        (http(503, kind=discord.DiscordServerError), "503"),
    ],
)
def test_why_a_message_was_not_delivered(raised, words):
    error = errors.not_delivered(raised)
    assert isinstance(error, DeliveryError)
    assert words in str(error)


def test_what_is_tried_again():
    assert errors.worth_retrying(http(503, kind=discord.DiscordServerError))
    assert errors.worth_retrying(http(429))
    assert not errors.worth_retrying(http(429, 20016)), "slow mode"
    assert errors.worth_retrying(aiohttp.ServerDisconnectedError())
    assert errors.worth_retrying(ConnectionResetError(104, "reset"))
    assert not errors.worth_retrying(http(500, kind=discord.DiscordServerError)), "discord.py has done that already"
    assert not errors.worth_retrying(http(403, kind=discord.Forbidden))
    assert not errors.worth_retrying(discord.RateLimited(60))


def test_words_hold_no_payload():
    error = http(400, 50035, "content: secret text")
    assert "secret" not in errors.described(error)
    assert "secret" not in str(errors.not_delivered(error))
