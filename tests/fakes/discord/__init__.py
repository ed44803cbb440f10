"""A Discord for tests: REST and gateway over loopback, with Discord's rules, limits and troubles."""

from tests.fakes.discord.chaos import ChaosProxy
from tests.fakes.discord.limits import Limits
from tests.fakes.discord.server import FakeDiscord

__all__ = ["ChaosProxy", "FakeDiscord", "Limits"]
