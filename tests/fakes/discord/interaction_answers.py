"""What the bot answers to an interaction: callbacks, deferrals, follow-ups, edits, by Discord's rules."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from tests.fakes.discord import interaction_handle as kinds
from tests.fakes.discord.command_rules import CHAT_INPUT, MESSAGE, USER, ApiError, Payload, invalid_form
from tests.fakes.discord.interaction_handle import Interaction
from tests.fakes.discord.invocations import Upload
from tests.fakes.discord.responses import EPHEMERAL, LOADING, Form, compose
from tests.fakes.discord.stage import Stage

_SLASH_MESSAGE: Final = 20
_CONTEXT_MENU_MESSAGE: Final = 23
_REPLY_MESSAGE: Final = 19
_MOST_CHOICES: Final = 25
_ALLOWED_CALLBACKS: Final[Mapping[int, frozenset[int]]] = {
    kinds.COMMAND: frozenset({kinds.REPLY, kinds.DEFERRED_REPLY, kinds.MODAL}),
    kinds.COMPONENT: frozenset({4, 5, 6, 7, 9}),
    kinds.AUTOCOMPLETE: frozenset({kinds.CHOICES}),
    kinds.MODAL_SUBMIT: frozenset({4, 5, 6, 7}),
}


def unknown_interaction() -> ApiError:
    """The error 10062: no such interaction, or its 3 seconds are over."""
    return ApiError(404, 10062, "Unknown interaction")


def unknown_message() -> ApiError:
    """The error 10008."""
    return ApiError(404, 10008, "Unknown Message")


class Answers:
    """The bot's side of every interaction; `callback_seconds` and `token_seconds` as Discord has them."""

    def __init__(self, stage: Stage, *, callback_seconds: float = 3.0, token_seconds: float = 900.0) -> None:
        self.stage = stage
        self.callback_seconds = callback_seconds
        self.token_seconds = token_seconds
        self.handles: list[Interaction] = []
        self._by_token: dict[str, Interaction] = {}
        self._by_id: dict[str, Interaction] = {}
        self._private: dict[str, tuple[Interaction, Payload]] = {}

    def expect(self, handle: Interaction) -> None:
        """Take answers to a new interaction from now on."""
        self.handles.append(handle)
        self._by_token[handle.token] = self._by_id[handle.id] = handle

    def ephemeral(self, message_id: str) -> tuple[Interaction, Payload] | None:
        """The interaction and the present form of an ephemeral message; None for any other."""
        return self._private.get(message_id)

    def callback(self, interaction_id: str, token: str, form: Form) -> Payload:
        """Take the first answer; returns the body of a request with `with_response`."""
        handle = self._by_id.get(interaction_id)
        if handle is None or handle.token != token:
            raise unknown_interaction()
        if handle.acknowledged:
            raise ApiError(400, 40060, "Interaction has already been acknowledged.")
        if self.stage.now() - handle.created > self.callback_seconds:
            raise unknown_interaction()
        kind, data = form.body.get("type"), form.body.get("data") or {}
        if kind not in _ALLOWED_CALLBACKS[handle.kind] or (kind in (6, 7) and handle.source is None):
            raise invalid_form(["type"], "INTERACTION_RESPONSE_TYPE_INVALID", f"Type {kind!r} does not fit here.")
        message = self._answer(handle, kind, data, form.files)
        handle.callback_type = kind
        handle.note("callback", form.body)
        answer: Payload = {"interaction": {"id": handle.id, "type": handle.kind}}
        if message is not None:
            answer["resource"] = {"type": kind, "message": message}
        if handle.original_id is not None:
            answer["interaction"] |= {
                "response_message_id": handle.original_id,
                "response_message_loading": kind == kinds.DEFERRED_REPLY,
                "response_message_ephemeral": handle.original_id in self._private,
            }
        return answer

    def _answer(self, handle: Interaction, kind: int, data: Payload, files: dict[int, Upload]) -> Payload | None:
        """Do what a callback asks; returns the message it made or changed."""
        if kind == kinds.CHOICES:
            choices = data.get("choices") or []
            if len(choices) > _MOST_CHOICES:
                raise invalid_form(["data", "choices"], "BASE_TYPE_MAX_LENGTH", "Must be 25 or fewer in length.")
            handle.choices = choices
            return None
        if kind == kinds.MODAL:
            _check_modal(data)
            handle.modal = data
            return None
        if kind in (kinds.DEFERRED_UPDATE, kinds.UPDATE):
            assert handle.source is not None
            handle.original_id = handle.source["id"]
            return self._change(handle, handle.source, data, files) if kind == kinds.UPDATE else None
        if kind == kinds.DEFERRED_REPLY:
            flags = LOADING | ((data.get("flags") or 0) & EPHEMERAL)
            fields = {"content": "", "embeds": [], "components": [], "attachments": [], "flags": flags}
            message = self._send(handle, fields, [], None)
        else:
            fields, uploads = compose(data, files, self.stage.new_id)
            message = self._send(handle, fields, uploads, data.get("allowed_mentions"))
        handle.original_id = message["id"]
        return message

    def followup(self, application_id: str, token: str, form: Form) -> Payload:
        """Take one more message; right after a deferral it is the deferred one."""
        handle = self._answered(application_id, token)
        original = handle.original
        if handle.callback_type == kinds.DEFERRED_REPLY and original is not None and original["flags"] & LOADING:
            return self._change(handle, original, form.body, form.files)
        fields, uploads = compose(form.body, form.files, self.stage.new_id)
        return self._send(handle, fields, uploads, form.body.get("allowed_mentions"))

    def get_message(self, application_id: str, token: str, message_id: str) -> Payload:
        """One message of the interaction, `@original` for the first."""
        return self._own(self._answered(application_id, token), message_id)

    def edit_message(self, application_id: str, token: str, message_id: str, form: Form) -> Payload:
        """Change one message of the interaction."""
        handle = self._answered(application_id, token)
        return self._change(handle, self._own(handle, message_id), form.body, form.files)

    def delete_message(self, application_id: str, token: str, message_id: str) -> None:
        """Delete one message of the interaction."""
        handle = self._answered(application_id, token)
        message = self._own(handle, message_id)
        if self._private.pop(message["id"], None) is None:
            self.stage.delete(handle.channel_id, message["id"])
        handle.shown.pop(message["id"], None)
        handle.note("delete", message)

    def _answered(self, application_id: str, token: str) -> Interaction:
        handle = self._by_token.get(token)
        if handle is None or application_id != self.stage.application_id or not handle.acknowledged:
            raise ApiError(404, 10015, "Unknown Webhook")
        if self.stage.now() - handle.created > self.token_seconds:
            raise ApiError(401, 50027, "Invalid Webhook Token")
        return handle

    def _own(self, handle: Interaction, message_id: str) -> Payload:
        """A message that the interaction's token may touch, as it reads now."""
        wanted = handle.original_id if message_id == "@original" else message_id
        if wanted is None or (wanted not in handle.shown and wanted != handle.original_id):
            raise unknown_message()
        if wanted in self._private:
            return self._private[wanted][1]
        message = self.stage.message(handle.channel_id, wanted)
        if message is None:
            raise unknown_message()
        return message

    def _send(
        self, handle: Interaction, fields: Payload, uploads: list[Upload], allowed_mentions: Payload | None
    ) -> Payload:
        fields = fields | self._origin(handle)
        if fields["flags"] & EPHEMERAL:
            message = self._private_message(handle, fields)
        else:
            message = self.stage.send(handle.channel_id, fields, allowed_mentions)
        handle.files.extend(uploads)
        handle.show("message", message)
        return message

    def _origin(self, handle: Interaction) -> Payload:
        """The fields that tell which interaction a message answers."""
        user = self.stage.user(handle.user_id)
        metadata: Payload = {
            "id": handle.id,
            "type": handle.kind if handle.kind != kinds.AUTOCOMPLETE else kinds.COMMAND,
            "user": user,
            "authorizing_integration_owners": {"0": handle.guild_id or "0"},
        }
        origin: Payload = {
            "webhook_id": self.stage.application_id,
            "application_id": self.stage.application_id,
            "interaction_metadata": metadata,
        }
        referenced = handle.original_id or (handle.source or {}).get("id")
        if referenced is not None:
            if handle.original_id is not None:
                metadata["original_response_message_id"] = handle.original_id
            elif handle.kind == kinds.COMPONENT:
                metadata["interacted_message_id"] = referenced
            reference = {"type": 0, "channel_id": handle.channel_id, "message_id": referenced}
            if handle.guild_id is not None:
                reference["guild_id"] = handle.guild_id
            return origin | {"type": _REPLY_MESSAGE, "message_reference": reference}
        data = handle.payload["data"]
        if handle.kind == kinds.COMMAND:
            metadata |= {"name": data["name"], "command_type": data["type"]}
            target = data.get("target_id")
            if data["type"] == MESSAGE:
                metadata["target_message_id"] = target
            elif data["type"] == USER:
                metadata["target_user"] = data["resolved"]["users"][target]
            return origin | {"type": _SLASH_MESSAGE if data["type"] == CHAT_INPUT else _CONTEXT_MENU_MESSAGE}
        return origin | {"type": 0}

    def _private_message(self, handle: Interaction, fields: Payload) -> Payload:
        """A message that exists for one member only: in no channel's history, told to no gateway."""
        message: Payload = {
            "id": self.stage.new_id(),
            "channel_id": handle.channel_id,
            "author": self.stage.user(self.stage.application_id),
            "timestamp": datetime.now(UTC).isoformat(),
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "pinned": False,
            **fields,
        }
        self._private[message["id"]] = (handle, message)
        return message

    def _change(self, handle: Interaction, message: Payload, body: Payload, files: dict[int, Upload]) -> Payload:
        """Edit a message, or finish a "thinking" one, which does not count as an edit."""
        thinking = bool(message["flags"] & LOADING)
        fields, uploads = compose(body, files, self.stage.new_id, message)
        fields["edited_timestamp"] = None if thinking else datetime.now(UTC).isoformat()
        if message["id"] in self._private:
            owner, _ = self._private[message["id"]]
            changed = message | fields
            self._private[message["id"]] = (owner, changed)
        else:
            if thinking:  # only now is there a text that could ping; later edits ping nobody
                fields["pings"] = self.stage.pings(message | fields, body.get("allowed_mentions"))
            changed = self.stage.change(handle.channel_id, message["id"], fields)
        handle.files.extend(uploads)
        handle.show("message" if thinking else "edit", changed)
        return changed


def _check_modal(modal: Payload) -> None:
    for key, most in (("title", 45), ("custom_id", 100)):
        if not 1 <= len(modal.get(key) or "") <= most:
            raise invalid_form(["data", key], "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {most} in length.")
    if not 1 <= len(modal.get("components") or []) <= 5:
        raise invalid_form(["data", "components"], "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 5 in length.")
