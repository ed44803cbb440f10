"""The REST endpoints of application commands, interaction callbacks and their follow-ups."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from tests.fakes.discord.command_rules import ApiError, Payload, invalid_form
from tests.fakes.discord.recording import RECORDED
from tests.fakes.discord.responses import Form, read_form

if TYPE_CHECKING:
    from tests.fakes.discord.interactions import Interactions

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_GLOBAL: Final = "/applications/{application_id}/commands"
_GUILD: Final = "/applications/{application_id}/guilds/{guild_id}/commands"
_WEBHOOK: Final = "/webhooks/{application_id}/{token}"
_MESSAGE: Final = _WEBHOOK + "/messages/{message_id}"


def answer(data: Any = None, status: int = 200) -> web.Response:
    """JSON with exactly the content type that clients look for, or 204."""
    if data is None:
        return web.Response(status=204)
    return web.Response(status=status, body=json.dumps(data).encode(), content_type="application/json")


async def form_of(request: web.Request) -> Form:
    """The request's body; reading it here leaves it readable for others."""
    return read_form(request.headers.get("Content-Type", ""), await request.read())


def routes(interactions: "Interactions", prefix: str = "") -> list[web.RouteDef]:
    """All endpoints below `prefix`; who may call them with which token is for the server to check."""
    commands, followups = _CommandRoutes(interactions), _FollowupRoutes(interactions)
    table: list[tuple[str, str, Handler]] = [
        ("POST", "/interactions/{interaction_id}/{token}/callback", followups.callback),
        ("POST", _WEBHOOK, followups.post),
        ("GET", _MESSAGE, followups.get),
        ("PATCH", _MESSAGE, followups.patch),
        ("DELETE", _MESSAGE, followups.delete),
        ("GET", _GUILD + "/permissions", commands.permissions),
        ("GET", _GUILD + "/{command_id}/permissions", commands.permissions_of_one),
    ]
    for base in (_GLOBAL, _GUILD):
        table += [
            ("GET", base, commands.list),
            ("PUT", base, commands.overwrite),
            ("POST", base, commands.create),
            ("GET", base + "/{command_id}", commands.get),
            ("PATCH", base + "/{command_id}", commands.edit),
            ("DELETE", base + "/{command_id}", commands.delete),
        ]
    return [web.route(method, prefix + path, _refusing(handler)) for method, path, handler in table]


def _refusing(handler: Handler) -> Handler:
    """Turn the rules' refusals into Discord's error answers."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as refusal:
            return answer(refusal.body, refusal.status)

    return handle


class _CommandRoutes:
    """Registration of application commands."""

    def __init__(self, interactions: "Interactions") -> None:
        self._interactions = interactions
        self._registry = interactions.commands

    def _scope(self, request: web.Request) -> str | None:
        if request.match_info["application_id"] != self._registry.application_id:
            raise ApiError(403, 20012, "You are not authorized to perform this action on this application")
        guild_id = request.match_info.get("guild_id")
        if guild_id is not None:
            try:
                self._interactions.stage.guild(guild_id)
            except KeyError:
                raise ApiError(403, 50001, "Missing Access") from None
        return guild_id

    async def list(self, request: web.Request) -> web.Response:
        with_localizations = request.query.get("with_localizations") in ("true", "1")
        return answer([_listed(c, with_localizations) for c in self._registry.all(self._scope(request))])

    async def get(self, request: web.Request) -> web.Response:
        return answer(self._registry.get(self._scope(request), request.match_info["command_id"]))

    async def overwrite(self, request: web.Request) -> web.Response:
        scope = self._scope(request)
        return answer(self._registry.overwrite(scope, await _json_of(request)))

    async def create(self, request: web.Request) -> web.Response:
        status, command = self._registry.create(self._scope(request), await _json_of(request))
        return answer(command, status)

    async def edit(self, request: web.Request) -> web.Response:
        scope = self._scope(request)
        return answer(self._registry.edit(scope, request.match_info["command_id"], await _json_of(request)))

    async def delete(self, request: web.Request) -> web.Response:
        self._registry.delete(self._scope(request), request.match_info["command_id"])
        return answer()

    async def permissions(self, request: web.Request) -> web.Response:
        guild_id = self._scope(request)
        assert guild_id is not None
        return answer(self._registry.permission_payloads(guild_id))

    async def permissions_of_one(self, request: web.Request) -> web.Response:
        self._scope(request)
        wanted = request.match_info["command_id"]
        for entry in self._registry.permission_payloads(request.match_info["guild_id"]):
            if entry["id"] == wanted:
                return answer(entry)
        raise ApiError(404, 10066, "Unknown application command permissions")


class _FollowupRoutes:
    """Callbacks and the messages that follow; the token in the path is all the authority they need."""

    def __init__(self, interactions: "Interactions") -> None:
        self._answers = interactions.answers

    async def callback(self, request: web.Request) -> web.Response:
        where = request.match_info
        taken = self._answers.callback(where["interaction_id"], where["token"], await form_of(request))
        if "message" in taken.get("resource", {}):
            taken["resource"]["message"] = _sent(request, taken["resource"]["message"])
        return answer(taken if request.query.get("with_response") in ("1", "true") else None)

    async def post(self, request: web.Request) -> web.Response:
        where = request.match_info
        message = self._answers.followup(where["application_id"], where["token"], await form_of(request))
        return answer(_sent(request, message))

    async def get(self, request: web.Request) -> web.Response:
        return answer(_shown(self._answers.get_message(*_message_path(request))))

    async def patch(self, request: web.Request) -> web.Response:
        message = self._answers.edit_message(*_message_path(request), await form_of(request))
        return answer(_sent(request, message))

    async def delete(self, request: web.Request) -> web.Response:
        self._answers.delete_message(*_message_path(request))
        return answer()


def _shown(message: Payload) -> Payload:
    """A message as REST gives it; the gateway adds the guild, and whom it pinged is for tests only."""
    return {key: value for key, value in message.items() if key not in {"guild_id", "member", "pings"}}


def _sent(request: web.Request, message: Payload) -> Payload:
    """Note whom the request pinged, where requests are recorded; return the message as REST gives it."""
    if (recorded := request.get(RECORDED)) is not None and message["edited_timestamp"] is None:
        recorded.pings = message.get("pings", [])
    return _shown(message)


def _message_path(request: web.Request) -> tuple[str, str, str]:
    where = request.match_info
    return where["application_id"], where["token"], where["message_id"]


async def _json_of(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except ValueError:
        raise invalid_form([], "JSON_INVALID", "The request body contains invalid JSON.") from None


def _listed(command: Payload, with_localizations: bool) -> Payload:
    """Lists leave the localizations out unless asked for them."""
    if with_localizations:
        return command
    return {key: value for key, value in command.items() if not key.endswith("_localizations")}
