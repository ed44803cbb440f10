"""Shows what a command answers: in the interaction it came with, or as a reply to the message it was typed in."""

import asyncio
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Protocol

import discord

from persona.adapters.discord.command_forms import button_id
from persona.adapters.discord.errors import CANNOT_REPLY_WITHOUT_HISTORY
from persona.domain.commands import Answer, Button, File, Invocation
from persona.domain.delivery import split

_STYLES = {"success": discord.ButtonStyle.success, "danger": discord.ButtonStyle.danger}
_BYTES_A_MESSAGE = 9_000_000
"""Discord takes files of up to 10 MB; together in one message they had better not be more either."""

NO_PINGS = discord.AllowedMentions.none()


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One message of an answer."""

    text: str
    files: tuple[File, ...] = ()
    buttons: tuple[Button, ...] = ()


class Place(Protocol):
    """Where an answer is shown: each message is new, or takes the place of one that is there."""

    async def send(self, piece: Piece, number: int) -> discord.Message:
        """Show message `number` (from 0)."""
        ...


@dataclass(slots=True)
class Conversation:
    """One invocation's answers: the newest replaces the one before, message by message."""

    place: Place
    shown: list[discord.Message] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def show(self, answer: Answer) -> None:
        """Show an answer."""
        async with self.lock:
            pieces = list(pieces_of(answer))
            for number, (piece, old) in enumerate(zip_longest(pieces, list(self.shown))):
                if piece is None:
                    await old.delete()
                elif old is None:
                    self.shown.append(await self.place.send(piece, number))
                else:
                    await old.edit(**contents(piece), attachments=attached(piece.files), allowed_mentions=NO_PINGS)
            del self.shown[len(pieces) :]


class InteractionPlace:
    """Answers an interaction that was acknowledged: `private` when its answer was promised for the caller's eyes only.

    Whether the first message is private was settled with the acknowledgement; a private answer to a public one takes
    the promised message away and comes as a message of its own.
    """

    def __init__(self, interaction: discord.Interaction[Any], *, private: bool) -> None:
        self.interaction = interaction
        self.private = private

    async def send(self, piece: Piece, number: int) -> discord.Message:
        """Show a message: the first in the place of "is thinking", the others below."""
        if number == 0:
            return await self.interaction.edit_original_response(
                **contents(piece), attachments=attached(piece.files), allowed_mentions=NO_PINGS
            )
        return await self._follow_up(piece)

    async def _follow_up(self, piece: Piece) -> discord.Message:
        extra: dict[str, Any] = {"files": attached(piece.files)} if piece.files else {}
        if piece.buttons:
            extra["view"] = view_of(piece.buttons)
        return await self.interaction.followup.send(
            piece.text, ephemeral=self.private, wait=True, allowed_mentions=NO_PINGS, **extra
        )


class WithdrawnPlace(InteractionPlace):
    """Answers an interaction whose promised message was taken away: everything comes below, privately."""

    @classmethod
    async def in_place_of(cls, place: InteractionPlace) -> "WithdrawnPlace":
        """Take the promised message away."""
        await place.interaction.delete_original_response()
        return cls(place.interaction, private=True)

    async def send(self, piece: Piece, number: int) -> discord.Message:
        """Show a message."""
        del number
        return await self._follow_up(piece)


class ReplyPlace:
    """Answers a typed command by replying to it; without a reference where the history may not be read."""

    def __init__(self, client: discord.Client, invocation: Invocation) -> None:
        self._channel = client.get_partial_messageable(
            invocation.channel.id, guild_id=invocation.channel.guild_id or None
        )
        self._invocation = invocation

    async def send(self, piece: Piece, number: int) -> discord.Message:
        """Show a message; the nonce lets Discord recognise one that is sent twice."""
        arguments: dict[str, Any] = {
            "content": piece.text,
            "files": attached(piece.files),
            "nonce": f"c{self._invocation.id}-{number}",
            "allowed_mentions": NO_PINGS,
            "mention_author": False,
        }
        if piece.buttons:
            arguments["view"] = view_of(piece.buttons)
        if number:
            return await self._channel.send(**arguments)
        reference = discord.MessageReference(
            message_id=self._invocation.id, channel_id=self._invocation.channel.id, fail_if_not_exists=False
        )
        try:
            return await self._channel.send(**arguments, reference=reference)
        except discord.HTTPException as error:
            if error.code != CANNOT_REPLY_WITHOUT_HISTORY:
                raise
        return await self._channel.send(**{**arguments, "files": attached(piece.files)})


def pieces_of(answer: Answer) -> Iterator[Piece]:
    """Cut an answer into messages: 2,000 characters each, buttons under the last text, files as they fit."""
    texts = split(answer.text) or ["Done."]
    batches = list(_batches(answer.files))
    for number, text in enumerate(texts):
        last = number == len(texts) - 1
        yield Piece(text=text, buttons=answer.buttons if last else (), files=batches[0] if last and batches else ())
    for batch in batches[1:]:
        yield Piece(text="…", files=batch)


def contents(piece: Piece) -> dict[str, Any]:
    """Return a message's text and buttons, as an edit takes them."""
    return {"content": piece.text, "view": view_of(piece.buttons) if piece.buttons else None}


def attached(files: Iterable[File]) -> list[discord.File]:
    """Return files as discord.py sends them; each can be sent once."""
    return [discord.File(io.BytesIO(file.content), filename=file.name) for file in files]


def view_of(buttons: Sequence[Button]) -> discord.ui.View:
    """Return buttons that mean the same after a restart.

    It is stopped at once: nobody waits for a press here, the ids say everything.
    """
    view = discord.ui.View(timeout=None)
    for button in buttons:
        style = _STYLES.get(button.style, discord.ButtonStyle.secondary)
        view.add_item(discord.ui.Button(label=button.label, style=style, custom_id=button_id(button)))
    view.stop()
    return view


def _batches(files: Sequence[File]) -> Iterator[tuple[File, ...]]:
    """Put files together as long as they fit into one message."""
    batch: list[File] = []
    for file in files:
        if batch and sum(len(each.content) for each in batch) + len(file.content) > _BYTES_A_MESSAGE:
            yield tuple(batch)
            batch = []
        batch.append(file)
    if batch:
        yield tuple(batch)
