"""What a member sees of one interaction: the handle that tests hold, wait on and assert on."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.fakes.discord.command_rules import Payload
from tests.fakes.discord.invocations import Upload
from tests.fakes.discord.responses import EPHEMERAL, LOADING

COMMAND: Final = 2
COMPONENT: Final = 3
AUTOCOMPLETE: Final = 4
MODAL_SUBMIT: Final = 5

REPLY: Final = 4
DEFERRED_REPLY: Final = 5
DEFERRED_UPDATE: Final = 6
UPDATE: Final = 7
CHOICES: Final = 8
MODAL: Final = 9


class Shown(dict[str, Any]):
    """A message's payload whose fields can be read as attributes, too: `shown.content`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the message has no field {name!r}; it has {sorted(self)}") from None


@dataclass(slots=True, eq=False)
class Interaction:
    """One use of a command, a component or a modal, and everything the bot answered to it.

    `messages` are those a member reads now (no "thinking" ones, no deleted ones), the newest text of each;
    `history` is everything that happened, as (what, payload): callback, message, edit, delete.
    """

    id: str
    token: str
    kind: int
    user_id: str
    channel_id: str
    guild_id: str | None
    created: float
    payload: Payload
    source: Payload | None = None
    callback_type: int | None = None
    choices: list[Payload] | None = None
    modal: Payload | None = None
    original_id: str | None = None
    files: list[Upload] = field(default_factory=list)
    history: list[tuple[str, Payload]] = field(default_factory=list)
    shown: dict[str, Shown] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def acknowledged(self) -> bool:
        """Whether the bot answered in time at all."""
        return self.callback_type is not None

    @property
    def deferred(self) -> bool:
        """Whether the first answer was "thinking" or a silent acknowledgement."""
        return self.callback_type in (DEFERRED_REPLY, DEFERRED_UPDATE)

    @property
    def original(self) -> Shown | None:
        """The first answer's message (for an update: the message that was clicked), as it reads now."""
        return None if self.original_id is None else self.shown.get(self.original_id)

    @property
    def messages(self) -> list[Shown]:
        """The messages that answer the interaction, oldest first."""
        return [message for message in self.shown.values() if not message["flags"] & LOADING]

    @property
    def followups(self) -> list[Shown]:
        """The messages after the first."""
        return [message for message in self.messages if message["id"] != self.original_id]

    @property
    def text(self) -> str:
        """The text of all messages, one below the other."""
        return "\n".join(message["content"] for message in self.messages)

    @property
    def thinking(self) -> bool:
        """Whether the member still looks at "is thinking"."""
        return any(message["flags"] & LOADING for message in self.shown.values())

    @property
    def ephemeral(self) -> bool:
        """Whether every answer so far is for the member's eyes only; False while there is none."""
        return bool(self.shown) and all(message["flags"] & EPHEMERAL for message in self.shown.values())

    def show(self, what: str, message: Payload) -> None:
        """Let the member see a message in its new form."""
        seen = self.shown[message["id"]] = Shown(message)  # a copy: the message may change later
        self.note(what, seen)

    def note(self, what: str, payload: Payload) -> None:
        """Record what happened and wake whoever waits."""
        self.history.append((what, payload))
        self._changed.set()

    async def wait_for(self, check: Callable[["Interaction"], Any], timeout: float = 5.0) -> None:  # noqa: ASYNC109
        """Wait until `check(handle)` is true; raises TimeoutError that tells what was answered so far."""
        try:
            async with asyncio.timeout(timeout):
                while not check(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"not within {timeout} s; so far: {self.told()}") from None

    async def wait_ack(self, timeout: float = 5.0) -> int:  # noqa: ASYNC109
        """Wait for the callback; returns its type."""
        await self.wait_for(lambda handle: handle.acknowledged, timeout)
        assert self.callback_type is not None
        return self.callback_type

    async def wait_reply(self, timeout: float = 5.0, *, count: int = 1) -> Shown:  # noqa: ASYNC109
        """Wait until `count` messages can be read; returns the last of them."""
        await self.wait_for(lambda handle: len(handle.messages) >= count, timeout)
        return self.messages[count - 1]

    def told(self) -> str:
        """Everything that happened, in one line, for error messages."""
        happened = [f"{what} {payload.get('content', payload.get('type'))!r}" for what, payload in self.history]
        return ", ".join(happened) or "nothing"
