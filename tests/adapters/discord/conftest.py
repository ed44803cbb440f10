"""discord.py warns at its first import; through the adapter that happens quietly."""

import persona.adapters.discord  # noqa: F401
