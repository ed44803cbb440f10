"""The connection to Discord, as config.toml wants it."""

from persona.adapters.discord import CommandDoor, DiscordOptions, DiscordTransport, IdentifyBudget
from persona.allow_list import AllowList
from persona.config import Settings


def discord_transport(
    settings: Settings, token: str, allow_list: AllowList, *, commands: CommandDoor | None = None
) -> DiscordTransport:
    """Return the transport; nothing is connected before it is listened to."""
    budget = IdentifyBudget(settings.storage.database.parent / "sessions.json")
    return DiscordTransport(
        token=token,
        options=discord_options(settings),
        allowed=allow_list.allows,
        commands=commands,
        before_session=budget.spend,
    )


def discord_options(settings: Settings) -> DiscordOptions:
    """Return how the connection behaves."""
    discord = settings.discord
    return DiscordOptions(
        api_url=discord.api_url,
        gateway_url=discord.gateway_url,
        prefix=discord.prefix,
        heartbeat_seconds=discord.heartbeat_seconds,
        identify_pause_seconds=discord.session_pause_seconds,
        backoff_cap_seconds=discord.longest_wait_seconds,
        drain_seconds=settings.supervision.drain_seconds,
    )
