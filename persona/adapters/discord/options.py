"""How the connection to Discord behaves: addresses, patience and pace."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordOptions:
    """What an owner or a test may set; all times in seconds.

    `api_url` and `gateway_url` name another Discord-compatible server ("" means Discord itself; an empty gateway is
    asked from the API). `prefix` starts commands that are typed as messages. A dead connection is noticed after
    `heartbeat_seconds` of silence; after READY, servers may take `guild_wait_seconds` to arrive. New sessions begin at
    least `identify_pause_seconds` apart (Discord demands 5). Failed connections are tried again after
    `backoff_seconds`, doubled each time up to `backoff_cap_seconds`. A rate limit or slow mode that asks for more than
    `patience_seconds` (30 or more) fails the request instead of holding it up. One message may take `send_seconds`.
    `typing_renewal_seconds` is how often "is typing" is renewed (Discord shows it for ten).
    """

    api_url: str = ""
    gateway_url: str = ""
    prefix: str = "!"
    heartbeat_seconds: float = 60.0
    guild_wait_seconds: float = 2.0
    identify_pause_seconds: float = 5.0
    backoff_seconds: float = 1.0
    backoff_cap_seconds: float = 60.0
    connect_seconds: float = 20.0
    request_seconds: float = 60.0
    send_seconds: float = 120.0
    patience_seconds: float = 30.0
    typing_renewal_seconds: float = 8.0
    drain_seconds: float = 10.0
