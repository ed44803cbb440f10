"""Discord, through discord.py: the transport, and the history for catching up. Nothing else imports discord.py."""

import warnings

with warnings.catch_warnings():
    # Its voice player imports a module that Python 3.13 drops; the persona uses no voice.
    warnings.filterwarnings("ignore", message="'audioop' is deprecated", category=DeprecationWarning)
    import discord  # noqa: F401 - imported here to be imported quietly

from persona.adapters.discord.commands import DiscordCommands
from persona.adapters.discord.identify_budget import IdentifyBudget
from persona.adapters.discord.options import DiscordOptions
from persona.adapters.discord.transport import CommandDoor, DiscordTransport

__all__ = ["CommandDoor", "DiscordCommands", "DiscordOptions", "DiscordTransport", "IdentifyBudget"]
