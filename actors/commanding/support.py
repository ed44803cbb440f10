"""What the commands share: what carrying one out gives, asking other actors, and what they need of the outside."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol, TypeVar

from actors.kernel import ActorCrashed, ActorRef, ActorStopped, AskTimeout, Request
from persona.domain.chat import AuthorId, ChannelId
from persona.domain.commands import Answer, Button, Invocation, Via
from persona.errors import PersonaError

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What carrying out a command gave: the answer, one line for the audit trail, and what to do once it is shown."""

    answer: Answer
    outcome: str = "done"
    then: Callable[[], None] | None = None


class RefusedError(PersonaError):
    """A command cannot be carried out as it was given; the text is the answer."""


class Changed(Protocol):
    """What became of a setting."""

    @property
    def before(self) -> object:
        """The old value."""
        ...

    @property
    def after(self) -> object:
        """The new value."""
        ...


class RuntimeSettings(Protocol):
    """The settings that can be changed while it runs, by dotted key; see `persona.live_settings.LiveSettings`."""

    def value(self, key: str) -> object:
        """Return the value in force."""
        ...

    def allowed(self, key: str) -> str:
        """Say in words which values it takes."""
        ...

    def is_changed(self, key: str) -> bool:
        """Say whether it was changed at run time."""
        ...

    async def change(self, key: str, text: str | float, by: AuthorId) -> Changed:
        """Change it.

        Raises:
            PersonaError: the value is not allowed (the error names the range), or it could not be kept.
        """
        ...

    async def reset(self, key: str, by: AuthorId) -> Changed:
        """Go back to config.toml.

        Raises:
            PersonaError: it could not be kept.
        """
        ...


class ChannelSwitch(Protocol):
    """The allow-list; see `persona.allow_list.AllowList`."""

    def allows(self, channel_id: ChannelId, parent_id: ChannelId | None = None) -> bool:
        """Say whether a channel, or a thread under `parent_id`, is on the list."""
        ...

    async def set(self, channel_ids: Collection[ChannelId], allowed: bool) -> None:
        """Put channels on the list or take them off.

        Raises:
            PersonaError: it could not be kept.
        """
        ...


def done(text: str, *buttons: Button, private: bool = True, outcome: str = "done") -> Done:
    """Return an answer that is nothing but text and buttons."""
    return Done(answer=Answer(text=text, private=private, buttons=buttons), outcome=outcome)


def can_press(invocation: Invocation) -> bool:
    """Say whether buttons under the answer are for the caller alone: others could press them under a reply."""
    return invocation.via is not Via.PREFIX


async def asked(ref: ActorRef, request: Request[R], *, seconds: float, trouble: str) -> R:
    """Ask another actor; `trouble` says what could not be done when it does not answer.

    Raises:
        PersonaError: it did not answer in time or is being restarted, or whatever error it answered with.
    """
    try:
        return await ref.ask(request, timeout=seconds)
    except (AskTimeout, ActorCrashed, ActorStopped) as error:
        raise PersonaError(trouble, cure="try again in a minute; the log says more") from error
