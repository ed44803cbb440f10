"""Whose words may be learned, and whose may be read along: consent applied to every single message."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from persona.domain.chat import AuthorId, GuildId
from persona.domain.consent import Choice, Entry, Scope, choices_on, permission_basis
from persona.errors import ConfigError

_CURE = (
    'write down the permission you have: python -m persona consent record --permission "who allowed it, when, '
    'where it can be found"; or take only what people exported themselves: --own-only'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Messages of one server that came through Discord's API: as many as `messages`."""

    guild_id: GuildId
    guild_name: str
    messages: int


class Gate:
    """Answers for one state of the ledger. Who says nothing is not learned from."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = tuple(entries)
        self._choices = lru_cache(maxsize=None)(self._choices_on)
        self._permitted = lru_cache(maxsize=None)(self._permitted_on)

    def permits(self, guild_id: GuildId) -> bool:
        """Whether the owner recorded a permission to train on what came through the API from a server."""
        return self._permitted(guild_id)

    def admits(self, author_id: AuthorId, guild_id: GuildId, *, own: bool) -> bool:
        """Whether a message may stand in a data set, as something to learn or to read along.

        A message that its author exported (`own`) may unless they said no. One that came through the API may only
        where there is a permission and its author said yes. Whoever is not stored is in no data set.
        """
        choices = self._choices(guild_id).get(author_id, {})
        if choices.get(Scope.STORE) is Choice.NO or choices.get(Scope.TRAIN) is Choice.NO:
            return False
        return own or (choices.get(Scope.TRAIN) is Choice.YES and self._permitted(guild_id))

    def basis(self) -> Sequence[Entry]:
        """Return the permissions that were recorded and hold."""
        guilds = sorted({entry.guild_id for entry in self._entries})
        found = [permission_basis(self._entries, guild) for guild in guilds]
        return list({entry: None for entry in found if entry is not None})

    def _choices_on(self, guild_id: GuildId) -> Mapping[AuthorId, Mapping[Scope, Choice]]:
        return choices_on(self._entries, guild_id)

    def _permitted_on(self, guild_id: GuildId) -> bool:
        return permission_basis(self._entries, guild_id) is not None


def require_permission(gate: Gate, origins: Iterable[Origin]) -> None:
    """Refuse content that came through Discord's API where no permission to train on it is recorded.

    Raises:
        ConfigError: names the servers.
    """
    barred = [origin for origin in origins if origin.messages and not gate.permits(origin.guild_id)]
    if not barred:
        return
    names = ", ".join(f"{origin.guild_name or origin.guild_id} ({origin.messages:,} messages)" for origin in barred)
    raise ConfigError(
        "Discord's Developer Policy forbids training on messages obtained through its API without Discord's express "
        f"permission, and no permission is recorded for {names}",
        cure=_CURE,
    )
