"""Remembers, for as long as the process runs, who was heard lately and under which name."""

from collections import OrderedDict
from collections.abc import Iterable

from persona.domain.chat import Author, AuthorId, Message

_MOST_NICKS = 50_000
_MOST_NAMES = 1000


class People:
    """Server nicks, which history pages do not carry, and the names that a reply may turn into mentions.

    Bounded: the least recently heard are forgotten first.
    """

    def __init__(self) -> None:
        self._nicks: OrderedDict[tuple[int, int], str] = OrderedDict()
        self._names: dict[int, OrderedDict[str, AuthorId]] = {}

    def nick(self, guild_id: int, user_id: int) -> str | None:
        """Return the name that somebody had on a server when last heard there."""
        return self._nicks.get((guild_id, user_id))

    def heard(self, guild_id: int, message: Message, *, live: bool = True) -> None:
        """Note who said something and who was mentioned; history (not `live`) does not change what is known."""
        for one in (message.author, *message.mentions):
            if not one.is_bot:
                self._note_name(guild_id, one, live=live)
        if live and not message.author.is_bot:
            self._nicks[guild_id, message.author.id] = message.author.display_name
            self._nicks.move_to_end((guild_id, message.author.id))
            if len(self._nicks) > _MOST_NICKS:
                self._nicks.popitem(last=False)

    def by_name(self, guild_id: int, nearest: Iterable[Author] = ()) -> dict[str, AuthorId]:
        """Return ids by name; of people with one name the one in the talk at hand (`nearest`), else the last heard."""
        known = dict(self._names.get(guild_id, {}))
        for one in nearest:
            if not one.is_bot:
                known[one.display_name] = known[one.name] = one.id
        return known

    def _note_name(self, guild_id: int, one: Author, *, live: bool) -> None:
        names = self._names.setdefault(guild_id, OrderedDict())
        for name in (one.name, one.display_name):
            if live or name not in names:
                names[name] = one.id
                names.move_to_end(name)
        while len(names) > _MOST_NAMES:
            names.popitem(last=False)
