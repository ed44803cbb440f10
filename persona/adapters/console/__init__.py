"""The terminal as a transport."""

from persona.adapters.console.transport import ConsoleTransport, build_console

__all__ = ["ConsoleTransport", "build_console"]
