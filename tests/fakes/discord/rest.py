"""The REST endpoints of the fake Discord, those of interactions aside."""

from tests.fakes.discord.gateway import Gateway
from tests.fakes.discord.rest_messages import Messages
from tests.fakes.discord.rest_places import PlaceRequests
from tests.fakes.discord.rest_rules import Handler, Rules, refusing
from tests.fakes.discord.world import World


def routes(world: World, gateway: Gateway) -> list[tuple[str, str, Handler]]:
    """Return all endpoints as method, path and handler."""
    rules = Rules(world)
    table = [*PlaceRequests(rules, gateway).table(), *Messages(rules).table()]
    return [(method, path, refusing(handler)) for method, path, handler in table]
