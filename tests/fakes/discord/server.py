"""The fake Discord as a whole: a world, REST and a gateway over loopback, everything recorded."""

import asyncio
import time
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.fakes.discord.gateway import Gateway
from tests.fakes.discord.interaction_routes import answer, form_of
from tests.fakes.discord.interaction_routes import routes as interaction_routes
from tests.fakes.discord.interactions import Interactions
from tests.fakes.discord.limit_rules import normal_route
from tests.fakes.discord.limits import Limits
from tests.fakes.discord.recording import RECORDED, Faults, Recorded
from tests.fakes.discord.rest import Rest
from tests.fakes.discord.world import World

_PREFIX = "/api/v10"


class FakeDiscord:
    """An asynchronous context: inside it the server answers at `api_url` and `gateway_url` to `token`.

    Leaving it fails when a message of the bot would have pinged somebody, unless `pings_expected` was set.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        limits: Limits | None = None,
        heartbeat_seconds: float = 41.25,
        token: str | None = None,
    ) -> None:
        # The first part of a token is the bot's id in base64; the rest looks like one, too, and marks it in logs.
        self.token = token or f"MTAwMDAwMDAwMDAwMDAwMDAw.canary.{seed:06d}-do-not-tell-anybody-this"
        self.limits = limits or Limits()
        self.faults = Faults()
        self.requests: list[Recorded] = []
        self.gateway = Gateway(heartbeat_seconds=heartbeat_seconds)
        self.world = World(self.gateway.publish)
        self.gateway.world = self.world
        self.gateway.token = self.token
        self.interactions = Interactions(self.world, seed=seed)
        self.world.interactions = self.interactions
        self.pings_expected = False
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def api_url(self) -> str:
        """Where REST is."""
        return f"http://127.0.0.1:{self.port}{_PREFIX}"

    @property
    def gateway_url(self) -> str:
        """Where the gateway is."""
        return f"ws://127.0.0.1:{self.port}/gateway"

    @property
    def posts(self) -> list[Recorded]:
        """Every request that said something to people."""
        return [one for one in self.requests if one.is_post]

    async def __aenter__(self) -> Self:
        """Start on a free port of the loopback."""
        app = web.Application(middlewares=[self._serve], client_max_size=64 * 1024 * 1024)
        app.add_routes(Rest(self.world, self.gateway).routes(_PREFIX))
        app.add_routes(interaction_routes(self.interactions, _PREFIX))
        app.router.add_get("/gateway", self.gateway.connect)
        app.router.add_get("/gateway/", self.gateway.connect)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert self._runner.addresses
        self.port = self._runner.addresses[0][1]
        self.gateway.url = self.gateway_url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; then look at what was said."""
        await self.gateway.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        if kind is None and not self.pings_expected:
            loud = [one for one in self.requests if one.pings]
            assert not loud, f"messages that ping: {[(one.json, one.pings) for one in loud]}"

    @web.middleware
    async def _serve(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/gateway"):
            return await self.gateway.connect(request)
        path = request.path.removeprefix(_PREFIX)
        resource = request.match_info.route.resource
        template = resource.canonical if resource is not None else path
        recorded = Recorded(
            method=request.method,
            path=path,
            route=normal_route(request.method, template),
            query=dict(request.query),
            json=None,
            files={},
            auth=request.headers.get("Authorization"),
        )
        request[RECORDED] = recorded
        self.requests.append(recorded)
        response = await self._answered(request, handler, recorded, path)
        recorded.status, recorded.done = response.status, time.monotonic()
        return response

    async def _answered(self, request: web.Request, handler: Any, recorded: Recorded, path: str) -> web.StreamResponse:
        if request.can_read_body:
            form = await form_of(request)
            recorded.json, recorded.files = form.body, form.files
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        fails, status = self.faults.take(request.method, path)
        if fails and status is not None:
            return answer({"message": "the fake fails on purpose", "code": 0}, status)
        needs_token = not path.startswith(("/interactions/", "/webhooks/"))
        if needs_token and recorded.auth != f"Bot {self.token}":
            response = answer({"message": "401: Unauthorized", "code": 0}, 401)
            self.limits.answered(401, time.monotonic())
            return response
        major = next(
            (request.match_info[k] for k in ("c", "g", "token", "channel_id") if k in request.match_info), None
        )
        admission = self.limits.admit(
            request.method, recorded.route.partition(" ")[2], major, recorded.auth, time.monotonic()
        )
        if not admission.ok:
            return web.Response(
                body=admission.raw,
                status=admission.status,
                headers=admission.headers,
                content_type=admission.content_type,
            )
        response: web.StreamResponse = await handler(request)
        self.limits.answered(response.status, time.monotonic())
        if self.faults.held:
            await asyncio.sleep(self.faults.held)
        if fails:
            if request.transport is not None:
                request.transport.abort()  # type: ignore[attr-defined]
            return response  # which goes nowhere any more
        for name, value in admission.headers.items():
            response.headers.setdefault(name, value)
        return response
