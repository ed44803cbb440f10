"""Messages that answer an interaction: read from the request, checked by Discord's rules, put in its form."""

import copy
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tests.fakes.discord.command_rules import ApiError, Payload, invalid_form
from tests.fakes.discord.invocations import Upload, all_components

EPHEMERAL: Final = 1 << 6
LOADING: Final = 1 << 7
COMPONENTS_V2: Final = 1 << 15
# What a bot may set itself: SUPPRESS_EMBEDS, EPHEMERAL, SUPPRESS_NOTIFICATIONS, IS_VOICE_MESSAGE, COMPONENTS_V2.
_SETTABLE: Final = (1 << 2) | EPHEMERAL | (1 << 12) | (1 << 13) | COMPONENTS_V2

MOST_CHARACTERS: Final = 2_000
_MOST_EMBEDS: Final = 10
_MOST_EMBED_CHARACTERS: Final = 6_000
_MOST_FILES: Final = 10
_MOST_ROWS: Final = 5
_MOST_IN_ROW: Final = 5
_MOST_CUSTOM_ID: Final = 100
_ROW: Final = 1
_DISPOSITION: Final = re.compile(rb'(?:^|;)\s*(name|filename)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Form:
    """A request's body: its JSON and the files that came with it, by their number."""

    body: Payload
    files: dict[int, Upload]


def read_form(content_type: str, raw: bytes) -> Form:
    """Read a JSON or a multipart body (`payload_json` and `files[n]`); raises `ApiError` 400 50109 if it is neither."""
    if not content_type.lower().startswith("multipart/form-data"):
        return Form(_json(raw or b"{}"), {})
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if boundary is None:
        raise ApiError(400, 50035, "Invalid Form Body")
    body: Payload = {}
    files: dict[int, Upload] = {}
    for part in raw.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (h.partition(b":") for h in head.split(b"\r\n"))
        }
        fields = {k.lower(): v.decode() for k, v in _DISPOSITION.findall(headers.get(b"content-disposition", b""))}
        content = content.removesuffix(b"\r\n")
        name = fields.get(b"name", "")
        if name == "payload_json":
            body = _json(content)
        elif number := re.fullmatch(r"files?\[(\d+)\]", name):
            kind = headers.get(b"content-type", b"application/octet-stream").decode()
            files[int(number[1])] = Upload(fields.get(b"filename", "unknown"), content, kind)
    return Form(body, files)


def _json(raw: bytes) -> Payload:
    try:
        read = json.loads(raw)
    except ValueError:
        raise ApiError(400, 50109, "The request body contains invalid JSON.") from None
    return read if isinstance(read, dict) else {"": read}


def compose(
    body: Payload, files: dict[int, Upload], new_id: Callable[[], str], before: Payload | None = None
) -> tuple[Payload, list[Upload]]:
    """The fields of a message that a body decides, checked; `before` is the message that an edit changes.

    Returns:
        content, embeds, components, attachments and flags, and the uploads in the order of their attachments.

    Raises:
        ApiError: 50035 for what breaks a limit, 50006 for a message with nothing in it.
    """
    old = before or {}
    content = body.get("content", old.get("content")) or ""
    if len(content) > MOST_CHARACTERS:
        raise invalid_form(["content"], "BASE_TYPE_MAX_LENGTH", f"Must be {MOST_CHARACTERS} or fewer in length.")
    embeds = _checked_embeds(body.get("embeds", old.get("embeds")) or [])
    components = _checked_components(body.get("components", old.get("components")) or [])
    attachments, uploads = _attachments(body, files, old, new_id)
    if not (content or embeds or components or attachments or body.get("poll") or body.get("sticker_ids")):
        raise ApiError(400, 50006, "Cannot send an empty message")
    kept_flags = old.get("flags", 0) & EPHEMERAL
    flags = (body.get("flags") or 0) & _SETTABLE & ~(EPHEMERAL if before is not None else 0)
    return {
        "content": content,
        "embeds": embeds,
        "components": components,
        "attachments": attachments,
        "flags": flags | kept_flags,
    }, uploads


def _checked_embeds(embeds: Sequence[Payload]) -> list[Payload]:
    if len(embeds) > _MOST_EMBEDS:
        raise invalid_form(["embeds"], "BASE_TYPE_MAX_LENGTH", f"Must be {_MOST_EMBEDS} or fewer in length.")
    total = 0
    for place, embed in enumerate(embeds):
        for key, most in (("title", 256), ("description", 4096)):
            if len(embed.get(key) or "") > most:
                where: list[str | int] = ["embeds", place, key]
                raise invalid_form(where, "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
        fields = embed.get("fields") or []
        if len(fields) > 25 or any(len(f["name"]) > 256 or len(f["value"]) > 1024 for f in fields):
            raise invalid_form(["embeds", place, "fields"], "BASE_TYPE_MAX_LENGTH", "A field is too long")
        total += sum(len(embed.get(key) or "") for key in ("title", "description"))
        total += sum(len(f["name"]) + len(f["value"]) for f in fields)
        total += len((embed.get("footer") or {}).get("text", "")) + len((embed.get("author") or {}).get("name", ""))
    if total > _MOST_EMBED_CHARACTERS:
        raise invalid_form(["embeds"], "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000")
    return [{"type": "rich", **embed} for embed in embeds]


def _checked_components(components: Sequence[Payload]) -> list[Payload]:
    rows = [component for component in components if component.get("type") == _ROW]
    if len(rows) > _MOST_ROWS:
        raise invalid_form(["components"], "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 5 in length.")
    for place, row in enumerate(rows):
        if not 1 <= len(row.get("components") or []) <= _MOST_IN_ROW:
            where: list[str | int] = ["components", place, "components"]
            raise invalid_form(where, "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 5 in length.")
    numbered: list[Payload] = copy.deepcopy([*components])
    seen: set[str] = set()
    for number, component in enumerate(all_components(numbered), start=1):
        component.setdefault("id", number)
        custom_id = component.get("custom_id")
        if custom_id is None:
            continue
        if not 1 <= len(custom_id) <= _MOST_CUSTOM_ID:
            raise invalid_form(["components"], "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 100 in length.")
        if custom_id in seen:
            raise invalid_form(
                ["components"], "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated"
            )
        seen.add(custom_id)
    return numbered


def _attachments(
    body: Payload, files: dict[int, Upload], old: Payload, new_id: Callable[[], str]
) -> tuple[list[Payload], list[Upload]]:
    """What is attached afterwards: what an edit keeps, then the new files."""
    listed = body.get("attachments")
    before = {kept["id"]: kept for kept in old.get("attachments", [])}
    details = {str(entry["id"]): entry for entry in listed or []}
    kept = [each for identity, each in before.items() if listed is None or identity in details]
    if len(kept) + len(files) > _MOST_FILES:
        raise ApiError(400, 30015, f"Maximum number of attachments in a message reached ({_MOST_FILES})")
    uploads = []
    for number, upload in sorted(files.items()):
        detail = details.get(str(number), {})
        named = Upload(
            detail.get("filename") or upload.name, upload.content, upload.content_type, detail.get("description")
        )
        uploads.append(named)
        kept.append(attachment(new_id(), named))
    return kept, uploads


def attachment(identity: str, upload: Upload) -> Payload:
    """A file as messages list it."""
    url = f"https://cdn.discordapp.com/ephemeral-attachments/{identity}/{upload.name}"
    described = {} if upload.description is None else {"description": upload.description}
    return {
        "id": identity,
        "filename": upload.name,
        "size": len(upload.content),
        "content_type": upload.content_type,
        "url": url,
        "proxy_url": url,
        **described,
    }
