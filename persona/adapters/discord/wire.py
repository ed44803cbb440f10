"""Points one discord.py client at any Discord-compatible server and bounds how long it waits.

Nothing global of discord.py is changed. Its routes are built with Discord's address in front; this client's own
`HTTPClient`, and a webhook adapter in this client's own context, replace that address just before a request goes out.
The gateway's address is handed to each new websocket.
"""

# ruff: noqa: SLF001 - what discord.py keeps private has no public way in; its version is pinned by the lock file.

import asyncio
from typing import Any

import aiohttp
from discord.http import HTTPClient, Route
from discord.webhook.async_ import AsyncWebhookAdapter, async_context

from persona.adapters.discord.options import DiscordOptions

_WEBSOCKET_CLOSE_SECONDS = 5.0


class RedirectedHTTP(HTTPClient):
    """discord.py's REST client with another address and bounded waits."""

    def __init__(self, options: DiscordOptions) -> None:
        super().__init__(asyncio.get_running_loop(), max_ratelimit_timeout=options.patience_seconds)
        self._api_url = options.api_url.rstrip("/")
        self._connect_seconds = options.connect_seconds
        self._timeout = aiohttp.ClientTimeout(total=options.request_seconds, sock_connect=options.connect_seconds)

    async def request(self, route: Route, **kwargs: Any) -> Any:
        """Send a request; see `HTTPClient.request`."""
        kwargs.setdefault("timeout", self._timeout)
        return await super().request(redirected(route, self._api_url), **kwargs)

    async def ws_connect(self, url: str, *, compress: int = 0) -> aiohttp.ClientWebSocketResponse:
        """Open a websocket; one that the other side does not close properly is given up soon."""
        async with asyncio.timeout(self._connect_seconds):
            socket = await super().ws_connect(url, compress=compress)
        socket._timeout = aiohttp.ClientWSTimeout(ws_close=_WEBSOCKET_CLOSE_SECONDS)
        return socket


class RedirectedWebhooks(AsyncWebhookAdapter):
    """Answers to interactions, sent to another address."""

    def __init__(self, api_url: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._api_url = api_url.rstrip("/")

    async def request(self, route: Route, session: aiohttp.ClientSession, **kwargs: Any) -> Any:
        """Send a request; see `AsyncWebhookAdapter.request`."""
        return await super().request(redirected(route, self._api_url), session, **kwargs)


def use_webhooks(adapter: AsyncWebhookAdapter) -> None:
    """Answer interactions through `adapter` in the running task and those it starts; others are not touched."""
    async_context.set(adapter)


def redirected(route: Route, api_url: str) -> Route:
    """Return the route with `api_url` in place of Discord's; "" leaves it alone. Doing it twice changes nothing."""
    if api_url and route.url.startswith(Route.BASE):
        route.url = api_url + route.url.removeprefix(Route.BASE)
    return route
