"""What the owner changed at run time, and who changed what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from persona.domain.chat import AuthorId, ChannelId, MessageId
from persona.ports.store import Health, ReplyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One command that changed something, or was refused; `detail` never holds message content."""

    at: datetime
    author_id: AuthorId
    command: str
    detail: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What happened since a moment: replies sent, restarts of actors; `health` is the newest look at the process."""

    replies: int = 0
    restarts: int = 0
    health: Health | None = None


class Desk(Protocol):
    """Settings, mutes and the audit trail; everything survives a restart."""

    async def overrides(self) -> Mapping[str, object]:
        """Return the settings changed at run time by dotted key, such as `sampling.temperature`."""
        ...

    async def override(self, key: str, value: object | None, *, by: AuthorId, at: datetime) -> None:
        """Keep a setting over config.toml; None goes back to the file."""
        ...

    async def mutes(self, now: datetime) -> Mapping[ChannelId, datetime]:
        """Return the channels that are muted now, and until when."""
        ...

    async def mute(self, channel_id: ChannelId, until: datetime | None) -> None:
        """Mute a channel until a time; None lets it speak again."""
        ...

    async def audit(self, entry: AuditEntry) -> None:
        """Write down who did what."""
        ...

    async def audit_trail(self, limit: int) -> Sequence[AuditEntry]:
        """Return the newest entries, newest first."""
        ...

    async def decisions(self, channel_id: ChannelId, limit: int) -> Sequence[ReplyRecord]:
        """Return the last decisions in a channel, newest first."""
        ...

    async def reply_to(self, sent_id: MessageId) -> ReplyRecord | None:
        """Return the decision behind one of the persona's own messages, if it is known."""
        ...

    async def activity(self, since: datetime) -> Activity:
        """Return what happened since a moment."""
        ...

    async def note(self, name: str) -> str | None:
        """Return a small text that the program keeps for itself, None when there is none of that name."""
        ...

    async def keep_note(self, name: str, text: str) -> None:
        """Keep a small text under a name, in the place of what was kept there."""
        ...
