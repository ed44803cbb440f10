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
from tests.fakes.discord.line import reset
from tests.fakes.discord.recording import RECORDED, Faults, Recorded
from tests.fakes.discord.rest import routes as rest_routes
from tests.fakes.discord.world import World

_PREFIX = "/api/v10"
_UNVERSIONED = "/api"
_WITHOUT_TOKEN = ("/interactions/", "/webhooks/")
_MAJOR = ("c", "g", "token", "channel_id", "guild_id")


class FakeDiscord:
    """An asynchronous context: inside it the server answers at `api_url` and `gateway_url` to `token`.

    Leaving it fails when a message of the bot would have pinged somebody, unless `pings_expected` was set, and when
    the fake itself failed at a request.
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
        self.errors: list[Exception] = []
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
        rest = rest_routes(self.world, self.gateway)
        for prefix in (_PREFIX, _UNVERSIONED):
            app.add_routes([web.route(method, prefix + path, handler) for method, path, handler in rest])
            app.add_routes(interaction_routes(self.interactions, prefix))
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
        if kind is None and self.errors:
            raise ExceptionGroup("the fake Discord failed", self.errors)
        if kind is None and not self.pings_expected:
            loud = [one for one in self.requests if one.pings]
            assert not loud, f"messages that ping: {[(one.json, one.pings) for one in loud]}"

    @web.middleware
    async def _serve(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/gateway"):
            return await self.gateway.connect(request)
        path = request.path.removeprefix(_PREFIX).removeprefix(_UNVERSIONED)
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
        try:
            response = await self._answered(request, handler, recorded, path)
        except web.HTTPException as refusal:
            response = answer({"message": f"{refusal.status}: {refusal.reason}", "code": 0}, refusal.status)
        except OSError:
            raise  # the client went away
        except Exception as error:
            self.errors.append(error)
            raise
        recorded.status, recorded.done = response.status, time.monotonic()
        return response

    async def _answered(self, request: web.Request, handler: Any, recorded: Recorded, path: str) -> web.StreamResponse:
        if request.can_read_body:
            form = await form_of(request)
            recorded.json, recorded.files = form.body, form.files
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        fault = self.faults.take(request.method, path)
        if fault is not None and fault.status is not None:
            return answer({"message": "the fake fails on purpose", "code": 0}, fault.status)
        if fault is not None and fault.unheard:
            reset(request.transport)
            return web.Response(status=500)  # which goes nowhere any more
        refused = self._refused(request, recorded, path)
        if isinstance(refused, web.Response):
            return refused
        response: web.StreamResponse = await handler(request)
        self.limits.answered(response.status, time.monotonic())
        if self.faults.held:
            await asyncio.sleep(self.faults.held)
        if fault is not None:
            reset(request.transport)
            return response  # which goes nowhere any more
        for name, value in refused.items():
            response.headers.setdefault(name, value)
        return response

    def _refused(self, request: web.Request, recorded: Recorded, path: str) -> web.Response | dict[str, str]:
        """Refuse a wrong token or too many requests; otherwise return the headers of the rate limit."""
        now = time.monotonic()
        if not path.startswith(_WITHOUT_TOKEN) and recorded.auth != f"Bot {self.token}":
            self.limits.answered(401, now)
            return answer({"message": "401: Unauthorized", "code": 0}, 401)
        where = request.match_info
        major = next((where[name] for name in _MAJOR if name in where), None)
        route = recorded.route.partition(" ")[2]
        admission = self.limits.admit(request.method, route, major, recorded.auth, now)
        if admission.ok:
            return admission.headers
        kind = admission.content_type
        return web.Response(body=admission.raw, status=admission.status, headers=admission.headers, content_type=kind)
